"""Check arrays that a user gives, and say what wrong ones look like."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mi_classifier.errors import UserError, check_different
from mi_classifier.text import shown

_LONGEST = 1_000  # characters of a name


def check_pixels(images: np.ndarray, what: str) -> None:
    """Refuse images that are not uint8 `[N, H, W, C]`, and say what they look like."""
    if images.ndim != 4 or images.shape[-1] not in (1, 3):
        hint = ""
        if images.ndim == 4 and images.shape[1] in (1, 3):
            hint = "; they look like [N, C, H, W]: give images.transpose(0, 2, 3, 1)"
        raise UserError(
            f"{what}: images must be [N, H, W, 3] of uint8, not {list(images.shape)}"
            f"{hint}"
        )
    if images.dtype == np.uint8:
        return
    low, high = images.min(), images.max()
    hint = "give them before they were scaled"
    if low >= 0 and high <= 1:
        hint = "give (255 * images).round().astype(np.uint8)"
    elif low >= 0 and high < 256:
        hint = "give images.astype(np.uint8)"
    raise UserError(f"{what}: images must be uint8, not {images.dtype}; {hint}")


def checked_names(class_names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of classes as words; two that are the same are refused."""
    if isinstance(class_names, str):
        raise UserError(
            f"class_names: must be a list of names, not the word {class_names!r}"
        )
    try:
        names = tuple(map(str, class_names))
    except TypeError:
        raise UserError(
            f"class_names: must be a list of names, not {class_names!r}"
        ) from None
    if max(map(len, names), default=0) > _LONGEST:
        name = max(names, key=len)
        raise UserError(
            f"class_names: {shown(name)} has {len(name):,} characters; give at most "
            f"{_LONGEST:,}"
        )
    check_different(names, "class_names")
    return names


def as_boxes(boxes: Any, what: str) -> np.ndarray:
    """Return boxes as an array, or raise a UserError if they are ragged."""
    try:
        return np.asarray(boxes, np.float32)
    except ValueError:
        raise UserError(
            f"{what}: must be one array [N, G, 4]; pad each image's boxes with zeros, "
            "and give num_boxes, how many are true ones"
        ) from None


def check_counts(counts: ArrayLike, size: int, most: int, what: str) -> np.ndarray:
    """Return int32 `[N]`, how many of the boxes of each image are true ones."""
    counts = np.asarray(counts)
    whole = counts.dtype.kind in "iu" and counts.shape == (size,)
    if not whole or counts.min() < 0 or counts.max() > most:
        raise UserError(f"{what}: must be [{size}] integers, each from 0 to {most}")
    return counts.astype(np.int32)


def check_corners(boxes: np.ndarray, what: str) -> None:
    """Refuse true boxes `[B, 4]` that are not `(x0, y0, x1, y1)` in pixels."""
    if not len(boxes):
        return
    if not np.isfinite(boxes).all():
        raise UserError(f"{what}: a number of a box is not finite")
    if (boxes == 0).all(1).any():
        raise UserError(
            f"{what}: a box is [0, 0, 0, 0]; if it is padding, give num_boxes, how "
            "many of each image are true ones"
        )
    if boxes.max() <= 1:
        raise UserError(
            f"{what}: boxes look like fractions of the image; multiply them by (width, "
            "height, width, height)"
        )
    wrong = (boxes[:, 2:] <= boxes[:, :2]).any(1)
    if wrong.any():
        raise UserError(
            f"{what}: boxes must be (x0, y0, x1, y1) with x0 < x1 and y0 < y1, not "
            f"{boxes[np.argmax(wrong)].tolist()}; of (x, y, width, height), add the "
            "corner to the size"
        )


def check_inside(
    boxes: np.ndarray, true: np.ndarray, sizes: np.ndarray, what: str
) -> None:
    """Refuse true boxes `[N, G, 4]` that leave their image by more than a pixel."""
    over = (boxes[..., :2] < -1) | (boxes[..., 2:] > sizes[:, None] + 1)
    wrong = over.any(2) & true
    if wrong.any():
        row = int(np.argmax(wrong.any(1)))
        box = boxes[row, int(np.argmax(wrong[row]))].tolist()
        width, height = map(int, sizes[row])
        raise UserError(
            f"{what}: box {box} of image {row} leaves it, which is {width} pixels wide "
            f"and {height} high"
        )
