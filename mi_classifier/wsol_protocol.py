"""Localization by the public WSOL evaluation (Choe et al. 2020).

Here alone boxes are pixels of the image with both corners included, so a width counts
one pixel more. To compare with published results, true boxes end at the last pixel.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from jax.typing import ArrayLike

from mi_classifier.boxes import as_truth, best_iou

THRESHOLDS = tuple(np.arange(0, 1, 0.01).tolist())  # of the public evaluation
IOUS = (0.3, 0.5, 0.7)
_ROUNDING = 1e-5  # by which scaled maps may leave [0, 1]
_CROP_EVERY = 8  # cutoffs, because cropping takes time too


def boxes_at_thresholds(
    maps: ArrayLike, thresholds: Sequence[float] = THRESHOLDS
) -> np.ndarray:
    """Compute a box for each threshold by the rules of the public WSOL evaluation.

    Its rules: multiply a map by 255 and truncate it to 8 bits; keep the pixels that
    exceed `int(t * maximum)`; take the contour that encloses the largest area, and its
    bounding rectangle, whose right and bottom are clipped to the last pixel.

    Args:
      maps: `[B, H, W]` in [0, 1], at the size of the image.
      thresholds: T numbers in [0, 1].

    Returns:
      int32 `[B, T, 4]`, corners included: (0, 0, 0, 0) where nothing is kept, and for
      a map that holds NaN.

    Raises:
      ValueError: shapes or values do not fit the above.

    Examples:
      >>> maps = np.array([[[0.0, 0.0, 0.0], [0.0, 0.5, 1.0], [0.0, 0.0, 0.0]]])
      >>> boxes_at_thresholds(maps, (0.2, 0.6)).tolist()
      [[[1, 1, 2, 2], [2, 1, 2, 2]]]
    """
    maps, thresholds = np.asarray(maps), np.asarray(thresholds, np.float64)
    if maps.ndim != 3 or 0 in maps.shape[1:]:
        raise ValueError(f"score maps must be [B, H, W], not {maps.shape}")
    if thresholds.ndim != 1 or not ((thresholds >= 0) & (thresholds <= 1)).all():
        raise ValueError("thresholds must be [T] numbers in [0, 1]")

    boxes = np.zeros((len(maps), len(thresholds), 4), np.int32)
    for scores, found in zip(maps, boxes, strict=True):
        if np.isnan(scores).any():
            continue
        if scores.min() < -_ROUNDING or scores.max() > 1 + _ROUNDING:
            raise ValueError(
                "score maps must lie in [0, 1], found "
                f"[{scores.min():g}, {scores.max():g}]; scale them with score_maps"
            )
        found[:] = _trace((scores.clip(0, 1) * 255).astype(np.uint8), thresholds)
    return boxes


def box_accuracy_curve(
    score_maps: ArrayLike,
    gt_boxes: ArrayLike,
    num_boxes: ArrayLike,
    thresholds: Sequence[float] = THRESHOLDS,
    iou_thresholds: Sequence[float] = IOUS,
) -> np.ndarray:
    """Return localization accuracy over thresholds by the public WSOL evaluation.

    MaxBoxAcc is the maximum of the 0.5 row, MaxBoxAccV2 the mean of the three rows'
    maxima.

    Args:
      score_maps: `[B, H, W]` in [0, 1], at the size of the image.
      gt_boxes: `[B, G, 4]`, padded, corners included.
      num_boxes: `[B]`, how many of the G are true.
      thresholds: T numbers in [0, 1].
      iou_thresholds: I numbers; a box meets a true one at this IoU or more.

    Returns:
      float64 `[I, T]` fractions of images; an image without a true box is a miss; NaN
      without images.

    Raises:
      ValueError: shapes or values do not fit the above.

    Examples:
      >>> scores = np.zeros((1, 8, 8))
      >>> scores[0, 2:6, 2:6] = 1
      >>> truth, count = np.array([[[2, 2, 6, 6]]]), np.array([1])
      >>> box_accuracy_curve(scores, truth, count, [0.5, 1.0]).tolist()
      [[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]]
    """
    boxes = boxes_at_thresholds(score_maps, thresholds)
    return protocol_accuracy(boxes, gt_boxes, num_boxes, iou_thresholds)


def protocol_accuracy(
    boxes: ArrayLike,
    gt_boxes: ArrayLike,
    num_boxes: ArrayLike,
    iou_thresholds: Sequence[float] = IOUS,
) -> np.ndarray:
    """Return what `box_accuracy_curve` does, given boxes instead of score maps.

    Boxes `[B, T, 4]` are those of `boxes_at_thresholds`, corners included. See
    `box_accuracy_curve` for the other arguments, the result and the errors.
    """
    boxes = np.asarray(boxes)
    gt_boxes, num_boxes = as_truth(gt_boxes, num_boxes, len(boxes), np)
    inclusive = np.array([0, 0, 1, 1])
    overlaps = best_iou(boxes + inclusive, gt_boxes + inclusive, num_boxes)
    met = overlaps[None] >= np.asarray(iou_thresholds, overlaps.dtype)[:, None, None]
    met &= (num_boxes > 0)[:, None]
    return met.mean(1) if len(boxes) else np.full(met.shape[::2], np.nan)


def _trace(gray: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Return the boxes `[T, 4]` of the largest contour of a uint8 map."""
    last = np.array(gray.shape)[[1, 0, 1, 0]] - 1
    cutoffs = (thresholds * gray.max()).astype(int)
    found: dict[int, tuple[int, ...]] = {}
    left, top = 0, 0
    for index, cutoff in enumerate(np.unique(cutoffs).tolist()):
        _, mask = cv2.threshold(gray, cutoff, 1, cv2.THRESH_BINARY)
        if index % _CROP_EVERY == 0:
            # A higher cutoff keeps no pixel that a lower one drops, so crop those away.
            x, y, width, height = cv2.boundingRect(mask)
            if not width:
                break
            rows, columns = slice(y, y + height), slice(x, x + width)
            gray = np.ascontiguousarray(gray[rows, columns])
            mask, left, top = mask[rows, columns], left + x, top + y
        # A hole encloses less than its outline, so outlines are enough.
        contours, _ = cv2.findContours(
            mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE, offset=(left, top)
        )
        if not contours:
            break
        x, y, width, height = cv2.boundingRect(max(contours, key=cv2.contourArea))
        found[cutoff] = (x, y, x + width, y + height)
    boxes = [found.get(cutoff, (0, 0, 0, 0)) for cutoff in cutoffs.tolist()]
    return np.minimum(np.array(boxes, np.int32).reshape(-1, 4), last)
