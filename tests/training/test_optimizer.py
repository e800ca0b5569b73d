from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mi_classifier.errors import UserError
from mi_classifier.training.optimizer import create_optimizer, create_schedule

REFERENCE = Path(__file__).parents[1] / "reference" / "sgd.npz"
GROUPS = {
    "name": "sgd",
    "learning_rate": 0.1,
    "momentum": 0.9,
    "nesterov": True,
    "weight_decay": 1e-4,
    "schedule": "step",
    "decay_epochs": 1,
    "decay_rate": 0.1,
    "full_rate": ("head",),
    "backbone_rate": 0.1,
}
SGD = {"name": "sgd", "learning_rate": 0.1, "momentum": 0.5, "schedule": "constant"}


def test_cosine_goes_to_zero_at_the_last_step():
    config = {"learning_rate": 0.2, "schedule": "cosine"}
    schedule = create_schedule(config, 100)
    steps = np.array([0, 25, 50, 100])
    expected = 0.1 * (1 + np.cos(np.pi * steps / 100))
    np.testing.assert_allclose([schedule(s) for s in steps], expected, atol=1e-7)


def test_sgd_with_momentum_by_hand():
    optimizer = create_optimizer(SGD, 10)
    params = jnp.array([1.0, -2.0])
    state = optimizer.init(params)
    velocity, expected = 0, np.array([1.0, -2.0])
    for gradient in (np.array([1.0, 2.0]), np.array([-1.0, 0.5])):
        updates, state = optimizer.update(jnp.asarray(gradient), state, params)
        params = params + updates
        velocity = 0.5 * velocity + gradient
        expected = expected - 0.1 * velocity
        np.testing.assert_allclose(params, expected, rtol=1e-6)


def test_nine_steps_are_pytorchs():
    with np.load(REFERENCE) as file:
        arrays = dict(file)
    steps_per_decay = int(arrays["steps_per_decay"])

    def tree(prefix, step=...):
        return {
            module: {
                leaf: arrays[f"{prefix}_{module}_{leaf}"][step]
                for leaf in ("kernel", "bias")
            }
            for module in ("backbone", "head")
        }

    params = tree("init")
    optimizer = create_optimizer(GROUPS, 9, steps_per_epoch=steps_per_decay)
    state = optimizer.init(params)
    for step in range(9):
        updates, state = optimizer.update(tree("grad", step), state, params)
        params = optax.apply_updates(params, updates)
        chex.assert_trees_all_close(params, tree("after", step), atol=1e-6)


def test_a_frozen_backbone_stays():
    params = {"backbone": {"kernel": jnp.ones(3)}, "head": {"kernel": jnp.ones(3)}}
    optimizer = create_optimizer(GROUPS | {"backbone_rate": 0.0}, 9)
    updates, _ = optimizer.update(params, optimizer.init(params), params)
    assert not np.any(updates["backbone"]["kernel"])
    assert np.all(updates["head"]["kernel"] < 0)


def test_a_group_that_names_no_module_is_an_error():
    params = {"conv": jnp.ones(3), "head": jnp.ones(3)}
    optimizer = create_optimizer(GROUPS | {"full_rate": ("heads",)}, 9)
    with pytest.raises(UserError, match="no module is called 'heads'; there are conv"):
        jax.eval_shape(optimizer.update, params, optimizer.init(params), params)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "adamm"}, "optimizer.name: .*'adam'"),
        ({"schedule": "cosin"}, "optimizer.schedule: .*'cosine'"),
        ({"learning_rate": 0.0}, "optimizer.learning_rate: must be positive"),
        ({"learning_rate": float("nan")}, "optimizer.learning_rate"),
        ({"beta": 1.0}, "optimizer.beta: no such option here"),
        ({"schedule": "step"}, "optimizer.decay_epochs: must be positive"),
        ({"backbone_rate": 0.1}, "give both"),
        ({"backbone_rate": 2.0, "full_rate": ("head",)}, "optimizer.backbone_rate"),
    ],
)
def test_mistakes_are_named(change, message):
    with pytest.raises(UserError, match=message):
        create_optimizer(SGD | change, 10)
