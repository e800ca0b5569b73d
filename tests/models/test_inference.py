import chex
import jax
import numpy as np
import pytest

from mi_classifier.models import create_model, infer


@pytest.mark.parametrize(("batch", "blocks"), [(4, 4), (7, 7), (1, 1)])
def test_large_images_go_block_by_block_and_come_out_the_same(batch, blocks):
    model = create_model("vgg16_gap", 3, width=2)
    images = jax.random.normal(jax.random.key(0), (batch, 200, 200, 3))
    variables = model.init(jax.random.key(1), images[:1])
    whole = model.apply(variables, images)
    output = infer(model, variables, images)
    chex.assert_trees_all_close(output, whole, rtol=1e-5, atol=1e-6)
    chex.assert_trees_all_equal_shapes_and_dtypes(output, whole)
    loops = str(jax.make_jaxpr(lambda x: infer(model, variables, x))(images))
    assert (f"length={blocks}" in loops) == (blocks > 1)


@pytest.mark.parametrize(("batch", "blocks"), [(100, 2), (167, 3), (0, 0)])
def test_a_block_holds_several_small_images(batch, blocks):
    model = create_model("mnist_cnn", 10)
    images = np.random.default_rng(0).standard_normal((batch, 28, 28, 1), np.float32)
    variables = model.init(jax.random.key(0), np.zeros((1, 28, 28, 1)))
    loops = str(jax.make_jaxpr(lambda x: infer(model, variables, x))(images))
    assert (f"length={blocks}" in loops) == (blocks > 1)
    output, whole = infer(model, variables, images), model.apply(variables, images)
    chex.assert_trees_all_close(output, whole, rtol=1e-5, atol=1e-6)


def test_rows_of_columns_go_at_once():
    model = create_model("mlp", 5)
    rows = np.ones((1_000, 10), np.float32)
    variables = model.init(jax.random.key(0), rows)
    chex.assert_trees_all_equal(
        infer(model, variables, rows), model.apply(variables, rows)
    )
