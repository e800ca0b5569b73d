"""The contract of an evaluator, which asks one question about a net and a split."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np
from ml_collections import ConfigDict

from mi_classifier.data import Dataset, Split
from mi_classifier.evaluation.results import Result
from mi_classifier.losses import Loss
from mi_classifier.models import ModelOutput

RULES = ("prior", "balanced")
Batch = dict[str, jax.Array]
Measurements = dict[str, Any]


class Subject(NamedTuple):
    """The net and the data that an evaluator is created for.

    Attributes:
      dataset: the data set, with all of its splits.
      loss: the net's training loss.
      localization: the group "localization" of the config, or None.
    """

    dataset: Dataset
    loss: Loss
    localization: ConfigDict | None = None


class Priors(NamedTuple):
    """Class frequencies, as log P(y) `[M]`.

    Attributes:
      training: frequencies of the training labels, which the net has learned.
      population: frequencies of the split that is evaluated; the bound must hold for
        these.
    """

    training: jax.typing.ArrayLike
    population: jax.typing.ArrayLike


class Inference(NamedTuple):
    """A batch and the model's output for it.

    Attributes:
      output: logits and features.
      batch: arrays of the split, as stored.
      priors: class frequencies.
      params: parameters of the model.
    """

    output: ModelOutput
    batch: Batch
    priors: Priors
    params: Mapping[str, Any]


class Evaluator(Protocol):
    """One question about a net.

    `measure` is compiled into the pass through a split. `summarize` is NumPy and gets
    the measurements of the whole split, without padding.
    """

    def measure(self, inference: Inference) -> Measurements:
        """Returns arrays `[B]` or `[B, ...]`, by name."""

    def summarize(
        self, measurements: dict[str, np.ndarray], split: Split, priors: Priors
    ) -> Result:
        """Returns the result of a split from its measurements `[N, ...]`."""

    def columns(
        self,
        measurements: dict[str, np.ndarray],
        split: Split,
        class_names: Sequence[str],
    ) -> dict[str, Sequence[Any]]:
        """Returns columns of predictions.csv: N values each, by name."""
        del measurements, split, class_names
        return {}
