"""Bounding boxes of the largest contour of a map, at every threshold.

This is a file of its own because other processes import it: it must not import JAX.
"""

import cv2
import numpy as np

_CROP_EVERY = 8  # cutoffs, because cropping takes time too


def boxes_of(maps: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Trace uint8 maps `[B, H, W]`; see `wsol_protocol.boxes_at_thresholds`.

    Returns:
      int32 `[B, T, 4]`, corners included.
    """
    boxes = [_trace(gray, thresholds) for gray in maps]
    return np.array(boxes, np.int32).reshape(len(maps), len(thresholds), 4)


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
