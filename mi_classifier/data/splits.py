"""Split images by hashes of their names, so that every machine gets the same splits."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from mi_classifier.errors import UserError


def halve(
    names: Sequence[str], labels: np.ndarray, class_names: Sequence[str], seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Split N images evenly by class; return the sorted indices of the two halves.

    If a class has an odd number of images, the halves get the extra one in turn.
    """
    halves: tuple[list[int], list[int]] = ([], [])
    more = 0
    for label, name in enumerate(class_names):
        members = _shuffled(np.flatnonzero(labels == label), names, seed)
        if len(members) == 1:
            raise UserError(
                f"class {name} has one image to validate and test on "
                f"({names[members[0]]}); add one more"
            )
        middle = (len(members) + more) // 2
        more ^= len(members) % 2
        halves[0].extend(members[:middle])
        halves[1].extend(members[middle:])
    return np.sort(np.array(halves[0], int)), np.sort(np.array(halves[1], int))


def hold_out(
    names: Sequence[str], labels: np.ndarray, share: float, parts: int, seed: int
) -> list[np.ndarray]:
    """Hold out images of each class, in equal parts; return sorted indices.

    Args:
      names: of the N images.
      labels: of the images, `[N]`.
      share: of each class that all parts hold together, in (0, 1).
      parts: how many; each gets an image of every class that has enough of them.
      seed: selects the images, together with their basenames.

    Returns:
      The indices of what stays, then those of each part. One image of each class stays.

    Examples:
      >>> names, labels = [f"{i}.jpg" for i in range(20)], np.repeat([0, 1], 10)
      >>> [len(part) for part in hold_out(names, labels, 0.2, 2, seed=0)]
      [16, 2, 2]
    """
    split: list[list[int]] = [[] for _ in range(parts + 1)]
    turn = 0
    for label in np.unique(labels):
        members = _shuffled(np.flatnonzero(labels == label), names, seed)
        count = min(max(round(share * len(members)), parts), len(members) - 1)
        for member in members[:count]:
            split[1 + turn % parts].append(member)
            turn += 1  # the parts get an extra image in turn
        split[0] += members[count:]
    return [np.sort(np.array(part, int)) for part in split]


def drop_half(names: Sequence[str], labels: np.ndarray, seed: int) -> np.ndarray:
    """Drop half of the images of half of the classes; return the indices kept."""
    classes = [str(c) for c in np.unique(labels)]
    chosen = _shuffled(np.arange(len(classes)), classes, seed)[: len(classes) // 2]
    dropped = set()
    for index in chosen:
        members = _shuffled(np.flatnonzero(labels == int(classes[index])), names, seed)
        dropped.update(members[: len(members) // 2])
    return np.array([i for i in range(len(names)) if i not in dropped], int)


def thin(
    names: Sequence[str], labels: np.ndarray, few: int, many: int | None, seed: int
) -> np.ndarray:
    """Keep at most `few` images of every other class; return the sorted indices kept.

    The first class keeps few images, as in the authors' lists of CUB-200-2011. The
    classes between keep at most `many`, or all if that is None. Hashes of the names and
    the seed choose the images.

    Examples:
      >>> thin(["a0.jpg", "a1.jpg", "b0.jpg"], np.array([0, 0, 1]), 1, None, 0).size
      2
    """
    kept: list[int] = []
    for label in np.unique(labels):
        members = _shuffled(np.flatnonzero(labels == label), names, seed)
        kept += members[: many if label % 2 else few]
    return np.sort(np.array(kept, int))


def list_files(folder: Path) -> dict[str, Path]:
    """Return the files of `by_lists`, which may be missing, by split."""
    validation, short = folder / "validation.txt", folder / "val.txt"
    is_short = short.is_file() and not validation.is_file()
    return {
        "validation": short if is_short else validation,
        "test": folder / "test.txt",
    }


def by_lists(
    folder: Path, names: Sequence[str], labels: np.ndarray, class_names: Sequence[str]
) -> dict[str, np.ndarray]:
    """Return the indices of the images that `validation.txt` and `test.txt` list.

    The authors' lists can be used: `val.txt` stands for `validation.txt`, and a line is
    "name", "name label" or "id name label", with or without a colon behind the name. A
    name may have no folders, or others than ours, if only one image has its basename.

    Args:
      folder: holds both files.
      names: of the N images, all different.
      labels: of the images, `[N]`.
      class_names: of the labels.

    Raises:
      UserError: a file is missing or lists no image; a line has another form, or names
        an image that is unknown or listed before; or a label is not that of the image.
        Labels may count from 0 or 1, or number the classes in another order.
    """
    basenames = [PurePosixPath(name).name for name in names]
    count = Counter(basenames)
    index = {name: i for i, name in enumerate(basenames) if count[name] == 1}
    index |= {name: i for i, name in enumerate(names)}
    seen: dict[int, str] = {}
    splits = {}
    for split, path in list_files(folder).items():
        rows: list[int] = []
        lines = list(_read_list(path))
        for line in lines:
            row = index.get(line.name, index.get(PurePosixPath(line.name).name))
            if row is None:
                raise UserError(f"{line.where} is none of the {len(names):,} images")
            if row in seen:
                raise UserError(f"{line.where} was listed before, {seen[row]}")
            seen[row] = f"{path.name}, line {line.number}"
            rows.append(row)
        if not rows:
            raise UserError(f"{path}: lists no image; write one name per line")
        _check_labels(lines, labels[rows], class_names)
        splits[split] = np.sort(np.array(rows, int))
    return splits


class _Line(NamedTuple):
    where: str  # the file, the number and the text of the line, for messages
    number: int  # counted from 1
    name: str
    label: int | None


def _read_list(path: Path) -> Iterator[_Line]:
    """Yield the lines of a list, without the blank ones."""
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"data.lists_dir: {path}: {error}") from error
    for number, text in enumerate(lines, start=1):
        if not (words := text.split()):
            continue
        where = f"{path}, line {number}: {text.strip()}"
        label = words.pop() if len(words) > 1 else None
        if len(words) > 2 or not (label is None or label.isdecimal()):
            raise UserError(
                f"{where} must be a name, 'name label' or 'id name label', with a "
                "number as the label"
            )
        name = words[-1].removesuffix(":")
        yield _Line(where, number, name, None if label is None else int(label))


def _check_labels(
    lines: Sequence[_Line], classes: np.ndarray, class_names: Sequence[str]
) -> None:
    """Check the labels of a list, where it has them, against the images' classes."""
    pairs = [
        (line, int(own))
        for line, own in zip(lines, classes, strict=True)
        if line.label is not None
    ]
    number = _numbering([(line.label, own) for line, own in pairs])
    for line, own in pairs:
        if line.label != number[own]:
            raise UserError(
                f"{line.where} has label {line.label}, but the image is of class "
                f"{class_names[own]}, whose label is {number[own]} in this file"
            )


def _numbering(pairs: Sequence[tuple[int, int]]) -> dict[int, int]:
    """Return the label of each class that most pairs (label, class) agree with.

    Labels count from 0 or 1. If most pairs fit neither, labels may number the classes
    in another order, if there are several pairs for each class to tell it.
    """
    classes = {own for _, own in pairs}
    right = [sum(label == own + first for label, own in pairs) for first in (0, 1)]
    first = int(right[1] > right[0])
    if 2 * right[first] < len(pairs):
        counts = {own: Counter(x for x, y in pairs if y == own) for own in classes}
        commonest = {own: each.most_common(1)[0][0] for own, each in counts.items()}
        are_told = all(each.total() > 1 for each in counts.values())
        if are_told and len({*commonest.values()}) == len(classes):
            return commonest
    return {own: own + first for own in classes}


def _shuffled(indices: np.ndarray, names: Sequence[str], seed: int) -> list[int]:
    """Sort by hashes, which stay the same in all versions of all libraries."""

    def order(i: int) -> bytes:
        # Hash only the basename: TFDS stores nothing else.
        basename = PurePosixPath(names[i]).name
        # A name on disk may hold bytes that are no UTF-8.
        content = f"{seed}/{basename}".encode("utf-8", "surrogateescape")
        return hashlib.sha256(content).digest()

    return sorted(map(int, indices), key=order)
