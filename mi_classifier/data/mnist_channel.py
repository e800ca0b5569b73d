"""MNIST with labels sent through a noisy channel: real images, known information.

An image tells its digit almost surely: what is missing is well under 0.01 nats. The
image's information about the noisy label is therefore the digit's, which is known.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from mi_classifier import information
from mi_classifier.data import mnist
from mi_classifier.data.dataset import Dataset, Split, shift, stored_example
from mi_classifier.errors import UserError

_TIMES = 20  # each test image is sent so often, for less noise in the results
_SHIFT = 2  # training images move by at most this many pixels


def log_channel(flip_probability: float) -> np.ndarray:
    """Returns the symmetric channel's log P(noisy label | digit).

    Args:
      flip_probability: probability in [0, 1] that the digit is replaced by one of the
        nine others, each equally likely.

    Returns:
      `[10, 10]` nats, digits along the first axis.
    """
    channel = np.full((10, 10), flip_probability / 9)
    np.fill_diagonal(channel, 1 - flip_probability)
    with np.errstate(divide="ignore"):
        return np.log(channel)


def mutual_information(log_prior: np.ndarray, log_conditional: np.ndarray) -> float:
    """Returns I(Y; Y') = H(Y') - H(Y'|Y) of a discrete channel, in nats.

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
      balanced: if false, keep only a tenth as many of each even digit.
      seed: decides the noise.
      archive_dir: as in `mnist.load`.
      data_dir: as in `mnist.load`.

    Returns:
      The splits of `mnist.read_disjoint`. "test" holds each image twenty times, with
      independent noise; "group" tells which rows share an image.

    Raises:
      UserError: the probability or the seed is out of range, or files cannot be read.
    """
    if not 0 <= flip_probability <= 1:
        raise UserError(
            f"data.flip_probability: must be in [0, 1], not {flip_probability}"
        )
    if seed < 0:
        raise UserError(f"data.seed: must be at least 0, not {seed}")
    parts = mnist.read_disjoint(archive_dir, data_dir)
    conditional = log_channel(flip_probability)
    generator = np.random.default_rng(seed)
    splits = {
        name: _send(
            part, _TIMES if name == "test" else 1, balanced, conditional, generator
        )
        for name, part in parts.items()
    }
    digit_prior = information.log_label_prior(splits["train"]["digit"], 10)
    label_prior = np.logaddexp.reduce(digit_prior[:, None] + conditional)
    # log p(x|y') up to a term of x, by Bayes' rule, without -inf - (-inf).
    density = conditional - np.where(np.isneginf(label_prior), 0, label_prior)
    return mnist.digit_dataset(
        f"MNIST, {'' if balanced else 'un'}balanced, labels flipped with "
        f"probability {flip_probability:g}",
        splits,
        augment=_augment,
        log_density=functools.partial(_density, jnp.asarray(density, jnp.float32)),
        mutual_information=mutual_information(digit_prior, conditional),
    )


def _augment(key: jax.Array, split: Split, index: jax.Array) -> dict[str, jax.Array]:
    example = stored_example(key, split, index)
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
        "group": keep.astype(np.int32),
    }
