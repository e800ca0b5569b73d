"""Double-digit MNIST (Section 6.3): up to two digits side by side, and where they are.

A side holds a digit with probability 0.7, each digit alike; images without any are left
out. Labels are multi-hot. Training images are composed by the training step, anew in
every epoch; those of validation and test are composed once, of other digits.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from mi_classifier.data import mnist
from mi_classifier.data.dataset import Dataset, Split, normalize, shift
from mi_classifier.data.decoding import decode_gray
from mi_classifier.data.mnist_archive import SIDE
from mi_classifier.errors import UserError

PRESENT = 0.7  # probability of a digit on a side
NUM_IMAGES = {"validation": 5_000, "test": 10_000}
_DIGITS = 10
_SHIFT = 2  # pixels that training images are moved by, at most; digits stay whole


def load(seed: int, archive_dir: str = "", data_dir: str = "") -> Dataset:
    """Loads MNIST and composes double digits of it.

    Training digits are the first eleven twelfths of MNIST's training images, those of
    validation the rest, those of "test" its test images.

    Args:
      seed: decides the images of validation and test.
      archive_dir: as in `mnist.load`.
      data_dir: as there.

    Returns:
      Splits "validation", 5,000 images, and "test", 10,000 (of fewer digits, as many
      as there are), `[28, 56, 1]` with multi-hot "label" `[10]`; for each digit, from
      the left, its "box_label", the tight box of its ink in "boxes" and its half of the
      image in "cells", `[2, 4]`, and their "num_boxes". "train" holds single digits,
      sorted, of which `draw` composes.

    Raises:
      UserError: a negative seed, or files that cannot be read.
    """
    if seed < 0:
        raise UserError(f"data.seed: must be at least 0, not {seed}")
    images, test = mnist.read(archive_dir, data_dir)
    cut = len(images["label"]) * 11 // 12
    pools = {
        "train": {name: array[:cut] for name, array in images.items()},
        "validation": {name: array[cut:] for name, array in images.items()},
        "test": test,
    }
    for name, pool in pools.items():
        if not len(pool["label"]):
            raise UserError(f"MNIST: too few images for the {name} split")
    pools = {name: _sorted(pool) for name, pool in pools.items()}
    splits = {"train": pools["train"]}
    for index, (name, most) in enumerate(NUM_IMAGES.items()):
        key = jax.random.fold_in(jax.random.key(seed), index)
        count = min(most, len(pools[name]["label"]))
        splits[name] = _with_boxes(_compose_many(key, pools[name], count))
    return Dataset(
        name="double-digit MNIST",
        splits=splits,
        class_names=tuple("0123456789"),
        read_image=functools.partial(decode_gray, height=SIDE, width=2 * SIDE),
        preprocess=functools.partial(
            normalize, mean=mnist.MEAN, deviation=mnist.DEVIATION
        ),
        draw=functools.partial(_draw, _counts(pools["train"])),
        training_prior=_log_prior(_counts(pools["train"])),
    )


def compose(
    counts: tuple[int, ...], key: jax.Array, pool: Split
) -> dict[str, jax.Array]:
    """Composes one image of a pool of digits.

    Args:
      counts: how many the pool has of each digit; one that it lacks is never drawn.
      key: decides the sides, digits and images.
      pool: "image" `[P, 28, 28, 1]`, sorted by digit.

    Returns:
      "image" `[28, 56, 1]`, "label" `[10]` of 0 and 1, "box_label" `[2]`, the digit on
      each side or -1.
    """
    sides_key, digits_key, images_key = jax.random.split(key, 3)
    # Both sides, the left, the right: in proportion to their probability.
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


def _draw(
    counts: tuple[int, ...], key: jax.Array, pool: Split, index: jax.Array
) -> dict[str, jax.Array]:
    del index  # it has made the key another one
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
    """Adds the boxes of each image, those of its digits first, the rest zeros."""
    halves = np.stack(np.split(split["image"][..., 0] > 0, 2, axis=2), 1)
    present = split["box_label"] >= 0
    left = SIDE * np.arange(2)
    spans = []  # first and one past the last column, then row, that holds ink
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
    """Log share of the images that hold each digit, given that they hold any."""
    side = np.where(np.array(counts) > 0, PRESENT / np.count_nonzero(counts), 0)
    with np.errstate(divide="ignore"):
        prior = np.log1p(-((1 - side) ** 2)) - np.log1p(-((1 - PRESENT) ** 2))
    return prior.astype(np.float32)
