"""Ask a trained net about images that belong to no split."""

import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from PIL import Image

from mi_classifier.activation_maps import class_activation_map
from mi_classifier.data import Dataset
from mi_classifier.decoding import size_of
from mi_classifier.errors import UserError, reason_of
from mi_classifier.evaluation.evaluators import Inference, Priors
from mi_classifier.evaluation.evaluators.calibration import claimed_pmi
from mi_classifier.evaluation.evaluators.localization import Setting
from mi_classifier.evaluation.trained_net import TrainedNet
from mi_classifier.models import infer


class Reply(NamedTuple):
    """What a net says about B inputs.

    Attributes:
      inference: logits and features, from which maps are computed.
      probabilities: P(y|x) by the class frequencies of training, in [0, 1], `[B, M]`;
        if an input may have several labels, the probability that it has each.
      pmi: pointwise mutual information of each class in nats, `[B, M]`.
    """

    inference: Inference
    probabilities: np.ndarray
    pmi: np.ndarray


def make_ask(net: TrainedNet) -> Callable[[np.ndarray, int], Reply]:
    """Return a function that asks a net about a batch.

    It takes stored inputs `[B, ...]` and a number S of at least B. The batch is padded
    to S inputs, so that a smaller last batch compiles nothing new.
    """
    log_prior, preprocess = net.dataset.log_prior(), net.dataset.preprocess
    priors, params = Priors(log_prior, log_prior), net.variables["params"]
    apply = jax.jit(lambda v, batch: infer(net.model, v, preprocess(batch)))

    def ask(stored: np.ndarray, size: int) -> Reply:
        padding = np.repeat(stored[:1], size - len(stored), 0)
        output = apply(net.variables, np.concatenate([stored, padding]))
        output = jax.tree.map(lambda array: array[: len(stored)], output)
        pmi = claimed_pmi(output.logits, net.loss, priors)
        inference = Inference(output, {"image": stored}, priors, params)
        return Reply(inference, *jax.device_get((jnp.exp(pmi + log_prior), pmi)))

    return ask


def maps_against(
    setting: Setting, inference: Inference, labels: ArrayLike, rivals: ArrayLike
) -> jax.Array:
    """Compare the contributions to two classes, infoCAM (Eq. 14) of these two alone.

    The map shows each region's contribution to PMI(x, label) - PMI(x, rival). For two
    classes this is the difference of their CAMs, whatever map the setting is of.

    Args:
      setting: its region and padding are used.
      inference: of B images.
      labels: a class of each image, `[B]`.
      rivals: the class that it is compared with, `[B]`.

    Returns:
      Maps `[B, h, w]`.
    """
    names = ("region", "padding")
    options = {n: setting.options[n] for n in names if n in setting.options}
    kernel, pairs = inference.params["head"]["kernel"], jnp.stack([labels, rivals], 1)
    maps = class_activation_map(inference.output.features, kernel, pairs, **options)
    return maps[:, 0] - maps[:, 1]


def read_image(dataset: Dataset, image: Any, where: str) -> tuple[np.ndarray, Sequence]:
    """Read an image as a data set stores it.

    Args:
      dataset: a set of images.
      image: the path of a file; pixels, uint8 `[H, W]` or `[H, W, C]` with 1, 3 or 4
        channels; or an image of Pillow.
      where: names the image in an error.

    Returns:
      The stored image, and width and height of the given one.

    Raises:
      UserError: the image cannot be read.
    """
    is_path = isinstance(image, (str, os.PathLike))
    if isinstance(image, list | tuple):
        raise UserError(f"{where}: is a list; give one image at a time")
    try:
        content = Path(image).read_bytes() if is_path else _to_png(image)
        return dataset.read_image(content), size_of(content)
    except (OSError, ValueError, TypeError) as error:
        reason = getattr(error, "strerror", None) or reason_of(error)
        raise UserError(f"{where}: cannot be read: {reason}") from error


def to_files(
    dataset: Dataset, boxes: np.ndarray, size: Sequence[int], file_sizes: ArrayLike
) -> np.ndarray:
    """Move boxes from pixels of stored images to pixels of the images given.

    A net may see the middle of an image alone, at another size.

    Args:
      dataset: stores the images.
      boxes: `[N, 4]`.
      size: (height, width) of the stored images.
      file_sizes: (width, height) of the images given, `[N, 2]`, or `[2]` for one image.

    Returns:
      `[N, 4]`.
    """
    start, end = np.reshape(dataset.visible, (2, 2))  # shares of width and height
    scale = (end - start) / np.array(size)[::-1]
    corners = (start + boxes.reshape(-1, 2, 2) * scale) * np.reshape(
        file_sizes, (-1, 1, 2)
    )
    return corners.reshape(-1, 4)


def _to_png(image: Any) -> bytes:
    """Encode pixels, so that arrays and files are decoded by one rule."""
    if not isinstance(image, Image.Image):
        pixels = np.asarray(image)
        if pixels.dtype != np.uint8:
            raise ValueError(
                f"pixels must be uint8 in 0 to 255, not {pixels.dtype}; for floats in "
                "[0, 1] give (255 * image).round().astype('uint8')"
            )
        channels = pixels.shape[2] if pixels.ndim == 3 else 1
        if pixels.ndim not in (2, 3) or channels not in (1, 3, 4) or not pixels.size:
            first = pixels.ndim == 3 and pixels.shape[0] in (1, 3)
            hint = "; give image.transpose(1, 2, 0)" if first else ""
            raise ValueError(
                f"must be [H, W, C] with 1, 3 or 4 channels, not {pixels.shape}{hint}"
            )
        image = Image.fromarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels)
    content = io.BytesIO()
    image.save(content, "png", compress_level=0)
    return content.getvalue()
