"""Whole-or-nothing writes, JSON, files that tell if they were changed, and locks."""

import contextlib
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from filelock import FileLock, Timeout

from mi_classifier import parallel
from mi_classifier.errors import UserError, disk_errors_told

TEMPORARY = ".tmp"  # suffix of files that are being written


def write_with(path: Path, write: Callable[[Path], object]) -> None:
    """Writes a file so that it appears whole or not at all.

    If several processes share a run, only the first one writes.

    Args:
      path: the file; its folder is made if need be.
      write: writes the content to the path that it gets.

    Raises:
      UserError: the file cannot be written.
    """
    if not parallel.is_first():
        return
    with disk_errors_told(path, "written"):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")
        try:
            write(temporary)
            with temporary.open("r+b") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a UTF-8 file as `write_with` does."""
    write_with(path, lambda temporary: temporary.write_bytes(_encode(text)))


def append_text(path: Path, text: str) -> None:
    """Appends to a UTF-8 file; a kill may leave only the start of `text`.

    Raises:
      UserError: the file cannot be written.
    """
    with disk_errors_told(path, "written"), path.open("a", encoding="utf-8") as file:
        file.write(text)


def write_hashed(path: Path, text: str) -> None:
    """Writes a UTF-8 file as `write_text` does, and its hash beside it.

    Raises:
      UserError: the file cannot be written.
    """
    note = _note_of(path)
    # A kill between the two writes leaves the old file, so the note keeps its hash too,
    # unless the old file is damaged.
    old = [_hash(path.read_bytes())] if path.is_file() else []
    noted = _hashes(note)
    digests = [digest for digest in old if digest in noted or not noted]
    write_text(note, "".join(f"{each}\n" for each in [*digests, hash_text(text)]))
    write_text(path, text)


def read_hashed(path: Path, remedy: str) -> str:
    """Reads a file that `write_hashed` wrote, or one without a hash.

    Args:
      path: the file.
      remedy: what to do if it is damaged; it ends the message.

    Raises:
      FileNotFoundError: there is no such file.
      UserError: the file cannot be read, or its content does not match its hash.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error}; {remedy}") from error
    noted = _hashes(_note_of(path))
    if noted and _hash(content) not in noted:
        raise UserError(
            f"{path}: not what was written; {remedy}, or, if you changed it, remove "
            f"{_note_of(path)}"
        )
    return content.decode("utf-8", "surrogateescape")


def may_be(path: Path, text: str) -> bool:
    """Returns whether `text` matches the recorded hash of a missing file, if any."""
    noted = _hashes(_note_of(path))
    return not noted or hash_text(text) in noted


def read_json(path: Path, remedy: str) -> dict[str, Any]:
    """Reads a JSON object as `read_hashed` reads text.

    Raises:
      UserError: the file is missing or damaged, or holds no JSON object.
    """
    try:
        value = json.loads(read_hashed(path, remedy))
    except FileNotFoundError:
        raise UserError(f"{path}: is missing; {remedy}") from None
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{path}: cannot be read: {error}; {remedy}") from error
    if not isinstance(value, dict):
        raise UserError(f"{path}: not a JSON object; {remedy}")
    return value


def to_json(value: Any, indent: int | None = None) -> str:
    """Returns strict JSON: arrays become lists, NaN and infinity become null."""
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
    """Returns the SHA-256 of a text in UTF-8."""
    return _hash(_encode(text))


def hash_file(path: Path, algorithm: str = "sha256") -> str:
    """Returns the hash of a file's content, read part by part.

    Raises:
      UserError: the file cannot be read.
    """
    with disk_errors_told(path, "read"), path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _encode(text: str) -> bytes:
    # File names may hold bytes that are no UTF-8; they are written as they are.
    return text.encode("utf-8", "surrogateescape")


def _note_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.sha256")


def _hashes(note: Path) -> list[str]:
    """Returns the recorded hashes; a damaged record matches no content."""
    with disk_errors_told(note, "read"):
        try:
            return note.read_text("ascii", "replace").split() or ["none"]
        except FileNotFoundError:
            return []


@contextlib.contextmanager
def hold(
    lock: Path, refusal: str = "", waiting: str = "", leftovers: Sequence[str] = ()
) -> Iterator[None]:
    """Holds a lock; the system releases it when this process ends, even by a kill.

    Args:
      lock: the lock file; it and its folder are made if need be.
      refusal: the error if another process holds the lock; "" to wait for it.
      waiting: what to print before waiting.
      leftovers: patterns of files and folders beside the lock that only its holder
        makes; what killed processes have left of them is removed.

    Raises:
      UserError: another process holds the lock, or the folder cannot be written to.
    """
    held = FileLock(lock, mode=0o666)  # several users may share the folder
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
        for path in (p for pattern in leftovers for p in lock.parent.glob(pattern)):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):
                    path.unlink()
        yield
    finally:
        with contextlib.suppress(OSError):  # a waiting process makes a new file
            lock.unlink()
        held.release()
