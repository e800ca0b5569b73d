"""Ask which columns of a table say something about the labels."""

import dataclasses
import html
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import scipy.sparse
from jax.typing import ArrayLike

from mi_classifier import information
from mi_classifier.cross_fitting import columns, dependence, series
from mi_classifier.cross_fitting.checked import Table, check_size, prepare
from mi_classifier.cross_fitting.summary import (
    MutualInformation,
    Rated,
    error_bar_of_difference,
)
from mi_classifier.data.containers import Rows, as_rows, unique_names
from mi_classifier.data.labels import check_index
from mi_classifier.errors import UserError
from mi_classifier.estimate import cross_fit
from mi_classifier.rules import with_usual_results
from mi_classifier.text import printable, shown

_ERRORS = 3.0  # below 0, from which on a loss is told
_BETTER = (
    "lost is below 0, which information cannot be: these nets do better without such "
    "a column, because they fit its noise; take it as 0"
)


@dataclasses.dataclass(frozen=True)
class RankedColumn:
    """What one column says about the labels, in nats.

    Attributes:
      name: of the column; its index, if columns have no names.
      alone: a lower bound on I(X_j; Y).
      alone_error: standard error of `alone`.
      lost: by how much the bound on I(X; Y) falls if the column is left out; NaN if the
        table is so wide that nobody has looked.
      lost_error: standard error of `lost`.
    """

    name: str
    alone: float
    alone_error: float
    lost: float
    lost_error: float


@dataclasses.dataclass(frozen=True)
class Ranking(Sequence[RankedColumn]):
    """The columns of a table, best first. `print` shows it.

    Attributes:
      columns: one for each column of the table.
      warnings: sentences about what is odd in the data; empty if nothing is.
    """

    columns: tuple[RankedColumn, ...]
    warnings: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.columns)

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return dataclasses.replace(self, columns=self.columns[index])
        return self.columns[index]

    def __iter__(self) -> Iterator[RankedColumn]:
        return iter(self.columns)

    def __str__(self) -> str:
        names = [printable(c.name) for c in self]
        width = max(map(len, ("column", *names)))
        lines = [f"{'column':{width}}  {'alone, nats':>17}  {'lost without it':>17}"]
        for name, c in zip(names, self, strict=True):
            each = ((c.alone, c.alone_error), (c.lost, c.lost_error))
            cells = ["-" if np.isnan(v) else f"{v:.4f} ± {e:.4f}" for v, e in each]
            lines.append(f"{name:{width}}  {cells[0]:>17}  {cells[1]:>17}")
        lines += [f"warning: {sentence}" for sentence in self.warnings]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"


@with_usual_results
def rank_columns(
    x: Any,
    y: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    missing: str = "error",
    seed: int = 0,
) -> Ranking:
    """Rank the columns of a table by what they say about the labels.

    * `alone` is a lower bound on I(X_j; Y), by rows whose value is near or the same.
    * `lost` is I(X; Y) - I(X without X_j; Y), both by the same nets, with and without
      the column. As a difference of two lower bounds it is not itself a bound. If
      another column says the same, nothing is lost.
    * A column that works only together with others has `alone` near 0 and a large
      `lost`; one that others repeat has it the other way round. So columns are sorted
      by the greater of the two, then by the other.

    A category is one column, however many inputs it has for the nets. Columns are asked
    on the same folds, except that a column with copies of its own has its own folds
    for `alone`. In tables of more than 63 columns, nets train on without the 63 that
    they miss most; without each of the others, they are scored as they are, so that
    `lost` may be too large. In tables of more than 500 columns, it is NaN.

    Args:
      x: a table as in `estimate_mutual_information`, `[N, D]`; not images.
      y: labels `[N]`.
      groups: as in `estimate_mutual_information`, `[N]`.
      missing: "error", or "keep" to keep missing values of x as information.
      seed: decides folds, initial weights and the order of the rows; in [0, 2**32).

    Returns:
      The columns, best first.

    Raises:
      UserError: as `estimate_mutual_information`, or if x holds images.

    Examples:
      >>> generator = np.random.default_rng(0)
      >>> y = generator.integers(0, 2, 200)
      >>> x = {"noise": generator.random(200), "told": y + generator.random(200)}
      >>> best = rank_columns(x, y)[0]
      >>> best.name, best.alone > 0.5, best.lost > 0.5
      ('told', True, True)
    """
    table = _table(x, y, groups, missing, seed)
    answer = columns.ask(_question(table, groups, seed))
    every = zip(_names(table.rows, ""), *answer.alone, *answer.lost, strict=True)
    ranked = [RankedColumn(name, *map(float, values)) for name, *values in every]
    ranked.sort(key=lambda c: sorted(np.nan_to_num([-c.alone, -c.lost]).tolist()))
    warnings = (*table.warnings, *answer.warnings)
    if better := [c.name for c in ranked if c.lost < -_ERRORS * c.lost_error]:
        warnings = (*warnings, f"{_listed(better)}: {_BETTER}")
    return Ranking(tuple(ranked), warnings)


def information_of_columns(
    x: Any,
    y: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    missing: str = "error",
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute `alone` and `alone_error` of `rank_columns`, and nothing else.

    Returns:
      Nats, standard errors and their degrees of freedom, `[D]` each, in the order of
      the columns.
    """
    table = _table(x, y, groups, missing, seed)
    answer = columns.ask(_question(table, groups, seed), without=False)
    return *answer.alone, answer.freedom


@with_usual_results
def conditional_mutual_information(
    x: Any,
    y: ArrayLike,
    given: Any,
    *,
    groups: ArrayLike | None = None,
    missing: str = "error",
    seed: int = 0,
) -> MutualInformation:
    """Estimate I(X; Y | Z): how many nats x adds to what z says about the labels.

    This is I(X, Z; Y) - I(Z; Y), by the chain rule; both are estimated on the same
    folds. As a difference of two lower bounds it is not itself a bound: it is too high
    if nets find less in z alone than in x and z. The standard error is that of the
    difference of each row.

    Args:
      x: as in `estimate_mutual_information`, but not images.
      y: labels `[N]`.
      given: z, in any form that x may have, with the same rows.
      groups: as in `estimate_mutual_information`, `[N]`. By default rows whose z are
        copies of each other form a group.
      missing: "error", or "keep" to keep missing values of x and z as information.
      seed: as in `estimate_mutual_information`.

    Returns:
      The estimate; `accuracy` is that of nets that see x and z. If z is constant, it is
      that of `estimate_mutual_information(x, y)`.

    Raises:
      UserError: as `estimate_mutual_information`. Columns of z are named "given ..." if
        they have no names.

    Examples:
      >>> generator = np.random.default_rng(0)
      >>> x, z = generator.integers(0, 2, (2, 400))
      >>> found = conditional_mutual_information(x, x ^ z, z)
      >>> found.nats > 0.6  # log 2 is 0.69; x alone says nothing
      True
    """
    check_size(y)
    check_index(x, y)
    check_index(x, given, "given")
    rows, other = as_rows(x), _rows_of_given(given)
    if not len(other.values):
        raise UserError("given: has no rows")
    joined, warnings = _joined(rows, other), ()
    if groups is None:
        copies = dependence.find_groups(other)
        if copies.warning:
            groups, warnings = copies.group, (f"given: {copies.warning}",)
    options = {"missing": missing, "seed": seed}
    both = cross_fit(joined, y, groups=groups, **options)
    if warnings:  # with groups, nobody has looked at the order of the rows
        told = series.serial_warning(joined, both.label)
        warnings = (*warnings, told) if told else warnings
    alone = cross_fit(other, y, groups=both.group, **options)
    found = both.summary()
    found = dataclasses.replace(found, warnings=(*warnings, *found.warnings))
    if not alone.pmi.any():
        return dataclasses.replace(found, conditional=True)
    rated = Rated(both.pmi - alone.pmi, both.label, both.fold, both.group)
    error, interval = error_bar_of_difference(rated)
    nats = float(rated.pmi.mean())
    return dataclasses.replace(
        found,
        nats=nats,
        bits=nats / information.NATS_PER_BIT,
        standard_error=error,
        confidence_interval=interval,
        conditional=True,
    )


def _table(
    x: Any, y: ArrayLike, groups: ArrayLike | None, missing: str, seed: int
) -> Table:
    """Check the arguments, and turn them into arrays."""
    check_size(y)
    table = prepare(x, y, groups=groups, missing=missing, seed=seed)
    if table.rows.values.ndim != 2:
        raise UserError(
            "x: images have no columns to rank; give a table [N, D], such as features "
            "of a pretrained net"
        )
    return table


def _question(table: Table, groups: ArrayLike | None, seed: int) -> columns.Question:
    return columns.Question(
        table.rows, table.label, table.group, groups is None, int(seed)
    )


def _names(rows: Rows, prefix: str) -> tuple[str, ...]:
    """Return the names of the columns in one line each, or their indices."""
    indices = (f"{prefix}{i}" for i in range(rows.values.shape[1]))
    if not rows.names:
        return tuple(indices)
    names = (" ".join(name.split()) for name in rows.names)
    return unique_names([n or i for n, i in zip(names, indices, strict=True)])


def _rows_of_given(given: Any) -> Rows:
    if isinstance(given, str):
        raise UserError(f"given: is the word {given!r}; give the column itself")
    try:
        return as_rows(given)
    except UserError as error:  # which speaks of x
        raise UserError(f"given: {str(error).removeprefix('x: ')}") from None


def _joined(x: Rows, given: Rows) -> Rows:
    """Put the columns of two tables side by side."""
    values = (x.values, given.values)
    if any(v.ndim != 2 for v in values):
        raise UserError("x and given: must be tables [N, D], not images")
    if len({v.shape[0] for v in values}) > 1:
        raise UserError(
            f"given: has {values[1].shape[0]} rows, and x has {values[0].shape[0]}; "
            "give one row for each row of x"
        )
    sparse = any(scipy.sparse.issparse(v) for v in values)
    stack = scipy.sparse.hstack if sparse else np.hstack
    joined = scipy.sparse.csr_array(stack(values)) if sparse else stack(values)
    width = values[0].shape[1]
    levels = {**x.levels, **{width + i: known for i, known in given.levels.items()}}
    names = unique_names([*_names(x, ""), *_names(given, "given ")])
    return Rows(joined, names, levels, notes=(*x.notes, *given.notes))


def _listed(names: Sequence[str]) -> str:
    """Return the first names, and how many more there are."""
    some = ", ".join(map(shown, names[:5]))
    return some + f" and {len(names) - 5} more" * (len(names) > 5)
