"""Turn one column of a user's table into numbers, or into codes of categories."""

import datetime
import decimal
import math
import numbers
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from mi_classifier.data import spelled_dates, spelled_numbers
from mi_classifier.data.spelled_numbers import Way
from mi_classifier.data.words import ends_in_zero, odd_word, same_number, words_note
from mi_classifier.errors import UserError

# Nobody means these as words: NumPy and pandas write them for a missing value when they
# turn it into a string, and spreadsheets for a lookup that failed. "NA" and "None" stay
# words here (Namibia, no treatment); in a text file they are missing.
_NEVER_WORDS = {"", "nan", "<na>", "nat", "#n/a", "n/a"}
# Cells of these types have an order among themselves alone.
_FAMILIES = {
    "durations": (datetime.timedelta, np.timedelta64),  # which NumPy calls integers
    "numbers": (numbers.Number, np.bool_),
    "dates": (datetime.date, np.datetime64),
    "times": datetime.time,
    "periods": pd.Period,
}
_EXACT = 2.0**53  # a float64 holds every whole number up to here

_TOO_CLOSE = (
    "x: {} has whole numbers beyond 2**53 that are equal as floats; if they are names, "
    "make them categories by astype(str).astype('category'), else leave the column out"
)


class Column(NamedTuple):
    """The numbers of a column, and how they have been read.

    Attributes:
      values: `[N]` of bool, int or float; a missing value is NaN.
      levels: of categories, which values the codes stand for.
      way: what the numbers are, and how words wrote them; None for categories.
      note: a sentence for the user about what may not be as meant, or nothing.
    """

    values: np.ndarray
    levels: tuple = ()
    way: Way | None = None
    note: str = ""


def as_column(
    cells: np.ndarray | pd.Series,
    name: str,
    known: tuple = (),
    way: Way | None = None,
) -> Column:
    """Turn a column into numbers, or into codes of its sorted values.

    Dates become seconds since 1970, durations seconds. Words become numbers if each of
    them spells a number, dates if each is a date, and else categories.

    Args:
      cells: `[N]`, of any kind.
      name: such as "column 'b'", for errors.
      known: values of a column of categories, in the order of their codes; other values
        get the code -1. By default, the column's own.
      way: how the words of a fit wrote numbers. By default, the column's own.

    Raises:
      UserError: cells of a kind that is neither a number nor a category, or of mixed
        kinds.
    """
    series = cells if isinstance(cells, pd.Series) else pd.Series(cells)
    if isinstance(series.dtype, pd.SparseDtype):
        series = series.sparse.to_dense()
    if str(series.dtype).startswith("string_view"):  # of Arrow: pandas cannot sort it
        series = pd.Series(series.to_list(), dtype=object)
    if isinstance(series.dtype, pd.CategoricalDtype):
        codes, values = series.cat.codes.to_numpy(), series.cat.categories
        return _coded(codes, values.to_numpy(object), name, known)
    if known:
        cells = series.to_numpy(object)
        return _coded(*pd.factorize(_without_missing(cells)), name, known)
    kind = series.dtype.kind
    if kind in "biuf":
        return Column(_numbers(series, kind, name), way=Way())
    if kind in "mM":
        return _of_times(series)
    if kind == "O" or kind in "SU":
        return _of_objects(series.to_numpy(object), name, way)
    raise UserError(f"x: {name} must be numbers or categories, not {series.dtype}")


def missing(cells: np.ndarray) -> np.ndarray:
    """Return which cells are missing, bool `[N]`, in any spelling that is not a word.

    Examples:
      >>> missing(np.array(["a", None, "nan", "NA", np.nan, " "], object)).tolist()
      [False, True, True, False, True, True]
    """
    cells = np.asarray(cells)
    if cells.dtype.kind not in "OSU":
        return np.asarray(pd.isna(cells))
    words = cells.astype(object)
    gone = np.array([cell is np.ma.masked for cell in words], bool) | pd.isna(words)
    try:
        codes, values = pd.factorize(np.where(gone, None, words))
    except TypeError:  # lists have no hash, and are not words
        return gone
    never = [isinstance(v, str) and v.strip().lower() in _NEVER_WORDS for v in values]
    return gone | np.array([*never, False], bool)[codes]


def kind_of(cells: np.ndarray) -> str:
    """Return pandas' name for the kind of the cells that are not None."""
    return pd.api.types.infer_dtype(cells, skipna=True)


def _without_missing(cells: np.ndarray) -> np.ndarray:
    if kind_of(cells) == "bytes":
        cells = np.array([c if c is None else decoded(c) for c in cells], object)
    return np.where(missing(cells), None, cells)


def decoded(cell: object) -> object:
    """Return bytes as a string, and anything else as it is.

    Bytes that are no UTF-8 are taken for Latin-1: different ones stay different.

    Examples:
      >>> decoded("ä".encode()), decoded("ä".encode("latin-1")), decoded(1)
      ('ä', 'ä', 1)
    """
    if not isinstance(cell, bytes):
        return cell
    try:
        return cell.decode("utf-8")
    except UnicodeDecodeError:
        return cell.decode("latin-1")


def _numbers(series: pd.Series, kind: str, name: str) -> np.ndarray:
    narrow = series.dtype.name.lower().startswith(("float16", "float32", "float["))
    if kind == "f":
        dtype = np.float32 if narrow else np.float64
        return series.to_numpy(dtype=dtype, na_value=np.nan)
    if series.isna().any():
        present = series.dropna()
        check_exact(present.to_numpy(dtype=bool if kind == "b" else f"{kind}8"), name)
        return series.to_numpy(dtype=np.float64, na_value=np.nan)
    size = getattr(series.dtype, "itemsize", 8)
    return series.to_numpy(dtype=bool if kind == "b" else f"{kind}{size}")


def check_exact(values: np.ndarray, name: str) -> None:
    """Refuse whole numbers that are equal as floats, but different."""
    if values.dtype.kind not in "iu" or not len(values):
        return
    if max(int(values.max()), -int(values.min())) <= _EXACT:
        return
    if len(np.unique(values)) > len(np.unique(values.astype(np.float64))):
        raise UserError(_TOO_CLOSE.format(name))


def _of_times(series: pd.Series) -> Column:
    """Return dates as seconds since 1970, and durations as seconds."""
    if series.dtype.kind == "m":
        seconds = series.dt.total_seconds()
        return Column(
            seconds.to_numpy(dtype=np.float64, na_value=np.nan), way=Way("durations")
        )
    if str(series.dtype).startswith("date"):  # of Arrow, without a time of day
        series = pd.to_datetime(series.astype(object))
    if getattr(series.dt, "tz", None) is not None:
        series = series.dt.tz_convert("UTC").dt.tz_localize(None)
    instants = series.to_numpy(dtype="datetime64[us]")
    micros = instants.astype(np.int64) / 1e6
    return Column(np.where(np.isnat(instants), np.nan, micros), way=Way("dates"))


def _of_objects(cells: np.ndarray, name: str, way: Way | None) -> Column:
    """Turn cells of Python objects into a column."""
    cells = _without_missing(cells)
    kind = kind_of(cells)
    if kind in ("string", "empty"):
        return _of_words(cells, name, way)
    if kind in ("datetime", "datetime64", "date"):
        return _of_times(pd.to_datetime(pd.Series(cells), utc=True))
    if kind in ("timedelta", "timedelta64"):
        return _of_times(pd.to_timedelta(pd.Series(cells)))
    if kind == "period":
        return _of_times(pd.PeriodIndex(cells).to_timestamp().to_series())
    if kind == "time":
        seconds = np.array([_seconds_of_day(cell) for cell in cells])
        return Column(seconds, way=Way("times"))
    present = [cell for cell in cells if cell is not None]
    _check_dates(cells, present, name)
    _check_one_family(cells, name)
    if any(isinstance(cell, (complex, np.complexfloating)) for cell in present):
        raise UserError(f"x: {name} must be numbers, not complex")
    odd = next((c for c in present if not _is_number(c)), None)
    if odd is None:
        return Column(_of_numbers(cells, present, name), way=Way())
    if any(map(_is_number, present)) and isinstance(odd, str):
        words = {c.strip() for c in present if isinstance(c, str)}
        spelled = spelled_numbers.look(sorted(words))
        if spelled.kinds.all():
            spelled.check_clear(f"x: {name}")
            texts = [None if c is None else _spelled(c) for c in cells]
            return _of_words(np.array(texts, object), name, way)
        row = next(i for i, c in enumerate(cells) if isinstance(c, str))
        raise UserError(
            f"x: {name} mixes numbers and words, such as {cells[row]!r} in row {row}; "
            "correct those cells, or make the column a category by "
            "astype(str).astype('category')"
        )
    try:
        return _coded(*pd.factorize(cells), name, ())
    except TypeError:  # a list, a dict or an array, which has no hash
        raise UserError(
            f"x: {name} must be numbers or categories, but a cell is a "
            f"{type(odd).__name__}; give each number its own column"
        ) from None


def _spelled(cell: object) -> str:
    return str(int(cell) if isinstance(cell, (bool, np.bool_)) else cell)


def _of_numbers(cells: np.ndarray, present: Sequence, name: str) -> np.ndarray:
    kinds = {type(cell) for cell in present}
    if len(present) == len(cells) and kinds <= {bool, np.bool_}:
        return cells.astype(bool)
    whole = [cell for cell in present if isinstance(cell, (int, np.integer))]
    exact = [c for c in present if isinstance(c, decimal.Decimal) and c == c // 1]
    _check_large([*whole, *exact], name)
    if len(whole) == len(cells) and not kinds & {bool, np.bool_}:
        largest = max(map(abs, map(int, cells)))
        return cells.astype(np.int64 if largest < 2**63 else np.float64)
    return np.array([np.nan if cell is None else float(cell) for cell in cells])


def _check_large(present: Sequence, name: str) -> None:
    values = set(map(int, present))
    try:
        floats = set(map(float, values))
    except OverflowError:
        raise UserError(f"x: {name} has whole numbers beyond 1e308") from None
    if len(values) > len(floats):
        raise UserError(_TOO_CLOSE.format(name))


def _check_dates(cells: np.ndarray, present: Sequence, name: str) -> None:
    """Refuse dates that are mixed with words."""
    dates = [isinstance(c, datetime.date | np.datetime64) for c in present]
    if any(dates) and any(isinstance(c, str) for c in present):
        row = next(i for i, c in enumerate(cells) if isinstance(c, str))
        raise UserError(
            f"x: {name} mixes dates and words, such as {cells[row]!r} in row {row}; "
            "correct those cells, or make all dates by pd.to_datetime"
        )


def _check_one_family(cells: np.ndarray, name: str) -> None:
    """Refuse numbers among dates, as a spreadsheet makes them, and the like."""
    families = {kind: _family(kind) for kind in set(map(type, cells))}
    if len(set(families.values()) - {""}) < 2:
        return
    rows: dict[str, int] = {}
    for row, cell in enumerate(cells):
        rows.setdefault(families[type(cell)], row)
    rows.pop("", None)
    (one, _), (other, row) = sorted(rows.items(), key=lambda item: item[1])[:2]
    raise UserError(
        f"x: {name} mixes {one} and {other}, such as {cells[row]} in row {row}; "
        "correct those cells, or leave the column out"
    )


def _family(kind: type) -> str:
    """Return what values of a type have an order with, or nothing."""
    return next((name for name, of in _FAMILIES.items() if issubclass(kind, of)), "")


def _is_number(cell: object) -> bool:
    # Decimal is a Number, and so is complex; an array of one number has __float__.
    return isinstance(cell, (numbers.Number, np.bool_)) or (
        isinstance(cell, np.ndarray) and cell.ndim == 0 and cell.dtype.kind in "biuf"
    )


def _seconds_of_day(cell: object) -> float:
    if cell is None:
        return math.nan
    return 3600 * cell.hour + 60 * cell.minute + cell.second + cell.microsecond / 1e6


def _of_words(cells: np.ndarray, name: str, way: Way | None) -> Column:
    codes, values = pd.factorize(cells)
    words = [str(value).strip() for value in values]
    if not words:
        return Column(np.full(len(codes), np.nan), way=way)
    spelled, where = spelled_numbers.look(words), f"x: {name}"
    counts = np.bincount(codes[codes >= 0], minlength=len(words))
    dates = spelled_dates.look(words, None if way is None else way.day_first)
    if (odd := odd_word(spelled, dates, counts)) is not None:
        index, kind = odd
        row = int(np.argmax(codes == index))
        raise UserError(
            f"{where}: {words[index]!r} in row {row} is not a {kind}, as other cells "
            "are; correct such cells, or make the column a category"
        )
    if spelled.kinds.all():
        way = spelled.way(where, way)
        found, note = spelled.numbers(way.mark, where), ""
        if same := spelled.same(way.mark, where):
            note = same_number(name, *(words[i] for i in same))
        elif word := spelled.unequal_zero():
            note = ends_in_zero(name, word)
        return Column(np.append(found, np.nan)[codes], way=way, note=note)
    if not np.isnan(dates.seconds).any():
        seconds = np.append(dates.seconds, np.nan)[codes]
        return Column(seconds, way=Way(dates.kind, day_first=dates.day_first))
    column = _coded(codes, values, name, ())
    return column._replace(note=words_note(name, words, dates.doubt))


def _coded(codes: np.ndarray, values: np.ndarray, name: str, known: tuple) -> Column:
    """Code categories by their place among the sorted ones that occur."""
    values = np.append(np.asarray(values, object), None)
    gone = missing(values)
    used = np.zeros(len(values), bool)
    used[np.unique(codes)] = True
    place = np.full(len(values), np.nan)
    if known:
        _check_kinds(values[used & ~gone], known, name)
        code_of: Mapping = {value: code for code, value in enumerate(known)}
        place[~gone] = [code_of.get(_plain(value), -1) for value in values[~gone]]
        levels = known
    else:
        levels = tuple(map(_plain, values[used & ~gone]))
        try:
            order = sorted(range(len(levels)), key=levels.__getitem__)
        except TypeError:  # such as 1 and "a"; a stable order all the same
            order = sorted(
                range(len(levels)), key=lambda i: (str(type(levels[i])), str(levels[i]))
            )
        place[np.flatnonzero(used & ~gone)[order]] = np.arange(len(levels))
        levels = tuple(levels[i] for i in order)
    coded = place[codes]
    whole = not np.isnan(coded).any()
    return Column(coded.astype(np.int64) if whole else coded, levels)


def _plain(value: object) -> object:
    """Return a NumPy scalar as a Python object, which prints without its type."""
    return value.item() if isinstance(value, np.generic) else decoded(value)


def _check_kinds(values: np.ndarray, known: tuple, name: str) -> None:
    words = {isinstance(level, str) for level in known}
    odd = [value for value in values if isinstance(decoded(value), str) not in words]
    if odd:
        kinds = ("words", "numbers") if True in words else ("numbers", "words")
        raise UserError(
            f"x: {name} held {kinds[0]} in the fit, and {kinds[1]} now, such as "
            f"{_plain(odd[0])!r}"
        )
