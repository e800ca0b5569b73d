"""Find and read files of weights: PyTorch's, safetensors, Hugging Face repositories."""

import os
import pickle
import re
import socket
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
from safetensors import safe_open

from mi_classifier.errors import UserError, reason_of
from mi_classifier.models.torch_files import read_torch_file

_SECONDS = 5.0  # to reach Hugging Face; its own library tries for half a minute
_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt")
_KINDS = {"F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL"}
_NO_PICKLE = (KeyError, IndexError, EOFError, pickle.UnpicklingError)
# First bytes of what is often kept under a name of weights.
_OTHERS = {
    b"<": "it is a web page; download the file itself",
    b"version https://git-lfs": "it is a pointer of Git LFS; run `git lfs pull`",
    b"\xef\xbb\xbf<": "it is a web page; download the file itself",
    b"{": "it is JSON, such as the index of several files; give one file of weights",
    b"\x1f\x8b": "it is compressed by gzip; unpack it",
    b"BZh": "it is compressed by bzip2; unpack it",
    b"\xfd7zXZ": "it is compressed by xz; unpack it",
    b"\x28\xb5\x2f\xfd": "it is compressed by zstd; unpack it",
    b"\x89HDF": "it is HDF5; save the weights as .safetensors",
    b"\x93NUMPY": "it is a NumPy array; save the weights as .safetensors",
}


def read(path: Path) -> Any:
    """Read a file of weights of any kind; its content tells the kind.

    Returns:
      What the file holds, see `torch_files.read_torch_file`.

    Raises:
      UserError: the file is damaged, or of another kind.
    """
    try:
        if _is_safetensors(path):
            return _read_safetensors(path)
        return read_torch_file(path)
    except Exception as error:  # every kind that the readers raise means damage
        raise unreadable(path, error) from error


def unreadable(where: Path | str, error: Exception) -> UserError:
    """Return an error that says what a file is instead of weights, if that is known."""
    path, reason = Path(where), f"{type(error).__name__}: {reason_of(error)}"[:200]
    remedy = "give a .safetensors file, or a .pth file of torch.save"
    if isinstance(error, OSError):
        return UserError(f"{where}: cannot be read: {reason_of(error)}")
    if path.is_file():
        with path.open("rb") as file:
            start = file.read(32).lstrip()
        known = [said for magic, said in _OTHERS.items() if start.startswith(magic)]
        if start[:2] == b"PK" and not _is_zip(path):
            known = ["it is cut off; download it again"]
        if not start:
            known = ["it is empty; download it again"]
        if _is_zip(path) and "PyTorch did not write" in reason:
            known = ["it is a zip archive of other things; save model.state_dict()"]
        if known:
            return UserError(f"{where}: cannot be read as weights: {known[0]}")
        if isinstance(error, _NO_PICKLE) and start[:1] != b"\x80":
            reason = "it is no pickle, nor a safetensors file"
        if start[:1] == b"\x80" or _is_zip(path) or _is_safetensors(path):
            remedy = "download it again, or save it again by torch.save"
    return UserError(f"{where}: cannot be read as weights ({reason}); {remedy}")


class Stored(NamedTuple):
    """A tensor of a safetensors file, whose numbers are read when they are needed."""

    path: Path
    name: str
    shape: tuple[int, ...]
    kind: str  # of its numbers, as the format calls them

    def array(self) -> jnp.ndarray:
        """Return the numbers."""
        if self.kind not in _KINDS:
            raise ValueError(f"numbers of the kind {self.kind}")
        with safe_open(self.path, "flax") as file:
            return file.get_tensor(self.name)


def _read_safetensors(path: Path) -> dict[str, Stored]:
    # A file may be larger than the memory, and hold another net.
    with safe_open(path, "flax") as file:
        parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        return {
            name: Stored(path, name, tuple(part.get_shape()), part.get_dtype())
            for name, part in parts.items()
        }


def _is_zip(path: Path) -> bool:
    try:
        return zipfile.is_zipfile(path)
    except zipfile.BadZipFile:  # of a damaged end
        return True


def _is_safetensors(path: Path) -> bool:
    """Return whether a file begins as a safetensors file does: a length, and JSON."""
    with path.open("rb") as file:
        start = file.read(9)
    size = int.from_bytes(start[:8], "little")
    return start[8:] == b"{" and size < 100_000_000


def find(
    net: str, source: str, installed: Mapping[str, Mapping[str, Callable]]
) -> Path:
    """Return the file of a source; a repository's is downloaded.

    Args:
      net: the name of the net.
      source: a file, a name of installed weights, or a Hugging Face repository.
      installed: by net and name, functions that return the file of installed weights.

    Raises:
      UserError: there is no such file, or it cannot be downloaded.
    """
    path = Path(os.path.expanduser(source))  # `Path.expanduser` refuses "~nobody"
    if path.is_file():
        return path
    own = installed.get(net, {})
    if source in own:
        try:
            return Path(own[source]())
        except ImportError as error:
            raise UserError(
                f"pretrained: the weights {source!r} of {net} are not installed; "
                "pip install 'mi_classifier[pretrained]'"
            ) from error
    if any(source in names for names in installed.values()):
        raise UserError(
            f"pretrained: {net} has no weights {source!r}; there are some for "
            + ", ".join(n for n, names in installed.items() if source in names)
        )
    if re.match(r"\w+://", source):
        raise UserError(f"pretrained: download {source} first, and give the file")
    if os.path.lexists(path):
        kind = "a folder" if path.is_dir() else "no regular file"
        raise UserError(f"pretrained: {source} is {kind}; give a file of weights")
    is_name = path.suffix in _SUFFIXES
    if is_name or not re.fullmatch(r"[\w.-]+/[\w.-]+", source):
        raise UserError(
            f"pretrained: no such file: {source}; give a file that exists, "
            'or a Hugging Face repository such as "timm/resnet50.tv_in1k"'
        )
    return _download(source)


def _download(repository: str) -> Path:
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
    )

    file = "model.safetensors"
    try:
        return Path(hf_hub_download(repository, file, local_files_only=True))
    except (LocalEntryNotFoundError, OSError, ValueError) as error:
        if constants.HF_HUB_OFFLINE:
            raise UserError(
                f"pretrained: {repository} is no file, nor a repository that was "
                "downloaded earlier, and HF_HUB_OFFLINE forbids to download it"
            ) from error
    _check_reachable(repository, constants.ENDPOINT)
    try:
        return Path(hf_hub_download(repository, file))
    except EntryNotFoundError as error:
        raise UserError(
            f"pretrained: {repository} has no {file}; download its weights, and give "
            "the file"
        ) from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = f"{type(error).__name__}: {reason_of(error)}"[:200]
        raise UserError(
            f"pretrained: {repository} is neither a file nor a repository that Hugging "
            f"Face has ({reason})"
        ) from error


def _check_reachable(repository: str, endpoint: str) -> None:
    """Raise an error at once if nobody answers; a proxy may answer instead."""
    url = urllib.parse.urlsplit(endpoint)
    if urllib.request.getproxies().get(url.scheme):
        return
    address = url.hostname, url.port or (80 if url.scheme == "http" else 443)
    try:
        socket.create_connection(address, _SECONDS).close()
    except OSError as error:
        raise UserError(
            f"pretrained: there is no file {repository}, and Hugging Face cannot be "
            f"reached for a repository of that name ({reason_of(error)})"
        ) from error
