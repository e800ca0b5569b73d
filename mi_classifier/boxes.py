"""Boxes and their overlap.

Boxes are `(x0, y0, x1, y1)` in pixels of the image, half-open: a box of one pixel has
area 1. Functions compute with JAX if any argument is a JAX array, else with NumPy.
"""

from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

Array = jax.Array | np.ndarray


def iou(boxes_a: ArrayLike, boxes_b: ArrayLike) -> Array:
    """Return the intersection over union of boxes.

    Args:
      boxes_a: `[..., 4]`.
      boxes_b: `[..., 4]`; its leading axes broadcast with those of `boxes_a`.

    Returns:
      `[...]` in [0, 1]; 0 for boxes without area, or with their corners swapped.

    Raises:
      ValueError: the last axis is not 4.

    Examples:
      >>> print(iou(np.array([0, 0, 4, 4]), np.array([2, 0, 6, 4])).round(3))
      0.333
    """
    xp = array_module(boxes_a, boxes_b)
    a, b = as_boxes("boxes_a", boxes_a, xp), as_boxes("boxes_b", boxes_b, xp)
    top = xp.maximum(a[..., :2], b[..., :2])
    bottom = xp.minimum(a[..., 2:], b[..., 2:])
    common = _area(xp.concatenate([top, bottom], -1))
    union = _area(a) + _area(b) - common
    # A box with its corners swapped has no area and overlaps nothing.
    common = xp.where((_area(a) > 0) & (_area(b) > 0), common, 0)
    return common / xp.where(union > 0, union, 1)


def best_iou(boxes: ArrayLike, gt_boxes: ArrayLike, num_boxes: ArrayLike) -> Array:
    """Return each box's largest IoU with a true box of its image.

    Args:
      boxes: `[B, ..., 4]`.
      gt_boxes: `[B, G, 4]`, padded.
      num_boxes: `[B]`, how many of the G are true.

    Returns:
      `[B, ...]`; 0 for an image without a true box.

    Raises:
      ValueError: shapes do not fit.

    Examples:
      >>> truth = np.array([[[0, 0, 4, 8], [4, 4, 8, 8]]])
      >>> best_iou(np.array([[0, 0, 4, 4]]), truth, np.array([2])).tolist()
      [0.5]
    """
    xp = array_module(boxes, gt_boxes, num_boxes)
    boxes = as_boxes("boxes", boxes, xp)
    gt_boxes, num_boxes = as_truth(gt_boxes, num_boxes, len(boxes), xp)
    between = (1,) * (boxes.ndim - 2)
    targets = gt_boxes.reshape(len(boxes), *between, *gt_boxes.shape[1:])
    real = xp.arange(gt_boxes.shape[1]) < num_boxes.reshape(-1, *between, 1)
    overlaps = xp.where(real, iou(boxes[..., None, :], targets), 0)
    return overlaps.max(-1, initial=0)


def array_module(*arrays: ArrayLike) -> ModuleType:
    """Return `jax.numpy` if any array is JAX's, else NumPy."""
    return jnp if any(isinstance(a, jax.Array) for a in arrays) else np


def as_boxes(name: str, boxes: ArrayLike, xp: ModuleType) -> Array:
    """Return boxes `[..., 4]` in float32 or wider; another shape is a ValueError."""
    boxes = xp.asarray(boxes)
    if not boxes.ndim or boxes.shape[-1] != 4:
        raise ValueError(f"{name} must be [..., 4], not {boxes.shape}")
    return boxes.astype(xp.promote_types(boxes.dtype, np.float32))


def as_truth(
    gt_boxes: ArrayLike, num_boxes: ArrayLike, batch: int, xp: ModuleType
) -> tuple[Array, Array]:
    """Return true boxes `[batch, G, 4]` and their counts `[batch]`, checked."""
    gt_boxes = as_boxes("gt_boxes", gt_boxes, xp)
    num_boxes = xp.asarray(num_boxes)
    if gt_boxes.ndim != 3 or len(gt_boxes) != batch:
        raise ValueError(f"gt_boxes must be [{batch}, G, 4], not {gt_boxes.shape}")
    if num_boxes.shape != (batch,):
        raise ValueError(f"num_boxes must be [{batch}], not {num_boxes.shape}")
    most = gt_boxes.shape[1]
    if xp is np and not ((num_boxes >= 0) & (num_boxes <= most)).all():
        raise ValueError(f"num_boxes must be in [0, {most}], as gt_boxes has them")
    return gt_boxes, num_boxes


def _area(boxes: Array) -> Array:
    sides = boxes[..., 2:] - boxes[..., :2]
    return sides[..., 0].clip(0) * sides[..., 1].clip(0)
