"""The contract of an evaluator, which asks one question about a net and a split."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from mi_classifier.data import Dataset, Split
from mi_classifier.evaluation.results import Result
from mi_classifier.losses import Loss
from mi_classifier.models import ModelOutput

RULES = ("prior", "balanced")
Measurements = dict[str, Any]  # arrays by name
Columns = dict[str, Sequence[Any]]  # of predictions.csv, N values each, by name


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
    batch: dict[str, jax.Array]
    priors: Priors
    params: Mapping[str, Any]


def no_columns(measured: Measurements, split: Split, names: Sequence[str]) -> Columns:
    """Return no columns."""
    return {}


class Evaluator(NamedTuple):
    """One question about a net and a split, as three functions.

    Attributes:
      measure: maps an `Inference` to arrays `[B]` or `[B, ...]`, by name. It is
        compiled into the pass through a split.
      summarize: maps `(measured, split, priors)` to a `Result`, with NumPy. `measured`
        holds the arrays `[N, ...]` of the whole split, without padding.
      columns: maps `(measured, split, class_names)` to columns of predictions.csv.
    """

    measure: Callable[[Inference], Measurements]
    summarize: Callable[[Measurements, Split, Priors], Result]
    columns: Callable[[Measurements, Split, Sequence[str]], Columns] = no_columns
