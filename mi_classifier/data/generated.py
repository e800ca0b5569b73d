"""Generated images of the shapes of the paper's: textured objects over clutter.

A class is a color and the direction of a grating; an object of it is an ellipse
somewhere on a background of blurred noise, and its box is known.
"""

import numpy as np
from scipy import ndimage

from mi_classifier.data.dataset import Dataset, Split
from mi_classifier.data.images import center_crop, center_crop_boxes, image_dataset
from mi_classifier.errors import UserError

_DIRECTIONS = 10


def load(
    num_classes: int,
    num_images: int,
    stored_side: int,
    side: int,
    normalization: str,
    seed: int,
) -> Dataset:
    """Generates a data set of colored images.

    Args:
      num_classes: number of classes M, at least 2.
      num_images: in each of "train", "validation" and "test".
      stored_side: of the images as stored, in pixels.
      side: of the random crops of training, flipped or not, and of the middle of the
        image that is evaluated.
      normalization: a name among `images.NORMALIZATIONS`.
      seed: decides everything.

    Returns:
      Splits of uint8 images `[stored_side, stored_side, 3]` in training and `[side,
      side, 3]` elsewhere, with one of "boxes" `[1, 4]` each.

    Raises:
      UserError: a number out of range.
    """
    if num_classes < 2 or num_images < 1:
        raise UserError("data: num_classes must be at least 2, num_images at least 1")
    if not 16 <= side <= stored_side:
        raise UserError(f"data.side: must be in [16, {stored_side}], not {side}")
    splits = {}
    for index, name in enumerate(("train", "validation", "test")):
        generator = np.random.default_rng([seed, index])
        split = _generate(num_classes, num_images, stored_side, generator)
        if name != "train":
            boxes = center_crop_boxes(split["boxes"], (stored_side,) * 2, side)
            images = np.ascontiguousarray(center_crop(split["image"], side))
            split = split | {"image": images, "boxes": boxes.astype(np.float32)}
        splits[name] = split
    name = f"generated, {num_classes} classes, {side} px"
    names = [f"class {c}" for c in range(num_classes)]
    return image_dataset(name, splits, names, side, normalization)


def _generate(
    num_classes: int, count: int, side: int, generator: np.random.Generator
) -> Split:
    labels = (np.arange(count) % num_classes).astype(np.int32)
    rows, columns = np.mgrid[:side, :side] / side
    images = np.zeros((count, side, side, 3), np.uint8)
    boxes = np.zeros((count, 1, 4), np.float32)
    for image, box, label in zip(images, boxes, labels, strict=True):
        noise = generator.normal(size=(side, side, 3))
        clutter = ndimage.gaussian_filter(noise, (side / 32, side / 32, 0))
        background = 128 + 40 * clutter / clutter.std()
        center = generator.uniform(0.35, 0.65, 2)
        radius = generator.uniform(0.15, 0.3, 2)
        away = (np.stack([rows, columns], -1) - center) / radius
        inside = (away**2).sum(-1) < 1
        angle = np.pi * (label % _DIRECTIONS) / _DIRECTIONS
        along = rows * np.sin(angle) + columns * np.cos(angle)
        grating = np.sin(2 * np.pi * (12 * along + generator.random()))
        hue = 2 * np.pi * (label // _DIRECTIONS) / -(-num_classes // _DIRECTIONS)
        color = np.cos(hue + 2 * np.pi * np.arange(3) / 3)
        texture = 128 + 60 * color + 50 * grating[..., None]
        image[:] = np.where(inside[..., None], texture, background).clip(0, 255)
        ink_rows, ink_columns = np.nonzero(inside)
        box[0] = (
            *(ink_columns.min(), ink_rows.min()),
            *(ink_columns.max() + 1, ink_rows.max() + 1),
        )
    return {
        "image": images,
        "label": labels,
        "boxes": boxes,
        "num_boxes": np.ones(count, np.int32),
    }
