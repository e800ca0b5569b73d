"""Boxes and a map that look at no image, which every localization is held against.

Objects often fill the middle of a photo, so that a box which is the same in every image
can find many of them. A map says where the objects are only as far as it beats such a
box. In the pointing game, the middle of the image plays the same part.
"""

import numpy as np
from jax.typing import ArrayLike

from mi_classifier.boxes import best_iou


def whole_image(size: int | tuple[int, int]) -> np.ndarray:
    """Return the box of the whole image.

    Args:
      size: (height, width) of the image in pixels, or the side of a square one.

    Returns:
      float32 `[4]`, `(x0, y0, x1, y1)` in half-open pixels.

    Examples:
      >>> whole_image((6, 8)).tolist()
      [0.0, 0.0, 8.0, 6.0]
    """
    height, width = np.broadcast_to(size, 2)
    return np.array([0, 0, width, height], np.float32)


def middle(size: int | tuple[int, int]) -> np.ndarray:
    """Return the middle (x, y) of the image, float32 `[2]`.

    Examples:
      >>> middle((6, 8)).tolist()
      [4.0, 3.0]
    """
    return whole_image(size)[2:] / 2


def centered_square(size: int | tuple[int, int], margin: int) -> np.ndarray:
    """Return the square in the middle of the image, some pixels off its shorter sides.

    Args:
      size: (height, width) of the image in pixels, or the side of a square one.
      margin: pixels left out on each side of the shorter dimension; 0 gives the largest
        square.

    Returns:
      float32 `[4]`, in half-open pixels. If the margins at the longer dimension are not
      whole, the square is half a pixel further left or up.

    Raises:
      ValueError: nothing remains within the margins, or the margin is negative.

    Examples:
      >>> centered_square(8, 3).tolist()
      [3.0, 3.0, 5.0, 5.0]
      >>> centered_square((6, 9), 1).tolist()
      [2.0, 1.0, 6.0, 5.0]
    """
    height, width = (int(n) for n in np.broadcast_to(size, 2))
    side = min(height, width) - 2 * margin
    if margin < 0 or side < 1:
        raise ValueError(f"margin must leave a square in {size}, and {margin} does not")
    x, y = (width - side) // 2, (height - side) // 2
    return np.array([x, y, x + side, y + side], np.float32)


def best_centered_square(
    gt_boxes: ArrayLike, num_boxes: ArrayLike, size: int | tuple[int, int]
) -> int:
    """Return the margin whose centered square meets the most true boxes at IoU 0.5.

    Choose it on the validation split, as one chooses any setting.

    Args:
      gt_boxes: `[B, G, 4]`, padded.
      num_boxes: `[B]`, how many of the G are true.
      size: (height, width) of the images in pixels, or the side of square ones.

    Returns:
      The margin in pixels, for `centered_square`; the smallest of several that are
      equally good.

    Raises:
      ValueError: shapes do not fit, or there is no image.

    Examples:
      >>> truth = np.array([[[1, 1, 6, 6]], [[2, 2, 7, 7]], [[0, 0, 1, 1]]])
      >>> best_centered_square(truth, np.array([1, 1, 1]), 8)
      1
    """
    gt_boxes = np.asarray(gt_boxes)
    if not len(gt_boxes):
        raise ValueError("gt_boxes must hold an image at least")
    margins = range((int(np.min(size)) + 1) // 2)
    hits = []
    for margin in margins:
        boxes = np.broadcast_to(centered_square(size, margin), (len(gt_boxes), 4))
        hits.append((best_iou(boxes, gt_boxes, num_boxes) >= 0.5).sum())
    return int(np.argmax(hits))


def centered_gaussian(size: int | tuple[int, int]) -> np.ndarray:
    """Return a score map that is highest in the middle of the image.

    The box accuracy curve takes the map at all thresholds. So the width of the Gaussian
    hardly matters, if the thresholds reach all box sizes: a standard deviation of a
    quarter of the image's sides gives boxes from a fourteenth of each side at threshold
    0.99 to the whole image at 0.13.

    Args:
      size: (height, width) of the image in pixels, or the side of a square one.

    Returns:
      float32 `[H, W]` in (0, 1], for `box_accuracy_curve`.

    Examples:
      >>> print(centered_gaussian(3)[1].round(2))
      [0.41 1.   0.41]
    """
    height, width = np.broadcast_to(size, 2)
    rows, columns = (
        np.exp(-(((np.arange(n) + 0.5 - n / 2) / (n / 4)) ** 2) / 2)
        for n in (height, width)
    )
    return np.outer(rows, columns).astype(np.float32)
