"""PyTorch's files of weights, read without PyTorch and without running their code.

A `.pth` file is a pickle, which can name any function to call. Here the reader knows
the functions that make tensors, and nothing else: whatever a file names besides them
becomes an `Opaque` object that does nothing.
"""

import io
import math
import os
import pickle
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import jax.numpy as jnp
import numpy as np

_MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle of a file of the older format
_OLDER_VERSION = 1001
_STORAGES = {
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "BFloat16Storage": jnp.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}
_LONGEST_NAME = 200  # letters of a function's name
_MOST_ITEMS = 1 << 20  # that ordered dictionaries start with; a net has some hundreds
# What PyTorch's pickles consist of. Others could take memory out of all proportion.
_OPCODES = (
    *("PROTO", "FRAME", "STOP", "MARK", "POP", "POP_MARK", "DUP"),
    *("NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1"),
    *("BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINSTRING", "SHORT_BINSTRING"),
    *("BINBYTES", "SHORT_BINBYTES", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2"),
    *("TUPLE3", "EMPTY_LIST", "APPEND", "APPENDS", "EMPTY_DICT", "EMPTY_SET"),
    *("BINGET", "LONG_BINGET", "BINPUT", "LONG_BINPUT", "MEMOIZE"),
    *("GLOBAL", "STACK_GLOBAL", "BINPERSID"),
)


class Opaque:
    """What a file holds besides tensors and plain Python: it takes all, does nothing.

    Attributes:
      name: of the type or function that the file names, such as "argparse.Namespace".
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def _ignore(self, *_: object) -> None:
        """Take what a pickle would put into the object."""

    append = extend = _ignore


class Tensor(NamedTuple):
    """A tensor of a file: which numbers of which storage it consists of."""

    storage: "_Storage"
    offset: int
    shape: Sequence[int]
    strides: Sequence[int]
    is_negative: bool = False  # the numbers are those of the storage times -1

    def array(self) -> np.ndarray:
        """Return the numbers, in a view of the storage.

        Raises:
          ValueError: the numbers lie outside of the storage.
        """
        shape, strides = self.shape, self.strides
        last = sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
        storage = self.storage.numbers()
        if math.prod(shape) == 0:
            return np.zeros(shape, storage.dtype)
        if self.offset + last >= len(storage):
            raise ValueError("a tensor is larger than its storage")
        strides = [s * storage.itemsize for s in strides]
        found = np.lib.stride_tricks.as_strided(
            storage[self.offset :], shape, strides, writeable=False
        )
        return -found if self.is_negative else found


class _Storage(NamedTuple):
    key: str
    dtype: np.dtype
    count: int
    read: Callable[["_Storage"], bytes]

    def numbers(self) -> np.ndarray:
        content = self.read(self)
        if len(content) != self.count * self.dtype.itemsize:
            raise ValueError("a storage has another size than the file says")
        return np.frombuffer(content, self.dtype)


def read_torch_file(path: Path) -> Any:
    """Read the object that `torch.save` wrote, of either format.

    Args:
      path: of the file.

    Returns:
      The object: `Tensor` for each tensor and parameter, dict for each dictionary,
      plain Python, and `Opaque` for all else.

    Raises:
      Exception: of any kind, if the file is damaged or is no such file.
    """
    if zipfile.is_zipfile(path):
        return _read_zip(path)
    with open(path, "rb") as file:
        return _read_older(file)


def _read_zip(path: Path) -> Any:
    archive = zipfile.ZipFile(path)
    entries = {entry.filename: entry for entry in archive.infolist()}
    names = [n for n in entries if n.count("/") == 1 and n.endswith("/data.pkl")]
    if len(names) != 1:
        raise ValueError("an archive that PyTorch did not write")
    folder = names[0].removesuffix("data.pkl")

    def read(name: str) -> bytes:
        if entries[name].compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"{name} is compressed")  # PyTorch compresses nothing
        return archive.read(name)

    if f"{folder}byteorder" in entries and read(f"{folder}byteorder") != b"little":
        raise ValueError("its numbers are big-endian")
    content = read(f"{folder}data.pkl")
    storages = {}  # several tensors may share one

    def read_storage(storage: _Storage) -> bytes:
        if storage.key not in storages:
            storages[storage.key] = read(f"{folder}data/{storage.key}")
        return storages[storage.key]

    return _Unpickler(io.BytesIO(content), read_storage).load()


def _read_older(file: BinaryIO) -> Any:
    """Read four pickles, the keys of the storages, and the storages in that order."""
    contents: dict[str, bytes] = {}
    found: dict[str, _Storage] = {}

    def load() -> Any:
        return _Unpickler(file, lambda storage: contents[storage.key], found).load()

    if load() != _MAGIC or load() != _OLDER_VERSION:
        raise ValueError("neither of PyTorch's formats")
    if load().get("little_endian") is not True:
        raise ValueError("its numbers are big-endian")
    content, keys = load(), load()
    end = os.fstat(file.fileno()).st_size
    for key in keys:
        if type(key) is not str:
            raise ValueError("the keys of its storages are damaged")
        count = int.from_bytes(file.read(8), "little")
        storage = found[key]
        if count != storage.count:
            raise ValueError("a storage has another size than the file says")
        size = count * storage.dtype.itemsize
        if size > end - file.tell():
            raise ValueError("the file is truncated")
        contents[key] = file.read(size)
    return content


def _rebuild_tensor(
    storage: object,
    offset: object,
    shape: object,
    strides: object,
    requires_grad: object = False,
    hooks: object = None,
    views: object = None,
) -> Tensor | Opaque:
    if isinstance(storage, Opaque):  # of a type that we cannot read
        return storage
    if not isinstance(storage, _Storage):
        raise TypeError("a tensor has no storage")
    if not isinstance(shape, tuple) or not isinstance(strides, tuple):
        raise TypeError("a tensor's shape is damaged")
    # Tuples of tuples of tuples could not even be printed.
    if not all(type(n) is int and n >= 0 for n in (offset, *shape, *strides)):
        raise ValueError("a tensor's shape is damaged")
    # A tensor may stand for minus its numbers, as the imaginary part of a conjugate.
    views = views if isinstance(views, dict) else {}
    return Tensor(storage, offset, shape, strides, views.get("neg") is True)


def _rebuild_from_type(function: object, kind: object, arguments: Any, *_: Any) -> Any:
    """Return a tensor that has attributes of Python's, without these."""
    if function not in (_rebuild_tensor, _rebuild_parameter):
        return Opaque(getattr(kind, "name", "an object"))
    return function(*arguments)


def _rebuild_parameter(tensor: object, *_: object) -> object:
    return tensor


def _ordered_dict(items: Iterable = (), *_: object) -> dict:
    return _named(items)


def _named(items: Iterable) -> dict[str, Any]:
    """Return the items whose key is a string; no other holds weights."""
    return {key: value for key, value in items if type(key) is str}


_FUNCTIONS = {
    ("collections", "OrderedDict"): _ordered_dict,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._tensor", "_rebuild_from_type_v2"): _rebuild_from_type,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _rebuild_parameter,
}


# The interpreter in C reserves memory by numbers that a damaged file may hold.
class _Unpickler(pickle._Unpickler):
    def __init__(
        self,
        file: BinaryIO,
        read: Callable[[_Storage], bytes],
        found: dict[str, _Storage] | None = None,
    ) -> None:
        super().__init__(file, encoding="utf-8")
        self._read_storage = read
        self._found = {} if found is None else found
        self._items = 0  # that were copied

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a global name; nothing is imported."""
        if len(module) + len(name) > _LONGEST_NAME:
            raise ValueError("a function has a name of too many letters")
        if module == "torch" and name in _STORAGES:
            return np.dtype(_STORAGES[name])
        return _FUNCTIONS.get((module, name)) or Opaque(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> _Storage | Opaque:
        """Return the storage of a tensor."""
        if isinstance(pid, tuple) and pid[:1] == ("module",):  # a class, and its code
            return pid[1]
        kind, dtype, key, _, count, *view = pid
        if kind == "storage" and isinstance(dtype, Opaque):
            return Opaque(f"a tensor of {dtype.name}")
        known = isinstance(dtype, np.dtype) and type(key) is str and type(count) is int
        if kind != "storage" or not known or any(v is not None for v in view):
            raise ValueError("a storage of an unknown kind")
        storage = _Storage(key, dtype, count, self._read_storage)
        if self._found.setdefault(key, storage)[:3] != storage[:3]:
            raise ValueError("a storage is said to have two types or sizes")
        return self._found[key]

    def _call(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if any(function is known for known in _FUNCTIONS.values()):
            self._items += sum(len(x) for x in arguments if isinstance(x, dict | list))
            if self._items > _MOST_ITEMS:
                raise ValueError(f"copies of more than {_MOST_ITEMS:,} values")
            self.append(function(*arguments))
        else:
            self.append(Opaque(getattr(function, "name", "an object")))

    def _call_with_names(self) -> None:
        self.stack.pop()
        self._call()

    def _ignore_set(self) -> None:
        # Tuples of tuples would take forever to be hashed.
        self.pop_mark()
        self.append(Opaque("a set"))

    def _drop_state(self) -> None:
        self.stack.pop()  # such as the versions of a state dict's modules

    def _set_items(self) -> None:
        items = self.pop_mark()
        self._set(items[::2], items[1::2])

    def _set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set([key], [value])

    def _set(self, keys: list, values: list) -> None:
        if isinstance(self.stack[-1], dict):
            self.stack[-1].update(_named(zip(keys, values, strict=True)))

    dispatch = {
        getattr(pickle, name)[0]: pickle._Unpickler.dispatch[getattr(pickle, name)[0]]
        for name in _OPCODES
    } | {
        pickle.REDUCE[0]: _call,
        pickle.NEWOBJ[0]: _call,
        pickle.NEWOBJ_EX[0]: _call_with_names,
        pickle.BUILD[0]: _drop_state,
        pickle.SETITEM[0]: _set_item,
        pickle.SETITEMS[0]: _set_items,
        pickle.ADDITEMS[0]: pickle._Unpickler.pop_mark,
        pickle.FROZENSET[0]: _ignore_set,
    }
