"""Results of an evaluation: frozen dataclasses that know how to be tabulated."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mi_classifier import information
from mi_classifier.data import Split


@dataclasses.dataclass(frozen=True)
class Row:
    """A line of the summary table: one number of one split.

    Attributes:
      title: indented by two spaces if it belongs to the row above.
      value: a number, several that are shown side by side, or None for a heading.
      error: its standard error, if known.
      unit: "nats" (any plain number) or "percent" (a share in [0, 1]).
      below: title of the row that it stands below; "" for its natural place.
      starred: whether it is what the paper reports.
    """

    title: str
    value: float | Sequence[float] | None
    error: float | None = None
    unit: str = "nats"
    below: str = ""
    starred: bool = False


@dataclasses.dataclass(frozen=True)
class ClassColumn:
    """A column of the table by class.

    Attributes:
      title: above it.
      values: `[M]`.
      errors: standard errors `[M]`, if known.
      unit: as of a `Row`.
    """

    title: str
    values: Sequence[float]
    errors: Sequence[float] | None = None
    unit: str = "nats"


class Result:
    """Base of what an evaluator finds in a split; subclasses are frozen dataclasses."""

    def rows(self) -> Sequence[Row]:
        """Returns the lines of the summary table."""
        return ()

    def by_class(self) -> Sequence[ClassColumn]:
        """Returns the columns of the table by class."""
        return ()


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A mean over examples.

    Attributes:
      nats: the mean.
      bits: the same in bits.
      standard_error: of `nats`; NaN for a single example.
    """

    nats: float
    bits: float
    standard_error: float

    @classmethod
    def of(cls, values: np.ndarray, split: Split) -> "Estimate":
        """Returns the mean of `[N]` values in nats, summed in float64.

        Args:
          values: one for each example.
          split: of the examples; its "group", if any, says which are not independent.
        """
        nats = mean(values)
        error = information.standard_error(values, split.get("group"))
        return cls(nats, nats / information.NATS_PER_BIT, error)

    def row(self, title: str, below: str = "") -> Row:
        """Returns the row of the estimate in nats."""
        return Row(title, self.nats, self.standard_error, below=below)


@dataclasses.dataclass(frozen=True)
class SplitResults:
    """What all evaluators found in a split.

    Attributes:
      num_examples: N.
      found: the result of each evaluator, by its name.
    """

    num_examples: int
    found: Mapping[str, Result]

    def __getitem__(self, name: str) -> Any:
        return self.found[name]

    def __contains__(self, name: str) -> bool:
        return name in self.found

    def rows(self) -> list[Row]:
        """Returns the rows of all results, each below the one that it belongs to."""
        every = [row for result in self.found.values() for row in result.rows()]
        placed = [row for row in every if not row.below]
        for row in every:
            titles = [other.title for other in placed]
            if row.below in titles:
                place = titles.index(row.below) + 1
                while place < len(placed) and placed[place].below == row.below:
                    place += 1
                placed.insert(place, row)
            elif row.below:
                placed.append(row)
        return placed

    def by_class(self) -> list[ClassColumn]:
        """Returns the columns by class of all results, shares first."""
        columns = [c for result in self.found.values() for c in result.by_class()]
        return sorted(columns, key=lambda column: column.unit != "percent")


@dataclasses.dataclass(frozen=True)
class Results:
    """What an evaluation found.

    Attributes:
      dataset: its name.
      loss: name of the training loss.
      class_names: M names.
      class_frequencies: shares of the training labels, `[M]`.
      epoch: the one evaluated, counted from 1.
      true_mutual_information: in nats, where it is known in closed form.
      splits: the results of each split, by its name.
    """

    dataset: str
    loss: str
    class_names: Sequence[str]
    class_frequencies: np.ndarray
    epoch: int
    true_mutual_information: float | None
    splits: Mapping[str, SplitResults]

    def to_dict(self) -> dict[str, Any]:
        """Returns nested dicts, as metrics.json has them; None stays out of results."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return fields | {
            "splits": {
                name: {"num_examples": split.num_examples, **_plain(split.found)}
                for name, split in self.splits.items()
            }
        }


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The results of an evaluation, and what the report shows of the test split.

    Attributes:
      results: of all splits but the training one.
      measurements: of the test split's examples, by evaluator, `[N, ...]`.
      columns: of predictions.csv, N values by name.
    """

    results: Results
    measurements: Mapping[str, Any]
    columns: Mapping[str, Sequence[Any]]


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return {k: _plain(v) for k, v in fields.items() if v is not None}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def mean(values: np.ndarray) -> float:
    """Returns the mean, summed in float64."""
    return float(np.mean(values, dtype=np.float64))
