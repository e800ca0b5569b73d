"""Convolutions, pooling and normalization against XLA's and Flax's own."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from mi_classifier import parallel
from mi_classifier.models import layers

NAMES = ("NHWC", "HWIO", "NHWC")


def xla(x, kernel, strides, padding):
    return jax.lax.conv_general_dilated(
        x, kernel, strides, padding, dimension_numbers=NAMES
    )


@pytest.mark.parametrize("size", [(5, 5), (4, 3), (3, 3), (1, 1), (2, 5)])
def test_convolutions_as_matrix_products_are_convolutions(size):
    x = jax.random.normal(jax.random.key(0), (2, 9, 11, 3))
    kernel = jax.random.normal(jax.random.key(1), (*size, 3, 4))
    for padding in ("SAME", "VALID"):
        expected = jax.lax.conv_general_dilated(
            x, kernel, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        ours = layers.convolve_in_scan(x, kernel, (1, 1), padding)
        chex.assert_trees_all_close(ours, expected, atol=1e-4)


@pytest.mark.parametrize("strides", [(1, 1), (2, 2)])
@pytest.mark.parametrize("size", [(3, 3), (1, 1), (7, 7), (1, 7), (5, 2)])
@pytest.mark.parametrize("padding", ["SAME", "VALID", [(1, 2), (0, 1)]])
def test_convolutions_and_their_gradients_are_xlas(strides, size, padding, monkeypatch):
    # Blocks of few rows, so that there are several.
    monkeypatch.setattr(layers, "_BLOCK_BYTES", 4 * 12 * 3 * size[0] * size[1] * 4)
    x = jax.random.normal(jax.random.key(0), (2, 12, 10, 3))
    kernel = jax.random.normal(jax.random.key(1), (*size, 3, 4))
    expected, theirs = jax.vjp(lambda *a: xla(*a, strides, padding), x, kernel)
    result, ours = jax.vjp(lambda *a: layers.convolve(*a, strides, padding), x, kernel)
    chex.assert_trees_all_close(result, expected, atol=1e-4)
    gradient = jax.random.normal(jax.random.key(2), result.shape)
    chex.assert_trees_all_close(ours(gradient), theirs(gradient), atol=1e-4)


@pytest.mark.parametrize("shape", [(2, 6, 8, 3), (1, 7, 5, 2)])
def test_max_pooling_and_its_gradient_are_flaxs(shape):
    x = jax.random.normal(jax.random.key(0), shape)
    expected, theirs = jax.vjp(lambda x: nn.max_pool(x, (2, 2), (2, 2)), x)
    result, ours = jax.vjp(layers.max_pool, x)
    chex.assert_trees_all_equal(result, expected)
    gradient = jax.random.normal(jax.random.key(1), result.shape)
    chex.assert_trees_all_close(ours(gradient), theirs(gradient))


@pytest.mark.parametrize("moves", [True, False])
def test_batch_normalization_is_flaxs(moves):
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


def test_batch_normalization_over_devices_is_that_of_all_examples():
    x = jax.random.normal(jax.random.key(0), (6, 3, 3, 4))
    whole = layers.BatchNorm(True, jnp.float32, 1e-5, False)
    shared = layers.BatchNorm(True, jnp.float32, 1e-5, True)
    variables = shared.init(jax.random.key(1), x)
    expected, theirs = whole.apply(variables, x, mutable=["batch_stats"])
    # vmap's axis stands for that of the devices.
    result, updated = jax.vmap(
        lambda x: shared.apply(variables, x, mutable=["batch_stats"]),
        axis_name=parallel.AXIS,
    )(x.reshape(3, 2, *x.shape[1:]))
    chex.assert_trees_all_close(result.reshape(x.shape), expected, atol=1e-5)
    copies = jax.tree.map(lambda v: jnp.stack([v] * 3), theirs)
    chex.assert_trees_all_close(updated, copies, atol=1e-6)
