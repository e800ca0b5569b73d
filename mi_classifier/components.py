"""Boxes of every part of a map that stands out, for images of several objects.

`localization.boxes_from_maps` takes the largest part alone, as the paper does.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from jax.typing import ArrayLike

from mi_classifier import localization


def components_from_maps(
    maps: ArrayLike,
    image_size: tuple[int, int],
    threshold: float,
    smallest: float,
) -> Sequence[np.ndarray]:
    """Return the bounding boxes of each map's connected parts, the largest part first.

    Resizing, scaling and the threshold are those of `localization.boxes_from_maps`, and
    so is the first box of each map.

    Args:
      maps: `[B, h, w]`, real.
      image_size: (height, width) of the image in pixels.
      threshold: share of the scaled map's maximum, in [0, 1).
      smallest: share of the image's area, in [0, 1], that a part must have. The largest
        part is kept even if it is smaller.

    Returns:
      B arrays float32 `[C, 4]`; C is at least 1.

    Raises:
      ValueError: shapes, threshold or `smallest` do not fit the above.

    Examples:
      >>> maps = np.array([[[9.0, 0, 0, 0, 0], [0, 0, 0, 8, 9]]])
      >>> components_from_maps(maps, (2, 5), 0.5, 0.1)[0].tolist()
      [[3.0, 1.0, 5.0, 2.0], [0.0, 0.0, 1.0, 1.0]]
    """
    if not 0 <= smallest <= 1:
        raise ValueError(f"smallest must be in [0, 1], not {smallest}")
    largest = localization.boxes_from_maps(maps, image_size, threshold)
    scores = localization.score_maps(maps, image_size)
    pixels = smallest * image_size[0] * image_size[1]
    found = []
    for score, box in zip(scores, largest, strict=True):
        mask = (score > np.float32(threshold)).astype(np.uint8)
        _, _, rows, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
        x, y, width, height, areas = rows[1:].T  # row 0 is the background
        order = np.argsort(-areas, kind="stable")[1:]
        order = order[areas[order] >= pixels]
        others = np.stack([x, y, x + width, y + height], 1)[order]
        found.append(np.concatenate([box[None], others]).astype(np.float32))
    return found
