"""Optimizers and schedules do what their names say, and a mistake in a config is named.

The steps of SGD equal PyTorch's; every registered optimizer trains.
"""

from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mi_classifier.errors import UserError
from mi_classifier.training.optimizer import OPTIMIZERS, Span, create_optimizer

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


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_lowers_a_loss(name):
    config = {"name": name, "learning_rate": 0.1, "schedule": "cosine"}
    optimizer = create_optimizer(config, Span(10)).transformation
    params = {"kernel": jnp.array([[0.5, -2.0]]), "bias": jnp.array([3.0])}

    def loss(tree):
        return sum(jnp.sum(x**2) for x in jax.tree.leaves(tree))

    first, state = loss(params), optimizer.init(params)
    update, gradient = jax.jit(optimizer.update), jax.jit(jax.grad(loss))
    for _ in range(5):
        updates, state = update(gradient(params), state, params)
        params = optax.apply_updates(params, updates)
    assert loss(params) < first


def test_schedules_equal_their_formulas():
    steps = np.array([0, 25, 50, 99, 100])
    common = {"name": "sgd", "learning_rate": 0.2}
    for options, expected in (
        ({}, np.full(5, 0.2)),
        ({"schedule": "constant"}, np.full(5, 0.2)),
        ({"schedule": "cosine"}, 0.1 * (1 + np.cos(np.pi * steps / 100))),
        (
            {"schedule": "step", "decay_epochs": 5, "decay_rate": 0.5},
            [0.2, 0.2, 0.1, 0.1, 0.05],
        ),
        (  # 5 epochs are 50 steps: up for these, then down as half a cosine
            {"schedule": "warmup_cosine", "warmup_epochs": 5},
            [0, 0.1, 0.2, 0.1 * (1 + np.cos(np.pi * 49 / 50)), 0],
        ),
        (
            {"schedule": "warmup_cosine", "warmup_epochs": 0},
            0.1 * (1 + np.cos(np.pi * steps / 100)),
        ),
    ):
        schedule = create_optimizer(common | options, Span(100, 10)).schedule
        np.testing.assert_allclose([schedule(s) for s in steps], expected, atol=1e-7)


def test_the_updates_follow_the_schedule():
    config = SGD | {"momentum": 0.0, "schedule": "cosine"}
    optimizer, schedule = create_optimizer(config, Span(4))
    state = optimizer.init(jnp.ones(()))
    for step in range(5):
        update, state = optimizer.update(jnp.ones(()), state)
        np.testing.assert_allclose(update, -schedule(step), atol=1e-7)


def test_sgd_with_momentum_by_hand():
    optimizer = create_optimizer(SGD, Span(10)).transformation
    params = jnp.array([1.0, -2.0])
    state = optimizer.init(params)
    velocity, expected = 0, np.array([1.0, -2.0])
    for gradient in (np.array([1.0, 2.0]), np.array([-1.0, 0.5])):
        updates, state = optimizer.update(jnp.asarray(gradient), state, params)
        params = params + updates
        velocity = 0.5 * velocity + gradient
        expected = expected - 0.1 * velocity
        np.testing.assert_allclose(params, expected, rtol=1e-6)


def test_nine_steps_equal_pytorchs():
    with np.load(REFERENCE) as file:
        arrays = dict(file)
    span = Span(9, steps_per_epoch=int(arrays["steps_per_decay"]))

    def tree(prefix, step=...):
        return {
            module: {
                leaf: arrays[f"{prefix}_{module}_{leaf}"][step]
                for leaf in ("kernel", "bias")
            }
            for module in ("backbone", "head")
        }

    params = tree("init")
    optimizer = create_optimizer(GROUPS, span).transformation
    state, update = optimizer.init(params), jax.jit(optimizer.update)
    for step in range(9):
        updates, state = update(tree("grad", step), state, params)
        params = optax.apply_updates(params, updates)
        chex.assert_trees_all_close(params, tree("after", step), atol=1e-6)


def test_backbone_rate_zero_freezes_the_backbone():
    params = {"backbone": {"kernel": jnp.ones(3)}, "head": {"kernel": jnp.ones(3)}}
    config = GROUPS | {"backbone_rate": 0.0}
    optimizer = create_optimizer(config, Span(9)).transformation
    state = optimizer.init(params)
    updates, _ = optimizer.update(params, state, params)
    assert updates.keys() == {"head"}
    assert np.all(updates["head"]["kernel"] < 0)
    assert all(
        "backbone" not in str(path)
        for path, _ in jax.tree_util.tree_leaves_with_path(state)
    )


def test_a_full_rate_that_names_no_module_is_refused():
    params = {"conv": jnp.ones(3), "head": jnp.ones(3)}
    config = GROUPS | {"full_rate": ("heads",)}
    optimizer = create_optimizer(config, Span(9)).transformation
    with pytest.raises(UserError, match="no module is called 'heads'; there are conv"):
        jax.eval_shape(optimizer.update, params, optimizer.init(params), params)


def test_the_options_of_another_schedule_are_ignored():
    unused = {"decay_epochs": 1, "decay_rate": 0.1}
    schedule = create_optimizer(SGD | unused, Span(10, 2)).schedule
    assert schedule(9) == 0.1


def test_an_option_that_schedule_and_optimizer_share_goes_to_the_schedule():
    """adafactor has a decay_rate of its own, which must be below 1."""
    config = {"name": "adafactor", "learning_rate": 0.1, "decay_rate": 2.0}
    step = {"schedule": "step", "decay_epochs": 1}
    assert create_optimizer(config | step, Span(10, 2)).schedule(2) == 0.2
    optimizer = create_optimizer(config | {"schedule": "constant"}, Span(10, 2))
    assert optimizer.schedule(2) == 0.1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "adamm"}, "optimizer.name: .*'adam'"),
        ({"name": "lbfgs"}, "optimizer.name: unknown value 'lbfgs'"),
        ({"schedule": "cosin"}, "optimizer.schedule: .*'cosine'"),
        (
            {"schedule": "warmup_cosine", "warmup_epochs": 10},
            "optimizer.warmup_epochs: must be at least 0 and less than num_epochs, 10,",
        ),
        ({"schedule": "warmup_cosine", "warmup_epochs": -1}, "optimizer.warmup_epochs"),
        ({"learning_rate": 0.0}, "optimizer.learning_rate: must be positive"),
        ({"learning_rate": float("nan")}, "optimizer.learning_rate"),
        ({"momentum": -0.1}, "optimizer.momentum: must be at least 0"),
        ({"momentum": "much"}, "optimizer.momentum: must be a number"),
        ({"nesterov": 1}, "optimizer.nesterov: must be bool"),
        ({"beta": 1.0}, "optimizer.beta: no such option here"),
        ({"rate": 1.0}, "optimizer.rate: no such option here"),
        ({"schedule": "step"}, "optimizer.decay_epochs: missing"),
        (
            {"schedule": "step", "decay_epochs": 0, "decay_rate": 0.1},
            "optimizer.decay_epochs: must be positive",
        ),
        (
            {"schedule": "step", "decay_epochs": 1.5, "decay_rate": 0.1},
            "optimizer.decay_epochs: must be int",
        ),
        (
            {"schedule": "step", "decay_epochs": 1, "decay_rate": -1.0},
            "optimizer.decay_rate: must be positive",
        ),
        ({"backbone_rate": 0.1}, "optimizer.full_rate: missing"),
        ({"backbone_rate": 0.0, "full_rate": ()}, "full_rate: names no module"),
        ({"full_rate": ("head",)}, "optimizer.backbone_rate: missing"),
        ({"backbone_rate": "x", "full_rate": ("head",)}, "must be a number"),
        ({"backbone_rate": 0.1, "full_rate": "head"}, "full_rate: must be a tuple"),
        ({"backbone_rate": 2.0, "full_rate": ("head",)}, "optimizer.backbone_rate"),
    ],
)
def test_mistakes_are_named(change, message):
    with pytest.raises(UserError, match=message):
        create_optimizer(SGD | change, Span(10))
