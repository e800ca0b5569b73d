"""Who trains, who validates, who tests: decided by names, the same on every machine."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from mi_classifier.errors import UserError


def halve(
    names: Sequence[str], labels: np.ndarray, class_names: Sequence[str], seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Splits images evenly, class by class; of odd classes every other has one more.

    Args:
      names: N names, all different.
      labels: `[N]`.
      class_names: M names, for messages.
      seed: which of the many even splits.

    Returns:
      The indices of the two halves, sorted.

    Raises:
      UserError: a class of a single image, which cannot be in both.
    """
    halves: tuple[list[int], list[int]] = ([], [])
    more = 0
    for label, name in enumerate(class_names):
        members = _shuffled(np.flatnonzero(labels == label), names, seed)
        if len(members) == 1:
            raise UserError(
                f"class {name} has one image to validate and test on, and needs two: "
                f"{names[members[0]]}"
            )
        middle = (len(members) + more) // 2
        more ^= len(members) % 2
        halves[0].extend(members[:middle])
        halves[1].extend(members[middle:])
    return np.sort(np.array(halves[0], int)), np.sort(np.array(halves[1], int))


def drop_half(names: Sequence[str], labels: np.ndarray, seed: int) -> np.ndarray:
    """Returns the indices that stay when half of the classes lose half of their images.

    Args:
      names: N names, all different.
      labels: `[N]`.
      seed: which classes, and which images.
    """
    classes = [str(c) for c in np.unique(labels)]
    chosen = _shuffled(np.arange(len(classes)), classes, seed)[: len(classes) // 2]
    dropped = set()
    for index in chosen:
        members = _shuffled(np.flatnonzero(labels == int(classes[index])), names, seed)
        dropped.update(members[: len(members) // 2])
    return np.array([i for i in range(len(names)) if i not in dropped], int)


def by_lists(folder: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Splits images by `validation.txt` and `test.txt`, a name a line.

    Args:
      folder: holds the two lists.
      names: of all images that may be listed; what is after the last slash is enough
        where no other image is called so.

    Returns:
      The indices of "validation" and "test".

    Raises:
      UserError: a list that is missing or empty, or a line that names no image, or one
        that was listed before.
    """
    own = [PurePosixPath(name).name for name in names]
    count = Counter(own)
    index = {name: i for i, name in enumerate(own) if count[name] == 1}
    index |= {name: i for i, name in enumerate(names)}
    seen: dict[int, str] = {}
    splits = {}
    for split in ("validation", "test"):
        path = folder / f"{split}.txt"
        try:
            lines = path.read_text().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"data.lists_dir: {path}: {error}") from error
        rows = []
        for number, line in enumerate(lines, start=1):
            if not (name := line.strip()):
                continue
            where = f"{path}, line {number}: {name}"
            name = name if name in index else PurePosixPath(name).name
            if name not in index:
                raise UserError(f"{where} is none of the {len(names):,} images")
            if index[name] in seen:
                raise UserError(f"{where} was listed before, {seen[index[name]]}")
            seen[index[name]] = f"{path.name}, line {number}"
            rows.append(index[name])
        if not rows:
            raise UserError(f"{path}: lists no image")
        splits[split] = np.sort(np.array(rows, int))
    return splits


def _shuffled(indices: np.ndarray, names: Sequence[str], seed: int) -> list[int]:
    """In the order of hashes: no generator's version can change it.

    Of a name what is after the last slash counts, for TFDS's own sets have that alone.
    """

    def order(i: int) -> bytes:
        own = PurePosixPath(names[i]).name
        return hashlib.sha256(f"{seed}/{own}".encode()).digest()

    return sorted(map(int, indices), key=order)
