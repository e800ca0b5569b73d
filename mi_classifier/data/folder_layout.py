"""Find classes and splits in a folder of images."""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mi_classifier.data import image_files
from mi_classifier.errors import UserError

_MOST_NAMED = 10  # classes that a line names
_TABLES = ("boxes.csv", "boxes.tsv", "boxes.txt")  # in upper or lower case
# The names that folders of a split may have, in upper or lower case.
_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}


class Part(NamedTuple):
    """The images of one split."""

    names: list[str]  # paths from the root, all different
    paths: list[Path]
    labels: np.ndarray  # int32 [N]


class Layout(NamedTuple):
    """What a folder of images holds."""

    class_names: list[str]
    parts: Mapping[str, Part]  # "train", and "val" and "test" where they exist
    has_splits: bool  # whether classes lie in folders of splits
    table: Path | None  # of boxes, such as boxes.csv
    left_out: frozenset[str]  # paths from the root of files that are no images
    notes: list[str]  # sentences about files that are left out, and the like


def find(root_dir: str) -> Layout:
    """Find the images of `root/train/CLASS/`, `root/val/CLASS/` and so on.

    Without folders of splits, those of the root are the classes. `valid`, `validation`,
    `training` and `testing` are other names of `val`, `train` and `test`.

    Args:
      root_dir: the root.

    Raises:
      UserError: there is no such folder, it has another layout, or a class has no
        image to train on.
    """
    root = Path(root_dir)
    if not root_dir or not root.is_dir():
        missing = "is a file" if root.is_file() else "no such folder"
        known = f"{missing}: {root_dir}" if root_dir else "not set"
        raise UserError(f"data.root_dir: {known}; give --config.data.root_dir=FOLDER")
    places, notes = _places(root)
    table, more = _table(root)
    notes += more
    has_splits = places["train"] != root
    found = {name: image_files.search(place) for name, place in places.items()}
    class_names = image_files.folders(places["train"])
    if not has_splits:  # annotations may lie beside the classes
        held = {name.split("/")[0] for name, _ in found["train"].images}
        empty = [name for name in class_names if name not in held]
        class_names = [name for name in class_names if name in held]
        names = ", ".join(class_names[:_MOST_NAMED])
        names += ", ..." if len(class_names) > _MOST_NAMED else ""
        notes.append(f"{image_files.count_of(len(class_names), 'class')}: {names}")
        if empty:
            notes.append(f"no classes, because without images: {', '.join(empty)}")
    if len(class_names) < 2:
        raise UserError(_too_few(root, places["train"], class_names))
    parts, left_out = {}, set()
    for name, place in places.items():
        parts[name], others = _part(root, place, found[name], class_names)
        notes += image_files.describe(others)
        left_out |= {n for names in others.left_out.values() for n in names}
    _check_train(places["train"], parts["train"], class_names)
    return Layout(class_names, parts, has_splits, table, frozenset(left_out), notes)


def _table(root: Path) -> tuple[Path | None, list[str]]:
    """Return the table of boxes, or a sentence about tables that are not read."""
    files = sorted(path.name for path in root.iterdir() if path.is_file())
    tables = [name for name in files if _is_table(name)]
    if len(tables) > 1:
        raise UserError(
            f"data.root_dir: {root} holds both {tables[0]} and {tables[1]}; keep one "
            "of "
            "them"
        )
    if tables:
        return root / tables[0], []
    others = [n for n in files if n.lower().endswith((".csv", ".tsv"))]
    if not others:
        return None, []
    note = f"no boxes, because there is no {_TABLES[0]}; not read: {', '.join(others)}"
    return None, [note]


def _is_table(name: str) -> bool:
    return name.lower() in _TABLES


def _places(root: Path) -> tuple[dict[str, Path], list[str]]:
    """Return the folder of each split, and a sentence about folders beside them."""
    names = image_files.folders(root)
    places = {}
    for part, spellings in _NAMES.items():
        own = [n for n in names if n.lower() in spellings]
        # A class may have such a name. A folder of a split holds folders of classes.
        holding = [n for n in own if image_files.folders(root / n)]
        if len(holding) > 1:
            raise UserError(
                f"data.root_dir: {root} holds both {holding[0]} and {holding[1]}; keep "
                "one of them"
            )
        if holding:
            places[part] = root / holding[0]
    known = sum(_NAMES.values(), ())
    if not names or (not places and any(n.lower() not in known for n in names)):
        return {"train": root}, []
    if "train" not in places:
        raise UserError(_too_few(root, root / "train", []))
    for part in ("val", "test"):  # an error names an empty one
        empty = [n for n in names if n.lower() in _NAMES[part]]
        if part not in places and empty:
            places[part] = root / empty[0]
    others = [n for n in names if root / n not in places.values()]
    if not others:
        return places, []
    return places, [f"not used, because they are no split: {', '.join(others)}"]


def _part(
    root: Path, place: Path, found: image_files.Found, class_names: Sequence[str]
) -> tuple[Part, image_files.Found]:
    """Return the images of a split, and what is left out, by paths from the root."""
    start = "" if place == root else f"{place.relative_to(root).as_posix()}/"
    if place != root:
        for name in image_files.folders(place):
            if name not in class_names:
                hint = difflib.get_close_matches(name, class_names, n=1)
                nearest = f"; the nearest is {hint[0]}" if hint else ""
                raise UserError(
                    f"data.root_dir: {place / name} is a class that {root}/train lacks"
                    f"{nearest}"
                )
    left_out = {
        reason: [start + name for name in names if start or not _is_table(name)]
        for reason, names in found.left_out.items()
    }
    outside = [start + name for name, _ in found.images if "/" not in name]
    left_out["not in the folder of a class"] = outside
    left_out = {reason: names for reason, names in left_out.items() if names}
    images = [(name, path) for name, path in found.images if "/" in name]
    if not images:
        raise UserError(
            f"data.root_dir: {place} holds no image in the folder of a class; add "
            "some, or remove the folder"
        )
    number = {name: i for i, name in enumerate(class_names)}
    labels = [number[name.split("/")[0]] for name, _ in images]
    names = [start + name for name, _ in images]
    part = Part(names, [path for _, path in images], np.array(labels, np.int32))
    return part, image_files.Found([], left_out, [start + n for n in found.links])


def _check_train(place: Path, part: Part, class_names: Sequence[str]) -> None:
    counts = np.bincount(part.labels, minlength=len(class_names))
    if not counts.all():
        where = place / class_names[int(counts.argmin())]
        raise UserError(
            f"data.root_dir: {where} holds no image; add some, or remove the folder"
        )


def _too_few(root: Path, train: Path, class_names: Sequence[str]) -> str:
    message = (
        f"data.root_dir: {train} must hold a folder per class, at least two, and holds "
        f"{len(class_names)}"
    )
    inner = [train / name for name in class_names]
    if len(inner) == 1 and len(image_files.folders(inner[0])) > 1:
        message += f"; did you mean {inner[0]}?"
    return message
