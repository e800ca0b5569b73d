"""MNIST with labels sent through a noisy channel: real images, known information.

An image determines its digit up to well under 0.01 nats. So its information about the
noisy label equals the digit's information, which is known.
"""

import jax
import jax.numpy as jnp
import numpy as np

from mi_classifier import information
from mi_classifier.data import mnist
from mi_classifier.data.dataset import Dataset, Split, shift, stored_example
from mi_classifier.errors import UserError

_TIMES = 20  # noisy labels of each test image, for less noise in the results
_SHIFT = 2  # training images move by at most this many pixels


def log_channel(flip_probability: float) -> np.ndarray:
    """Return log P(noisy label | digit) in nats, `[10, 10]`, one row per digit.

    A flip replaces the digit by one of the nine others, each equally likely.
    """
    channel = np.full((10, 10), flip_probability / 9)
    np.fill_diagonal(channel, 1 - flip_probability)
    with np.errstate(divide="ignore"):
        return np.log(channel)


def mutual_information(log_prior: np.ndarray, log_conditional: np.ndarray) -> float:
    """Return I(Y; Y') in nats of log P(y) `[M]` and a channel log P(y'|y) `[M, M]`."""
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
    """Load MNIST and replace a share of its labels at random.

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
        found = f"must be in [0, 1], not {flip_probability}"
        raise UserError(f"data.flip_probability: {found}")
    if seed < 0:
        raise UserError(f"data.seed: must be at least 0, not {seed}")
    conditional = log_channel(flip_probability)
    generator = np.random.default_rng(seed)
    splits = {}
    for name, part in mnist.read_disjoint(archive_dir, data_dir).items():
        most = len(part["label"]) // (1 if balanced else 10)
        keep = np.flatnonzero(mnist.thin(part["label"], most, balanced))
        keep = np.tile(keep, _TIMES if name == "test" else 1)
        digits = part["label"][keep]
        noise = generator.gumbel(size=(len(digits), 10))
        splits[name] = {
            "image": part["image"][keep],
            "label": (conditional[digits] + noise).argmax(1).astype(np.int32),
            "digit": digits,
            "group": keep.astype(np.int32),
        }
    digit_prior = information.log_label_prior(splits["train"]["digit"], 10)
    label_prior = np.logaddexp.reduce(digit_prior[:, None] + conditional)
    # log p(x|y') up to a term of x, by Bayes' rule, without -inf - (-inf).
    density = conditional - np.where(np.isneginf(label_prior), 0, label_prior)
    density = jnp.asarray(density, jnp.float32)
    return mnist.digit_dataset(
        f"MNIST, {'' if balanced else 'un'}balanced, labels flipped with "
        f"probability {flip_probability:g}",
        splits,
        augment=_augment,
        log_density=lambda batch: density[batch["digit"]],
        mutual_information=mutual_information(digit_prior, conditional),
    )


def _augment(key: jax.Array, split: Split, index: jax.Array) -> dict[str, jax.Array]:
    example = stored_example(key, split, index)
    return example | {"image": shift(key, example["image"], _SHIFT)}
