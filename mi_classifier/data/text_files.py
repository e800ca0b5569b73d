"""Read the rows of a text table: its encoding, its delimiter and its quotes."""

import codecs
import csv
import gzip
import io
import itertools
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

import pyarrow as pa
import pyarrow.csv as pacsv

from mi_classifier.data import room, spelled_numbers
from mi_classifier.errors import UserError, reason_of

# Of two delimiters that fit equally well, the first is meant. A blank comes last, for
# words have blanks inside.
_DELIMITERS = ("\t", ";", "|", ",", " ")
_BOMS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# First bytes of workbooks, of other zip files and of gzip.
_NO_TEXT = (b"PK\x03\x04", b"\x1f\x8b", b"\xd0\xcf\x11\xe0")
_ENOUGH = 0.8  # share of lines that have as many cells as most; titles have fewer
_SAMPLE = 200  # lines from which the delimiter is guessed
_BLOCK = 1 << 20  # characters that are decoded at a time
_LONGEST_LINE = 1 << 26  # characters
# Bytes of memory for each character, and each cell: its text and its number.
_BYTES_OF_CHARACTER, _BYTES_OF_CELL = 2, 20

Row = tuple[int, list[str]]  # the line where it starts, from 1 on, and its cells


class TextFile(NamedTuple):
    """A table of text whose rows can be read."""

    path: Path
    encoding: str
    delimiter: str
    skipped: int  # lines at the top that hold no cells: "sep=;"
    notes: tuple[str, ...]

    def rows(self) -> Iterator[Row]:
        """Yield each row, also empty ones, with the blanks around cells.

        Raises:
          UserError: a quote that is never closed, or text after a closing quote.
        """
        with _open(self.path, self.encoding) as lines:
            lines = itertools.islice(lines, self.skipped, None)
            yield from _split(self.path, lines, self.delimiter, self.skipped)

    def columns(self, line: int, width: int) -> list[pa.Array] | None:
        """Return the columns from a line on, or None if that needs a closer look.

        This is quick, but knows no lines, and is not strict about quotes.
        """
        with _open(self.path, self.encoding) as lines:
            quotes = any('"' in block for block in iter(lambda: lines.read(_BLOCK), ""))
        if quotes or self.delimiter == " " or not self.encoding.startswith("utf-8"):
            return None
        try:
            table = pacsv.read_csv(
                self.path,
                pacsv.ReadOptions(skip_rows=line - 1, autogenerate_column_names=True),
                pacsv.ParseOptions(
                    delimiter=self.delimiter,
                    quote_char=False,
                    ignore_empty_lines=False,
                ),
                pacsv.ConvertOptions(
                    column_types={f"f{i}": pa.string() for i in range(width)}
                ),
            )
        except (pa.ArrowException, OSError):  # another width, an odd end of .gz, ...
            return None
        if table.num_columns != width:
            return None
        return [pa.concat_arrays(column.chunks) for column in table.columns]


def inspect(path: Path) -> TextFile:
    """Find out how a file is encoded, and what separates its cells.

    Raises:
      UserError: the file is empty, or no text.
    """
    encoding = _encoding(path)
    notes = []
    if encoding in ("cp1252", "latin-1"):
        notes.append(f"the file is not UTF-8; it is read as {encoding}")
    with _open(path, encoding) as opened:
        lines = iter(lambda: opened.readline(_LONGEST_LINE), "")
        sample = list(itertools.islice(lines, _SAMPLE))
    for line, text in enumerate(sample, 1):
        if len(text) == _LONGEST_LINE:
            raise UserError(
                f"{path}, line {line}: has more than {_LONGEST_LINE:,} characters; is "
                "it a table of rows?"
            )
    skipped = 0
    if sample and sample[0].strip().strip('"').lower().startswith("sep="):
        delimiter = sample[0].strip("\r\n").strip('"')[4:5] or ","
        return TextFile(path, encoding, delimiter, 1, tuple(notes))
    lines = [line for line in sample if line.strip()]
    if not lines:
        raise UserError(f"{path}: is empty")
    return TextFile(path, encoding, _delimiter(path, lines), skipped, tuple(notes))


def _open(path: Path, encoding: str) -> IO[str]:
    return io.TextIOWrapper(_open_bytes(path), encoding=encoding, newline="")


def _open_bytes(path: Path) -> IO[bytes]:
    return gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb")


def _encoding(path: Path) -> str:
    """Return the encoding that the first bytes state, or else that all bytes fit."""
    try:
        with _open_bytes(path) as file:
            start = file.read(4096)
        if start.startswith(_NO_TEXT):
            raise UserError(
                f"{path}: holds a workbook or a compressed file, by its first bytes; "
                "name it so, such as .xlsx or .csv.gz"
            )
        stated = [name for bom, name in _BOMS if start.startswith(bom)][:1]
        if not stated and b"\0" in start:
            # In UTF-16, the upper byte of a Latin letter is zero.
            upper, lower = start[1::2].count(0), start[::2].count(0)
            upper_last = upper > lower
            if 8 * max(upper, lower) < len(start):
                line = start[: start.index(b"\0")].count(b"\n") + 1
                raise UserError(
                    f"{path}, line {line}: holds a zero byte, which no text has; "
                    "remove it, or write the file anew"
                )
            stated = ["utf-16-le" if upper_last else "utf-16-be"]
        candidates = stated or ["utf-8", "cp1252", "latin-1"]
        for encoding in candidates:
            try:
                with _open(path, encoding) as text:
                    size = 0
                    while block := text.read(_BLOCK):
                        cells = max(map(block.count, _DELIMITERS)) + block.count("\n")
                        size += _BYTES_OF_CHARACTER * len(block)
                        size += _BYTES_OF_CELL * cells
                        room.check(path, size, "use fewer rows or columns")
                return encoding
            except UnicodeDecodeError as error:
                reason = reason_of(error)
    except (OSError, EOFError, zlib.error) as error:
        reason = reason_of(error)
    raise UserError(f"{path}: cannot be read: {reason}")


def _delimiter(path: Path, lines: list[str]) -> str:
    """Return the delimiter that gives rows of equal width, and of most numbers."""
    if path.name.lower().removesuffix(".gz").endswith(".tsv") and "\t" in lines[-1]:
        return "\t"
    best, best_score = ",", (0.0, 0.0, 0)
    for delimiter in _DELIMITERS:
        if delimiter == " " and best_score[0] > _ENOUGH:
            break  # words, and names of columns, have blanks inside
        try:
            rows = list(_reader(lines, delimiter, strict=False))
        except csv.Error:  # a cell is too long
            continue
        rows = [[cell.strip() for cell in row] for row in rows]
        widths = [len(row) for row in rows]
        width = max(set(widths), key=widths.count)
        if width < 2:
            continue
        whole = [row for row in rows if len(row) == width]
        cells = [cell for row in whole for cell in row if cell]
        numbers = (spelled_numbers.look(cells).kinds > 0).mean() if cells else 0
        score = (len(whole) / len(rows), round(float(numbers), 2), width)
        if delimiter == "\t" and score[0] == 1:
            return delimiter  # hardly any cell has a tab inside
        if score > best_score:
            best, best_score = delimiter, score
    return best


def _reader(lines: Iterator[str] | list[str], delimiter: str, strict: bool) -> Iterator:
    if delimiter == " ":  # one or more
        lines = (line.replace("\t", " ").strip(" \r\n") + "\n" for line in lines)
    # A blank after a comma may stand before a quote.
    return csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=strict)


def _split(
    path: Path, lines: Iterator[str] | list[str], delimiter: str, skipped: int = 0
) -> Iterator[Row]:
    """Yield rows; the csv module alone is strict about quotes, and knows the line."""
    reader = _reader(lines, delimiter, strict=True)
    line = skipped
    try:
        for row in reader:
            start, line = line + 1, skipped + reader.line_num
            if line > start:
                _check_lines(path, start, row, delimiter)
            yield start, row
    except csv.Error as error:
        last, reason = skipped + reader.line_num, reason_of(error)
        where = f"{path}, line {line + 1}"
        until = f"{path}, lines {line + 1} to {last}" if last > line + 1 else where
        if "field limit" in reason:
            raise UserError(
                f"{where}: a cell has more than {csv.field_size_limit():,} characters; "
                "shorten it, or close a quote that is opened there"
            ) from None
        if "end of data" in reason:
            raise UserError(
                f"{where}: a quote is opened and never closed; close it, or write it "
                "twice if it belongs to the text"
            ) from None
        raise UserError(
            f"{until}: text follows a closing quote, so a quote is missing or "
            f"one too many ({reason})"
        ) from None


def _check_lines(path: Path, line: int, row: list[str], delimiter: str) -> None:
    """Refuse a quoted cell that swallowed rows, because a quote is missing."""
    for cell in row:
        lines = cell.splitlines()
        # In two columns, the end of an address may have a comma.
        inner = lines[1:] if len(row) > 2 else lines[1:-1]
        if any(text.count(delimiter) >= max(len(row) - 1, 1) for text in inner):
            raise UserError(
                f"{path}, line {line}: a quoted cell goes on for {len(lines)} lines "
                "that look like rows; a quote is missing or one too many"
            )
