"""Turn a user's y and groups into indices; a missing label is an error, not a class."""

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse

from mi_classifier.data import spelled_numbers
from mi_classifier.data.columns import decoded, kind_of, missing
from mi_classifier.data.opening import opened
from mi_classifier.errors import UserError

# No rating or grade that we know has more steps than so many numbers with decimals.
_MOST_DECIMALS = 50
_FEW_SINGLE = 3  # labels of one row; more are no mistakes


def as_labels(y: Any, num_rows: int | tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Find the different labels, and which of them each row has.

    Args:
      y: labels `[N]`: numbers, booleans, words, categories or dates, in an array, a
        list, a Series or a DataFrame of one column.
      num_rows: N, or the shape of x, which errors then show.

    Returns:
      The M labels, sorted, of their own kind, and int32 `[N]` indices among them.

    Raises:
      UserError: another shape, a missing label, labels of mixed kinds, or a y that is
        continuous or names each row.

    Examples:
      >>> labels, label = as_labels(["bee", "ape", "bee", "bee", "ape"], 5)
      >>> labels.tolist(), label.tolist()
      (['ape', 'bee'], [1, 0, 1, 1, 0])
    """
    cells = _cells(y, "y", num_rows)
    _check_present(cells, "y", "drop such rows, or give them a label")
    cells = _of_one_kind(cells)
    labels, label = _unique(cells)
    _check_classes(labels, len(label))
    return labels, label.astype(np.int32)


def as_known_labels(
    y: Any, labels: np.ndarray, num_rows: int | tuple[int, ...]
) -> np.ndarray:
    """Return int32 `[N]`, each row's index among the sorted labels of a fit.

    Raises:
      UserError: as `as_labels`, or a label is not among those of the fit.
    """
    cells = _cells(y, "y", num_rows)
    _check_present(cells, "y", "drop such rows, or give them a label")
    index_of = {label: index for index, label in enumerate(labels.tolist())}
    found, label = _unique(_of_one_kind(cells))
    for value in found.tolist():
        if value not in index_of:
            raise UserError(f"y: label {value!r} is not among those of the fit")
    return np.array([index_of[value] for value in found.tolist()], np.int32)[label]


def as_groups(
    groups: Any, num_rows: int | tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Find the groups, and which of them each row is in.

    Args:
      groups: `[N]` of any kind, such as names of subjects.
      num_rows: N, or the shape of x, which errors then show.

    Returns:
      The names of the groups in the order of the rows, and int64 `[N]` indices among
      them.

    Raises:
      UserError: another shape, or the group of a row is missing.

    Examples:
      >>> names, group = as_groups(["Ann", "Bob", "Ann"], 3)
      >>> names.tolist(), group.tolist()
      (['Ann', 'Bob'], [0, 1, 0])
    """
    cells = _cells(groups, "groups", num_rows)
    _check_present(cells, "groups", "drop such rows, or give each its own group")
    try:
        group, names = pd.factorize(cells)
    except TypeError as error:
        raise UserError(f"groups: must be names or numbers ({error})") from None
    return names, group.astype(np.int64)


def warn_of_alike(names: Sequence, what: str) -> tuple[str, ...]:
    """Return a warning if names differ only in case, in blanks or in their coding.

    Examples:
      >>> warn_of_alike(["ape", "Ape", "bee"], "labels")
      ("labels 'ape' and 'Ape' may be the same; write it in one way if they are",)
    """
    seen: dict[str, str] = {}
    for name in names:
        if isinstance(name, str):
            plain = " ".join(unicodedata.normalize("NFKC", name).casefold().split())
            if (same := seen.setdefault(plain, name)) != name:
                told = f"{what} {str(same)!r} and {str(name)!r} may be the same"
                return (f"{told}; write it in one way if they are",)
    return ()


def warn_of_single(labels: np.ndarray, label: np.ndarray) -> tuple[str, ...]:
    """Return a warning if few labels have one row each, such as a line of totals.

    Examples:
      >>> names = np.array(["N", "S", "Total"])
      >>> warn_of_single(names, np.array([0, 1, 0, 1, 2]))[0].partition(";")[0]
      "label 'Total' has one row"
    """
    single = np.flatnonzero(np.bincount(label, minlength=len(labels)) == 1)
    if not len(single) or len(single) > _FEW_SINGLE:
        return ()
    names = ", ".join(repr(name) for name in labels[single].tolist())
    have = f"labels {names} have one row each" if len(single) > 1 else ""
    have = have or f"label {names} has one row"
    return (f"{have}; if it is no example, such as a line of totals, leave it out",)


def check_index(x: Any, y: Any, name: str = "y") -> None:
    """Refuse an x and a y of pandas whose rows are the same in another order.

    Rows are matched by position. If one of the indexes only counts the rows, or they
    share no label, nothing speaks against that.

    Raises:
      UserError: rows at the same position have different labels in the two indexes.
    """
    kinds = pd.DataFrame | pd.Series
    if not (isinstance(x, kinds) and isinstance(y, kinds)) or x.index.equals(y.index):
        return
    counted = any(i.equals(pd.RangeIndex(len(i))) for i in (x.index, y.index))
    same = len(x) == len(y) and not len(x.index.symmetric_difference(y.index))
    if same or (not counted and len(x.index.intersection(y.index))):
        unique = x.index.is_unique and y.index.is_unique
        align = f"align them by {name} = {name}.loc[x.index], or " if unique else ""
        raise UserError(
            f"x and {name}: their indexes name the rows in different orders; {align}"
            "drop both by reset_index(drop=True)"
        )


def _cells(y: Any, what: str, num_rows: int | tuple[int, ...]) -> np.ndarray:
    """Return the labels as an array `[N]`."""
    num_rows, shape = (
        (num_rows, f"({num_rows}, ...)")
        if isinstance(num_rows, int | np.integer)
        else (num_rows[0], tuple(num_rows))
    )
    if isinstance(y, str):
        raise UserError(f"{what}: is the word {y!r}; give a value for each row")
    y = opened(y, what)
    frame = isinstance(y, Mapping | pd.DataFrame)
    if frame:
        y = pd.DataFrame(y)
        y = y.iloc[:, 0] if y.shape[1] == 1 else y.to_numpy()
    if isinstance(y, pd.Series):
        y = _of_series(y)
    sparse = scipy.sparse.issparse(y)
    if sparse:
        y = y.toarray()
    if y.ndim == 1 and len(y) == num_rows:
        if not num_rows:
            raise UserError(f"x and {what}: hold no rows; give at least 50")
        return y
    hint = ""
    if y.ndim == 2 and 1 in y.shape:
        hint = f"; {what}{'.toarray()' * sparse}.ravel() makes it so"
    elif _is_one_hot(y):
        array = f"{what}.to_numpy()" if frame else what
        hint = f"; its rows are one-hot: {array}.argmax(1) makes it so"
    raise UserError(
        f"x and {what}: must have shapes [N, ...] and [N], not {shape} and {y.shape}"
        f"{hint}"
    )


def _of_series(series: pd.Series) -> np.ndarray:
    """Return the values of a Series; whole numbers stay whole."""
    dtype = series.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        values = np.append(_of_series(pd.Series(series.cat.categories)), [None])
        return values.astype(object)[series.cat.codes.to_numpy()]
    if isinstance(dtype, np.dtype) or dtype.kind not in "biuf" or series.isna().any():
        return series.to_numpy()
    size = {"b": bool}.get(dtype.kind, f"{dtype.kind}{getattr(dtype, 'itemsize', 8)}")
    return series.to_numpy(dtype=size)


def _is_one_hot(y: np.ndarray) -> bool:
    if y.ndim != 2 or y.shape[1] < 2 or y.dtype.kind not in "biuf":
        return False
    return bool(np.isin(y, (0, 1)).all() and (y.sum(1) == 1).all())


def _check_present(cells: np.ndarray, what: str, remedy: str) -> None:
    gone = missing(cells)
    if cells.dtype.kind == "f":
        gone = ~np.isfinite(cells)
    elif cells.dtype.kind == "O":
        gone = gone | [isinstance(c, float) and np.isinf(c) for c in cells]
    rows = np.flatnonzero(gone)
    if len(rows):
        value = str(cells[rows[0]]).strip()
        value = value if cells.dtype.kind == "f" or "inf" in value else "missing"
        more = f" (and {len(rows) - 1} more)" if len(rows) > 1 else ""
        raise UserError(f"{what}: {value} in row {rows[0]}{more}; {remedy}")


def _of_one_kind(cells: np.ndarray) -> np.ndarray:
    """Return an array of words, numbers or dates; refuse a mixture."""
    if cells.dtype.kind == "c":
        raise UserError(f"y: must be labels, not {cells.dtype}")
    if cells.dtype.kind in "SU":
        cells = cells.astype(object)
    if cells.dtype.kind != "O":
        return cells
    kind = kind_of(cells)
    if kind == "bytes":
        return np.array([decoded(cell) for cell in cells], object)
    if kind == "boolean":
        return cells.astype(bool)
    whole = (bool, np.bool_, int, np.integer)
    if kind == "integer" or all(isinstance(cell, whole) for cell in cells):
        try:
            return cells.astype(np.int64)
        except OverflowError:
            return cells
    if kind in ("floating", "mixed-integer-float"):
        return cells.astype(np.float64)
    words = {isinstance(cell, str) for cell in cells}
    if len(words) == 2:
        kinds = sorted({type(cell).__name__ for cell in cells})
        raise UserError(
            f"y: labels must be of one kind, not {' and '.join(kinds)}; for instance, "
            "make all strings"
        )
    return cells


def _unique(cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the different labels, sorted, and each row's index among them."""
    if cells.dtype.kind != "O":
        return np.unique(cells, return_inverse=True)
    try:
        codes, values = pd.factorize(cells)
        order = sorted(range(len(values)), key=values.__getitem__)
    except TypeError as error:
        raise UserError(
            f"y: labels must be of one kind ({error}); for instance, make all strings"
        ) from None
    labels = values[order]
    if all(isinstance(value, str) for value in values):
        labels = labels.astype(str)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return labels, place[codes]


def _check_classes(labels: np.ndarray, num_rows: int) -> None:
    """Refuse labels that measure something, or that name each row."""
    if 2 * len(labels) <= num_rows:
        words = labels.dtype.kind != "f"
        if words or len(labels) <= _MOST_DECIMALS or not _has_decimals(labels):
            return
    elif num_rows <= 2:
        return
    different = "different labels" if len(labels) > 1 else "label"
    start = f"y: {len(labels)} {different} in {num_rows} rows; "
    if _has_decimals(labels):
        raise UserError(
            f"{start}y is continuous. Give classes, for instance quantiles of y (or "
            "words, if each number names a class)"
        )
    raise UserError(
        f"{start}y names each row, or counts something. Give classes, such as the "
        "column of the kinds, or quantiles of a count"
    )


def _has_decimals(labels: np.ndarray) -> bool:
    """Return whether the labels are numbers, or spell some, that are not all whole."""
    if labels.dtype.kind == "f":
        return bool((labels != np.floor(labels)).any())
    if labels.dtype.kind != "U":
        return False
    spelled = spelled_numbers.look(labels.tolist())
    try:
        values = spelled.numbers(spelled.mark("y"), "y") if spelled.kinds.all() else []
    except UserError:
        return True
    return bool(np.any(np.floor(values) != values))
