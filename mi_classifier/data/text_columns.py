"""Read the columns of a text table: numbers, TRUE and FALSE, dates, and words."""

from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from mi_classifier.data import spelled_dates, spelled_numbers
from mi_classifier.data.spelled_numbers import Spelled
from mi_classifier.data.text_tables import Sheet
from mi_classifier.data.words import ends_in_zero, odd_word, same_number, words_note
from mi_classifier.errors import UserError

_TRUE, _FALSE = {"TRUE", "True", "true"}, {"FALSE", "False", "false"}
# A program that separates cells by semicolons does so because decimals have commas.
_MARK_OF = {";": ",", ",": "."}
_SAMPLE = 1_000  # rows that tell whether a column has decimal points


class _Words(NamedTuple):
    """A column as codes of its different words."""

    words: list[str]
    codes: np.ndarray  # [N]; -1 is missing
    spelled: Spelled

    @property
    def counts(self) -> np.ndarray:
        """How often each word occurs."""
        return np.bincount(self.codes + 1, minlength=len(self.words) + 1)[1:]

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Return each row's value; NaN where the cell is missing."""
        return np.append(values, np.nan)[self.codes]


def to_frame(sheet: Sheet, inputs: list[int]) -> pd.DataFrame:
    """Return columns as numbers, booleans, or categories of words.

    Raises:
      UserError: a cell is a word among numbers, or a number can be read in two ways.
    """
    plain = {i: _plain_numbers(sheet.columns[i]) for i in inputs}
    words = {i: _words(sheet.columns[i]) for i in inputs if plain[i] is None}
    for index, column in words.items():
        _check_odd(sheet, index, column)
    usual = _usual_mark(sheet, plain, words)
    columns = {}
    for index in inputs:
        name, values = sheet.names[index], plain[index]
        if values is not None and usual != ".":
            values = _with_points(sheet, index, values, usual)
        if values is None:
            values = _typed(sheet, index, words[index], usual)
        elif _are_doubtful(sheet.columns[index], values):
            column = _words(sheet.columns[index])
            _note_same(sheet, index, column, column.spelled.mark(_where(sheet, index)))
        columns[name] = values
    return pd.DataFrame(columns)


def labels_of(sheet: Sheet, index: int, what: str) -> pd.Series:
    """Return the words of a column, or floats if they spell numbers with decimals.

    Args:
      sheet: the table.
      index: of the column.
      what: "label" or "group", for the error.

    Raises:
      UserError: a cell is missing, or two labels are the same number.
    """
    column, name = sheet.columns[index], sheet.names[index]
    if column.null_count:
        rows = np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))
        more = f", nor have {len(rows) - 1} other rows" if len(rows) > 1 else ""
        raise UserError(
            f"{sheet.path}, line {sheet.lines[rows[0]]}: has no {what}{more}: column "
            f"{name!r} is empty there, or says NA, ? or the like; drop such rows, or "
            f"give them a {what}"
        )
    found = _words(column)
    if found.spelled.kinds.all():
        where = _where(sheet, index)
        mark = found.spelled.mark(where) or _MARK_OF.get(sheet.delimiter, ".")
        numbers = found.spelled.numbers(mark, where)
        if len(np.unique(numbers)) < len(numbers):
            _refuse_same(found, mark, where, what)
        if (np.floor(numbers) != numbers).any():
            return pd.Series(numbers[found.codes], name=name)
    return pd.Series(np.array(found.words, object)[found.codes], name=name)


def _refuse_same(found: _Words, mark: str, where: str, what: str) -> None:
    """Refuse labels that are one number, unless only floats cannot tell them apart."""
    if same := found.spelled.same(mark, where, exact=True):
        one, other = (found.words[i] for i in same)
        raise UserError(
            f"{where}: {what}s {one!r} and {other!r} are the same number; write it in "
            "one way, or a letter before each if they are names"
        )


def _plain_numbers(column: pa.Array) -> np.ndarray | None:
    """Return numbers as programs write them, or None if a cell is none."""
    if pc.any(pc.match_substring_regex(column, r"^[+-]?0\d+\.")).as_py():
        return None
    try:
        return pc.cast(column, pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        return None


def _are_doubtful(column: pa.Array, values: np.ndarray) -> bool:
    """Return whether cells that differ have the same number, or some end in a 0."""
    if pc.any(pc.match_substring_regex(column, r"\.\d+0$")).as_py():
        return True
    found = values[~np.isnan(values)]
    return len(np.unique(found)) < len(
        column.drop_null().dictionary_encode().dictionary
    )


def _note_same(sheet: Sheet, index: int, column: _Words, mark: str) -> None:
    """Note two words that are read as one number."""
    if same := column.spelled.same(mark, _where(sheet, index)):
        words = (column.words[i] for i in same)
        sheet.notes.append(same_number(f"column {sheet.names[index]!r}", *words))
    elif word := column.spelled.unequal_zero():
        sheet.notes.append(ends_in_zero(f"column {sheet.names[index]!r}", word))


def _words(column: pa.Array) -> _Words:
    encoded = column.dictionary_encode()
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    words = encoded.dictionary
    return _Words(words.to_pylist(), codes, spelled_numbers.look(words))


def _check_odd(sheet: Sheet, index: int, column: _Words) -> None:
    """Refuse a word among numbers."""
    counts = column.counts
    odd = odd_word(column.spelled, spelled_dates.look(column.words), counts)
    if odd is not None:
        place = sheet.place(int(np.argmax(column.codes == odd[0])), index)
        raise UserError(
            f"{place}: {column.words[odd[0]]!r} is not a {odd[1]}, as other cells of "
            "this column are; correct it, or leave the column out"
        )
    numbers = counts[column.spelled.kinds > 0].sum()
    if 0 < numbers < counts.sum():
        sheet.notes.append(
            f"column {sheet.names[index]!r} is read as words, for "
            f"{counts.sum() - numbers} of {counts.sum()} cells are no numbers"
        )


def _usual_mark(
    sheet: Sheet, plain: dict[int, np.ndarray | None], words: dict[int, _Words]
) -> str | None:
    """Return the usual decimal mark; "" if no column tells, None if they differ."""
    marks = set()
    for index, values in plain.items():
        if values is not None:
            some = sheet.columns[index][:_SAMPLE].drop_null().unique()
            marks.add(spelled_numbers.look(some).decimal_mark(_where(sheet, index)))
        elif words[index].spelled.kinds.all():
            marks.add(words[index].spelled.decimal_mark(_where(sheet, index)))
    marks -= {""}
    return marks.pop() if len(marks) == 1 else (None if marks else "")


def _with_points(
    sheet: Sheet, index: int, values: np.ndarray, usual: str | None
) -> np.ndarray:
    """Read 1.234 as 1234 in a file of decimal commas, if no cell says otherwise."""
    cells = sheet.columns[index]
    if not pc.any(pc.match_substring(cells, ".")).as_py():
        return values
    column, where = _words(cells), _where(sheet, index)
    if column.spelled.mark(where):
        return values
    doubtful = usual == "" and _MARK_OF.get(sheet.delimiter) == ","
    if doubtful:
        word = next(word for word in column.words if "." in word)
        raise UserError(
            f"{where}: {word!r} may be "
            f"{word.replace('.', '')} or {word}; a file of semicolons often has "
            "decimal commas. Separate cells by commas or tabs, or leave out the point"
        )
    return column.spread(column.spelled.numbers("," if usual == "," else "", where))


def _where(sheet: Sheet, index: int) -> str:
    return f"{sheet.path}, column {sheet.names[index]!r}"


def _typed(sheet: Sheet, index: int, column: _Words, usual: str | None) -> object:
    """Return a column of other numbers, of TRUE and FALSE, of dates, or of words."""
    spelled, words = column.spelled, set(column.words)
    if spelled.kinds.all():
        guess = "" if usual is None else usual or _MARK_OF.get(sheet.delimiter, "")
        mark = spelled.mark(_where(sheet, index)) or guess
        if usual == "" and mark == "," and (word := spelled.doubtful_comma()):
            raise UserError(
                f"{_where(sheet, index)}: {word!r} may be {word.replace(',', '')} or "
                f"{word.replace(',', '.')}; all decimals are three, beside whole "
                "numbers. Write it without a comma"
            )
        _note_same(sheet, index, column, mark)
        return column.spread(spelled.numbers(mark, _where(sheet, index)))
    if words <= _TRUE | _FALSE:
        true = np.array([word in _TRUE for word in column.words])
        return true[column.codes] if column.codes.min() >= 0 else column.spread(true)
    dates = spelled_dates.look(column.words)
    if not np.isnan(dates.seconds).any():
        return column.spread(dates.seconds)
    name = f"column {sheet.names[index]!r}"
    if note := words_note(name, column.words, dates.doubt):
        sheet.notes.append(note)
    elif len(words) > len(column.codes) / 2 > 1:
        sheet.notes.append(
            f"{name} is read as words, {len(words):,} different ones such as "
            f"{column.words[0]!r}"
        )
    return pd.Categorical.from_codes(column.codes, column.words)
