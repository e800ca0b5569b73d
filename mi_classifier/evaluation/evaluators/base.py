"""The contract of an evaluator: one question about a net, asked of a whole split."""

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
    """What is evaluated: an evaluator is made for it, or does not apply to it.

    Attributes:
      dataset: its splits, and what is known of them.
      loss: the net's training loss.
      localization: that group of the config, or None.
    """

    dataset: Dataset
    loss: Loss
    localization: ConfigDict | None = None


class Priors(NamedTuple):
    """Class frequencies, as log P(y) `[M]`.

    Attributes:
      training: of the training labels, which the net has learned.
      population: of the split that is evaluated, for which a bound must hold.
    """

    training: jax.typing.ArrayLike
    population: jax.typing.ArrayLike


class Inference(NamedTuple):
    """A batch, and what the model makes of it.

    Attributes:
      output: logits and features.
      batch: the split's arrays, as stored.
      priors: class frequencies.
      params: the model's parameters.
    """

    output: ModelOutput
    batch: Batch
    priors: Priors
    params: Mapping[str, Any]


class Evaluator(Protocol):
    """One question about a net.

    `measure` is compiled into the pass through a split; `summarize` is NumPy, and sees
    the measurements of the whole split, padding removed.
    """

    def measure(self, inference: Inference) -> Measurements:
        """Returns arrays `[B]` or `[B, ...]`, one value an example."""

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
        """Returns what predictions.csv says of each example: N values by column."""
        del measurements, split, class_names
        return {}
