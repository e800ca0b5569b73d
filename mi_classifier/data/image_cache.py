"""Decode images once, and keep them as uint8 arrays on disk, mapped into memory."""

import contextlib
import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np

from mi_classifier import processes
from mi_classifier.data.images import Images
from mi_classifier.decoding import decode_all
from mi_classifier.errors import UserError, choose
from mi_classifier.progress import Progress
from mi_classifier.storage.files import TEMPORARY, hash_text, hold
from mi_classifier.text import printable, tell

_FORMAT = 3  # of the files; with another number, all caches are made again
_CHUNK = 32  # images that are read at once
_MANY = 1_024  # images that processes decode, which take a second to start
_PART = 2**24  # bytes hashed by one thread


class EncodedSplit(NamedTuple):
    """A split of N images, not yet decoded."""

    names: Sequence[str]  # all different
    labels: np.ndarray  # int32 [N]
    read: Callable[[Sequence[int]], Sequence[bytes]]  # contents of files, by indices
    # "boxes" float32 [N, G, 4], (x0, y0, x1, y1) as fractions of width and height,
    # padded with zeros, and "num_boxes" int32 [N]; empty if boxes are not known.
    boxes: Mapping[str, np.ndarray]
    # Pixels of images, by indices, or why one cannot be decoded; None if no image is
    # decoded yet.
    pixels: Callable[[Sequence[int]], Sequence[np.ndarray | ValueError]] | None = None

    def take(self, indices: np.ndarray) -> "EncodedSplit":
        """Return the split of some of the images."""
        return EncodedSplit(
            [self.names[i] for i in indices],
            self.labels[indices],
            lambda some: self.read([int(indices[i]) for i in some]),
            {name: array[indices] for name, array in self.boxes.items()},
            self.pixels and (lambda some: self.pixels([int(indices[i]) for i in some])),
        )

    def by_name(self) -> "EncodedSplit":
        """Return the split sorted by names."""
        return self.take(np.argsort(np.array(self.names, str), kind="stable"))


class Encoded(NamedTuple):
    """All splits of a data set, not yet decoded."""

    splits: Mapping[str, EncodedSplit]
    class_names: Sequence[str]
    notes: Sequence[str] = ()  # sentences to tell whenever the set is loaded


def load(
    folder: Path,
    identity: Mapping[str, Any],
    side: int,
    broken: str,
    make: Callable[[], Encoded | tuple],
) -> Images:
    """Load splits of decoded images; make and decode them if no cache holds them.

    `folder` holds all caches, one for each `identity`: everything that the splits
    depend on beside `side` in pixels and `broken`.
    """
    choose(broken, ("stop", "skip"), "data.broken")
    whole = {"format": _FORMAT, "side": side, "broken": broken, **identity}
    entry = folder / hash_text(json.dumps(whole, sort_keys=True))[:16]
    note, is_new = entry / "done.json", False
    if not note.is_file():
        with hold(
            folder / f".{entry.name}.lock",
            waiting="waiting for another process that decodes the same images",
            leftovers=[f".{entry.name}.*{TEMPORARY}"],
        ):
            if is_new := not note.is_file():
                _make(entry, whole, make)
    splits, names, hashes = {}, {}, {}
    try:
        done = json.loads(note.read_text())
        digests = done["digests"]
        if any(Path(name).name != name for name in (*digests, *done["splits"])):
            raise ValueError("names that lead elsewhere")
        for file, digest in digests.items():
            if not is_new and _digest(entry / file) != digest:
                raise ValueError(f"{file} is not what was written")
        for name in done["splits"]:
            hashes[name] = hash_text(digests[f"{name}.npy"] + digests[f"{name}.npz"])
            image = np.load(entry / f"{name}.npy", mmap_mode="r")
            with np.load(entry / f"{name}.npz") as arrays:
                splits[name] = {"image": image, **arrays}
            names[name] = splits[name].pop("name")
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
        raise UserError(
            f"{entry}: damaged; remove this folder and run the command again ({error})"
        ) from error
    with contextlib.suppress(OSError):  # the folder of another user
        os.utime(note)  # `caches` tells by it when the entry was used
    for sentence in done.get("notes", ()):
        tell(sentence)
    for name, skipped in done["splits"].items():
        if skipped:
            tell(f"{name}: {len(skipped)} broken images skipped, first {skipped[0]}")
    return Images(splits, done["class_names"], names, hashes)


def _digest(path: Path) -> str:
    """Return a hash of the hashes of a file's parts, computed on all cores."""

    def digest(start: int) -> bytes:
        with path.open("rb") as file:
            file.seek(start)
            return hashlib.sha256(file.read(_PART)).digest()

    with ThreadPoolExecutor() as pool:
        parts = pool.map(digest, range(0, path.stat().st_size, _PART))
        return hashlib.sha256(b"".join(parts)).hexdigest()


def _make(entry: Path, identity: dict[str, Any], make: Callable[[], Encoded]) -> None:
    """Write a cache to a temporary folder, and rename that when it is complete."""
    splits, class_names, notes = Encoded(*make())
    temporary = entry.with_name(f".{entry.name}.{os.getpid()}{TEMPORARY}")
    total = sum(len(split.labels) for split in splits.values())
    skipped: dict[str, list[str]] = {}
    source = identity.get("root", "")
    done = {
        # For people, and for `caches`.
        "title": identity.get("set") or Path(source).name,
        "source": source,
        "side": identity["side"],
        "class_names": list(class_names),
        "notes": [printable(note) for note in notes],
        "identity": identity,
        "splits": skipped,
    }
    try:
        temporary.mkdir(parents=True)
        _check_room(entry, total * bytes_of(identity["side"]))
        with Progress("decoding images", total) as progress:
            for name, split in splits.items():
                path, split = temporary / name, split.by_name()
                skipped[name] = _write(path, split, identity, progress)
        files = sorted(path.name for path in temporary.iterdir())
        done["digests"] = {name: _digest(temporary / name) for name in files}
        done["count"] = total - sum(map(len, skipped.values()))
        done["bytes"] = sum((temporary / name).stat().st_size for name in files)
        (temporary / "done.json").write_text(json.dumps(done, indent=2))
        if entry.is_dir():  # it has no done.json, so it is incomplete
            shutil.rmtree(entry)
        temporary.rename(entry)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"data.data_dir: cannot write to {entry}: {reason}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    size, place = size_of(done["bytes"]), entry.parent.parent
    tell(
        f"decoded {done['count']:,} images to {entry}: {size}; `python -m "
        f"mi_classifier.data.caches --data_dir={place}` lists and removes what is kept"
    )


def bytes_of(side: int) -> int:
    """Return the size of a decoded image."""
    return 3 * side**2


def size_of(count: int) -> str:
    """Return a number of bytes for people.

    Examples:
      >>> size_of(1_100_000_000)
      '1.1 GB'
    """
    unit = min(3, int(math.log10(max(count, 1))) // 3)
    return f"{count / 1000**unit:.{min(unit, 1)}f} {('B', 'kB', 'MB', 'GB')[unit]}"


def _check_room(entry: Path, needed: int) -> None:
    free = shutil.disk_usage(entry.parent).free
    if needed > free:
        raise UserError(
            f"data.data_dir: decoded images need {size_of(needed)}, and {entry.parent} "
            f"has {size_of(free)} free; make room, take a smaller stored_side, or give "
            "another data.data_dir"
        )


def _decoded(split: EncodedSplit, side: int) -> Iterator[np.ndarray | ValueError]:
    """Yield the pixels of all images, or why one cannot be decoded."""
    size = len(split.labels)
    chunks = [range(i, min(i + _CHUNK, size)) for i in range(0, size, _CHUNK)]
    if split.pixels is not None:
        for chunk in chunks:
            yield from split.pixels(chunk)
        return
    encoded = ((split.read(list(chunk)), side) for chunk in chunks)
    if size < _MANY or processes.count() == 1:
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            for contents, _ in encoded:
                alone = [[content] for content in contents]
                for one in pool.map(decode_all, alone, [side] * len(alone)):
                    yield ValueError(one.broken[0]) if one.broken else one.pixels[0]
        return
    for some in processes.in_order(decode_all, encoded):
        for index, pixels in enumerate(some.pixels):
            reason = some.broken.get(index)
            yield pixels if reason is None else ValueError(reason)


def _write(
    path: Path, split: EncodedSplit, identity: dict[str, Any], progress: Progress
) -> list[str]:
    """Write a split's arrays; return the names of skipped images, with reasons."""
    side = identity["side"]

    def write_header(rows: int) -> None:
        shape = (rows, side, side, 3)
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)

    kept: list[int] = []
    skipped: list[str] = []
    with path.with_suffix(".npy").open("wb") as file:
        # Written, not mapped: writing to a mapped file on a full disk is a SIGBUS.
        write_header(len(split.labels))
        for index, pixels in enumerate(_decoded(split, side)):
            if isinstance(error := pixels, ValueError):
                if identity["broken"] == "stop":
                    raise UserError(
                        f"{split.names[index]}: cannot be decoded: {error}; "
                        "--config.data.broken=skip leaves such images out"
                    ) from error
                skipped.append(f"{split.names[index]}: {error}")
            else:
                file.write(pixels.data)
                kept.append(index)
            progress.advance()
        if not kept:
            if not skipped:
                raise UserError(f"{path.name}: is empty")
            raise UserError(f"{path.name}: every image is broken, first {skipped[0]}")
        # NumPy pads the header for any number of rows, so its length stays the same.
        file.seek(0)
        write_header(len(kept))
    arrays = {
        "label": split.labels[kept].astype(np.int32),
        "name": np.array([split.names[i] for i in kept], str),
        **{name: array[kept] for name, array in split.boxes.items()},
    }
    if "boxes" in arrays:
        arrays["boxes"] = (side * arrays["boxes"]).astype(np.float32)
    np.savez(path.with_suffix(".npz"), **arrays)
    return skipped
