"""PyTorch's files: both formats are read, and no file runs code or ends in a traceback.

The files are written here, as PyTorch writes them, because it need not be installed.
"""

import collections
import io
import pickle
import struct
import zipfile

import jax.numpy as jnp
import numpy as np
import pytest

from mi_classifier.errors import UserError
from mi_classifier.models.pretrained import load_pretrained
from mi_classifier.models.torch_files import Opaque, read_torch_file

MAGIC = 0x1950A86A20F9469CFC6C
STORAGES = {"float32": "Float", "float64": "Double", "float16": "Half", "int8": "Char"}
STORAGES |= {"int64": "Long", "bfloat16": "BFloat16", "uint8": "Byte", "bool": "Bool"}
VARIABLES = {"params": {"_fc": {"kernel": np.zeros((100, 100))}}}


class Global:
    """A name of another module, which the pickle holds without importing it."""

    def __init__(self, module, name):
        self.module, self.name = module, name


class Call:
    """A call of a `Global`, which a reader would make."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments


class Storage:
    def __init__(self, array):
        self.array = array  # flat


class Pickler(pickle._Pickler):
    """Write tensors as PyTorch does, and any call of any global."""

    def __init__(self, file, storages):
        super().__init__(file, protocol=2)
        self.storages = storages

    def persistent_id(self, x):
        if isinstance(x, Storage):
            kind = Global("torch", f"{STORAGES[x.array.dtype.name]}Storage")
            key = str(list(map(id, self.storages)).index(id(x)))
            return ("storage", kind, key, "cpu", x.array.size, *self.extra)
        return None

    def save(self, x, save_persistent_id=True):
        if isinstance(x, Global):
            self.write(f"c{x.module}\n{x.name}\n".encode())
        elif isinstance(x, Call):
            self.save(x.function)
            self.save(x.arguments)
            self.write(pickle.REDUCE)
        else:
            super().save(x, save_persistent_id)


def tensor_of(array, transposed=False):
    """Return the call that rebuilds a tensor, and its storage."""
    array = np.asarray(array)
    inner = np.array(array.T if transposed else array, order="C")
    storage = Storage(inner.ravel())
    strides = tuple(stride // array.itemsize for stride in inner.strides)
    strides = strides[::-1] if transposed else strides
    rebuild = Global("torch._utils", "_rebuild_tensor_v2")
    call = Call(rebuild, storage, 0, array.shape, strides, False, {})
    return call, storage


def save(path, content, storages, older):
    """Write a file of either format."""

    def pickled(x):
        file = io.BytesIO()
        pickler = Pickler(file, storages)
        pickler.extra = (None,) if older else ()
        pickler.dump(x)
        return file.getvalue()

    if older:
        parts = [pickle.dumps(x, 2) for x in (MAGIC, 1001, {"little_endian": True})]
        keys = [str(i) for i in range(len(storages))]
        parts += [pickled(content), pickle.dumps(keys, 2)]
        for storage in storages:
            parts += [struct.pack("<q", storage.array.size), storage.array.tobytes()]
        path.write_bytes(b"".join(parts))
        return path
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled(content))
        archive.writestr("archive/byteorder", "little")
        for key, storage in enumerate(storages):
            archive.writestr(f"archive/data/{key}", storage.array.tobytes())
        archive.writestr("archive/version", "3\n")
    return path


FORMATS = pytest.mark.parametrize("older", [True, False], ids=["older", "zip"])


@FORMATS
def test_tensors_of_all_types_and_layouts_are_read(tmp_path, older):
    rng = np.random.default_rng(0)
    arrays = {
        name: rng.integers(0, 2, (2, 3, 4)).astype(name) for name in sorted(STORAGES)
    }
    made = {name: tensor_of(array) for name, array in arrays.items()}
    arrays["transposed"] = rng.standard_normal((3, 5)).astype(np.float32)
    made["transposed"] = tensor_of(arrays["transposed"], transposed=True)
    arrays["scalar"] = np.float32(2.5)
    made["scalar"] = tensor_of(arrays["scalar"])
    # A part of another tensor's storage, as a parameter.
    storage = made["transposed"][1]
    part = Call(Global("torch._utils", "_rebuild_tensor_v2"), storage, 6, (2,), (3,))
    parameter = Global("torch._utils", "_rebuild_parameter")
    content = {name: call for name, (call, _) in made.items()}
    content["part"] = Call(parameter, part, True, {})
    arrays["part"] = storage.array[6:10:3]
    storages = [storage for _, storage in made.values()]
    found = read_torch_file(save(tmp_path / "w.pth", content, storages, older))
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].array().dtype == array.dtype
        np.testing.assert_array_equal(found[name].array(), array)


@FORMATS
def test_other_objects_are_named_and_do_nothing(tmp_path, older):
    made = tmp_path / "made"
    scalar = Global("numpy._core.multiarray", "scalar")
    content = {
        "args": Call(Global("argparse", "Namespace")),
        "best": Call(scalar, Call(Global("numpy", "dtype"), "f8"), b"12345678"),
        "code": Call(Global("os", "mkdir"), str(made)),
        "nested": Call(Call(Global("builtins", "eval"), "print"), 1),
        "ordered": Call(Global("collections", "OrderedDict")),
        "plain": [1, 2.5, "a", None, True, (1, 2)],
    }
    found = read_torch_file(save(tmp_path / "w.pth", content, [], older))
    assert not made.exists()
    assert isinstance(found["args"], Opaque)
    assert found["code"].name == "os.mkdir"
    assert found["ordered"] == {}
    assert found["plain"] == content["plain"]


def raw(stream):
    """Return a file of the older format whose object is a given pickle."""
    start = b"".join(pickle.dumps(x, 2) for x in (MAGIC, 1001, {"little_endian": True}))
    return start + stream + pickle.dumps([], 2)


STATE = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x08\x00\x00\x00__code__K\x01s"
DAMAGED = {
    "empty": b"",
    "no pickle": b"weights",
    "only the magic": pickle.dumps(MAGIC, 2),
    "attributes of a function": raw(STATE + b"b."),
    "instances by opcode": raw(b"(S'x'\nios\nsystem\n."),
    "copyreg's extensions": raw(b"\x80\x02\x82\x01."),
    "a memo of 34 GB": raw(b"\x80\x02Nr\xff\xff\xff\x7f."),
    "bytes of 1 TB": raw(b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b"."),
    "text of 4 GB": raw(b"\x80\x02X\xff\xff\xff\xff."),
    "an unhashable key": raw(b"\x80\x02}]K\x01s."),
    "keys that are deep": raw(b"\x80\x02})" + b"\x85" * 10**5 + b"K\x01s."),
    "a call of text": raw(b"\x80\x02X\x01\x00\x00\x00a)R."),
    "a tensor without storage": raw(
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(NK\x00))tR."
    ),
    "a function of a long name": raw(b"\x80\x02c" + b"m" * 300 + b"\nn\n."),
    "copies of copies": raw(
        b"\x80\x02](" + b"X\x01\x00\x00\x00aN\x86" * 2_000 + b"eq\x00"
        b"ccollections\nOrderedDict\nq\x01" + b"h\x01h\x00\x85R" * 600 + b"."
    ),
    "an empty stack": raw(b"\x80\x02."),
    "an archive": b"PK\x05\x06" + bytes(18),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_and_malicious_files_are_refused_in_one_line(tmp_path, name):
    path = tmp_path / "w.pth"
    path.write_bytes(DAMAGED[name])
    with pytest.raises(UserError, match=r"w\.pth: (cannot be read|holds)") as caught:
        load_pretrained("efficientnet_lite0", str(path), VARIABLES)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


@FORMATS
@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [
        (0, (5,), (1,)),
        (4, (1,), (1,)),
        (0, (2, 2), (3, 1)),
        (-1, (1,), (1,)),
        (0, (2,), (-1,)),
        (0, (2,), (1, 1)),
        (0, ("2",), (1,)),
        (0, (2**62,), (4,)),
    ],
)
def test_tensors_outside_of_their_storage_are_refused(
    tmp_path, older, offset, shape, strides
):
    storage = Storage(np.zeros(4, np.float32))
    rebuild = Global("torch._utils", "_rebuild_tensor_v2")
    content = {"x": Call(rebuild, storage, offset, shape, strides, False, {})}
    path = save(tmp_path / "w.pth", content, [storage], older)
    with pytest.raises(ValueError, match=r"tensor|zip"):
        read_torch_file(path)["x"].array()


@FORMATS
def test_shapes_that_double_are_refused_before_they_are_printed(tmp_path, older):
    shape = (1,)
    for _ in range(40):
        shape = (shape, shape)
    storage = Storage(np.zeros(4, np.float32))
    rebuild = Global("torch._utils", "_rebuild_tensor_v2")
    content = {"conv1.bias": Call(rebuild, storage, 0, shape, shape, False, {})}
    path = save(tmp_path / "w.pth", content, [storage], older)
    with pytest.raises(UserError, match="shape is damaged") as caught:
        load_pretrained("efficientnet_lite0", str(path), VARIABLES)
    assert len(str(caught.value)) < 500


@FORMATS
def test_tensors_that_stand_for_minus_their_numbers_are_read_so(tmp_path, older):
    storage = Storage(np.arange(3, dtype=np.float32))
    rebuild = Global("torch._utils", "_rebuild_tensor_v2")
    call = Call(rebuild, storage, 0, (3,), (1,), False, {}, {"neg": True})
    path = save(tmp_path / "w.pth", {"x": call}, [storage], older)
    assert read_torch_file(path)["x"].array().tolist() == [0, -1, -2]


@FORMATS
def test_tensors_with_attributes_are_read(tmp_path, older):
    storage = Storage(np.arange(3, dtype=np.float32))
    arguments = (storage, 0, (3,), (1,), False, {})
    plain = Global("torch._utils", "_rebuild_tensor_v2")
    call = Call(
        Global("torch._tensor", "_rebuild_from_type_v2"),
        plain,
        Global("torch", "Tensor"),
        arguments,
        {"note": "mine"},
    )
    path = save(tmp_path / "w.pth", {"x": call}, [storage], older)
    assert read_torch_file(path)["x"].array().tolist() == [0, 1, 2]


@FORMATS
def test_truncated_files_are_refused(tmp_path, older):
    call, storage = tensor_of(np.ones((100, 100), np.float32))
    path = save(tmp_path / "w.pth", {"_fc.weight": call}, [storage], older)
    whole = path.read_bytes()
    for share in (0.01, 0.3, 0.9, 0.999):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(UserError, match="cannot be read as weights"):
            load_pretrained("efficientnet_lite0", str(path), VARIABLES)


def test_compressed_archives_are_refused(tmp_path):
    call, storage = tensor_of(jnp.ones((3, 3)))
    path = save(tmp_path / "w.pth", {"x": call}, [storage], older=False)
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    with pytest.raises(ValueError, match="is compressed"):
        read_torch_file(path)


def test_an_ordered_dictionary_of_python_is_read(tmp_path):
    file = tmp_path / "w.pth"
    content = collections.OrderedDict(a=1, b=[2])
    file.write_bytes(raw(pickle.dumps(content, 2)))
    assert read_torch_file(file) == {"a": 1, "b": [2]}


def test_a_storage_of_two_types_is_refused(tmp_path):
    one, storage = tensor_of(np.ones(4, np.float32))
    two, other = tensor_of(np.ones(2, np.float64))
    content = {"a": one, "b": two}
    path = save(tmp_path / "w.pth", content, [storage, other], older=True)
    keys = [b"X\x01\x00\x00\x00" + key for key in (b"1", b"0")]
    path.write_bytes(path.read_bytes().replace(*keys))
    with pytest.raises(ValueError, match="is said to have two types or sizes"):
        read_torch_file(path)
