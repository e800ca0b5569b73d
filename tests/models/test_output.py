"""Inference in blocks: the outputs are those of the whole batch."""

import chex
import jax
import numpy as np
import pytest

from mi_classifier.models import create_model, infer


def infer_and_apply(model, variables, images):
    """Return the outputs of blocks and of the whole, and the program of the blocks."""

    def both(images):
        return infer(model, variables, images), model.apply(variables, images)

    program = str(jax.make_jaxpr(lambda x: infer(model, variables, x))(images))
    return *jax.jit(both)(images), program


@pytest.mark.slow
@pytest.mark.parametrize(("batch", "blocks"), [(3, 3), (1, 1)])
def test_a_block_holds_one_large_image(batch, blocks):
    model = create_model("gap_cnn", 3)
    images = jax.random.normal(jax.random.key(0), (batch, 200, 200, 3))
    variables = jax.jit(model.init)(jax.random.key(1), images[:1, :8, :8])
    output, whole, program = infer_and_apply(model, variables, images)
    chex.assert_trees_all_close(output, whole, rtol=1e-4, atol=1e-5)
    chex.assert_trees_all_equal_shapes_and_dtypes(output, whole)
    assert (f"length={blocks}" in program) == (blocks > 1)


@pytest.mark.parametrize(("batch", "blocks"), [(100, 2), (167, 3), (0, 0)])
def test_a_block_holds_several_small_images(batch, blocks):
    model = create_model("mnist_cnn", 10)
    images = np.random.default_rng(0).standard_normal((batch, 28, 28, 1), np.float32)
    variables = jax.jit(model.init)(jax.random.key(0), np.zeros((1, 28, 28, 1)))
    output, whole, program = infer_and_apply(model, variables, images)
    assert (f"length={blocks}" in program) == (blocks > 1)
    chex.assert_trees_all_close(output, whole, rtol=1e-5, atol=1e-6)


def test_a_block_is_as_large_as_the_images_that_the_net_sees():
    model = create_model("efficientnet_lite0", 3, width=4, input_side=224)
    images = jax.ShapeDtypeStruct((3, 64, 64, 3), np.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), images)
    blocks = jax.make_jaxpr(lambda v, x: infer(model, v, x))(variables, images)
    assert "length=3" in str(blocks)


def test_rows_are_evaluated_at_once():
    model = create_model("mlp", 5)
    rows = np.ones((1_000, 10), np.float32)
    variables = model.init(jax.random.key(0), rows)
    chex.assert_trees_all_equal(
        infer(model, variables, rows), model.apply(variables, rows)
    )
