"""Split images by hashes of their names, so that every machine gets the same splits."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from mi_classifier.errors import UserError

LISTS = ("validation.txt", "test.txt")


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


def drop_half(names: Sequence[str], labels: np.ndarray, seed: int) -> np.ndarray:
    """Drop half of the images of half of the classes; return the indices kept."""
    classes = [str(c) for c in np.unique(labels)]
    chosen = _shuffled(np.arange(len(classes)), classes, seed)[: len(classes) // 2]
    dropped = set()
    for index in chosen:
        members = _shuffled(np.flatnonzero(labels == int(classes[index])), names, seed)
        dropped.update(members[: len(members) // 2])
    return np.array([i for i in range(len(names)) if i not in dropped], int)


def by_lists(folder: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the indices of the images that `validation.txt` and `test.txt` list.

    A line may leave out the folders of a name if only one image has that basename.
    """
    basenames = [PurePosixPath(name).name for name in names]
    count = Counter(basenames)
    index = {name: i for i, name in enumerate(basenames) if count[name] == 1}
    index |= {name: i for i, name in enumerate(names)}
    seen: dict[int, str] = {}
    splits = {}
    for path in (folder / name for name in LISTS):
        try:
            lines = path.read_text().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"data.lists_dir: {path}: {error}") from error
        rows = []
        for number, line in enumerate(lines, start=1):
            if not (name := line.strip()):
                continue
            where = f"{path}, line {number}: {name}"
            row = index.get(name, index.get(PurePosixPath(name).name))
            if row is None:
                raise UserError(f"{where} is none of the {len(names):,} images")
            if row in seen:
                raise UserError(f"{where} was listed before, {seen[row]}")
            seen[row] = f"{path.name}, line {number}"
            rows.append(row)
        if not rows:
            raise UserError(f"{path}: lists no image; write one name per line")
        splits[path.stem] = np.sort(np.array(rows, int))
    return splits


def _shuffled(indices: np.ndarray, names: Sequence[str], seed: int) -> list[int]:
    """Sort by hashes, which stay the same in all versions of all libraries."""

    def order(i: int) -> bytes:
        # Hash only the basename: TFDS stores nothing else.
        basename = PurePosixPath(names[i]).name
        return hashlib.sha256(f"{seed}/{basename}".encode()).digest()

    return sorted(map(int, indices), key=order)
