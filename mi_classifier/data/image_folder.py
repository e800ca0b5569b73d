"""A user's own images: `root/CLASS/*` or `root/train/CLASS/*`, and `boxes.csv`."""

import functools
import hashlib
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mi_classifier.data import (
    archive,
    box_conventions,
    box_table,
    folder_layout,
    image_cache,
    splits,
    tfds_store,
)
from mi_classifier.data.dataset import Dataset
from mi_classifier.data.folder_layout import Layout, Part
from mi_classifier.data.image_cache import Encoded, EncodedSplit
from mi_classifier.data.image_files import count_of
from mi_classifier.data.images import check_sides, image_dataset
from mi_classifier.errors import UserError, check_number
from mi_classifier.storage.files import hash_file
from mi_classifier.text import printable, tell


def load(
    root_dir: str,
    stored_side: int,
    side: int,
    normalization: str,
    data_dir: str = "",
    broken: str = "stop",
    seed: int = 0,
    hold_out: float = 0.2,
    boxes: str = "auto",
    pad: int = 0,
) -> Dataset:
    """Load images from folders that have the names of their classes.

    `root/train/`, `root/val/` and `root/test/` are the splits; each holds a folder per
    class. If `val` exists and `test` does not, the images of each class in `val` are
    split evenly into both. If `val` does not exist, a part of `train` is held out for
    it, and for the test split if there is none. Without `train`, the folders of the
    root are the classes, and both parts are held out. Images may be in subfolders of a
    class's folder. `root/boxes.csv` is optional: see `box_table.read`.

    Args:
      root_dir: the root.
      stored_side: side in pixels to which images are resized; the aspect is not kept.
      side: side of the crops in pixels; see `images.image_dataset`.
      normalization: a name in `images.NORMALIZATIONS`.
      data_dir: folder below which decoded images are kept; "" for TFDS's default.
      broken: what to do with an image that cannot be decoded, "stop" or "skip".
      seed: selects the images that are held out, and the even split.
      hold_out: share of each class that is held out for splits that do not exist, in
        [0, 1).
      boxes: what the numbers in `boxes.csv` mean: "auto", or words with commas out of
        corners, sizes, centers; pixels, fractions, percent; half_open, last_pixel.
      pad: pixels by which training images grow before the crop; see
        `images.random_crop_and_flip`.

    Returns:
      A data set, with boxes if there is a `boxes.csv`.

    Raises:
      UserError: the folder has another layout, a line of `boxes.csv` is wrong, or its
        numbers look like another convention.
    """
    check_sides(stored_side, side)
    box_conventions.parse(boxes)
    root, layout = Path(root_dir), folder_layout.find(root_dir)
    _check_share(hold_out, root, layout)
    for note in layout.notes:
        tell(f"{root}: {note}")
    options = {"seed": seed, "hold_out": hold_out, "boxes": boxes}
    identity = identity_of(root, layout) | options
    folder = tfds_store.root(data_dir) / "decoded"
    make = functools.partial(_encode_splits, root, layout, options)
    images = image_cache.load(folder, identity, stored_side, broken, make)
    _check_classes(images.splits["train"]["label"], layout.class_names)
    name = f"{root.name or root.absolute().name}, {side} px"
    return image_dataset(name, images, side, normalization, pad)


def _check_share(hold_out: float, root: Path, layout: Layout) -> None:
    check_number(hold_out, "data.hold_out")
    if not 0 <= hold_out < 1:
        raise UserError(f"data.hold_out: must be in [0, 1), not {hold_out}")
    if "val" not in layout.parts and not hold_out:
        raise UserError(
            f"data.root_dir: {root / 'val'} is missing; create it, or set "
            "data.hold_out=0.1"
        )


def _check_classes(labels: np.ndarray, class_names: Sequence[str]) -> None:
    """Check that each class has a training image left that is not broken."""
    counts = np.bincount(labels, minlength=len(class_names))
    if not counts.all():
        name = printable(class_names[int(counts.argmin())])
        raise UserError(
            f"data.root_dir: every training image of the class {name} is broken; add "
            "some, or remove its folder"
        )


def identity_of(root: Path, layout: Layout) -> dict[str, Any]:
    """Return what tells the content of a folder from that of any other."""
    digest = hashlib.sha256()
    for path in (path for part in layout.parts.values() for path in part.paths):
        status = path.stat()
        digest.update(os.fsencode(path.absolute()))
        digest.update(f" {status.st_size} {status.st_mtime_ns}\n".encode())
    if layout.table:
        digest.update(layout.table.read_bytes())
    return {
        "root": str(root.absolute()),
        "classes": layout.class_names,
        "files": digest.hexdigest(),
    }


def _encode_splits(root: Path, layout: Layout, options: Mapping[str, Any]) -> Encoded:
    parts, notes = _complete(layout, options["hold_out"], options["seed"])
    files = {n: p for part in parts.values() for n, p in zip(*part[:2], strict=True)}
    boxes = None
    if layout.table:
        boxes = box_table.read(
            layout.table, root, files, layout.left_out, options["boxes"]
        )
        notes += boxes.notes
    notes += _missing_classes(parts, layout.class_names) + _leaks(parts)
    encoded = {
        name: _encode(part, boxes and boxes.boxes) for name, part in parts.items()
    }
    return Encoded(encoded, layout.class_names, notes)


def _complete(
    layout: Layout, share: float, seed: int
) -> tuple[dict[str, Part], list[str]]:
    """Return all three splits, and a sentence about a split that was held out."""
    train, val, test = (layout.parts.get(name) for name in ("train", "val", "test"))
    if val and test:
        return {"train": train, "validation": val, "test": test}, []
    if val:
        halves = splits.halve(val.names, val.labels, layout.class_names, seed)
        val, test = (_take(val, half) for half in halves)
        return {"train": train, "validation": val, "test": test}, []
    missing = ["validation"] if test else ["validation", "test"]
    rows = splits.hold_out(train.names, train.labels, share, len(missing), seed)
    made = dict(zip(["train", *missing], (_take(train, r) for r in rows), strict=True))
    if short := [name for name, part in made.items() if not part.names]:
        raise UserError(
            f"data.root_dir: too few images to hold out a {short[0]} split; give every "
            "class at least three"
        )
    counts = ", ".join(f"{name} {len(part.names):,}" for name, part in made.items())
    source = "train/" if layout.has_splits else "the folders of the classes"
    note = f"held out of {source}, because no folder is given: {counts}"
    return made | ({"test": test} if test else {}), [note]


def _take(part: Part, rows: np.ndarray) -> Part:
    names, paths = ([each[i] for i in rows] for each in part[:2])
    return Part(names, paths, part.labels[rows])


def _missing_classes(
    parts: Mapping[str, Part], class_names: Sequence[str]
) -> list[str]:
    notes = []
    for name, part in parts.items():
        counts = np.bincount(part.labels, minlength=len(class_names))
        if empty := [n for n, k in zip(class_names, counts, strict=True) if not k]:
            notes.append(
                f"{name}: no image of {count_of(len(empty), 'class')}, such as "
                f"{printable(empty[0])}, so its results say nothing about them"
            )
    return notes


def _leaks(parts: Mapping[str, Part]) -> list[str]:
    """Return a sentence about images of which the training split has the same bytes."""
    sizes = [{p: p.stat().st_size for p in part.paths} for part in parts.values()]
    train, others = sizes[0], {p: s for each in sizes[1:] for p, s in each.items()}
    common = {*train.values()} & {*others.values()}  # only these can be the same
    known = defaultdict(list)
    for path, size in train.items():
        if size in common:
            known[hash_file(path)].append(path)
    same = {
        path: known[digest][0]
        for path, size in others.items()
        if size in common and (digest := hash_file(path)) in known
    }
    if not same:
        return []
    path, copy = next(iter(same.items()))
    count = count_of(len(same), "image")
    pair = f"{printable(path)} = {printable(copy)}"
    told = f"{count} of validation and test also in train, such as {pair}"
    return [f"{told}, so their results are too good"]


def _encode(
    part: Part, boxes: Mapping[str, Sequence[tfds_store.Box]] | None
) -> EncodedSplit:
    def read(indices: Sequence[int]) -> list[bytes]:
        return [archive.read_file(part.paths[i]) for i in indices]

    split = EncodedSplit(part.names, part.labels, read, {})
    if boxes is None:
        return split
    counts = np.array([len(boxes.get(name, ())) for name in part.names], np.int32)
    array = np.zeros((len(counts), max(counts.max(), 1), 4), np.float32)
    for row, name in zip(array, part.names, strict=True):
        own = boxes.get(name, ())
        row[: len(own)] = np.reshape(own, (-1, 4))
    return split._replace(boxes={"boxes": array, "num_boxes": counts})
