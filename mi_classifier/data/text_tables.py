"""Find the table in rows of text: its header, and what holds no data."""

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mi_classifier.data import spelled_dates, spelled_numbers, text_files
from mi_classifier.data.containers import unique_names
from mi_classifier.data.spelled_dates import is_date
from mi_classifier.data.text_files import Row, TextFile
from mi_classifier.errors import UserError

# How programs write a missing value: those of pandas, and "?" of the UCI collection.
MISSING = (
    *(
        "",
        "NA",
        "N/A",
        "n/a",
        "#N/A",
        "#N/A N/A",
        "#NA",
        "NULL",
        "null",
        "None",
        "<NA>",
    ),
    *("NaN", "nan", "NAN", "-NaN", "-nan", "NaT", "?", "1.#QNAN", "-1.#QNAN", "1.#IND"),
    *("-1.#IND", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!", "#NULL!"),
)
_MISSING = pa.array(MISSING)
_HEAD = 1_000  # rows from which the width and the header are found
_CHUNK = 200_000  # cells that are strings of Python at a time, about
_COUNTS = ("id", "index", "no", "nr", "number", "row", "#", "case", "subject")
_UNNAMED = ("", "Unnamed: 0")  # how an index of pandas is headed


class Sheet(NamedTuple):
    """The columns of a text table, as they are written."""

    path: Path
    names: list[str]  # "0", "1", ... if the file has no names
    columns: list[pa.Array]  # of strings; a missing cell is null
    lines: np.ndarray  # [N], where each row starts
    named: bool
    notes: list[str]
    delimiter: str = ""  # nothing if the file is a workbook

    def place(self, row: int, column: int) -> str:
        """Return where a cell is, for an error."""
        return f"{self.path}, line {self.lines[row]}, column {self.names[column]!r}"


def read(path: Path, wanted: Iterable[str] = ()) -> Sheet:
    """Read a .csv, .tsv or .txt file, also compressed by gzip.

    Args:
      path: of the file.
      wanted: names of columns that the user expects.

    Raises:
      UserError: no table can be read in it without doubt; the message names the line.
    """
    file = text_files.inspect(path)
    return from_rows(path, file.rows(), list(file.notes), wanted, file)


def from_rows(
    path: Path,
    rows: Iterable[Row],
    notes: list[str],
    wanted: Iterable[str] = (),
    file: TextFile | None = None,
) -> Sheet:
    """Find the table in rows of cells, and say in the notes what is left out.

    Args:
      path: of the file, for errors.
      rows: all rows, also empty ones.
      notes: what there is to say so far.
      wanted: names of columns that the user expects. A line that has one that is no
        number is the line of names.
      file: a text file, of which plain tables can be read quickly.
    """
    rows = iter(rows)
    head = list(itertools.islice(rows, _HEAD))
    filled = [(line, [cell.strip() for cell in cells]) for line, cells in head]
    filled = [row for row in filled if any(row[1])]
    if not filled:
        raise UserError(f"{path}: is empty")
    width = _width(filled)
    if width < 2:
        raise UserError(f"{path}: needs a column of inputs and one of labels")
    # A number may be the place of a column without a name.
    wanted = {name for name in wanted if name}
    words = {n for n in wanted if not (n.isdecimal() and int(n) < width)}
    header, filled = _header(path, filled, width, notes, words)
    if not filled:
        raise UserError(f"{path}: has column names but no rows")
    names = [str(i) for i in range(width)] if header is None else header[1]
    first = filled[0][0]
    columns = file.columns(first, width) if file else None
    if columns is None:
        data = (row for row in itertools.chain(head, rows) if row[0] >= first)
        columns, lines = _collect(path, data, width, notes)
    else:
        lines = first + np.arange(len(columns[0]))
    columns, lines = _without_empty_rows(columns, lines, notes)
    delimiter = file.delimiter if file else ""
    named = header is not None
    sheet = Sheet(path, list(names), columns, lines, named, notes, delimiter)
    return _without_empty_columns(sheet, header[0] if header else 0, wanted)


def _width(rows: Sequence[Row]) -> int:
    """Return the usual number of cells; empty cells at the end of all do not count."""
    usual = Counter(len(cells) for _, cells in rows).most_common(1)[0][0]
    return min(usual, max(_extent(cells) for _, cells in rows))


def _extent(cells: Sequence[str]) -> int:
    """Return the number of cells up to the last one that is not empty."""
    return max((i + 1 for i, cell in enumerate(cells) if cell), default=0)


def _header(
    path: Path, rows: list[Row], width: int, notes: list[str], words: set[str]
) -> tuple[Row | None, list[Row]]:
    """Return the line of names, if there is one, and the rows below it."""
    while len(rows) > 1 and _is_title(rows[0][1], width):
        line, cells = rows.pop(0)
        stripped = _uncommented(cells)
        commented = cells[0].startswith("#") and len(stripped) == width
        if commented and not _is_header(rows, width):
            return (line, stripped), rows
        title = " ".join(cells).strip()
        notes.append(f"line {line} is left out, for it is a title or comment: {title}")
    line, cells = rows[0]
    if len(cells) == width - 1 and _has_row_names([row for _, row in rows[1:]], width):
        if cells[0].lower() in _COUNTS:
            raise UserError(
                f"{path}, line {line}: {len(cells)} names, and {width} cells below; if "
                "decimals have a comma, separate the cells by semicolons"
            )
        notes.append("the first cells, which have no name, name the rows")
        return (line, ["", *cells]), rows[1:]  # as R writes tables
    cells = _fitted(path, line, cells, width)
    named = [(line, _uncommented(cells)), *rows[1:]]
    if cells[0].startswith("#") and _is_header(named, width):
        return named[0], rows[1:]
    if words & set(cells) or _is_header([(line, cells), *rows[1:]], width):
        return (line, cells), rows[1:]
    notes.append("the file has no line of column names")
    return None, rows


def _has_row_names(rows: Sequence[Sequence[str]], width: int) -> bool:
    """Return whether the first of `width` cells names or counts the rows."""
    if not rows or any(len(cells) != width for cells in rows):
        return False
    first = [cells[0] for cells in rows]
    if _counts(first) and first[0].lstrip("0") in ("", "1"):
        return True
    names = not spelled_numbers.look(first).kinds.any()
    return names and len(set(first)) == len(first)


def _uncommented(cells: Sequence[str]) -> list[str]:
    first = cells[0].lstrip("#").strip()
    return [first, *cells[1:]] if first else list(cells[1:])


def _is_title(cells: Sequence[str], width: int) -> bool:
    """Return whether a row above the table is a title or a comment."""
    if cells[0].startswith("#") and len(cells) != width:
        return True
    return _extent(cells) == 1 and not spelled_numbers.look(cells[:1]).kinds.any()


def _is_header(rows: Sequence[Row], width: int) -> bool:
    """Return whether the first row holds names; names of columns may be numbers."""
    first = rows[0][1]
    body = [cells for _, cells in rows[1:] if len(cells) == width]
    if len(first) != width:
        return False
    if not body:
        return not spelled_numbers.look([c for c in first[:-1] if c]).kinds.any()
    columns = [[c for c in own if c not in MISSING] for own in zip(*body, strict=True)]
    numeric = [_share_of_numbers(own) > 0.5 or _are_dates(own) for own in columns]
    spelled = (spelled_numbers.look(first).kinds > 0).tolist()
    spelled = [s or is_date(cell) for s, cell in zip(spelled, first, strict=True)]
    # A cell above a column of numbers is a name if it is not a number itself.
    over = [i for i in range(width) if numeric[i] and first[i] not in MISSING]
    numbers = [first[i] for i in over if spelled[i]]
    if not over:  # only words, and those of a row of data come again
        again = [first[i] in columns[i] for i in range(width)]
        return not any(again) if any(numeric) else 2 * sum(again) < width
    if not numbers:
        return True
    if len(numbers) == len(over):
        # pandas counts the columns that have no name; the index has none.
        if first == ["", *map(str, range(width - 1))]:
            return True
        words = [
            first[i] in columns[i]
            for i in range(width)
            if not numeric[i] and first[i] not in MISSING
        ]
        # Years over decimals are names, unless a word beside them comes again below.
        own = [cell for cell, number in zip(first, spelled, strict=True) if number]
        counted = _counts(own) if words else first == [str(i) for i in range(width)]
        decimals = any("." in cell or "," in cell for own in columns for cell in own)
        return counted and decimals and len(own) > 1 and width > 2 and not any(words)
    return all(spelled[:-1]) or (len(numbers) > 1 and _counts(numbers))


def _share_of_numbers(cells: Sequence[str]) -> float:
    return float((spelled_numbers.look(cells).kinds > 0).mean()) if cells else 0.0


def _are_dates(cells: Sequence[str]) -> bool:
    if not cells:
        return False
    dates = spelled_dates.look(sorted(set(cells)))
    return bool(dates.doubt) or bool(np.isfinite(dates.seconds).mean() > 0.5)


def _counts(cells: Sequence[str]) -> bool:
    """Return whether cells are whole numbers, each one more than the one before."""
    if not all(cell.isdecimal() and len(cell) < 19 for cell in cells):
        return False
    values = [int(cell) for cell in cells]
    return all(b - a == 1 for a, b in itertools.pairwise(values))


def _collect(
    path: Path, rows: Iterator[Row], width: int, notes: list[str]
) -> tuple[list[pa.Array], np.ndarray]:
    """Return the columns as strings; comments are left out."""
    parts: list[list[pa.Array]] = [[] for _ in range(width)]
    lines, comments, blank = [], 0, [""] * width
    flat: list[str] = []  # a list for each row would keep the garbage collector busy

    def flush() -> None:
        for index, own in enumerate(parts):
            own.append(pa.array(flat[index::width], pa.string()))
        flat.clear()

    for line, cells in rows:
        if len(cells) != width:
            if cells and cells[0].startswith("#") and len(cells) < width:
                comments += 1
                continue
            empty = not any(cell.strip() for cell in cells)
            cells = blank if empty else _fitted(path, line, cells, width)
        flat.extend(cells)
        lines.append(line)
        if len(flat) >= _CHUNK:
            flush()
    flush()
    if comments:
        notes.append(f"{comments} line(s) that begin with # are left out")
    return [pa.concat_arrays(own) for own in parts], np.array(lines)


def _without_empty_rows(
    columns: list[pa.Array], lines: np.ndarray, notes: list[str]
) -> tuple[list[pa.Array], np.ndarray]:
    """Leave out empty rows, and blanks around cells; a missing cell becomes null."""
    columns = [pc.utf8_trim_whitespace(column) for column in columns]
    filled = pc.not_equal(columns[0], "")
    for column in columns[1:]:
        filled = pc.or_(filled, pc.not_equal(column, ""))
    keep = filled.to_numpy(zero_copy_only=False)
    if empty := int((~keep).sum()):
        notes.append(f"{empty} empty row{'s are' if empty > 1 else ' is'} left out")
        columns = [column.filter(filled) for column in columns]
    null = pa.scalar(None, pa.string())
    columns = [
        pc.if_else(pc.is_in(column, value_set=_MISSING), null, column)
        for column in columns
    ]
    return columns, lines[keep]


def _fitted(path: Path, line: int, cells: list[str], width: int) -> list[str]:
    """Leave out empty cells at the end of a row; refuse a row of another width."""
    if len(cells) >= width and not any(cell.strip() for cell in cells[width:]):
        return cells[:width]
    raise UserError(
        f"{path}, line {line}: {len(cells)} cells; most lines have {width}. Correct "
        "it: a delimiter is missing or one too many, a cell with a delimiter inside "
        "has no quotes, or decimals have a comma in a file of commas"
    )


def _without_empty_columns(sheet: Sheet, line: int, wanted: set[str]) -> Sheet:
    """Leave out columns without any data, and the index of pandas.

    The caller refuses an empty column that the user wants, or that is the labels'.
    """
    kept, names, columns = [], sheet.names, sheet.columns
    for index, (name, column) in enumerate(zip(names, columns, strict=True)):
        last = name and index == len(names) - 1 and not wanted
        if column.null_count == len(column) and not last and name not in wanted:
            called = (
                f"column {name!r}"
                if name
                else f"column {index + 1}, which has no name,"
            )
            sheet.notes.append(f"{called} is empty and left out")
            continue
        unnamed = sheet.named and index == 0 and name in _UNNAMED
        if unnamed and pc.count_distinct(column, mode="all").as_py() == len(column):
            sheet.notes.append("the first column is an index and left out")
            continue
        if not name:
            raise UserError(
                f"{sheet.path}, line {line}: a column has no name, the one at place "
                f"{index + 1}; give it one"
            )
        kept.append(index)
    unique = list(unique_names([names[i] for i in kept]))
    if len({names[i] for i in kept}) < len(kept):
        sheet.notes.append(
            f"columns have the same name; they are now {', '.join(unique)}"
        )
    return sheet._replace(names=unique, columns=[columns[i] for i in kept])
