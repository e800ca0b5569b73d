"""MNIST with labels sent through a noise channel: real images, known information.

A digit can be told from its image, to well under a hundredth of a nat, so what an image
says about the noisy label is what the digit says about it, and that is known.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from mi_classifier import information
from mi_classifier.data import mnist
from mi_classifier.data.dataset import Dataset, Split, draw_stored, normalize, shift
from mi_classifier.data.decoding import decode_gray
from mi_classifier.data.mnist_archive import SIDE
from mi_classifier.errors import UserError

_TIMES = 20  # that each test image is sent: less noise in what is measured
_SHIFT = 2  # pixels that training images are moved by, at most


def log_channel(flip_probability: float) -> np.ndarray:
    """The symmetric channel's log P(noisy label | digit).

    Args:
      flip_probability: that a label is replaced, by each other one alike; in [0, 1].

    Returns:
      `[10, 10]` nats, digits along the first axis.
    """
    channel = np.full((10, 10), flip_probability / 9)
    np.fill_diagonal(channel, 1 - flip_probability)
    with np.errstate(divide="ignore"):
        return np.log(channel)


def mutual_information(log_prior: np.ndarray, log_conditional: np.ndarray) -> float:
    """I(Y; Y') = H(Y') - H(Y'|Y) of a discrete channel, in nats.

    Args:
      log_prior: log P(y), `[M]`.
      log_conditional: log P(y'|y), `[M, M]`.
    """
    output = np.logaddexp.reduce(log_prior[:, None] + log_conditional)
    noise = np.array([float(information.label_entropy(row)) for row in log_conditional])
    return float(information.label_entropy(output)) - float(np.exp(log_prior) @ noise)


def load(
    flip_probability: float,
    balanced: bool,
    seed: int,
    archive_dir: str = "",
    data_dir: str = "",
) -> Dataset:
    """Loads MNIST and replaces a share of its labels at random.

    Args:
      flip_probability: share of labels to replace, in [0, 1].
      balanced: all images, or only a tenth as many of the even digits.
      seed: decides which labels are replaced, and by which.
      archive_dir: as in `mnist.load`.
      data_dir: as there.

    Returns:
      Splits "train", the first eleven twelfths of the training images, "validation",
      the rest, and "test", the standard one, whose images are there twenty times, each
      time with noise of its own.

    Raises:
      UserError: a probability or seed out of range, or files that cannot be read.
    """
    if not 0 <= flip_probability <= 1:
        raise UserError(
            f"data.flip_probability: must be in [0, 1], not {flip_probability}"
        )
    if seed < 0:
        raise UserError(f"data.seed: must be at least 0, not {seed}")
    images, test = mnist.read(archive_dir, data_dir)
    cut = len(images["label"]) * 11 // 12
    parts = {
        "train": {name: array[:cut] for name, array in images.items()},
        "validation": {name: array[cut:] for name, array in images.items()},
        "test": test,
    }
    conditional = log_channel(flip_probability)
    generator = np.random.default_rng(seed)
    splits = {
        name: _send(
            part, _TIMES if name == "test" else 1, balanced, conditional, generator
        )
        for name, part in parts.items()
    }
    for name, split in splits.items():
        if not len(split["label"]):
            raise UserError(f"MNIST: too few images for the {name} split")
    digit_prior = information.log_label_prior(splits["train"]["digit"], 10)
    label_prior = np.logaddexp.reduce(digit_prior[:, None] + conditional)
    # log p(x|y') up to a term of x, by Bayes' rule; never less than -inf.
    density = conditional - np.where(np.isneginf(label_prior), 0, label_prior)
    return Dataset(
        name=(
            f"MNIST, {'' if balanced else 'un'}balanced, labels flipped with "
            f"probability {flip_probability:g}"
        ),
        splits=splits,
        class_names=tuple("0123456789"),
        read_image=functools.partial(decode_gray, height=SIDE, width=SIDE),
        preprocess=functools.partial(
            normalize, mean=mnist.MEAN, deviation=mnist.DEVIATION
        ),
        draw=_draw,
        log_density=functools.partial(_density, jnp.asarray(density, jnp.float32)),
        mutual_information=mutual_information(digit_prior, conditional),
    )


def _draw(key: jax.Array, split: Split, index: jax.Array) -> dict[str, jax.Array]:
    example = draw_stored(key, split, index)
    return example | {"image": shift(key, example["image"], _SHIFT)}


def _density(log_density: jax.Array, batch: Split) -> jax.Array:
    return log_density[batch["digit"]]


def _send(
    part: Split,
    times: int,
    balanced: bool,
    conditional: np.ndarray,
    generator: np.random.Generator,
) -> Split:
    digits = part["label"]
    keep = np.arange(len(digits))
    if not balanced:
        keep = keep[mnist.thin(digits, len(digits) // 10, balanced)]
    keep = np.tile(keep, times)
    digits = digits[keep]
    noise = generator.gumbel(size=(len(digits), 10))
    return {
        "image": part["image"][keep],
        "label": (conditional[digits] + noise).argmax(1).astype(np.int32),
        "digit": digits,
        "draw": keep.astype(np.int32),
    }
