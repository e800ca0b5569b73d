"""Localization by the public WSOL evaluation (Choe et al. 2020).

Here alone boxes are pixels of the image with both corners included, so a width counts
one pixel more. To compare with published results, true boxes end at the last pixel.
"""

from collections.abc import Sequence

import numpy as np
from jax.typing import ArrayLike

from mi_classifier import contours, processes
from mi_classifier.boxes import as_truth, best_iou

THRESHOLDS = tuple(np.arange(0, 1, 0.01).tolist())  # of the public evaluation
IOUS = (0.3, 0.5, 0.7)
_ROUNDING = 1e-5  # by which scaled maps may leave [0, 1]


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

    gray = np.zeros(maps.shape, np.uint8)  # and so of a map that holds NaN
    for scores, levels in zip(maps, gray, strict=True):
        if np.isnan(scores).any():
            continue
        if scores.min() < -_ROUNDING or scores.max() > 1 + _ROUNDING:
            raise ValueError(
                "score maps must lie in [0, 1], found "
                f"[{scores.min():g}, {scores.max():g}]; scale them with score_maps"
            )
        levels[:] = scores.clip(0, 1) * 255
    cost = len(thresholds) * gray[0].size / 64**2 if len(gray) else 0
    return processes.spread(contours.boxes_of, gray, thresholds, cost=cost)


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
