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
_BOTH = {"prior": "both rules"}  # either rule's results, as both are the same
Measured = dict[str, Any]  # arrays by name
Columns = dict[str, Sequence[Any]]  # of predictions.csv, N values each, by name


class Subject(NamedTuple):
    """The net and the data that an evaluator is created for."""

    dataset: Dataset  # with all of its splits
    loss: Loss  # that the net was trained with
    localization: ConfigDict | None = None  # the config's group of that name

    @property
    def validation(self) -> Split | None:
        """The validation split, if there is one."""
        return self.dataset.splits.get("validation") if self.dataset else None


class Priors(NamedTuple):
    """Class frequencies, as log P(y) `[M]`."""

    training: jax.typing.ArrayLike  # of the training labels, which the net has learned
    population: jax.typing.ArrayLike  # of the split; the bound must hold for these


class Inference(NamedTuple):
    """A batch and the model's output for it."""

    output: ModelOutput  # logits and features
    batch: dict[str, jax.Array]  # arrays of the split, as stored
    priors: Priors
    params: Mapping[str, Any]  # of the model


def rule_titles(equal: bool) -> Mapping[str, str]:
    """Return the title of each rule that a table shows; one, if both are equal."""
    return _BOTH if equal else {rule: f"{rule} rule" for rule in RULES}


def no_columns(measured: Measured, split: Split, names: Sequence[str]) -> Columns:
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

    measure: Callable[[Inference], Measured]
    summarize: Callable[[Measured, Split, Priors], Result]
    columns: Callable[[Measured, Split, Sequence[str]], Columns] = no_columns
