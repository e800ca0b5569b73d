"""Atomic writes, JSON, files whose changes are noticed, and locks."""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from mi_classifier import parallel
from mi_classifier.errors import UserError, disk_errors_told
from mi_classifier.progress import say

TEMPORARY = ".tmp"  # suffix of files that are being written


def write_with(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file so that it appears whole or not at all.

    `write` gets the path to write to. If several processes share a run, only the first
    one writes.
    """
    if not parallel.is_first():
        return
    with disk_errors_told(path, "written"):
        path.parent.mkdir(parents=True, exist_ok=True)
        # A file's own name may be as long as the system allows.
        short = hash_text(path.name)[:16]
        temporary = path.with_name(f".{short}.{os.getpid()}{TEMPORARY}")
        try:
            # Nobody may have put a link there, to have us write elsewhere.
            temporary.unlink(missing_ok=True)
            temporary.touch(exist_ok=False)
            write(temporary)
            with temporary.open("r+b") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file as `write_with` does."""
    write_with(path, lambda temporary: temporary.write_bytes(_encode(text)))


def append_text(path: Path, text: str) -> None:
    """Append to a UTF-8 file; a kill may leave only the start of `text`."""
    with disk_errors_told(path, "written"), path.open("a", encoding="utf-8") as file:
        file.write(text)


def write_hashed(path: Path, text: str) -> None:
    """Write a UTF-8 file as `write_text` does, and its hash beside it."""
    note = _note_of(path)
    # A kill between the two writes leaves the old file, so the note keeps its hash too,
    # unless the old file is damaged.
    old = [_hash(path.read_bytes())] if path.is_file() else []
    noted = _hashes(note)
    kept = [digest for digest in old if digest in noted or not noted]
    write_text(note, "\n".join([*kept, hash_text(text), ""]))
    write_text(path, text)


def read_hashed(path: Path, remedy: str) -> str:
    """Read a file, and compare it with the hash that `write_hashed` may have recorded.

    A missing file raises a `FileNotFoundError`. For any other problem, `remedy` says
    what to do.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error}; {remedy}") from error
    note = _note_of(path)
    if (noted := _hashes(note)) and _hash(content) not in noted:
        message = f"{path}: not what was written; {remedy}, or, if you changed it,"
        raise UserError(f"{message} remove {note}")
    return content.decode("utf-8", "surrogateescape")


def may_be(path: Path, text: str) -> bool:
    """Return whether `text` matches the recorded hash of a missing file, if any."""
    noted = _hashes(_note_of(path))
    return not noted or hash_text(text) in noted


def read_json(path: Path, remedy: str) -> dict[str, Any]:
    """Read a JSON object as `read_hashed` reads text; a missing file is refused."""
    try:
        value = json.loads(read_hashed(path, remedy))
    except FileNotFoundError:
        raise UserError(f"{path}: is missing; {remedy}") from None
    except UserError:
        raise
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read: {error}; {remedy}") from error
    if not isinstance(value, dict):
        raise UserError(f"{path}: not a JSON object; {remedy}")
    return value


def to_json(value: Any, indent: int | None = None) -> str:
    """Return strict JSON: arrays become lists, NaN and infinity become null."""
    text = json.dumps(value, default=lambda array: np.asarray(array).tolist())
    value = json.loads(text, parse_constant=lambda _: None)
    return json.dumps(value, indent=indent) + "\n"


def hash_text(text: str) -> str:
    """Return the SHA-256 of a text in UTF-8."""
    return _hash(_encode(text))


def hash_file(path: Path, algorithm: str = "sha256") -> str:
    """Return the hash of a file's content, read part by part."""
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
    """Return the recorded hashes; a damaged record matches no content."""
    with disk_errors_told(note, "read"), contextlib.suppress(FileNotFoundError):
        return note.read_text("ascii", "replace").split() or ["none"]
    return []


@contextlib.contextmanager
def hold(
    lock: Path, refusal: str = "", waiting: str = "", leftovers: Sequence[str] = ()
) -> Iterator[None]:
    """Hold a lock; the system releases it when this process ends, even by a kill.

    If another process holds it, raise `refusal`, or print `waiting` and wait. Remove
    the files and folders beside it that match `leftovers`: only killed holders left
    them.
    """
    held = FileLock(lock, mode=0o666)  # several users may share the folder
    with disk_errors_told(lock.parent, "written"):
        lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            held.acquire(blocking=False)
        except Timeout:
            if refusal:
                raise UserError(refusal) from None
            say(waiting)
            held.acquire()
    try:
        for path in (p for pattern in leftovers for p in lock.parent.glob(pattern)):
            remove = shutil.rmtree if path.is_dir() else Path.unlink
            with contextlib.suppress(OSError):
                remove(path)
        yield
    finally:
        with contextlib.suppress(OSError):  # a waiting process makes a new file
            lock.unlink()
        held.release()
