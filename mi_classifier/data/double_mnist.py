"""Double-digit MNIST (Section 6.3): one or two digits side by side, with their boxes.

Each side holds a digit with probability 0.7, all digits equally likely; images without
a digit are left out. Labels are multi-hot. The training step composes new images in
every epoch. Validation and test images are composed once, from other digits.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from mi_classifier.data import mnist
from mi_classifier.data.dataset import Dataset, Split, shift
from mi_classifier.data.mnist_archive import SIDE
from mi_classifier.errors import UserError

PRESENT = 0.7  # probability of a digit on a side
NUM_IMAGES = {"validation": 5_000, "test": 10_000}
_DIGITS = 10
_SHIFT = 2  # training images move by at most this many pixels; digits stay whole


def load(seed: int, archive_dir: str = "", data_dir: str = "") -> Dataset:
    """Load MNIST and compose double digits from the splits of `mnist.read_disjoint`.

    Args:
      seed: decides the images of validation and test.
      archive_dir: as in `mnist.load`.
      data_dir: as in `mnist.load`.

    Returns:
      Splits "validation", 5,000 images, and "test", 10,000 (or as many as there are
      digits, if these are fewer). They hold "image" `[28, 56, 1]` and multi-hot "label"
      `[10]`. For each digit, from the left, they hold its "box_label", the tight box of
      its ink in "boxes" and its half of the image in "cells", `[2, 4]`; the number of
      digits is "num_boxes". "train" holds single digits, sorted; `augment` composes
      images of them.

    Raises:
      UserError: the seed is negative, or files cannot be read.
    """
    if seed < 0:
        raise UserError(f"data.seed: must be at least 0, not {seed}")
    pools, counts = mnist.read_disjoint(archive_dir, data_dir), {}
    for name, pool in pools.items():
        order = np.argsort(pool["label"], kind="stable")
        pools[name] = {key: array[order] for key, array in pool.items()}
        counts[name] = np.bincount(pool["label"], minlength=_DIGITS)
    splits = {"train": pools["train"]}
    for index, (name, most) in enumerate(NUM_IMAGES.items()):
        key = jax.random.fold_in(jax.random.key(seed), index)
        keys = jax.random.split(key, min(most, len(pools[name]["label"])))
        one = functools.partial(compose, counts[name])
        examples = jax.jit(jax.vmap(one, (0, None)))(keys, dict(pools[name]))
        splits[name] = _with_boxes(jax.tree.map(np.asarray, examples))
    # The log share of composed images with each digit; every image has a digit.
    known = counts["train"] > 0
    side = np.where(known, PRESENT / np.count_nonzero(known), 0)
    with np.errstate(divide="ignore"):
        prior = np.log1p(-((1 - side) ** 2)) - np.log1p(-((1 - PRESENT) ** 2))
    return mnist.digit_dataset(
        "double-digit MNIST",
        splits,
        width=2 * SIDE,
        augment=functools.partial(_augment, counts["train"]),
        training_prior=prior.astype(np.float32),
    )


def compose(counts: Sequence[int], key: jax.Array, pool: Split) -> dict[str, jax.Array]:
    """Compose one image from a pool sorted by digit, with `counts` images of each.

    It has "image" `[28, 56, 1]`, "label" `[10]` of 0 and 1, and "box_label" `[2]`, the
    digit on each side or -1.
    """
    sides_key, digits_key, images_key = jax.random.split(key, 3)
    # Both sides, only the left, only the right, in proportion to their probability.
    kinds = jnp.log(jnp.array([PRESENT, 1 - PRESENT, 1 - PRESENT]))
    kind = jax.random.categorical(sides_key, kinds)
    present = jnp.array([[True, True], [True, False], [False, True]])[kind]
    known = np.flatnonzero(counts)
    digits = jnp.asarray(known)[jax.random.randint(digits_key, (2,), 0, len(known))]
    starts = np.cumsum([0, *counts[:-1]])
    which = jax.random.randint(images_key, (2,), 0, jnp.asarray(counts)[digits])
    cells = jnp.asarray(pool["image"])[jnp.asarray(starts)[digits] + which]
    cells = jnp.where(present[:, None, None, None], cells, 0)
    box_label = jnp.where(present, digits, -1)
    return {
        "image": jnp.concatenate([cells[0], cells[1]], axis=1),
        "label": jax.nn.one_hot(box_label, _DIGITS).max(0),
        "box_label": box_label,
    }


def _augment(
    counts: Sequence[int], key: jax.Array, pool: Split, index: jax.Array
) -> dict[str, jax.Array]:
    del index  # each index comes with another key
    compose_key, shift_key = jax.random.split(key)
    example = compose(counts, compose_key, pool)
    image = shift(shift_key, example["image"], _SHIFT)
    return {"image": image, "label": example["label"]}


def _with_boxes(split: Split) -> Split:
    """Add boxes to a split: those of its digits first, padded with zeros."""
    halves = np.stack(np.split(split["image"][..., 0] > 0, 2, axis=2), 1)
    spans = []  # first and one past the last column, then row, with ink
    for axis in (2, 3):
        ink = halves.any(axis)
        spans.append((ink.argmax(-1), SIDE - ink[..., ::-1].argmax(-1)))
    (x0, x1), (y0, y1) = spans
    left = SIDE * np.arange(2)
    boxes = np.stack([x0 + left, y0, x1 + left, y1], -1)
    cells = np.array([[0, 0, SIDE, SIDE], [SIDE, 0, 2 * SIDE, SIDE]])
    present = split["box_label"] >= 0
    order = np.argsort(~present, axis=1, kind="stable")

    def ordered(array: np.ndarray) -> np.ndarray:
        array = np.where(present[..., None], array, 0).astype(np.float32)
        return np.take_along_axis(array, order[..., None], 1)

    return split | {
        "box_label": np.take_along_axis(split["box_label"], order, 1),
        "num_boxes": present.sum(1, dtype=np.int32),
        "boxes": ordered(boxes),
        "cells": ordered(cells),
    }
