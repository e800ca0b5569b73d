"""VGG16-GAP, ResNet50 and Inception-V3: outputs equal PyTorch's, all parameters learn.

Also: bfloat16, frozen and rematerialized training, and the sizes of images and maps.
"""

import functools
import json
import zlib
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import Var
from safetensors.numpy import save_file

from mi_classifier.errors import UserError
from mi_classifier.models import create_model
from mi_classifier.models.pretrained import load_pretrained
from tests.conftest import assert_same_program

REFERENCE = Path(__file__).parents[1] / "reference"
FILES = {
    "vgg16_gap": "vgg16_gap",
    "resnet50": "resnet50_cam",
    "inception_v3": "inception_v3",
}
HASTE = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
}


def tensor(name, shape):
    """Generate a tensor from its name, by the rule of the reference vectors."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    if name.endswith("running_var"):
        values = rng.uniform(0.5, 1.5, shape)
    elif name.endswith("running_mean"):
        values = 0.1 * rng.standard_normal(shape)
    elif len(shape) >= 2:
        values = np.sqrt(2 / np.prod(shape[1:])) * rng.standard_normal(shape)
    elif name.endswith("weight"):
        values = rng.uniform(0.5, 1.0, shape)
    else:
        values = 0.1 * rng.standard_normal(shape)
    return values.astype(np.float32)


def random_variables(model, side):
    """Generate variables for images of a side, without compiling an initialization."""
    image = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    rng = np.random.default_rng(0)

    def generate(path, leaf):
        last = path[-1].key
        if last == "kernel":
            std = np.sqrt(2 / np.prod(leaf.shape[:-1]))
            return (std * rng.standard_normal(leaf.shape)).astype(np.float32)
        return np.full(leaf.shape, last in ("scale", "var"), np.float32)

    shapes = jax.eval_shape(model.init, jax.random.key(0), image)
    return jax.tree_util.tree_map_with_path(generate, shapes)


def shapes_of(name, **options):
    model = create_model(name, 200, **options)
    image = jax.ShapeDtypeStruct((1, 96, 96, 3), jnp.float32)
    return model, jax.eval_shape(model.init, jax.random.key(0), image)


@pytest.fixture(scope="module", params=FILES)
def backbone(request, tmp_path_factory):
    """Return a net's name, its weights loaded from a file, and the reference."""
    name = request.param
    with np.load(REFERENCE / f"{FILES[name]}.npz") as file:
        reference = dict(file)
    names = reference["names"].tolist()
    shapes = [tuple(json.loads(s)) for s in reference["shapes"].tolist()]
    tensors = {n: tensor(n, s) for n, s in zip(names, shapes, strict=True)}
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    save_file(tensors, path)
    _, shapes = shapes_of(name)
    variables = load_pretrained(name, str(path), shapes)
    head = {"kernel": tensors["fc.weight"].T, "bias": tensors["fc.bias"]}
    variables["params"]["head"] = head
    if name == "vgg16_gap":
        kernel = tensors["conv6.weight"].transpose(2, 3, 1, 0)
        conv6 = {"kernel": kernel, "bias": tensors["conv6.bias"]}
        variables["params"]["conv6"] = conv6
    return name, variables, reference, tensors


@pytest.mark.slow
def test_outputs_are_those_of_pytorch(backbone):
    name, variables, reference, _ = backbone
    model = create_model(name, 200)
    output = jax.jit(model.apply)(variables, reference["image"])
    for key in ("features", "logits"):
        ours, theirs = np.asarray(getattr(output, key)), reference[key]
        chex.assert_shape(ours, theirs.shape)
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * theirs.max())
    # In bfloat16 they are close, and head and logits stay float32.
    low = create_model(name, 200, dtype="bfloat16")
    rounded = jax.jit(low.apply)(variables, reference["image"])
    chex.assert_type([rounded.logits, rounded.features], [jnp.float32, jnp.bfloat16])
    error = np.abs(rounded.logits - output.logits).max() / np.abs(output.logits).max()
    assert error < 2e-2


@pytest.mark.slow
def test_parameters_match_those_of_pytorch_one_by_one(backbone):
    name, variables, _, tensors = backbone
    theirs = {
        n: t.size
        for n, t in tensors.items()
        if not n.startswith("AuxLogits") and not n.endswith("num_batches_tracked")
    }
    leaves = jax.tree.leaves(variables)
    assert len(leaves) == len(theirs)
    assert sum(leaf.size for leaf in leaves) == sum(theirs.values())
    _, shapes = shapes_of(name)
    chex.assert_trees_all_equal_shapes_and_dtypes(variables, shapes)


def loss_of(model, variables, side):
    """Return a loss of the parameters that also gives the updated statistics."""
    images = jax.random.normal(jax.random.key(0), (4, side, side, 3))

    def loss(params):
        output, updated = model.apply(
            variables | {"params": params},
            images,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.key(1)},
        )
        return (output.logits**2).sum(), updated.get("batch_stats", {})

    return loss


@functools.cache
def trained(name, side, **options):
    """Return variables, the loss and its updated statistics, and the gradient."""
    model = create_model(name, 3, **options)
    variables = random_variables(model, side)
    loss = loss_of(model, variables, side)
    # Without optimization it compiles faster, and here only the values matter.
    step = jax.jit(jax.value_and_grad(loss, has_aux=True), compiler_options=HASTE)
    return variables, *step(variables["params"])


SMALL = {"side": 32, "width": 4, "adl": True}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vgg16_gap", "resnet50"])
def test_gradients_reach_every_parameter(name):
    variables, (_, updated), gradients = trained(name, **SMALL)
    chex.assert_tree_all_finite(gradients)
    assert all(np.any(x != 0) for x in jax.tree.leaves(gradients))
    statistics = variables.get("batch_stats", {})
    assert bool(statistics) == (name != "vgg16_gap")
    chex.assert_trees_all_equal_shapes(updated, statistics)
    moved = jax.tree.map(lambda a, b: np.any(a != b), updated, statistics)
    assert all(jax.tree.leaves(moved))


def test_every_parameter_of_inception_reaches_the_loss():
    """Its gradient takes long to compile, so only look on what the loss depends."""
    model = create_model("inception_v3", 3)
    variables = random_variables(model, 75)
    program = jax.make_jaxpr(loss_of(model, variables, 75))(variables["params"]).jaxpr
    needed = {program.outvars[0]}
    for equation in reversed(program.eqns):
        if needed & set(equation.outvars):
            needed |= {v for v in equation.invars if isinstance(v, Var)}
    assert len(program.invars) == len(jax.tree.leaves(variables["params"]))
    assert needed >= set(program.invars)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vgg16_gap", "resnet50"])
def test_rematerialization_changes_no_bit_of_loss_gradient_or_statistics(name):
    plain, remat = trained(name, **SMALL), trained(name, **SMALL, remat=True)
    assert_same_program(plain, remat)
    for recomputes, blocks in (
        (False, 0),
        (True, {"vgg16_gap": 5, "resnet50": 16}[name]),
    ):
        model = create_model(name, 3, width=4, remat=recomputes)
        program = jax.make_jaxpr(loss_of(model, plain[0], 32))(plain[0]["params"])
        assert str(program).count("remat") == blocks


@pytest.mark.slow
def test_a_frozen_backbone_runs_as_in_evaluation_and_gets_no_gradient():
    """Compare programs: the same features, and no convolution's gradient."""
    image = jax.ShapeDtypeStruct((2, 75, 75, 3), jnp.float32)

    def programs(frozen):
        model = create_model("inception_v3", 3, frozen=frozen, dropout=0.0)
        variables = jax.eval_shape(model.init, jax.random.key(0), image)

        def logits(params, stats, images, train):
            both = {"params": params, "batch_stats": stats}
            output, _ = model.apply(both, images, train=train, mutable="batch_stats")
            return output.logits

        def loss(params, stats, images):
            return logits(params, stats, images, True).sum()

        arguments = (variables["params"], variables["batch_stats"], image)
        training = functools.partial(logits, train=True)
        evaluation = functools.partial(logits, train=False)
        functions = (training, evaluation, jax.grad(loss))
        return [str(jax.make_jaxpr(f)(*arguments)) for f in functions]

    training, evaluation, gradient = programs(frozen=True)
    assert training == evaluation
    convolution = "conv_general_dilated"
    assert gradient.count(convolution) == training.count(convolution)
    training, evaluation, gradient = programs(frozen=False)
    assert training != evaluation
    assert gradient.count(convolution) > training.count(convolution)


@pytest.mark.slow
def test_statistics_of_a_frozen_backbone_may_move():
    """The head alone gets a gradient, but training normalizes by its own batch."""
    image = jax.ShapeDtypeStruct((2, 75, 75, 3), jnp.float32)
    options = {"frozen": True, "moving_statistics": True, "dropout": 0.0}
    model = create_model("inception_v3", 3, **options)
    shapes = jax.eval_shape(model.init, jax.random.key(0), image)
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    ones = jax.tree.map(jnp.ones_like, zeros["batch_stats"])

    def loss(params, images):
        variables = {"params": params, "batch_stats": ones}
        output, new = model.apply(variables, images, True, mutable="batch_stats")
        return output.logits.sum(), new["batch_stats"]

    images = jax.random.normal(jax.random.key(1), image.shape)
    gradient, moved = jax.jit(jax.grad(loss, has_aux=True))(zeros["params"], images)
    # All kernels are 0, so each batch has mean and variance 0.
    expected = jax.tree.map(lambda s: 0.9 * s, ones)
    chex.assert_trees_all_close(moved, expected)
    np.testing.assert_array_equal(gradient["head"]["bias"], [2.0, 2.0, 2.0])
    del gradient["head"]
    assert not any(map(jnp.any, jax.tree.leaves(gradient)))


@pytest.mark.parametrize("name", ["vgg16_gap", "resnet50"])
def test_the_size_of_an_image_decides_the_size_of_its_map(name):
    for side in (97, 448):
        for stride in (1, 2) if name == "resnet50" else (None,):
            model = create_model(name, 5, **({"last_stride": stride} if stride else {}))
            image = jax.ShapeDtypeStruct((2, side, side, 3), jnp.float32)
            output, _ = jax.eval_shape(model.init_with_output, jax.random.key(0), image)
            cells = -(-side // 16) if stride == 1 else -(-side // 32)
            cells = side // 16 if name == "vgg16_gap" else cells
            assert output.features.shape[:3] == (2, cells, cells)
            chex.assert_shape(output.logits, (2, 5))


@pytest.mark.parametrize(
    ("name", "options", "cells"),
    [
        ("resnet50", {}, 4),
        ("resnet50", {"stem_stride": 2}, 8),
        ("resnet50", {"stem_stride": 1}, 16),
        ("resnet50", {"stem_stride": 1, "last_stride": 2}, 8),
        ("vgg16_gap", {}, 4),
        ("vgg16_gap", {"pools": 3}, 8),
        ("vgg16_gap", {"pools": 0}, 64),
    ],
)
def test_small_images_have_fine_maps_by_option(name, options, cells):
    model = create_model(name, 5, width=4, **options)
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    output, _ = jax.eval_shape(model.init_with_output, jax.random.key(0), image)
    assert output.features.shape[:3] == (1, cells, cells)


@pytest.mark.parametrize(
    ("name", "options"),
    [("resnet50", {"stem_stride": 3}), ("vgg16_gap", {"pools": 5})],
)
def test_a_stem_that_does_not_exist_is_refused(name, options):
    model, (option,) = create_model(name, 5, **options), options
    with pytest.raises(UserError, match=f"model.{option}: must be"):
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))


@pytest.mark.parametrize("name", FILES)
def test_images_that_are_too_small_for_the_strides_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} needs images of"):
        jax.eval_shape(
            create_model(name, 3).init,
            jax.random.key(0),
            jax.ShapeDtypeStruct((1, 8, 8, 3), jnp.float32),
        )
