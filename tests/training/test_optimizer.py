import jax.numpy as jnp
import numpy as np
import pytest

from mi_classifier.errors import UserError
from mi_classifier.training.optimizer import create_optimizer, create_schedule

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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "adamm"}, "optimizer.name: .*'adam'"),
        ({"schedule": "cosin"}, "optimizer.schedule: .*'cosine'"),
        ({"learning_rate": 0.0}, "optimizer.learning_rate: must be positive"),
        ({"learning_rate": float("nan")}, "optimizer.learning_rate"),
        ({"beta": 1.0}, "optimizer.beta: no such option here"),
    ],
)
def test_mistakes_are_named(change, message):
    with pytest.raises(UserError, match=message):
        create_optimizer(SGD | change, 10)
