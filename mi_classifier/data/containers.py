"""Turn a user's x into an array, whatever container it comes in.

An array, a tensor, a list, a DataFrame of pandas, polars or pyarrow, a dict of columns,
a structured array or a sparse matrix.
"""

import collections
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse

from mi_classifier.data.columns import Column, as_column, check_exact
from mi_classifier.data.opening import opened
from mi_classifier.data.spelled_numbers import Way
from mi_classifier.errors import UserError, nearest

_BLOCK_BYTES = 1 << 25  # of values that are checked at a time: fits a cache, nearly
_NEARLY_ALL = 0.9  # of the rows have their own word, in a column of names


@dataclasses.dataclass(frozen=True)
class Rows:
    """The inputs as one array.

    Attributes:
      values: NumPy `[N, D]` of bool, int or float, a memory map, a SciPy CSR matrix, or
        images `[N, H, W, C]`. A missing value is NaN; a category is its code.
      names: of the columns; empty if the container has none.
      levels: the values that the codes 0, 1, ... of a column of categories stand for.
      ways: what the numbers of a column are, and how words wrote them.
      notes: sentences for the user on what may not be read as meant.
    """

    values: Any
    names: tuple[str, ...] = ()
    levels: Mapping[int, tuple] = dataclasses.field(default_factory=dict)
    ways: Mapping[int, Way] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def names_rows(self, index: int) -> bool:
        """Return whether a column has a word of its own in nearly every row."""
        words = self.levels.get(index, ())
        return len(words) >= _NEARLY_ALL * self.values.shape[0]

    def column(self, index: int | Sequence[int]) -> str:
        """Return how messages call a column, by its name or else its index."""
        if isinstance(index, int | np.integer):
            return f"column {self.names[index]!r}" if self.names else f"column {index}"
        return f"column {', '.join(map(str, index))}"


def as_rows(x: Any, like: Rows | None = None) -> Rows:
    """Turn inputs into one array of numbers.

    Plain arrays of numbers are not copied, and the values of a memory map are not read.
    Columns of words and categories are coded by their sorted values. An index of pandas
    is ignored.

    Args:
      x: one row an example; see the top of this file.
      like: the rows of a fit. Columns are matched by name if both have names, and
        categories are coded as there; a category that it does not have gets -1.

    Raises:
      UserError: x has no such form, a column is neither numbers nor categories, or the
        columns are not those of the fit.

    Examples:
      >>> rows = as_rows({"age": [30, 40], "city": ["Rome", "Oslo"]})
      >>> rows.values.tolist(), rows.names, rows.levels[1]
      ([[30, 1], [40, 0]], ('age', 'city'), ('Oslo', 'Rome'))
    """
    if isinstance(x, Rows):
        return x
    x = opened(x, "x")
    if scipy.sparse.issparse(x):
        if x.ndim > 2:
            raise UserError(f"x: a sparse array must be [N, D], not {x.shape}")
        if like is not None and like.levels:
            raise UserError(
                f"x: {like.column(min(like.levels))} held words in the fit, and "
                "numbers now; give a DataFrame again"
            )
        return _as_in_the_fit(Rows(_compressed(x)), like)
    if isinstance(x, np.ndarray) and (x.ndim == 0 or 0 in x.shape[1:]):
        raise UserError(
            f"x and y: must have shapes [N, ...] and [N], but x has shape {x.shape}"
        )
    if isinstance(x, np.ndarray) and x.dtype.kind in "biuf":
        if x.ndim != 4:
            x = x.reshape(len(x), int(np.prod(x.shape[1:])))
        if like is None or not like.levels:
            return _as_in_the_fit(Rows(x), like)
    if isinstance(x, np.ndarray) and x.dtype.kind == "c":
        raise UserError(f"x: must be numbers or categories, not {x.dtype}")
    names, columns = _columns(x)
    if not columns:
        raise UserError("x: has no columns")
    if (matrix := _sparse_frame(columns)) is not None:
        return _as_in_the_fit(Rows(matrix, names), like)
    if like is not None:
        names, columns = _matched(names, columns, like)
    return _assembled(names, columns, like)


def blocks(values: Any) -> Iterator[tuple[int, np.ndarray]]:
    """Yield blocks of rows, some tens of megabytes each, and where each starts."""
    size = int(np.prod(values.shape[1:]))
    step = max(_BLOCK_BYTES // max(8 * size, 1), 1)
    for start in range(0, values.shape[0], step):
        yield start, np.asarray(values[start : start + step])


def first_missing(rows: Rows, infinite: bool = True, nan: bool = True) -> tuple | None:
    """Find the first value that is missing or infinite.

    Args:
      rows: the inputs.
      infinite: whether to look for infinite values.
      nan: whether to look for missing values, which are NaN.

    Returns:
      Its row, its column (an index, or three of an image) and the value; None if there
      is none.
    """
    values = rows.values
    if values.dtype.kind != "f":
        return None

    def odd(block: np.ndarray) -> np.ndarray:
        if infinite and nan:
            return ~np.isfinite(block)
        return np.isinf(block) if infinite else np.isnan(block)

    if scipy.sparse.issparse(values):
        entries = np.flatnonzero(odd(values.data))
        if not len(entries):
            return None
        row = int(np.searchsorted(values.indptr, entries[0], side="right")) - 1
        own = entries[entries < values.indptr[row + 1]]
        entry = own[np.argmin(values.indices[own])]
        return row, int(values.indices[entry]), values.data[entry]
    for start, block in blocks(values):
        if (found := odd(block)).any():
            row, *column = map(int, np.argwhere(found)[0])
            value = block[(row, *column)]
            return start + row, column[0] if len(column) == 1 else tuple(column), value
    return None


def check_finite(rows: Rows, allow_missing: bool = False) -> None:
    """Raise a UserError that names the first input that is NaN or infinite.

    So it does for a column of whole numbers that are too large to be told apart.

    Args:
      rows: the inputs.
      allow_missing: whether NaN is fine; an infinite value never is.
    """
    found = first_missing(rows, nan=not allow_missing)
    if found is not None:
        row, column, value = found
        other = ", or give missing='keep'" if np.isnan(value) else ""
        raise UserError(
            f"x: {value} in row {row}, {rows.column(column)}; drop such rows, or fill "
            f"them in{other}"
        )
    if isinstance(rows.values, np.ndarray) and rows.values.ndim == 2:
        for index, column in enumerate(rows.values.T):
            check_exact(column, rows.column(index))


def _compressed(x: Any) -> Any:
    """Return a CSR matrix whose duplicate entries are summed."""
    x = (x.reshape(-1, 1) if x.ndim == 1 else x).tocsr()
    if x.dtype.kind not in "biuf" or x.dtype.itemsize > 8:
        if x.dtype.kind not in "biufO":
            raise UserError(f"x: must be numbers, not {x.dtype}")
        x = x.astype(np.float64)
    if 0 in x.shape[1:]:
        raise UserError("x: has no columns")
    if not x.has_canonical_format:
        x = x.copy()  # the user's own matrix stays as it is
        x.sum_duplicates()
    return x


def _columns(x: Any) -> tuple[tuple[str, ...], list[np.ndarray | pd.Series]]:
    """Return the columns of a table, and their names if it has any."""
    objects = x.ravel() if isinstance(x, np.ndarray) and x.dtype.kind == "O" else ()
    if len(objects) and all(isinstance(row, Mapping) for row in objects):
        keys = dict.fromkeys(key for row in objects for key in row)
        x = {key: [row.get(key) for row in objects] for key in keys}
    if isinstance(x, pd.Series):
        return (() if x.name in (None, "") else (str(x.name),)), [x]
    if isinstance(x, pd.DataFrame):
        return _names(x.columns), [x.iloc[:, i] for i in range(x.shape[1])]
    if isinstance(x, np.ndarray) and x.dtype.names:
        x = {name: x[name] for name in x.dtype.names}
    if not isinstance(x, Mapping):
        flat = x.reshape(len(x), int(np.prod(x.shape[1:])))
        return (), [flat[:, i] for i in range(flat.shape[1])]
    names = _names(list(x))
    columns = [opened(column, f"x: column {name!r}") for name, column in x.items()]
    for name, column in zip(names, columns, strict=True):
        if scipy.sparse.issparse(column) or column.ndim != 1:
            raise UserError(f"x: column {name!r}: must have shape [N]")
        if len(column) != len(columns[0]):
            raise UserError(
                f"x: column {name!r} has {len(column)} rows, and {names[0]!r} has "
                f"{len(columns[0])}"
            )
    return names, columns


def _names(labels: Any) -> tuple[str, ...]:
    """Return different names; none if a DataFrame only numbers its columns."""
    labels = list(labels)
    whole = all(isinstance(label, int | np.integer) for label in labels)
    if whole and labels == list(range(len(labels))):
        return ()
    joined = [
        "_".join(str(part) for part in label if str(part))
        if isinstance(label, tuple)
        else str(label)
        for label in labels
    ]
    return unique_names(joined)


def unique_names(names: Sequence[str]) -> tuple[str, ...]:
    """Add a number to names that occur before, as pandas does.

    Examples:
      >>> unique_names(["a", "b", "a"])
      ('a', 'b', 'a.1')
    """
    taken, counts, result = set(names), collections.Counter(), []
    for name in names:
        new, first = name, not counts[name]
        while not first and new in taken:
            new = f"{name}.{counts[name]}"
            counts[name] += 1
        counts[name] += first
        taken.add(new)
        result.append(new)
    return tuple(result)


def _sparse_frame(columns: list[np.ndarray | pd.Series]) -> Any:
    """Return the CSR matrix of sparse columns of pandas, which are 0 where unset."""
    dtypes = [getattr(column, "dtype", None) for column in columns]
    if not all(isinstance(d, pd.SparseDtype) and d.fill_value == 0 for d in dtypes):
        return None
    frame = pd.concat(columns, axis=1)
    if len(set(dtypes)) > 1:  # booleans beside numbers would become objects
        frame = frame.astype(pd.SparseDtype(np.float64, 0))
    return _compressed(scipy.sparse.csr_array(frame.sparse.to_coo()))


def _assembled(
    names: tuple[str, ...], columns: list[np.ndarray | pd.Series], like: Rows | None
) -> Rows:
    """Code the columns, and put them into one array."""
    called = Rows(None, names)
    coded, levels, ways, notes = [], {}, {}, []
    for index, cells in enumerate(columns):
        known = like.levels.get(index, ()) if like is not None else ()
        way = like.ways.get(index) if like is not None else None
        column = as_column(cells, called.column(index), known, way)
        if like is not None and not known:
            _check_kind(column, way or Way(), called.column(index))
        coded.append(column.values)
        if column.levels:
            levels[index] = column.levels
        if column.way:
            ways[index] = column.way
        if column.note:
            notes.append(column.note)
    dtypes = {column.dtype for column in coded}
    dtype = dtypes.pop() if len(dtypes) == 1 else np.float64
    values = np.empty((len(coded[0]), len(coded)), dtype)
    for index, column in enumerate(coded):
        check_exact(column, called.column(index))
        values[:, index] = column
    return Rows(values, names, levels, ways, tuple(notes))


def _check_kind(column: Column, way: Way, name: str) -> None:
    """Refuse a column of another kind than in the fit, where it was no category."""
    if column.levels:
        raise UserError(
            f"x: {name} held {way.kind} in the fit, and words now, such as "
            f"{column.levels[0]!r}"
        )
    if column.way is not None and column.way.kind != way.kind:
        raise UserError(
            f"x: {name} held {way.kind} in the fit, and {column.way.kind} now"
        )


def _matched(
    names: tuple[str, ...], columns: list[np.ndarray | pd.Series], like: Rows
) -> tuple[tuple[str, ...], list[np.ndarray | pd.Series]]:
    """Put columns in the order of the fit, by name if both have names."""
    if names and like.names:
        for name in like.names:
            if name not in names:
                hint = nearest(name, names)
                raise UserError(f"x: has no column {name!r}, as in the fit{hint}")
        for name in names:
            if name not in like.names:
                raise UserError(f"x: column {name!r} was not in the fit; leave it out")
        return like.names, [columns[names.index(name)] for name in like.names]
    if len(columns) != like.values.shape[1]:
        raise UserError(
            f"x: must have {like.values.shape[1]} columns, as in the fit, not "
            f"{len(columns)}"
        )
    return like.names, columns


def _as_in_the_fit(rows: Rows, like: Rows | None) -> Rows:
    """Check that an array or a sparse matrix has the columns of the fit."""
    if like is None:
        return rows
    if rows.names and like.names and rows.names != like.names:
        _, order = _matched(rows.names, list(range(len(rows.names))), like)
        rows = Rows(rows.values[:, order], like.names)
    if rows.values.shape[1:] != like.values.shape[1:]:
        shape = ", ".join(map(str, like.values.shape[1:]))
        raise UserError(
            f"x: must be [N, {shape}], as in the fit, not {rows.values.shape}"
        )
    for index, way in like.ways.items():
        if way.kind != "numbers":
            raise UserError(
                f"x: {like.column(index)} held {way.kind} in the fit; give a DataFrame "
                "again, not an array"
            )
    values, sparse = rows.values, scipy.sparse.issparse(rows.values)
    if sparse and not scipy.sparse.issparse(like.values):
        values = values.toarray()
    elif not sparse and scipy.sparse.issparse(like.values):
        values = scipy.sparse.csr_array(values)
    return Rows(values, like.names, like.levels)
