"""Convolutions and pooling on CPUs: they and their gradients equal XLA's and Flax's."""

import functools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from mi_classifier.models import create_model
from mi_classifier.models.depthwise import convolve_depthwise
from mi_classifier.models.kernels import (
    convolve,
    convolve_in_scan,
    max_pool,
    max_pool_of_three,
    moments,
)

NAMES = ("NHWC", "HWIO", "NHWC")


def xla(x, kernel, strides, padding):
    return jax.lax.conv_general_dilated(
        x, kernel, strides, padding, dimension_numbers=NAMES
    )


@pytest.mark.parametrize("size", [(5, 5), (4, 3), (3, 3), (1, 1), (2, 5)])
def test_matrix_products_equal_convolutions(size):
    x = jax.random.normal(jax.random.key(0), (2, 9, 11, 3))
    kernel = jax.random.normal(jax.random.key(1), (*size, 3, 4))
    for padding in ("SAME", "VALID"):
        expected = xla(x, kernel, (1, 1), padding)
        ours = convolve_in_scan(x, kernel, (1, 1), padding)
        chex.assert_trees_all_close(ours, expected, atol=1e-4)


@pytest.mark.parametrize("strides", [(1, 1), (2, 2)])
@pytest.mark.parametrize("size", [(3, 3), (1, 1), (7, 7), (1, 7), (5, 2)])
@pytest.mark.parametrize("padding", ["SAME", "VALID", [(1, 2), (0, 1)]])
def test_convolutions_and_their_gradients_equal_those_of_xla(strides, size, padding):
    x = jax.random.normal(jax.random.key(0), (2, 12, 10, 3))
    kernel = jax.random.normal(jax.random.key(1), (*size, 3, 4))
    # A block holds four rows of the image, so that there are several blocks.
    block_bytes = 4 * 12 * 3 * size[0] * size[1] * 4

    @jax.jit
    def results(x, kernel):
        expected, theirs = jax.vjp(lambda *a: xla(*a, strides, padding), x, kernel)
        gradient = jax.random.normal(jax.random.key(2), expected.shape)
        result, ours = jax.vjp(
            lambda *a: convolve(*a, strides, padding, block_bytes), x, kernel
        )
        return (result, *ours(gradient)), (expected, *theirs(gradient))

    chex.assert_trees_all_close(*results(x, kernel), atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 7, 7, 4), (2, 8, 11, 3), (1, 5, 1, 2)])
@pytest.mark.parametrize("strides", [(1, 1), (2, 2), (1, 3)])
@pytest.mark.parametrize("size", [(3, 3), (5, 5), (2, 3)])
def test_depthwise_convolutions_and_their_gradients_equal_those_of_xla(
    shape, strides, size
):
    x = jax.random.normal(jax.random.key(0), shape)
    kernel = jax.random.normal(jax.random.key(1), (*size, 1, shape[-1]))
    options = {"dimension_numbers": NAMES, "feature_group_count": shape[-1]}

    def xla_depthwise(x, kernel):
        return jax.lax.conv_general_dilated(x, kernel, strides, "SAME", **options)

    @jax.jit
    def results(x, kernel):
        expected, theirs = jax.vjp(xla_depthwise, x, kernel)
        gradient = jax.random.normal(jax.random.key(2), expected.shape)
        depthwise = functools.partial(
            convolve_depthwise, strides=strides, padding="SAME"
        )
        result, ours = jax.vjp(depthwise, x, kernel)
        return (result, *ours(gradient)), (expected, *theirs(gradient))

    chex.assert_trees_all_close(*results(x, kernel), rtol=1e-5, atol=1e-5)


def test_depthwise_sums_of_bfloat16_are_rounded_once():
    x = jax.random.normal(jax.random.key(0), (2, 9, 8, 4)).astype(jnp.bfloat16)
    kernel = jax.random.normal(jax.random.key(1), (5, 5, 1, 4)).astype(jnp.bfloat16)

    def results(*arguments):
        result, vjp = jax.vjp(
            lambda *a: convolve_depthwise(*a, (2, 2), "SAME"), *arguments
        )
        return result, *vjp(jnp.ones_like(result))

    rounded = results(x, kernel)
    exact = results(x.astype(jnp.float32), kernel.astype(jnp.float32))
    chex.assert_type(rounded, jnp.bfloat16)
    for a, b in zip(rounded, exact, strict=True):
        chex.assert_trees_all_equal(a, b.astype(jnp.bfloat16))


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
@pytest.mark.parametrize("shape", [(2, 6, 8, 3), (1, 7, 5, 2)])
def test_max_pooling_and_its_gradient_equal_those_of_flax(shape, backend, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    x = jax.random.normal(jax.random.key(0), shape)
    expected, theirs = jax.vjp(lambda x: nn.max_pool(x, (2, 2), (2, 2)), x)
    result, ours = jax.vjp(max_pool, x)
    chex.assert_trees_all_equal(result, expected)
    gradient = jax.random.normal(jax.random.key(1), result.shape)
    chex.assert_trees_all_close(ours(gradient), theirs(gradient))


def test_a_net_has_the_gradients_that_xla_convolutions_give(monkeypatch):
    model = create_model("mnist_cnn", 10)
    images = jax.random.normal(jax.random.key(0), (2, 16, 16, 1))
    variables = jax.jit(model.init)(jax.random.key(1), images)

    def gradient():
        loss = jax.grad(lambda v: (model.apply(v, images).logits ** 2).sum())
        return jax.jit(loss)(variables)

    ours = gradient()
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    chex.assert_trees_all_close(ours, gradient(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(2, 7, 7, 3), (2, 8, 11, 3), (1, 3, 4, 2)])
@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_pooling_of_three_and_its_gradient_equal_those_of_flax(shape, padding, dtype):
    # Many values are equal, as zeros behind a ReLU are, or in bfloat16.
    x = jnp.round(jax.random.normal(jax.random.key(0), shape)).astype(dtype)

    def theirs(x):
        return nn.max_pool(x, (3, 3), (2, 2), [(padding, padding)] * 2)

    expected, flax_gradient = jax.vjp(theirs, x)
    result, gradient = jax.vjp(lambda x: max_pool_of_three(x, padding), x)
    chex.assert_trees_all_equal(result, expected)
    # Small whole numbers, so that sums are exact in any dtype.
    upper = jnp.round(3 * jax.random.normal(jax.random.key(1), result.shape))
    upper = upper.astype(dtype)
    chex.assert_trees_all_equal(gradient(upper), flax_gradient(upper))


@pytest.mark.parametrize("pool", [max_pool, max_pool_of_three])
def test_pooling_passes_nan_on(pool, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    x = jnp.zeros((1, 5, 5, 1)).at[0, 1, 1].set(jnp.nan)
    for result in (pool(x), jax.vjp(pool, x)[0]):
        assert jnp.isnan(result[0, 0, 0, 0]) and result[0, 1, 1, 0] == 0


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_moments_of_one_reduction_equal_those_of_two(dtype, monkeypatch):
    x = (2 + jax.random.normal(jax.random.key(0), (3, 4, 5, 6))).astype(dtype)
    weights = jax.random.normal(jax.random.key(1), (2, 6))

    def results():
        def loss(x):
            found = moments(x)
            sums = [(w * f).sum() for w, f in zip(weights, found, strict=True)]
            return sum(sums), found

        return jax.grad(loss, has_aux=True)(x)

    expected = results()
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    rtol = 1e-5 if dtype == jnp.float32 else 1e-2
    chex.assert_trees_all_close(results(), expected, rtol=rtol)
