"""Encoded images decoded once: uint8 arrays of one size on disk, mapped into memory."""

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from zipfile import BadZipFile

import numpy as np
from rich.console import Console
from rich.progress import Progress

from mi_classifier.data.dataset import Split
from mi_classifier.data.decoding import decode
from mi_classifier.errors import UserError, choose
from mi_classifier.storage.files import TEMPORARY, hold

_FORMAT = 3  # of what is below; another number has all caches made anew
_CHUNK = 256  # images in memory at once
_PART = 2**24  # bytes hashed by one thread


@dataclasses.dataclass(frozen=True)
class EncodedSplit:
    """A split of N images as their files have them.

    Attributes:
      names: N names, all different.
      labels: int32 `[N]`.
      read: from indices to the contents of files.
      boxes: float32 `[N, G, 4]`, `(x0, y0, x1, y1)` as fractions of the image's width
        and height, padded with zeros; None where no box is known.
      num_boxes: int32 `[N]`, how many of the G are true; None as `boxes`.
    """

    names: Sequence[str]
    labels: np.ndarray
    read: Callable[[Sequence[int]], Sequence[bytes]]
    boxes: np.ndarray | None = None
    num_boxes: np.ndarray | None = None

    def take(self, indices: np.ndarray) -> "EncodedSplit":
        """Returns the split of some of the images."""
        return EncodedSplit(
            [self.names[i] for i in indices],
            self.labels[indices],
            lambda some: self.read([int(indices[i]) for i in some]),
            None if self.boxes is None else self.boxes[indices],
            None if self.num_boxes is None else self.num_boxes[indices],
        )

    def by_name(self) -> "EncodedSplit":
        """Returns the split in the order of its names, whatever order it came in."""
        return self.take(np.argsort(np.array(self.names, str), kind="stable"))


Made = tuple[Mapping[str, EncodedSplit], Sequence[str]]


class Cached(NamedTuple):
    """What a cache holds.

    Attributes:
      splits: of "image" uint8 `[N, side, side, 3]`, mapped from disk, "label" and,
        where known, "boxes" in pixels and "num_boxes".
      class_names: M names.
      names: N names of images, by split.
    """

    splits: dict[str, Split]
    class_names: list[str]
    names: dict[str, np.ndarray]


def load(
    folder: Path,
    identity: Mapping[str, Any],
    side: int,
    broken: str,
    make: Callable[[], Made],
) -> Cached:
    """Loads splits of decoded images, decoding them if that was not done before.

    Args:
      folder: of all caches.
      identity: everything that the splits depend on beside `side` and `broken`; another
        identity is another cache.
      side: of the images, in pixels; see `decoding.decode`.
      broken: what to do about an image that cannot be decoded: "stop" or "skip".
      make: makes the encoded splits and the names of the classes.

    Raises:
      UserError: a broken image, a folder that cannot be written to, a full disk, or a
        damaged cache.
    """
    choose(broken, ("stop", "skip"), "data.broken")
    whole = {"format": _FORMAT, "side": side, "broken": broken, **identity}
    text = json.dumps(whole, sort_keys=True)
    entry = folder / hashlib.sha256(text.encode()).hexdigest()[:16]
    if not (entry / "done.json").is_file():
        with hold(
            folder / f".{entry.name}.lock",
            waiting="waiting for another process that decodes the same images",
            leftovers=[f".{entry.name}.*{TEMPORARY}"],
        ):
            if not (entry / "done.json").is_file():
                _make(entry, whole, side, broken, make)
    try:
        done = json.loads((entry / "done.json").read_text())
        for file, digest in done["digests"].items():
            if _digest(entry / file) != digest:
                raise ValueError(f"{file} is not what was written")
        splits = {name: _read(entry, name) for name in done["splits"]}
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
        raise UserError(
            f"{entry}: damaged; remove this folder, and it is made anew ({error})"
        ) from error
    for name, skipped in done["splits"].items():
        if skipped:
            print(
                f"{name}: {len(skipped)} broken images skipped, {skipped[0]} the first"
            )
    names = {name: split.pop("name") for name, split in splits.items()}
    return Cached(splits, done["class_names"], names)


def _digest(path: Path) -> str:
    """Returns a hash of a file, of the hashes of its parts, by all cores."""

    def digest(start: int) -> bytes:
        with path.open("rb") as file:
            file.seek(start)
            return hashlib.sha256(file.read(_PART)).digest()

    with ThreadPoolExecutor() as pool:
        parts = pool.map(digest, range(0, path.stat().st_size, _PART))
        return hashlib.sha256(b"".join(parts)).hexdigest()


def _read(entry: Path, name: str) -> dict[str, np.ndarray]:
    with np.load(entry / f"{name}.npz") as file:
        arrays = dict(file)
    images = np.load(entry / f"{name}.npy", mmap_mode="r")
    if len(images) != len(arrays["label"]):
        raise ValueError(f"{name}: {len(images)} images, {len(arrays['label'])} labels")
    return {"image": images, **arrays}


def _make(
    entry: Path,
    identity: Mapping[str, Any],
    side: int,
    broken: str,
    make: Callable[[], Made],
) -> None:
    """Writes a cache beside its place, and moves it there when it is whole."""
    splits, class_names = make()
    for name, split in splits.items():
        if not len(split.labels):
            raise UserError(f"data: no image is left for the {name} split")
    temporary = entry.with_name(f".{entry.name}.{os.getpid()}{TEMPORARY}")
    try:
        temporary.mkdir(parents=True)
        done = {"class_names": list(class_names), "identity": identity, "splits": {}}
        total = sum(len(split.labels) for split in splits.values())
        with Progress(console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("decoding images", total=total)

            def advance(count: int) -> None:
                progress.advance(task, count)

            for name, split in splits.items():
                path = temporary / name
                skipped = _write(path, split.by_name(), side, broken, advance)
                done["splits"][name] = skipped
        files = sorted(path.name for path in temporary.iterdir())
        done["digests"] = {name: _digest(temporary / name) for name in files}
        (temporary / "done.json").write_text(json.dumps(done, indent=2))
        if entry.is_dir():  # what is there is not whole
            shutil.rmtree(entry)
        temporary.rename(entry)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"data.data_dir: cannot write to {entry}: {reason}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write(
    path: Path,
    split: EncodedSplit,
    side: int,
    broken: str,
    advance: Callable[[int], None],
) -> list[str]:
    """Writes a split's arrays; returns the names of the images that were skipped."""

    def attempt(content: bytes) -> np.ndarray | ValueError:
        try:
            return decode(content, side)
        except ValueError as error:
            return error

    kept: list[int] = []
    skipped: list[str] = []
    threads = os.cpu_count() or 1
    with (
        path.with_suffix(".npy").open("wb") as file,
        ThreadPoolExecutor(threads) as pool,
    ):
        _write_header(file, (len(split.labels), side, side, 3))
        for start in range(0, len(split.labels), _CHUNK):
            indices = range(start, min(start + _CHUNK, len(split.labels)))
            decoded = pool.map(attempt, split.read(list(indices)))
            for index, image in zip(indices, decoded, strict=True):
                name = split.names[index]
                if not isinstance(image, ValueError):
                    file.write(image.data)
                    kept.append(index)
                elif broken == "skip":
                    skipped.append(f"{name}: {image}")
                else:
                    raise UserError(
                        f"{name}: cannot be decoded: {image}; "
                        "--config.data.broken=skip leaves such images out"
                    )
            advance(len(indices))
        if not kept:
            raise UserError(f"{path.name}: every image is broken, {skipped[0]}")
        # NumPy leaves room for the number of rows, so the header's length stays.
        file.seek(0)
        _write_header(file, (len(kept), side, side, 3))
    arrays = {
        "label": split.labels[kept].astype(np.int32),
        "name": np.array([split.names[i] for i in kept], str),
    }
    if split.boxes is not None:
        arrays["boxes"] = (side * split.boxes[kept]).astype(np.float32)
        arrays["num_boxes"] = split.num_boxes[kept].astype(np.int32)
    np.savez(path.with_suffix(".npz"), **arrays)
    return skipped


def _write_header(file: BinaryIO, shape: tuple[int, ...]) -> None:
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
