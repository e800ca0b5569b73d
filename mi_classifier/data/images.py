"""Data sets of images: crops and flips on the device, and boxes that follow them."""

import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mi_classifier.data.dataset import Dataset, Split, normalize, stored_example
from mi_classifier.decoding import decode
from mi_classifier.errors import UserError, choose
from mi_classifier.storage.files import hash_text
from mi_classifier.text import tell

# Mean and deviation per channel, of pixels in [0, 1], that pretrained nets expect:
# ImageNet's own, and those of the Inception nets.
NORMALIZATIONS = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "efficientnet": ((127 / 255,) * 3, (128 / 255,) * 3),
    "inception": ((0.5,) * 3, (0.5,) * 3),
}


class Images(NamedTuple):
    """Splits of decoded images, uint8 `[N, S, S, 3]`, with boxes in their pixels."""

    splits: Mapping[str, Split]
    class_names: Sequence[str]
    names: Mapping[str, Sequence[str]] | None = None  # of the images, by split
    digests: Mapping[str, str] | None = None  # a hash of each split


def random_crop_and_flip(
    key: jax.Array, image: jax.Array, side: int, pad: int = 0
) -> jax.Array:
    """Return a random square of an image `[H, W, C]`, mirrored with probability 1/2.

    Before that, the image grows by `pad` pixels at each edge, which mirror those inside
    of it. With `side` equal to H and W, the image moves by up to `pad` pixels.
    """
    if pad:
        image = jnp.pad(image, [(pad, pad), (pad, pad), (0, 0)], "reflect")
    top_key, left_key, flip_key = jax.random.split(key, 3)
    top = jax.random.randint(top_key, (), 0, image.shape[0] - side + 1)
    left = jax.random.randint(left_key, (), 0, image.shape[1] - side + 1)
    image = jax.lax.dynamic_slice(image, (top, left, 0), (side, side, image.shape[2]))
    return jnp.where(jax.random.bernoulli(flip_key), image[:, ::-1], image)


def center_crop(images: jax.Array, side: int) -> jax.Array:
    """Return the middle square of images `[..., H, W, C]`, rounded to the top left."""
    top, left = ((size - side) // 2 for size in images.shape[-3:-1])
    return images[..., top : top + side, left : left + side, :]


def center_crop_boxes(boxes: np.ndarray, size: Sequence[int], side: int) -> np.ndarray:
    """Move and clip boxes as `center_crop` crops images of `size` (height, width)."""
    top, left = ((length - side) // 2 for length in size)
    return np.clip(boxes - np.array([left, top, left, top]), 0, side)


def check_sides(stored_side: int, side: int) -> None:
    """Check that crops are not larger than images, nor smaller than 16 pixels."""
    if not 16 <= side <= stored_side:
        raise UserError(f"data.side: must be in [16, {stored_side}], not {side}")


def image_dataset(
    name: str, images: Images, side: int, normalization: str, pad: int = 0
) -> Dataset:
    """Make a data set whose images are cropped and normalized.

    Training images are cropped at random in each step and mirrored with probability
    1/2. The other splits hold the middle of each image; boxes follow the crop and are
    clipped to it.

    Args:
      name: its title in tables.
      images: the splits.
      side: side of the crops in pixels.
      normalization: a name in `NORMALIZATIONS`.
      pad: see `random_crop_and_flip`.

    Raises:
      UserError: the normalization is unknown, or `pad` is negative.
    """
    choose(normalization, NORMALIZATIONS, "data.normalization")
    if pad < 0:
        raise UserError(f"data.pad: must be at least 0, not {pad}")
    mean, deviation = NORMALIZATIONS[normalization]
    stored_side = images.splits["test"]["image"].shape[1]
    first = (stored_side - side) // 2
    low, high = first / stored_side, (first + side) / stored_side
    splits = {
        split: dict(arrays) if split == "train" else _cropped(arrays, side)
        for split, arrays in images.splits.items()
    }
    _tell_lost_boxes(images.splits, splits)
    return Dataset(
        name=name,
        splits=splits,
        class_names=tuple(images.class_names),
        preprocess=functools.partial(normalize, mean=mean, deviation=deviation),
        augment=functools.partial(_augment, side, pad),
        view=functools.partial(center_crop, side=side),
        image_names=images.names or {},
        read_image=lambda content: center_crop(decode(content, stored_side), side),
        visible=(low, low, high, high),
        digests=images.digests
        and {k: hash_text(f"{side} {each}") for k, each in images.digests.items()},
    )


def blank_dataset(
    side: int,
    normalization: str,
    stored_side: int | None = None,
    num_classes: int = 2,
    pad: int = 0,
) -> Dataset:
    """Make a data set of one black image per split, to find shapes without data."""
    stored_side = side if stored_side is None else stored_side
    check_sides(stored_side, side)
    one = {
        "image": np.zeros((1, stored_side, stored_side, 3), np.uint8),
        "label": np.zeros(1, np.int32),
    }
    images = Images({"train": one, "test": one}, [str(i) for i in range(num_classes)])
    return image_dataset("", images, side, normalization, pad)


def _cropped(split: Split, side: int) -> Split:
    cropped = {**split, "image": center_crop(split["image"], side)}
    if "boxes" in split:
        size = split["image"].shape[1:3]
        boxes = center_crop_boxes(split["boxes"], size, side).astype(np.float32)
        # Boxes outside of the crop no longer count; they go behind the others.
        gone = (boxes[..., 2:] <= boxes[..., :2]).any(-1)
        order = np.argsort(gone, axis=1, kind="stable")[..., None]
        cropped["boxes"] = np.take_along_axis(boxes, order, 1)
        cropped["num_boxes"] = np.sum(~gone, 1, dtype=np.int32)
    return cropped


def _tell_lost_boxes(before: Mapping[str, Split], after: Mapping[str, Split]) -> None:
    """Print how many images have no box any more, because the crop leaves it out."""
    lost = {
        name: int(((split["num_boxes"] > 0) & (after[name]["num_boxes"] == 0)).sum())
        for name, split in before.items()
        if "num_boxes" in split
    }
    if any(lost.values()):
        counts = ", ".join(f"{name} {count:,}" for name, count in lost.items() if count)
        tell(
            "images whose boxes lie outside of the center crop, so that they have no "
            f"box: {counts}; a data.side nearer to data.stored_side keeps more"
        )


def _augment(
    side: int, pad: int, key: jax.Array, split: Split, index: jax.Array
) -> dict[str, jax.Array]:
    example = stored_example(key, split, index)
    return example | {"image": random_crop_and_flip(key, example["image"], side, pad)}
