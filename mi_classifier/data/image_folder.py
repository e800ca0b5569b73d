"""A user's own images: `root/train/CLASS/*`, `root/val/CLASS/*`, and `boxes.csv`."""

import functools
import hashlib
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mi_classifier.data import archive, arrays, image_cache, splits, tfds_store
from mi_classifier.data.dataset import Dataset
from mi_classifier.data.image_cache import EncodedSplit
from mi_classifier.data.images import check_sides, image_dataset
from mi_classifier.errors import UserError

TABLE = "boxes.csv"
_HEADER = "path,x0,y0,x1,y1"
Boxes = Mapping[str, Sequence[tfds_store.Box]]


def load(
    root_dir: str,
    stored_side: int,
    side: int,
    normalization: str,
    data_dir: str = "",
    broken: str = "stop",
    seed: int = 0,
) -> Dataset:
    """Load images from folders that have the names of their classes.

    `root/val/` is the validation split and `root/test/` the test split. Without the
    latter, the images of each class in `val` are split evenly into both. Images may be
    in subfolders of a class's folder. `root/boxes.csv` is optional: the header
    `path,x0,y0,x1,y1`, then a line per box, with paths from the root and half-open
    pixels of the image after turning it as its EXIF orientation says.

    Args:
      root_dir: the root.
      stored_side: side in pixels to which images are resized; the aspect is not kept.
      side: side of the crops in pixels; see `images.image_dataset`.
      normalization: a name in `images.NORMALIZATIONS`.
      data_dir: folder below which decoded images are kept; "" for TFDS's default.
      broken: what to do with an image that cannot be decoded, "stop" or "skip".
      seed: selects the even split.

    Returns:
      A data set, with boxes if there is a `boxes.csv`.

    Raises:
      UserError: the folder has another layout, or a line of `boxes.csv` is wrong.
    """
    check_sides(stored_side, side)
    root = Path(root_dir)
    class_names, files = _find(root_dir)
    identity = {
        "root": str(root.absolute()),
        "classes": class_names,
        "files": _digest([p for paths in files.values() for p in paths], root / TABLE),
        "seed": seed,
    }
    folder = tfds_store.root(data_dir) / "decoded"
    make = functools.partial(_encode_splits, root, class_names, files, seed)
    images = image_cache.load(folder, identity, stored_side, broken, make)
    name = f"{root.name or root.absolute().name}, {side} px"
    return image_dataset(name, images, side, normalization)


def _find(root_dir: str) -> tuple[list[str], dict[str, list[Path]]]:
    """Return the class names, and the images of "train", "val" and "test", if any."""
    root = Path(root_dir)
    if not root_dir or not root.is_dir():
        raise UserError(f"data.root_dir: no such folder: {root_dir or '(not set)'}")
    class_names = _folders(root / "train")
    if len(class_names) < 2:
        raise UserError(
            f"data.root_dir: {root / 'train'} must hold a folder per class, at least "
            f"two, and holds {len(class_names)}"
        )
    files = {
        name: _files(root, name, class_names)
        for name in ("train", "val", "test")
        if (root / name).is_dir()
    }
    if "val" not in files:
        raise UserError(f"data.root_dir: {root / 'val'} is missing; create it")
    return class_names, files


def _folders(path: Path) -> list[str]:
    return sorted(p.name for p in path.glob("[!.]*") if p.is_dir())


def _files(root: Path, split: str, class_names: Sequence[str]) -> list[Path]:
    """Return the images of a split; files without an image's suffix are left out."""
    if strange := [n for n in _folders(root / split) if n not in class_names]:
        where = root / split / strange[0]
        raise UserError(f"data.root_dir: {where} is a class that {root}/train lacks")
    found = archive.walk_images(root / split)
    files = [path for name, path in found if "/" in name]  # in a class's folder
    if not files:
        raise UserError(f"data.root_dir: {root / split} holds no image")
    held = {path.relative_to(root).parts[1] for path in files}
    if split == "train" and (empty := {*class_names} - held):
        raise UserError(f"data.root_dir: {root / split / min(empty)} holds no image")
    return files


def _encode_splits(
    root: Path, class_names: Sequence[str], files: Mapping[str, list[Path]], seed: int
) -> image_cache.Encoded:
    boxes = _read_boxes(root, files) if (root / TABLE).is_file() else None
    encoded = {
        name: _encode(root, paths, class_names, boxes) for name, paths in files.items()
    }
    validation, test = encoded["val"], encoded.get("test")
    if test is None:
        halves = splits.halve(validation.names, validation.labels, class_names, seed)
        validation, test = map(validation.take, halves)
    made = {"train": encoded["train"], "validation": validation, "test": test}
    return made, class_names


def _encode(
    root: Path, files: Sequence[Path], class_names: Sequence[str], boxes: Boxes | None
) -> EncodedSplit:
    number = {name: i for i, name in enumerate(class_names)}
    names = [path.relative_to(root).as_posix() for path in files]
    labels = [number[name.split("/")[1]] for name in names]

    def read(indices: Sequence[int]) -> list[bytes]:
        return [archive.read_file(files[i]) for i in indices]

    split = EncodedSplit(names, np.array(labels, np.int32), read, {})
    if boxes is None:
        return split
    counts = np.array([len(boxes.get(name, ())) for name in names], np.int32)
    array = np.zeros((len(names), max(counts.max(), 1), 4), np.float32)
    for row, name, file in zip(array, names, files, strict=True):
        own = boxes.get(name)
        # A file that is no image has no size; decoding stops at it or skips it.
        if own and (size := tfds_store.size_of(archive.read_file(file))):
            row[: len(own)] = [tfds_store.fractions(b, size, name) for b in own]
    return split._replace(boxes={"boxes": array, "num_boxes": counts})


def _read_boxes(root: Path, files: Mapping[str, list[Path]]) -> Boxes:
    table = root / TABLE
    known = {p.relative_to(root).as_posix() for paths in files.values() for p in paths}
    boxes = defaultdict(list)
    rows = arrays.read_csv(table) or [(1, [])]
    if (header := rows.pop(0)[1]) != _HEADER.split(","):
        raise UserError(f"{table}: the first line must be {_HEADER}, not {header}")
    for line, row in rows:
        where = f"{table}, line {line}"
        try:
            name, *numbers = row
            x0, y0, x1, y1 = map(float, numbers)
        except ValueError:
            raise UserError(f"{where}: not {_HEADER}: {row}") from None
        if name not in known:
            raise UserError(f"{where}: {name} is not an image of a split")
        boxes[name].append((x0, y0, x1, y1))
    return boxes


def _digest(files: Sequence[Path], table: Path) -> str:
    """Hash names, sizes and times of change of files, and the table of boxes."""
    digest = hashlib.sha256()
    for path in files:
        status = path.stat()
        digest.update(os.fsencode(path))
        digest.update(f" {status.st_size} {status.st_mtime_ns}\n".encode())
    if table.is_file():
        digest.update(table.read_bytes())
    return digest.hexdigest()
