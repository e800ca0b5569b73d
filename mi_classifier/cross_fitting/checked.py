"""Check the arguments of an estimate, and say what is odd about its rows."""

import dataclasses
from typing import Any

import numpy as np
from jax.typing import ArrayLike

from mi_classifier import forks
from mi_classifier.cross_fitting import (
    dependence,
    near_copies,
    odd_columns,
    repeated,
    series,
)
from mi_classifier.data.containers import Rows, as_rows, check_finite
from mi_classifier.data.labels import (
    as_groups,
    as_labels,
    check_index,
    warn_of_alike,
    warn_of_single,
)
from mi_classifier.errors import UserError, choose

MIN_ROWS = 50


@dataclasses.dataclass(frozen=True)
class Table:
    """The checked arguments of an estimate, with the attributes of `CrossFit`."""

    rows: Rows
    labels: np.ndarray
    label: np.ndarray
    group: np.ndarray
    warnings: tuple[str, ...]


def prepare(
    x: Any,
    y: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    missing: str = "error",
    seed: int = 0,
) -> Table:
    """Check the arguments of an estimate, and turn them into arrays."""
    forks.check()
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise UserError(f"seed: must be a whole number, not {seed!r}")
    if not 0 <= seed < 2**32:
        raise UserError(f"seed: must be in [0, 2**32), not {seed}")
    choose(missing, ("error", "keep"), "missing")
    if isinstance(x, str):
        raise UserError(
            f"x: is the word {x!r}; give the table itself, such as pd.read_csv({x!r})"
        )
    check_index(x, y)
    rows = as_rows(x)
    labels, label = as_labels(y, rows.values.shape)
    notes = (*rows.notes, *warn_of_alike(labels, "labels"))
    notes = (*notes, *warn_of_single(labels, label))
    if groups is not None:
        check_index(x, groups, "groups")
        names, groups = as_groups(groups, rows.values.shape)
        notes = (*notes, *warn_of_alike(names, "groups"))
        notes = (*notes, *dependence.giant_group_warning(groups))
    check_finite(rows, allow_missing=missing == "keep")
    group, warnings = _examine(rows, label, groups)
    return Table(rows, labels, label, group, (*notes, *warnings))


def _examine(
    rows: Rows, label: np.ndarray, groups: np.ndarray | None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the group of each row, `[N]` from 0 on, and what is odd about the rows."""
    told = odd_columns.label_columns(rows, label)
    counting = (*told, *odd_columns.counting_columns(rows))
    if groups is not None:
        return groups, counting
    copies = dependence.find_groups(rows)
    found = (
        copies.warning
        or repeated.repeated_warning(rows)
        or near_copies.cluster_warning(rows),
        series.serial_warning(rows, label),
        *counting,
    )
    return copies.group, tuple(filter(None, found))


def check_size(y: ArrayLike) -> None:
    """Raise a UserError if there are too few rows for an estimate."""
    if isinstance(y, str):
        raise UserError(
            f"y: is the word {y!r}; give the labels, such as x[{y!r}], and leave that "
            "column out of x"
        )
    try:
        rows = len(y)
    except TypeError:  # a single value; `as_labels` says what y must be
        return
    if 0 < rows < MIN_ROWS:
        raise UserError(f"x: {rows} rows are too few; at least {MIN_ROWS} are needed")
