"""From maps to boxes, and from boxes to localization figures.

Boxes are `(x0, y0, x1, y1)` in pixels of the image, half-open: a box of one pixel has
area 1. What is batched runs compiled, or in NumPy; connected components and contours
are OpenCV's.

What a map cannot tell is settled by rule. A map that is flat, to rounding, prefers no
part of the image: its box is the whole image, its peak the middle. A map with a value
that is not finite has an empty box, (0, 0, 0, 0), and a peak of NaN: both are misses.
True boxes are taken as they are, also beyond the image; an image without a true box is
a miss.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from mi_classifier import information

Array = jax.Array | np.ndarray
METHODS = ("nearest", "linear", "cubic", "lanczos3", "lanczos5")
# The thresholds and IoUs of the public WSOL evaluation (Choe et al. 2020).
THRESHOLDS = tuple(np.arange(0, 1, 0.01).tolist())
IOUS = (0.3, 0.5, 0.7)
_CHUNK = 64  # maps that are at the size of the image at once
_ROUNDING = 1e-5  # by which scaled maps may leave [0, 1]
_CROP_EVERY = 8  # cutoffs: cropping costs a little too


def boxes_from_maps(
    maps: ArrayLike,
    image_size: int | tuple[int, int],
    threshold: float | Sequence[float] = 0.2,
    method: str = "cubic",
) -> np.ndarray:
    """Bounding boxes of what stands out in maps (Sections 5.2 and 6.1).

    A map is resized to the image, scaled to [0, 1] by its minimum and maximum, and cut
    at `threshold`; the box bounds the largest 8-connected component of what exceeds it,
    by pixels; of equals the first from the top.

    Args:
      maps: `[B, h, w]`, real.
      image_size: (height, width) of the image in pixels, or the side of a square one.
      threshold: share of the scaled map's maximum, in [0, 1); or T of them.
      method: how to resize, a name among `METHODS`, as in `jax.image.resize`.

    Returns:
      float32 `[B, 4]`, of T thresholds `[B, T, 4]`: the whole image for a flat map,
      zeros for one that is not finite.

    Raises:
      ValueError: shapes, threshold or method other than said above.
    """
    thresholds = np.asarray(threshold, np.float32)
    if thresholds.ndim > 1 or not ((thresholds >= 0) & (thresholds < 1)).all():
        raise ValueError(f"threshold must be in [0, 1), not {threshold}")
    size = _check_maps(maps, image_size, method)
    shape = (len(maps), *thresholds.shape, 4)
    thresholds = thresholds.reshape(-1)
    cut = functools.partial(_masks, thresholds=thresholds, size=size, method=method)
    boxes = [
        _largest_component(mask)
        for chunk in _in_chunks(cut, maps, len(thresholds))
        for masks in chunk
        for mask in masks
    ]
    return np.array(boxes, np.float32).reshape(shape)


def peaks_from_maps(
    maps: ArrayLike, image_size: int | tuple[int, int], method: str = "cubic"
) -> np.ndarray:
    """Where maps, resized to the image, are highest.

    Args:
      maps: as in `boxes_from_maps`.
      image_size: as there.
      method: as there.

    Returns:
      float32 `[B, 2]`, the middle of the pixel (x, y); of equals the first. The middle
      of the image for a flat map, NaN for one that is not finite.

    Raises:
      ValueError: as there.
    """
    size = _check_maps(maps, image_size, method)
    find = functools.partial(_peaks, size=size, method=method)
    peaks = list(_in_chunks(find, maps))
    return np.concatenate(peaks) if peaks else np.zeros((0, 2), np.float32)


def score_maps(
    maps: ArrayLike, image_size: int | tuple[int, int], method: str = "cubic"
) -> np.ndarray:
    """Maps at the size of the image, scaled to [0, 1]: what `box_accuracy_curve` takes.

    Args:
      maps: as in `boxes_from_maps`.
      image_size: as there.
      method: as there.

    Returns:
      float32 `[B, H, W]`; zeros, as in the public WSOL evaluation, for a map that is
      flat or not finite.

    Raises:
      ValueError: as there.
    """
    size = _check_maps(maps, image_size, method)
    scale = functools.partial(_scores, size=size, method=method)
    scores = list(_in_chunks(scale, maps))
    return np.concatenate(scores) if scores else np.zeros((0, *size), np.float32)


def iou(boxes_a: ArrayLike, boxes_b: ArrayLike) -> Array:
    """Intersection over union of boxes.

    Args:
      boxes_a: `[..., 4]`.
      boxes_b: `[..., 4]`, of leading axes that broadcast with those of `boxes_a`.

    Returns:
      `[...]` in [0, 1]; 0 for boxes without area, or with their corners swapped. NumPy
      of NumPy boxes, else JAX, also when traced.

    Raises:
      ValueError: the last axis is not 4.
    """
    xp = _module(boxes_a, boxes_b)
    a, b = (
        _as_boxes(name, boxes, xp)
        for name, boxes in (("boxes_a", boxes_a), ("boxes_b", boxes_b))
    )
    top = xp.maximum(a[..., :2], b[..., :2])
    bottom = xp.minimum(a[..., 2:], b[..., 2:])
    common = _area(xp.concatenate([top, bottom], -1))
    union = _area(a) + _area(b) - common
    # A box with its corners swapped has no area, whatever it overlaps.
    common = xp.where((_area(a) > 0) & (_area(b) > 0), common, 0)
    return common / xp.where(union > 0, union, 1)


def best_iou(boxes: ArrayLike, gt_boxes: ArrayLike, num_boxes: ArrayLike) -> Array:
    """The IoU of each box with the true box that it meets best.

    Args:
      boxes: `[B, ..., 4]`.
      gt_boxes: `[B, G, 4]`, padded.
      num_boxes: `[B]`, how many of the G are true.

    Returns:
      `[B, ...]`; 0 for an image without a true box.

    Raises:
      ValueError: shapes do not fit.
    """
    xp = _module(boxes, gt_boxes, num_boxes)
    boxes = _as_boxes("boxes", boxes, xp)
    gt_boxes, num_boxes = _as_truth(gt_boxes, num_boxes, len(boxes), xp)
    between = (1,) * (boxes.ndim - 2)
    targets = gt_boxes.reshape(len(boxes), *between, *gt_boxes.shape[1:])
    real = xp.arange(gt_boxes.shape[1]) < num_boxes.reshape(-1, *between, 1)
    overlaps = xp.where(real, iou(boxes[..., None, :], targets), 0)
    return overlaps.max(-1, initial=0)


def localization_accuracy(
    boxes: ArrayLike,
    gt_boxes: ArrayLike,
    num_boxes: ArrayLike,
    correct: ArrayLike | None = None,
    iou_threshold: float = 0.5,
) -> Array:
    """Share of images whose box meets a true box: GT-known, Top-1 or Top-5.

    Args:
      boxes: `[B, 4]`, the box of the image's label.
      gt_boxes: `[B, G, 4]`, padded.
      num_boxes: `[B]`, how many of the G are true.
      correct: `[B]`, whether the image is classified rightly: Top-1 localization, or
        Top-5 if the label is among the five likeliest. None asks for the box alone:
        GT-known.
      iou_threshold: that a box meets another at, or above.

    Returns:
      Scalar in [0, 1]; an image without a true box is a miss; NaN without images.

    Raises:
      ValueError: shapes do not fit.
    """
    xp = _module(boxes, gt_boxes, num_boxes)
    hits = best_iou(boxes, gt_boxes, num_boxes) >= iou_threshold
    return _share(hits, num_boxes, correct, xp)


def pointing_accuracy(
    points: ArrayLike, gt_boxes: ArrayLike, num_boxes: ArrayLike
) -> Array:
    """The pointing game: share of images whose peak lies in a true box.

    Args:
      points: `[B, 2]` of (x, y), see `peaks_from_maps`.
      gt_boxes: `[B, G, 4]`, padded.
      num_boxes: `[B]`, how many of the G are true.

    Returns:
      Scalar in [0, 1]; an image without a true box is a miss; NaN without images.

    Raises:
      ValueError: shapes do not fit.
    """
    xp = _module(points, gt_boxes, num_boxes)
    points = xp.asarray(points)
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"points must be [B, 2], not {points.shape}")
    gt_boxes, counts = _as_truth(gt_boxes, num_boxes, len(points), xp)
    real = xp.arange(gt_boxes.shape[1]) < counts[:, None]
    inside = (gt_boxes[..., :2] <= points[:, None]) & (
        points[:, None] < gt_boxes[..., 2:]
    )
    hits = (inside.all(-1) & real).any(-1)
    return _share(hits, num_boxes, None, xp)


def boxes_at_thresholds(
    maps: ArrayLike, thresholds: Sequence[float] = THRESHOLDS
) -> np.ndarray:
    """Boxes by the public WSOL evaluation (Choe et al. 2020), at many thresholds.

    By its rules: a map times 255, truncated to 8 bits; kept is what exceeds
    `int(t * maximum)`; of the contours the one that encloses the largest area, its
    bounding rectangle, right and bottom clipped to the last pixel.

    Args:
      maps: `[B, H, W]` in [0, 1], at the size of the image.
      thresholds: T numbers in [0, 1].

    Returns:
      int32 `[B, T, 4]`, corners included: (0, 0, 0, 0) where nothing is kept, and for
      a map that holds NaN.

    Raises:
      ValueError: shapes or values other than said above.
    """
    maps, thresholds = np.asarray(maps), np.asarray(thresholds, np.float64)
    if maps.ndim != 3 or 0 in maps.shape[1:]:
        raise ValueError(f"score maps must be [B, H, W], not {maps.shape}")
    if thresholds.ndim != 1 or not ((thresholds >= 0) & (thresholds <= 1)).all():
        raise ValueError("thresholds must be [T] numbers in [0, 1]")

    def trace(scores: np.ndarray) -> np.ndarray:
        if np.isnan(scores).any():
            return np.zeros((len(thresholds), 4), np.int32)
        if scores.min() < -_ROUNDING or scores.max() > 1 + _ROUNDING:
            raise ValueError(
                "score maps must lie in [0, 1], found "
                f"[{scores.min():g}, {scores.max():g}]; scale them with score_maps"
            )
        return _trace((scores.clip(0, 1) * 255).astype(np.uint8), thresholds)

    return np.array([trace(scores) for scores in maps], np.int32).reshape(
        len(maps), len(thresholds), 4
    )


def box_accuracy_curve(
    score_maps: ArrayLike,
    gt_boxes: ArrayLike,
    num_boxes: ArrayLike,
    thresholds: Sequence[float] = THRESHOLDS,
    iou_thresholds: Sequence[float] = IOUS,
) -> np.ndarray:
    """Localization over thresholds by the public WSOL evaluation (Choe et al. 2020).

    MaxBoxAcc is the maximum of the 0.5 row, MaxBoxAccV2 the mean of the three rows'
    maxima. Here alone boxes are pixels of the image, corners included, so that widths
    count one pixel more: for the literature's figures true boxes end at the last pixel.

    Args:
      score_maps: `[B, H, W]` in [0, 1], at the size of the image.
      gt_boxes: `[B, G, 4]`, padded.
      num_boxes: `[B]`, how many of the G are true.
      thresholds: T numbers in [0, 1].
      iou_thresholds: I numbers, that a box meets a true one at, or above.

    Returns:
      float64 `[I, T]` fractions of images; an image without a true box is a miss; NaN
      without images.

    Raises:
      ValueError: shapes or values other than said above.
    """
    boxes = boxes_at_thresholds(score_maps, thresholds)
    return protocol_accuracy(boxes, gt_boxes, num_boxes, iou_thresholds)


def protocol_accuracy(
    boxes: ArrayLike,
    gt_boxes: ArrayLike,
    num_boxes: ArrayLike,
    iou_thresholds: Sequence[float] = IOUS,
) -> np.ndarray:
    """The second half of `box_accuracy_curve`, from boxes on.

    Args:
      boxes: `[B, T, 4]` of `boxes_at_thresholds`, corners included.
      gt_boxes: as in `box_accuracy_curve`.
      num_boxes: as there.
      iou_thresholds: as there.

    Returns:
      As there.

    Raises:
      ValueError: shapes do not fit.
    """
    boxes = np.asarray(boxes)
    gt_boxes, num_boxes = _as_truth(gt_boxes, num_boxes, len(boxes), np)
    inclusive = np.array([0, 0, 1, 1])
    overlaps = best_iou(boxes + inclusive, gt_boxes + inclusive, num_boxes)
    met = overlaps[None] >= np.asarray(iou_thresholds, overlaps.dtype)[:, None, None]
    met &= (num_boxes > 0)[:, None]
    return met.mean(1) if len(boxes) else np.full(met.shape[::2], np.nan)


def _check_maps(
    maps: ArrayLike, image_size: int | tuple[int, int], method: str
) -> tuple[int, int]:
    """Returns the image's (height, width)."""
    shape = np.shape(maps)
    if len(shape) != 3 or 0 in shape[1:]:
        raise ValueError(f"maps must be [B, h, w], not {shape}")
    if method not in METHODS:
        raise ValueError(f"method must be one of {METHODS}, not {method!r}")
    size = (image_size,) * 2 if np.ndim(image_size) == 0 else tuple(image_size)
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f"image_size must be (height, width), not {image_size}")
    return int(size[0]), int(size[1])


def _in_chunks(
    function: Callable[[np.ndarray], jax.Array], maps: ArrayLike, copies: int = 1
) -> Iterator[np.ndarray]:
    """Applies a function of maps to some at a time, and returns the results in turn.

    Args:
      function: compiled, from `[b, h, w]` to `[b, ...]`.
      maps: `[B, h, w]`.
      copies: of each map at the image's size that the function holds at once.
    """
    maps = np.asarray(maps)
    step = max(_CHUNK // max(copies, 1), 1)
    for start in range(0, len(maps), step):
        chunk = maps[start : start + step]
        # Of the sizes a rest may have only powers of two are compiled.
        room = min(1 << (len(chunk) - 1).bit_length(), step)
        padded = np.concatenate([chunk, np.repeat(chunk[-1:], room - len(chunk), 0)])
        yield np.asarray(function(padded))[: len(chunk)]


_jit = functools.partial(jax.jit, static_argnames=("size", "method"))


@_jit
def _masks(
    maps: jax.Array, thresholds: jax.Array, size: tuple[int, int], method: str
) -> jax.Array:
    """Returns what exceeds each of T thresholds, `[B, T, H, W]`."""
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
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Resizes and scales; which maps are flat and which finite, `[B, 1, 1]`."""
    maps = information.as_float(maps)
    largest = jnp.abs(maps).max((1, 2), keepdims=True)
    maps = maps / jnp.where(largest > 0, largest, 1)  # the largest difference is finite
    spread = maps.max((1, 2), keepdims=True) - maps.min((1, 2), keepdims=True)
    flat = spread <= 4 * jnp.finfo(maps.dtype).eps
    resized = jax.image.resize(maps, (len(maps), *size), method)
    low = resized.min((1, 2), keepdims=True)
    high = resized.max((1, 2), keepdims=True)
    flat |= high == low  # an image of few pixels may miss what a map has
    scaled = (resized - low) / jnp.where(high > low, high - low, 1)
    return scaled, flat, jnp.isfinite(largest)


def _largest_component(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Returns the box of the largest 8-connected component, zeros without any."""
    contours, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        return 0, 0, 0, 0
    if len(contours) == 1:  # one component without a hole, found four times faster
        x, y, width, height = cv2.boundingRect(contours[0])
    else:
        _, _, rows, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
        largest = 1 + rows[1:, cv2.CC_STAT_AREA].argmax()  # the first is background
        x, y, width, height, _ = rows[largest].tolist()
    return x, y, x + width, y + height


def _trace(gray: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Returns the boxes `[T, 4]` of the largest contour of a uint8 map."""
    last = np.array(gray.shape)[[1, 0, 1, 0]] - 1
    cutoffs = (thresholds * gray.max()).astype(int)
    found: dict[int, tuple[int, ...]] = {}
    left, top = 0, 0
    for index, cutoff in enumerate(np.unique(cutoffs).tolist()):
        _, mask = cv2.threshold(gray, cutoff, 1, cv2.THRESH_BINARY)
        if index % _CROP_EVERY == 0:
            # What a lower cutoff drops, a higher one cannot keep: go on with the rest.
            x, y, width, height = cv2.boundingRect(mask)
            if not width:
                break
            rows, columns = slice(y, y + height), slice(x, x + width)
            gray = np.ascontiguousarray(gray[rows, columns])
            mask, left, top = mask[rows, columns], left + x, top + y
        contours, _ = cv2.findContours(
            mask,
            cv2.RETR_EXTERNAL,  # a hole encloses less than what it is in
            cv2.CHAIN_APPROX_SIMPLE,
            offset=(left, top),
        )
        if not contours:
            break
        x, y, width, height = cv2.boundingRect(max(contours, key=cv2.contourArea))
        found[cutoff] = (x, y, x + width, y + height)
    boxes = [found.get(cutoff, (0, 0, 0, 0)) for cutoff in cutoffs.tolist()]
    return np.minimum(np.array(boxes, np.int32).reshape(-1, 4), last)


def _module(*arrays: ArrayLike) -> ModuleType:
    """JAX where any array is JAX's, else NumPy."""
    return jnp if any(isinstance(a, jax.Array) for a in arrays) else np


def _as_boxes(name: str, boxes: ArrayLike, xp: ModuleType) -> Array:
    boxes = xp.asarray(boxes)
    if not boxes.ndim or boxes.shape[-1] != 4:
        raise ValueError(f"{name} must be [..., 4], not {boxes.shape}")
    return boxes.astype(xp.promote_types(boxes.dtype, np.float32))


def _as_truth(
    gt_boxes: ArrayLike, num_boxes: ArrayLike, batch: int, xp: ModuleType
) -> tuple[Array, Array]:
    gt_boxes = _as_boxes("gt_boxes", gt_boxes, xp)
    num_boxes = xp.asarray(num_boxes)
    if gt_boxes.ndim != 3 or len(gt_boxes) != batch:
        raise ValueError(f"gt_boxes must be [{batch}, G, 4], not {gt_boxes.shape}")
    if num_boxes.shape != (batch,):
        raise ValueError(f"num_boxes must be [{batch}], not {num_boxes.shape}")
    return gt_boxes, num_boxes


def _area(boxes: Array) -> Array:
    sides = boxes[..., 2:] - boxes[..., :2]
    return sides[..., 0].clip(0) * sides[..., 1].clip(0)


def _share(
    hits: Array, num_boxes: ArrayLike, correct: ArrayLike | None, xp: ModuleType
) -> Array:
    hits = hits & (xp.asarray(num_boxes) > 0)
    if correct is not None:
        correct = xp.asarray(correct)
        if correct.shape != hits.shape:
            raise ValueError(f"correct must be {hits.shape}, not {correct.shape}")
        hits = hits & (correct > 0)
    return hits.mean() if len(hits) else xp.asarray(xp.nan)
