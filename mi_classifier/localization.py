"""Boxes from maps, and localization accuracy from boxes.

Boxes are `(x0, y0, x1, y1)` in pixels of the image, half-open: a box of one pixel has
area 1. Resizing and scaling are compiled; connected components are OpenCV's.

Three rules settle what a map leaves open. A map that is flat, to rounding, prefers no
part of the image: its box is the whole image, its peak the middle. A map with a value
that is not finite has an empty box, (0, 0, 0, 0), and a peak of NaN: both are misses.
True boxes count as given, even beyond the image; an image without a true box is a miss.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from mi_classifier import information
from mi_classifier.boxes import Array, array_module, as_truth, best_iou, iou  # noqa: F401
from mi_classifier.rules import by_usual_rules
from mi_classifier.trivial_boxes import (  # noqa: F401, offered here too
    best_centered_square,
    centered_gaussian,
    centered_square,
    middle,
    whole_image,
)
from mi_classifier.wsol_protocol import (  # noqa: F401, offered here too
    IOUS,
    THRESHOLDS,
    box_accuracy_curve,
    boxes_at_thresholds,
    protocol_accuracy,
)

METHODS = ("nearest", "linear", "cubic", "lanczos3", "lanczos5")
_MOST_PIXELS = 1 << 28  # of an image: maps of larger ones do not fit in memory
_CHUNK = 64  # maps resized to the image at once, to bound memory


@by_usual_rules
def boxes_from_maps(
    maps: ArrayLike,
    image_size: int | tuple[int, int],
    threshold: float | Sequence[float] = 0.2,
    method: str = "cubic",
) -> np.ndarray:
    """Return the bounding box of each map's high values (Sections 5.2 and 6.1).

    A map is resized to the image and scaled to [0, 1] by its minimum and maximum. The
    box bounds the largest 8-connected component of the pixels above `threshold`; among
    components of equal size it takes the first from the top.

    Args:
      maps: `[B, h, w]`, real.
      image_size: (height, width) of the image in pixels, or the side of a square one.
      threshold: share of the scaled map's maximum, in [0, 1); or T of them.
      method: how to resize, one of `METHODS`, as in `jax.image.resize`.

    Returns:
      float32 `[B, 4]`, or `[B, T, 4]` for T thresholds: the whole image for a flat map,
      zeros for a map that is not finite.

    Raises:
      ValueError: shapes, threshold or method do not fit the above.

    Examples:
      >>> maps = np.zeros((1, 4, 4))
      >>> maps[0, 1:3, 2:4] = 1
      >>> boxes_from_maps(maps, 8, method="nearest").tolist()
      [[4.0, 2.0, 8.0, 6.0]]
    """
    thresholds = np.asarray(threshold, np.float32)
    if thresholds.ndim > 1 or not ((thresholds >= 0) & (thresholds < 1)).all():
        raise ValueError(f"threshold must be in [0, 1), not {threshold}")
    cut = functools.partial(_masks, thresholds=thresholds.reshape(-1))
    boxes = [
        _largest_component(mask)
        for masks in _in_chunks(cut, maps, image_size, method, thresholds.size)
        for mask in masks.reshape(-1, *masks.shape[2:])
    ]
    return np.array(boxes, np.float32).reshape(len(maps), *thresholds.shape, 4)


@by_usual_rules
def peaks_from_maps(
    maps: ArrayLike, image_size: int | tuple[int, int], method: str = "cubic"
) -> np.ndarray:
    """Return the point where each map, resized to the image, is highest.

    See `boxes_from_maps` for the arguments and errors.

    Returns:
      float32 `[B, 2]`, the middle (x, y) of the highest pixel, the first if several are
      equal: the middle of the image for a flat map, NaN for a map that is not finite.

    Examples:
      >>> peaks_from_maps(np.array([[[0, 1], [0, 0]]]), 4, "nearest").tolist()
      [[2.5, 0.5]]
    """
    return np.concatenate(list(_in_chunks(_peaks, maps, image_size, method)))


@by_usual_rules
def score_maps(
    maps: ArrayLike, image_size: int | tuple[int, int], method: str = "cubic"
) -> np.ndarray:
    """Resize maps to the image and scale them to [0, 1], for `box_accuracy_curve`.

    See `boxes_from_maps` for the arguments and errors.

    Returns:
      float32 `[B, H, W]`; zeros, as in the public WSOL evaluation, for a map that is
      flat or not finite.

    Examples:
      >>> score_maps(np.array([[[4, 6], [5, 8]]]), 2).tolist()
      [[[0.0, 0.5], [0.25, 1.0]]]
    """
    return np.concatenate(list(_in_chunks(_scores, maps, image_size, method)))


@by_usual_rules
def localization_accuracy(
    boxes: ArrayLike,
    gt_boxes: ArrayLike,
    num_boxes: ArrayLike,
    correct: ArrayLike | None = None,
    iou_threshold: float = 0.5,
) -> Array:
    """Return the share of images whose box meets a true box: GT-known, Top-1 or Top-5.

    Args:
      boxes: `[B, 4]`, the box of the image's label.
      gt_boxes: `[B, G, 4]`, padded.
      num_boxes: `[B]`, how many of the G are true.
      correct: `[B]`, whether the label is also the likeliest class, for Top-1, or among
        the five likeliest, for Top-5. None looks at the box alone: GT-known.
      iou_threshold: a box meets another at this IoU or more.

    Returns:
      Scalar in [0, 1]; an image without a true box is a miss; NaN without images.

    Raises:
      ValueError: shapes do not fit.

    Examples:
      >>> boxes = np.array([[0, 0, 4, 4], [0, 0, 4, 4]])
      >>> truth = np.array([[[0, 0, 4, 8]], [[6, 6, 8, 8]]])
      >>> print(localization_accuracy(boxes, truth, np.array([1, 1])))
      0.5
    """
    xp = array_module(boxes, gt_boxes, num_boxes)
    hits = best_iou(boxes, gt_boxes, num_boxes) >= iou_threshold
    hits = hits & (xp.asarray(num_boxes) > 0)
    if correct is not None:
        correct = xp.asarray(correct)
        if correct.shape != hits.shape:
            raise ValueError(f"correct must be {hits.shape}, not {correct.shape}")
        hits = hits & (correct > 0)
    return hits.mean() if len(hits) else xp.asarray(xp.nan)


@by_usual_rules
def pointing_accuracy(
    points: ArrayLike, gt_boxes: ArrayLike, num_boxes: ArrayLike
) -> Array:
    """Return the share of images whose peak lies in a true box, the pointing game.

    See `localization_accuracy` for the result and the errors.

    Args:
      points: `[B, 2]` of (x, y), see `peaks_from_maps`.
      gt_boxes: `[B, G, 4]`, padded.
      num_boxes: `[B]`, how many of the G are true.

    Examples:
      >>> print(pointing_accuracy([[2, 2]], [[[0, 0, 4, 4]]], [1]))
      1.0
    """
    xp = array_module(points, gt_boxes, num_boxes)
    points = xp.asarray(points)
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"points must be [B, 2], not {points.shape}")
    gt_boxes, counts = as_truth(gt_boxes, num_boxes, len(points), xp)
    real = xp.arange(gt_boxes.shape[1]) < counts[:, None]
    at = points[:, None]
    inside = (gt_boxes[..., :2] <= at) & (at < gt_boxes[..., 2:])
    hits = (inside.all(-1) & real).any(-1)
    return hits.mean() if len(hits) else xp.asarray(xp.nan)


def _in_chunks(
    function: Callable[..., jax.Array],
    maps: ArrayLike,
    image_size: int | tuple[int, int],
    method: str,
    copies: int = 1,  # of each map, at the image's size, that the function holds
) -> Iterator[np.ndarray]:
    """Check the arguments, and yield a compiled function's results chunk by chunk."""
    maps = np.asarray(maps)
    if maps.ndim != 3 or 0 in maps.shape[1:]:
        raise ValueError(f"maps must be [B, h, w], not {maps.shape}")
    if method not in METHODS:
        raise ValueError(f"method must be one of {METHODS}, not {method!r}")
    function = functools.partial(
        function, size=check_image_size(image_size), method=method
    )
    step = max(_CHUNK // max(copies, 1), 1)
    for start in range(0, max(len(maps), 1), step):
        chunk = maps[start : start + step]
        # The last chunk grows to a power of two, so that few sizes are compiled.
        room = min(1 << max(len(chunk) - 1, 0).bit_length(), step)
        padded = np.concatenate([chunk, np.repeat(chunk[-1:], room - len(chunk), 0)])
        yield np.asarray(function(padded))[: len(chunk)]


def check_image_size(image_size: Any) -> tuple[int, int]:
    """Return (height, width) as whole numbers, or raise a `ValueError`."""
    with contextlib.suppress(TypeError, ValueError, OverflowError):
        single = np.ndim(image_size) == 0
        sides = (image_size,) * 2 if single else tuple(image_size)
        height, width = map(int, sides)
        is_whole = (height, width) == tuple(map(float, sides))
        if is_whole and min(height, width) > 0 and height * width <= _MOST_PIXELS:
            return height, width
    raise ValueError(
        "image_size must be (height, width), whole numbers of at most "
        f"{_MOST_PIXELS:,} pixels, not {image_size!r}"
    )


_jit = functools.partial(jax.jit, static_argnames=("size", "method"))


@_jit
def _masks(
    maps: jax.Array, thresholds: jax.Array, size: tuple[int, int], method: str
) -> jax.Array:
    """Return which pixels exceed each of T thresholds, uint8 `[B, T, H, W]`."""
    scaled, flat, finite = (x[:, None] for x in _resize(maps, size, method))
    kept = scaled > thresholds[:, None, None]
    return ((kept | flat) & finite).astype(jnp.uint8)


@_jit
def _peaks(maps: jax.Array, size: tuple[int, int], method: str) -> jax.Array:
    scaled, flat, finite = _resize(maps, size, method)
    height, width = size
    index = scaled.reshape(len(maps), height * width).argmax(1)
    peaks = jnp.stack([index % width + 0.5, index // width + 0.5], -1)
    peaks = jnp.where(flat[:, 0], jnp.array([width / 2, height / 2]), peaks)
    return jnp.where(finite[:, 0], peaks, jnp.nan)


@_jit
def _scores(maps: jax.Array, size: tuple[int, int], method: str) -> jax.Array:
    scaled, flat, finite = _resize(maps, size, method)
    return jnp.where(finite & ~flat, scaled, 0)


def _resize(
    maps: jax.Array, size: tuple[int, int], method: str
) -> tuple[jax.Array, ...]:
    """Return scaled maps `[B, H, W]`, and which are flat and finite, `[B, 1, 1]`."""
    maps = information.as_float(maps)
    largest = jnp.abs(maps).max((1, 2), keepdims=True)
    maps = maps / jnp.where(largest > 0, largest, 1)  # no difference overflows
    spread = maps.max((1, 2), keepdims=True) - maps.min((1, 2), keepdims=True)
    flat = spread <= 4 * jnp.finfo(maps.dtype).eps
    resized = jax.image.resize(maps, (len(maps), *size), method)
    low = resized.min((1, 2), keepdims=True)
    high = resized.max((1, 2), keepdims=True)
    flat |= high == low  # few pixels may miss a map's extremes
    scaled = (resized - low) / jnp.where(high > low, high - low, 1)
    return scaled, flat, jnp.isfinite(largest)


def _largest_component(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Return the box of the largest 8-connected component; zeros if there is none."""
    contours, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        return 0, 0, 0, 0
    if len(contours) == 1:  # one component without a hole: four times faster
        x, y, width, height = cv2.boundingRect(contours[0])
    else:
        _, _, rows, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
        largest = 1 + rows[1:, cv2.CC_STAT_AREA].argmax()  # row 0 is the background
        x, y, width, height, _ = rows[largest].tolist()
    return x, y, x + width, y + height
