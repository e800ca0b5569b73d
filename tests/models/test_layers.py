"""Batch normalization equals Flax's, on one device and over several."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from mi_classifier import parallel
from mi_classifier.models import layers


@pytest.mark.slow
@pytest.mark.parametrize("moves", [True, False])
def test_batch_normalization_equals_that_of_flax(moves):
    ours = layers.BatchNorm(moves, jnp.float32, 1e-3, False)
    theirs = nn.BatchNorm(use_running_average=not moves, momentum=0.9, epsilon=1e-3)
    x = 3 + 2 * jax.random.normal(jax.random.key(0), (4, 5, 6, 7))
    shape = theirs.init(jax.random.key(1), x)
    keys = iter(jax.random.split(jax.random.key(2), 4))
    variables = jax.tree.map(
        lambda v: jax.random.uniform(next(keys), v.shape) + 0.5, shape
    )
    weights = jax.random.normal(jax.random.key(3), x.shape)

    def results(module):
        def loss(params, x):
            y, updated = module.apply(
                variables | {"params": params}, x, mutable=["batch_stats"]
            )
            return (weights * jnp.tanh(y)).sum(), (y, updated)

        return jax.grad(loss, (0, 1), has_aux=True)(variables["params"], x)

    chex.assert_trees_all_close(results(ours), results(theirs), atol=1e-4)
    first = ours.init(jax.random.key(1), x)
    chex.assert_trees_all_equal(first, shape)


def test_batch_normalization_over_devices_normalizes_by_all_examples():
    x = jax.random.normal(jax.random.key(0), (6, 3, 3, 4))
    whole = layers.BatchNorm(True, jnp.float32, 1e-5, False)
    shared = layers.BatchNorm(True, jnp.float32, 1e-5, True)
    variables = shared.init(jax.random.key(1), x)
    expected, theirs = whole.apply(variables, x, mutable=["batch_stats"])
    # The axis of vmap stands for that of the devices.
    result, updated = jax.vmap(
        lambda x: shared.apply(variables, x, mutable=["batch_stats"]),
        axis_name=parallel.AXIS,
    )(x.reshape(3, 2, *x.shape[1:]))
    chex.assert_trees_all_close(result.reshape(x.shape), expected, atol=1e-5)
    copies = jax.tree.map(lambda v: jnp.stack([v] * 3), theirs)
    chex.assert_trees_all_close(updated, copies, atol=1e-6)
