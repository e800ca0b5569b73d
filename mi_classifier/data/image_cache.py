"""Decode images once, and keep them as uint8 arrays on disk, mapped into memory."""

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import BadZipFile

import numpy as np

from mi_classifier.data.decoding import decode
from mi_classifier.data.images import Images
from mi_classifier.errors import UserError, choose
from mi_classifier.progress import Progress
from mi_classifier.storage.files import TEMPORARY, hash_text, hold

_FORMAT = 3  # of the files; with another number, all caches are made again
_CHUNK = 256  # images in memory at once
_PART = 2**24  # bytes hashed by one thread


@dataclasses.dataclass(frozen=True)
class EncodedSplit:
    """A split of N images, not yet decoded.

    Attributes:
      names: N names, all different.
      labels: int32 `[N]`.
      read: returns the contents of files, given their indices.
      boxes: if boxes are known, "boxes" float32 `[N, G, 4]`, `(x0, y0, x1, y1)` as
        fractions of the image's width and height, padded with zeros, and "num_boxes"
        int32 `[N]`, how many of the G are true.
    """

    names: Sequence[str]
    labels: np.ndarray
    read: Callable[[Sequence[int]], Sequence[bytes]]
    boxes: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def take(self, indices: np.ndarray) -> "EncodedSplit":
        """Returns the split of some of the images."""
        return EncodedSplit(
            [self.names[i] for i in indices],
            self.labels[indices],
            lambda some: self.read([int(indices[i]) for i in some]),
            {name: array[indices] for name, array in self.boxes.items()},
        )

    def by_name(self) -> "EncodedSplit":
        """Returns the split sorted by names."""
        return self.take(np.argsort(np.array(self.names, str), kind="stable"))


Encoded = tuple[Mapping[str, EncodedSplit], Sequence[str]]  # splits and class names


def load(
    folder: Path,
    identity: Mapping[str, Any],
    side: int,
    broken: str,
    make: Callable[[], Encoded],
) -> Images:
    """Loads splits of decoded images, and decodes them if no cache holds them.

    Args:
      folder: holds all caches.
      identity: everything that the splits depend on beside `side` and `broken`. Each
        identity has a cache of its own.
      side: side of the decoded images in pixels; see `decoding.decode`.
      broken: what to do with an image that cannot be decoded, "stop" or "skip".
      make: returns the encoded splits and the class names.

    Raises:
      UserError: an image is broken, the folder cannot be written to, the disk is full,
        or the cache is damaged.
    """
    choose(broken, ("stop", "skip"), "data.broken")
    whole = {"format": _FORMAT, "side": side, "broken": broken, **identity}
    entry = folder / hash_text(json.dumps(whole, sort_keys=True))[:16]
    is_new = False
    if not (entry / "done.json").is_file():
        with hold(
            folder / f".{entry.name}.lock",
            waiting="waiting for another process that decodes the same images",
            leftovers=[f".{entry.name}.*{TEMPORARY}"],
        ):
            if not (entry / "done.json").is_file():
                _make(entry, whole, side, broken, make)
                is_new = True
    try:
        done = json.loads((entry / "done.json").read_text())
        digests = done["digests"]
        for file, digest in digests.items():
            if not is_new and _digest(entry / file) != digest:
                raise ValueError(f"{file} is not what was written")
        splits = {name: _read(entry, name) for name in done["splits"]}
        hashes = {
            name: hash_text(digests[f"{name}.npy"] + digests[f"{name}.npz"])
            for name in splits
        }
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
        raise UserError(
            f"{entry}: damaged; remove this folder and run the command again ({error})"
        ) from error
    for name, skipped in done["splits"].items():
        if skipped:
            print(f"{name}: {len(skipped)} broken images skipped, first {skipped[0]}")
    names = {name: split.pop("name") for name, split in splits.items()}
    return Images(splits, done["class_names"], names, hashes)


def _digest(path: Path) -> str:
    """Returns a hash of the hashes of a file's parts, computed on all cores."""

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
    make: Callable[[], Encoded],
) -> None:
    """Writes a cache to a temporary folder, and renames that when it is complete."""
    splits, class_names = make()
    for name, split in splits.items():
        if not len(split.labels):
            raise UserError(f"data: no image is left for the {name} split")
    temporary = entry.with_name(f".{entry.name}.{os.getpid()}{TEMPORARY}")
    total = sum(len(split.labels) for split in splits.values())
    done = {"class_names": list(class_names), "identity": identity, "splits": {}}
    try:
        temporary.mkdir(parents=True)
        with Progress("decoding images", total) as progress:
            for name, split in splits.items():
                done["splits"][name] = _write(
                    temporary / name, split.by_name(), side, broken, progress
                )
        files = sorted(path.name for path in temporary.iterdir())
        done["digests"] = {name: _digest(temporary / name) for name in files}
        (temporary / "done.json").write_text(json.dumps(done, indent=2))
        if entry.is_dir():  # it has no done.json, so it is incomplete
            shutil.rmtree(entry)
        temporary.rename(entry)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"data.data_dir: cannot write to {entry}: {reason}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write(
    path: Path, split: EncodedSplit, side: int, broken: str, progress: Progress
) -> list[str]:
    """Writes a split's arrays; returns the names of skipped images, with reasons."""

    def attempt(content: bytes) -> np.ndarray | ValueError:
        try:
            return decode(content, side)
        except ValueError as error:
            return error

    kept: list[int] = []
    skipped: list[str] = []
    with (
        path.with_suffix(".npy").open("wb") as file,
        ThreadPoolExecutor(os.cpu_count() or 1) as pool,
    ):
        # Written, not mapped: writing to a mapped file on a full disk is a SIGBUS.
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
            progress.advance(len(indices))
        if not kept:
            raise UserError(f"{path.name}: every image is broken, first {skipped[0]}")
        # NumPy pads the header for any number of rows, so its length stays the same.
        file.seek(0)
        _write_header(file, (len(kept), side, side, 3))
    arrays = {
        "label": split.labels[kept].astype(np.int32),
        "name": np.array([split.names[i] for i in kept], str),
        **{name: array[kept] for name, array in split.boxes.items()},
    }
    if "boxes" in arrays:
        arrays["boxes"] = (side * arrays["boxes"]).astype(np.float32)
    np.savez(path.with_suffix(".npz"), **arrays)
    return skipped


def _write_header(file: BinaryIO, shape: tuple[int, ...]) -> None:
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
