"""What a cross-fit found in a table of data: to keep in metrics.json, and as tables."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from scipy import stats

from mi_classifier.estimate import MutualInformation
from mi_classifier.reporting.table import Table
from mi_classifier.text import shown

T = TypeVar("T")
SURPRISING = 10  # rows that are listed
_VALUES = 4  # columns whose values are listed with them
_MOST_COLUMNS = 30  # columns that a table shows
_EXACT = 2.0**53  # floats below it hold whole numbers
_BINS = 10  # of predicted probabilities


@dataclasses.dataclass(frozen=True)
class Column:
    """What a column tells about the labels, in nats, and the standard errors."""

    name: str
    alone: float
    alone_error: float
    lost: float  # what leaving it out costs
    lost_error: float


@dataclasses.dataclass(frozen=True)
class SurprisingRow:
    """A row whose inputs contradict its label."""

    row: int  # the first is 0
    label: str
    predicted: str
    pmi_nats: float
    values: Mapping[str, str] = dataclasses.field(default_factory=dict)  # by column
    line: int | None = None  # of the file, if that is known


@dataclasses.dataclass(frozen=True)
class ConfidenceBin:
    """Rows whose predictions have about the same probability, in [0, 1]."""

    probability: float  # mean
    observed: float  # share of right predictions
    interval: tuple[float, float]  # 95%, of `observed`
    rows: int


@dataclasses.dataclass(frozen=True)
class CrossFitResults:
    """The content of a cross-fit's metrics.json.

    Attributes:
      estimate: the mutual information.
      most_surprising: the rows with the lowest pointwise mutual information below 0.
      columns: the columns, the most telling first; empty if they are not ranked.
      calibration: predicted probabilities against observed frequencies.
      notes: sentences about how the file was read, and what was left out.
    """

    estimate: MutualInformation
    most_surprising: Sequence[SurprisingRow]
    columns: Sequence[Column] = ()
    calibration: Sequence[ConfidenceBin] = ()
    notes: Sequence[str] = ()

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "CrossFitResults":
        """Return what `dataclasses.asdict` made a dict of, also of version 0.2.

        Raises:
          KeyError, TypeError: the dict is of another kind.
        """
        return cls(
            _restored(MutualInformation, values["estimate"]),
            [_restored(SurprisingRow, row) for row in values["most_surprising"]],
            [_restored(Column, row) for row in values.get("columns", ())],
            [_restored(ConfidenceBin, row) for row in values.get("calibration", ())],
            tuple(values.get("notes", ())),
        )

    def tables(self) -> list[Table]:
        """Return the tables of columns and of surprising rows, where there are any."""
        tables = [columns_table(self.columns), surprising_table(self.most_surprising)]
        return [table for table in tables if table.rows]


def _restored(kind: type[T], values: Mapping[str, Any]) -> T:
    """Return a dataclass from JSON, which has no tuples, and null for NaN."""
    found = kind(**values)
    changes = {}
    for field in dataclasses.fields(found):
        value = getattr(found, field.name)
        if value is None and field.type is float:
            changes[field.name] = np.nan
        if isinstance(value, list):
            changes[field.name] = tuple(np.nan if v is None else v for v in value)
    return dataclasses.replace(found, **changes)


def columns_table(columns: Sequence[Column]) -> Table:
    """Return a table of the columns by information."""
    rows = [
        (
            shown(c.name),
            f"{c.alone:.4f} ± {c.alone_error:.4f}",
            f"{c.lost:.4f} ± {c.lost_error:.4f}",
        )
        for c in columns[:_MOST_COLUMNS]
    ]
    notes = ["alone: what the column tells without the others; ± one standard error"]
    if more := len(columns) - len(rows):
        notes.append(f"{more:,} more columns are in metrics.json")
    title = "columns by information about the label, nats"
    return Table(title, ("column", "alone", "lost without it"), rows, notes)


def surprising_table(rows: Sequence[SurprisingRow]) -> Table:
    """Return a table of surprising rows."""
    names = list(rows[0].values) if rows else []
    in_lines = bool(rows) and rows[0].line is not None
    cells = [
        (
            f"{each.line if in_lines else each.row}",
            shown(each.label),
            shown(each.predicted),
            f"{each.pmi_nats:.3f}",
            *(shown(each.values[name]) for name in names),
        )
        for each in rows
    ]
    place = "line" if in_lines else "row"
    heads = (place, "label", "predicted", "PMI, nats", *map(shown, names))
    notes = [f"{place}: of the file" if in_lines else "the first row is row 0"]
    title = "rows whose inputs speak most against their label"
    return Table(title, heads, cells, notes)


def find_surprising(
    pmi: np.ndarray,
    labels: np.ndarray,
    predictions: np.ndarray,
    lines: np.ndarray | None = None,
) -> list[SurprisingRow]:
    """Return the rows with the lowest values of `pmi`, if these are below 0.

    All arrays are `[N]`; `lines` are those of the file, if they are known.
    """
    lowest = np.argsort(pmi, kind="stable")[:SURPRISING]
    return [
        SurprisingRow(
            row=int(row),
            label=str(labels[row]),
            predicted=str(predictions[row]),
            pmi_nats=float(pmi[row]),
            line=None if lines is None else int(lines[row]),
        )
        for row in lowest[pmi[lowest] < 0]
    ]


def with_values(
    rows: Sequence[SurprisingRow],
    x: np.ndarray | pd.DataFrame,
    columns: Sequence[Column],
) -> list[SurprisingRow]:
    """Add the values of the most telling columns to rows, as the user knows them.

    Args:
      rows: the rows.
      x: all inputs, `[N, D]`.
      columns: the columns by information. Without them, the first columns are taken.
    """
    places = {name: index for index, name in enumerate(names_of(x))}
    telling = [c.name for c in columns if c.name in places] or [*places]
    cell_of = x.iloc if isinstance(x, pd.DataFrame) else x

    def value(row: int, name: str) -> str:
        cell = cell_of[row, places[name]]
        if pd.isna(cell):
            return "missing"
        if not isinstance(cell, (float, np.floating)):
            return str(cell).removesuffix(" 00:00:00")  # of a date
        whole = abs(cell) < _EXACT and float(cell).is_integer()
        return str(int(cell)) if whole else f"{cell:.6g}"

    return [
        dataclasses.replace(
            each, values={name: value(each.row, name) for name in telling[:_VALUES]}
        )
        for each in rows
    ]


def names_of(x: np.ndarray | pd.DataFrame) -> list[str]:
    """Return the names of columns, which are "0", "1", ... in an array."""
    own = x.columns if isinstance(x, pd.DataFrame) else range(x.shape[1])
    return [str(name) for name in own]


def calibrate(
    probability: np.ndarray, is_right: np.ndarray, group: np.ndarray
) -> list[ConfidenceBin]:
    """Compare predicted probabilities with observed frequencies, in ten equal bins.

    Args:
      probability: of the predicted label, `[N]`.
      is_right: whether the prediction is right, `[N]`.
      group: rows of a group are not independent, `[N]`. The interval (Wilson, 1927)
        counts each group once.

    Examples:
      >>> calibrate(np.full(10, 0.52), np.arange(10) < 5, np.arange(10))[0].observed
      0.5
    """
    cells = np.minimum((probability * _BINS).astype(int), _BINS - 1)
    bins = []
    for cell in np.unique(cells):
        own = cells == cell
        share, count = float(is_right[own].mean()), len(np.unique(group[own]))
        test = stats.binomtest(round(share * count), count)
        low, high = test.proportion_ci(method="wilson")
        # Groups of unequal size may round the share out of its own interval.
        interval = (min(float(low), share), max(float(high), share))
        mean = float(probability[own].mean(dtype=np.float64))
        bins.append(ConfidenceBin(mean, share, interval, int(own.sum())))
    return bins
