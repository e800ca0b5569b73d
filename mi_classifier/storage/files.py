"""Files that appear whole or not at all, and that tell whether they were changed."""

import contextlib
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from filelock import FileLock, Timeout

from mi_classifier import parallel
from mi_classifier.errors import UserError

TEMPORARY = ".tmp"  # what files that are being written end in


def write_with(path: Path, write: Callable[[Path], object]) -> None:
    """Lets `write` make a file that appears whole or not at all.

    Of several processes the first alone writes.

    Args:
      path: of the file; its folder is made if need be.
      write: writes to the path that it is given.

    Raises:
      UserError: the folder cannot be written to.
    """
    if not parallel.is_first():
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")
        try:
            write(temporary)
            with temporary.open("r+b") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from error


def write_text(path: Path, text: str) -> None:
    """Writes a UTF-8 file whole or not at all, making its folder if need be.

    Raises:
      UserError: the folder cannot be written to.
    """
    # Names of files are not always text: their bytes are written as they are.
    content = text.encode("utf-8", "surrogateescape")
    write_with(path, lambda temporary: temporary.write_bytes(content))


def append_text(path: Path, text: str) -> None:
    """Appends to a UTF-8 file; a kill may cut what it appends.

    Raises:
      UserError: it cannot be written to.
    """
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from error


def write_hashed(path: Path, text: str) -> None:
    """Writes a UTF-8 file as `write_text` does, and its hash beside it.

    Raises:
      UserError: the folder cannot be written to.
    """
    note = _note_of(path)
    # A kill between the two leaves the old file, whose hash is noted as well; a damaged
    # one's is not.
    old = [_hash(path)] if path.is_file() else []
    noted = _hashes(note)
    digests = [digest for digest in old if digest in noted or not noted]
    write_text(note, "".join(f"{each}\n" for each in [*digests, hash_text(text)]))
    write_text(path, text)


def read_hashed(path: Path, remedy: str) -> str:
    """Reads a file that `write_hashed` wrote, or somebody else, without a hash.

    Args:
      path: of the file.
      remedy: what to do about a damaged one.

    Raises:
      FileNotFoundError: there is none.
      UserError: it cannot be read, or is not what was written.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error}; {remedy}") from error
    noted = _hashes(_note_of(path))
    if noted and hashlib.sha256(content).hexdigest() not in noted:
        raise UserError(
            f"{path}: not what was written; {remedy}, or, if you changed it, remove "
            f"{_note_of(path)}"
        )
    return content.decode("utf-8", "surrogateescape")


def may_be(path: Path, text: str) -> bool:
    """Returns whether a file that is gone may have held a text, by its hash."""
    noted = _hashes(_note_of(path))
    return not noted or hash_text(text) in noted


def read_json(path: Path, remedy: str) -> dict[str, Any]:
    """Reads an object of JSON as `read_hashed` reads text.

    Raises:
      UserError: there is no such file, or it is damaged.
    """
    try:
        value = json.loads(read_hashed(path, remedy))
    except FileNotFoundError:
        raise UserError(f"{path}: is not there; {remedy}") from None
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{path}: cannot be read: {error}; {remedy}") from error
    if not isinstance(value, dict):
        raise UserError(f"{path}: not an object of JSON; {remedy}")
    return value


def to_json(value: Any, indent: int | None = None) -> str:
    """Returns strict JSON: arrays as lists, NaN and infinity as null."""
    return json.dumps(_plain(value), indent=indent, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (np.ndarray, np.generic, jax.Array)):
        return _plain(np.asarray(value).tolist())
    return None if isinstance(value, float) and not np.isfinite(value) else value


def hash_text(text: str) -> str:
    """Returns the sha256 of a text in UTF-8."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _note_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.sha256")


def _hashes(note: Path) -> list[str]:
    try:
        return note.read_text("ascii", "replace").split() or ["none"]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"{note}: cannot be read: {error.strerror}") from error


@contextlib.contextmanager
def hold(
    lock: Path, refusal: str = "", waiting: str = "", leftovers: Sequence[str] = ()
) -> Iterator[None]:
    """Keeps other processes out, as long as this one lives.

    Args:
      lock: a file, made if need be.
      refusal: what to say where another process holds it; "" to wait for it.
      waiting: what to print before that.
      leftovers: patterns of what kills may have left in the lock's folder, and nobody
        but the holder makes; it is removed.

    Raises:
      UserError: another process holds it, or the folder cannot be written to.
    """
    # The system lets go of it whatever ends the process.
    held = FileLock(lock, mode=0o666)  # a folder may be several users'
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            held.acquire(blocking=False)
        except Timeout:
            if refusal:
                raise UserError(refusal) from None
            print(waiting, file=sys.stderr)
            held.acquire()
    except OSError as error:
        where = error.filename or lock.parent
        raise UserError(f"{where}: cannot be written: {error.strerror}") from error
    try:
        for pattern in leftovers:
            _remove(lock.parent.glob(pattern))
        yield
    finally:
        with contextlib.suppress(OSError):  # whoever waits for it takes a new one
            lock.unlink()
        held.release()


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                path.unlink()
