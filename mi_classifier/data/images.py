"""What happens to images on the device: crop, flip, normalization; boxes follow."""

import functools
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from mi_classifier.data.dataset import Dataset, Split, draw_stored, normalize
from mi_classifier.data.decoding import decode
from mi_classifier.errors import UserError, choose

# By name the mean and deviation of pixels in [0, 1] that pretrained nets expect:
# ImageNet's own, and those of the Inception nets.
NORMALIZATIONS = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "inception": ((0.5,) * 3, (0.5,) * 3),
}


def random_crop_and_flip(key: jax.Array, image: jax.Array, side: int) -> jax.Array:
    """A random square of an image, mirrored in half of the draws.

    Args:
      key: of the draw.
      image: `[H, W, C]`, sides at least `side`.
      side: of the square, in pixels.
    """
    top_key, left_key, flip_key = jax.random.split(key, 3)
    top = jax.random.randint(top_key, (), 0, image.shape[0] - side + 1)
    left = jax.random.randint(left_key, (), 0, image.shape[1] - side + 1)
    image = jax.lax.dynamic_slice(image, (top, left, 0), (side, side, image.shape[2]))
    return jnp.where(jax.random.bernoulli(flip_key), image[:, ::-1], image)


def center_crop(images: jax.Array, side: int) -> jax.Array:
    """The middle square of images `[..., H, W, C]`; an odd rest is below and right."""
    top, left = ((size - side) // 2 for size in images.shape[-3:-1])
    return images[..., top : top + side, left : left + side, :]


def center_crop_boxes(
    boxes: np.ndarray, size: tuple[int, int], side: int
) -> np.ndarray:
    """Moves boxes as `center_crop` moves images, and clips them to the square.

    Args:
      boxes: `[..., 4]`.
      size: (height, width) of the images.
      side: of the square.
    """
    top, left = ((length - side) // 2 for length in size)
    return np.clip(boxes - np.array([left, top, left, top]), 0, side)


def check_sides(stored_side: int, side: int) -> None:
    """Checks the sizes of images as stored and as trained on.

    Raises:
      UserError: images that are cropped to more than they are, or too small.
    """
    if not 16 <= side <= stored_side:
        raise UserError(f"data.side: must be in [16, {stored_side}], not {side}")


def image_dataset(
    name: str,
    splits: Mapping[str, Split],
    class_names: Sequence[str],
    side: int,
    normalization: str,
    image_names: Mapping[str, Sequence[str]] | None = None,
) -> Dataset:
    """A data set of images that are cropped: at random for training, else the middle.

    Training crops are mirrored in half of the draws. Boxes follow the crop, and are
    clipped to it.

    Args:
      name: what to call it in a table.
      splits: uint8 images `[N, S, S, 3]` as stored.
      class_names: M names.
      side: of the crops, in pixels.
      normalization: a name among `NORMALIZATIONS`.
      image_names: N names of images, by split, where they are known.

    Raises:
      UserError: an unknown normalization.
    """
    choose(normalization, NORMALIZATIONS, "data.normalization")
    mean, deviation = NORMALIZATIONS[normalization]
    stored_side = splits["test"]["image"].shape[1]
    first = (stored_side - side) // 2
    low, high = first / stored_side, (first + side) / stored_side
    return Dataset(
        name=name,
        splits={
            split: dict(arrays) if split == "train" else _cropped(arrays, side)
            for split, arrays in splits.items()
        },
        class_names=tuple(class_names),
        preprocess=functools.partial(normalize, mean=mean, deviation=deviation),
        draw=functools.partial(_draw, side),
        image_names=image_names or {},
        read_image=lambda content: center_crop(decode(content, stored_side), side),
        visible=(low, low, high, high),
    )


def blank_dataset(
    side: int,
    normalization: str,
    stored_side: int | None = None,
    num_classes: int = 2,
) -> Dataset:
    """One black image a split, of the shape that a set's images will have.

    Args:
      side: of the crops, in pixels.
      normalization: a name among `NORMALIZATIONS`.
      stored_side: of the images, in pixels; by default that of the crops.
      num_classes: number of classes M.

    Raises:
      UserError: sides that cannot be, an unknown normalization.
    """
    stored_side = side if stored_side is None else stored_side
    check_sides(stored_side, side)
    one = {
        "image": np.zeros((1, stored_side, stored_side, 3), np.uint8),
        "label": np.zeros(1, np.int32),
    }
    splits = {"train": one, "test": one}
    return image_dataset(
        "", splits, tuple(map(str, range(num_classes))), side, normalization
    )


def _cropped(split: Split, side: int) -> Split:
    cropped = {**split, "image": center_crop(split["image"], side)}
    if "boxes" in split:
        size = split["image"].shape[1:3]
        boxes = center_crop_boxes(split["boxes"], size, side).astype(np.float32)
        # What was cropped away cannot be found: such boxes no longer count.
        gone = (boxes[..., 2:] <= boxes[..., :2]).any(-1)
        order = np.argsort(gone, axis=1, kind="stable")[..., None]
        cropped["boxes"] = np.take_along_axis(boxes, order, 1)
        cropped["num_boxes"] = np.sum(~gone, 1, dtype=np.int32)
    return cropped


def _draw(
    side: int, key: jax.Array, split: Split, index: jax.Array
) -> dict[str, jax.Array]:
    example = draw_stored(key, split, index)
    return example | {"image": random_crop_and_flip(key, example["image"], side)}
