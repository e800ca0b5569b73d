"""Results of an evaluation: frozen dataclasses that list the rows of their tables."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from mi_classifier import information
from mi_classifier.data import Split


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of the summary table: what one evaluator found in one split.

    Attributes:
      title: names the value; two spaces in front if it details the row above, four if
        it details a row that has two.
      value: a number, several numbers shown side by side, or None for a heading.
      error: the standard error of the value, if known.
      unit: "nats" for any plain number, "percent" for a share in [0, 1], "count" for
        a whole number.
      below: title of another row, below which this one is shown; "" to show it after
        the evaluator's previous row.
      starred: whether the paper reports this value.
    """

    title: str
    value: float | Sequence[float] | None
    error: float | None = None
    unit: str = "nats"
    below: str = ""
    starred: bool = False


@dataclasses.dataclass(frozen=True)
class ClassColumn:
    """A column of the table by class."""

    title: str  # the column's heading
    values: Sequence[float]  # one for each class, [M]
    errors: Sequence[float] | None = None  # standard errors [M], if known
    unit: str = "nats"  # as in a `Row`


class Result:
    """Base class of an evaluator's results; its subclasses are frozen dataclasses.

    The fields of a subclass go into metrics.json as they are, without those that are
    None.
    """

    def rows(self) -> Sequence[Row]:
        """Return the rows that the summary table shows."""
        return ()

    def by_class(self) -> Sequence[ClassColumn]:
        """Return the columns that the table by class shows."""
        return ()

    def notes(self) -> Sequence[str]:
        """Return lines for below the summary table, about the test split."""
        return ()


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A mean over examples, and its standard error."""

    nats: float
    bits: float
    standard_error: float  # of the mean in nats; NaN for a single example

    @classmethod
    def of(cls, values: np.ndarray, split: Split) -> "Estimate":
        """Estimate the mean of values `[N]`; rows of a "group" are not independent."""
        nats = mean(values)
        error = information.standard_error(values, split.get("group"))
        return cls(nats, nats / information.NATS_PER_BIT, error)

    def row(self, title: str, below: str = "") -> Row:
        """Return a row with the mean and the standard error in nats."""
        return Row(title, self.nats, self.standard_error, below=below)


@dataclasses.dataclass(frozen=True)
class SplitResults:
    """The results of all evaluators on a split, as `results["accuracy"]` and so on."""

    num_examples: int
    found: Mapping[str, Result]  # by the evaluator's name

    def __getitem__(self, name: str) -> Any:
        return self.found[name]

    def __contains__(self, name: str) -> bool:
        return name in self.found

    def rows(self) -> list[Row]:
        """Return the rows of all results in the order of the table.

        A row whose `below` names a row that is missing is shown where it would be
        without `below`.
        """
        rows = [row for result in self.found.values() for row in result.rows()]
        titles = {row.title for row in rows if not row.below}
        below = {title: [r for r in rows if r.below == title] for title in titles}
        placed = []
        for row in rows:
            if row.below not in titles:
                placed += [row, *below.pop(row.title, ())]
        return placed

    def by_class(self) -> list[ClassColumn]:
        """Return the columns by class of all results, those in percent first."""
        columns = [c for result in self.found.values() for c in result.by_class()]
        return sorted(columns, key=lambda column: column.unit != "percent")


@dataclasses.dataclass(frozen=True)
class Results:
    """The results of an evaluation.

    Attributes:
      dataset: name of the data set.
      loss: name of the training loss.
      class_names: M names.
      class_frequencies: the share of each class in the training labels, `[M]`.
      epoch: the epoch that was evaluated, counted from 1; 0 for a net that was not
        trained here.
      true_mutual_information: I(X; Y) in nats if it is known in closed form, or None.
      splits: the results on each split, by its name.
    """

    dataset: str
    loss: str
    class_names: Sequence[str]
    class_frequencies: np.ndarray
    epoch: int
    true_mutual_information: float | None
    splits: Mapping[str, SplitResults]

    def to_dict(self) -> dict[str, Any]:
        """Return the dicts of metrics.json, without what evaluators left None."""
        splits = {
            name: {"num_examples": split.num_examples, **_plain(split.found)}
            for name, split in self.splits.items()
        }
        own = {field.name: getattr(self, field.name) for field in fields(Results)}
        return {**own, "splits": splits}


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The results of an evaluation, and the details that a report shows.

    Attributes:
      results: the results on every split except "train".
      measurements: what each evaluator measured on the test split, `[N, ...]`, by the
        evaluator's name.
      columns: the columns of predictions.csv, N values each, by name.
    """

    results: Results
    measurements: Mapping[str, Any]
    columns: Mapping[str, Sequence[Any]]


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {k: _plain(v) for k, v in vars(value).items() if v is not None}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def mean(values: np.ndarray) -> float:
    """Return the mean, summed in float64."""
    return float(np.mean(values, dtype=np.float64))
