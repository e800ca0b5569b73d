"""Double-digit MNIST (Section 6.3): one or two digits side by side, with their boxes.

Each side holds a digit with probability 0.7, all digits equally likely; images without
a digit are left out. Labels are multi-hot. The training step composes new images in
every epoch. Validation and test images are composed once, from other digits.
"""

import functools

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
    """Loads MNIST and composes double digits from the splits of `mnist.read_disjoint`.

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
    pools = mnist.read_disjoint(archive_dir, data_dir)
    pools = {name: _sorted(pool) for name, pool in pools.items()}
    splits = {"train": pools["train"]}
    for index, (name, most) in enumerate(NUM_IMAGES.items()):
        key = jax.random.fold_in(jax.random.key(seed), index)
        count = min(most, len(pools[name]["label"]))
        splits[name] = _with_boxes(_compose_many(key, pools[name], count))
    counts = _counts(pools["train"])
    return mnist.digit_dataset(
        "double-digit MNIST",
        splits,
        width=2 * SIDE,
        augment=functools.partial(_augment, counts),
        training_prior=_log_prior(counts),
    )


def compose(
    counts: tuple[int, ...], key: jax.Array, pool: Split
) -> dict[str, jax.Array]:
    """Composes one image from a pool of digits.

    Args:
      counts: number of images of each digit in the pool; a digit with 0 never comes.
      key: decides the sides, the digits and their images.
      pool: "image" `[P, 28, 28, 1]`, sorted by digit.

    Returns:
      "image" `[28, 56, 1]`, "label" `[10]` of 0 and 1, "box_label" `[2]`, the digit on
      each side or -1.
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
    counts: tuple[int, ...], key: jax.Array, pool: Split, index: jax.Array
) -> dict[str, jax.Array]:
    del index  # each index comes with another key
    compose_key, shift_key = jax.random.split(key)
    example = compose(counts, compose_key, pool)
    image = shift(shift_key, example["image"], _SHIFT)
    return {"image": image, "label": example["label"]}


def _compose_many(key: jax.Array, pool: Split, count: int) -> Split:
    keys = jax.random.split(key, count)
    one = functools.partial(compose, _counts(pool))
    examples = jax.jit(jax.vmap(one, (0, None)))(keys, dict(pool))
    return {name: np.asarray(array) for name, array in examples.items()}


def _with_boxes(split: Split) -> Split:
    """Adds boxes to a split: those of its digits first, padded with zeros."""
    halves = np.stack(np.split(split["image"][..., 0] > 0, 2, axis=2), 1)
    present = split["box_label"] >= 0
    left = SIDE * np.arange(2)
    spans = []  # first and one past the last column, then row, with ink
    for axis in (2, 3):
        ink = halves.any(axis)
        spans.append((ink.argmax(-1), SIDE - ink[..., ::-1].argmax(-1)))
    (x0, x1), (y0, y1) = spans
    boxes = np.stack([x0 + left, y0, x1 + left, y1], -1)
    cells = np.broadcast_to(
        np.stack([left, 0 * left, left + SIDE, 0 * left + SIDE], -1), boxes.shape
    )
    order = np.argsort(~present, axis=1, kind="stable")
    located = {"boxes": boxes, "cells": cells}
    return split | {
        "box_label": np.take_along_axis(split["box_label"], order, 1),
        "num_boxes": present.sum(1, dtype=np.int32),
        **{
            name: np.take_along_axis(
                np.where(present[..., None], array, 0), order[..., None], 1
            ).astype(np.float32)
            for name, array in located.items()
        },
    }


def _sorted(pool: Split) -> Split:
    order = np.argsort(pool["label"], kind="stable")
    return {name: array[order] for name, array in pool.items()}


def _counts(pool: Split) -> tuple[int, ...]:
    return tuple(np.bincount(pool["label"], minlength=_DIGITS).tolist())


def _log_prior(counts: tuple[int, ...]) -> np.ndarray:
    """Returns the log share of images with each digit, among those with any digit."""
    side = np.where(np.array(counts) > 0, PRESENT / np.count_nonzero(counts), 0)
    with np.errstate(divide="ignore"):
        prior = np.log1p(-((1 - side) ** 2)) - np.log1p(-((1 - PRESENT) ** 2))
    return prior.astype(np.float32)
