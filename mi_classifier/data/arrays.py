"""Read inputs and labels from a user's file: arrays, a text table or a data frame."""

import dataclasses
import datetime
import re
import sys
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mi_classifier.data import arrow_files, room, text_columns, text_tables
from mi_classifier.data.containers import as_rows, unique_names
from mi_classifier.errors import UserError, nearest, reason_of

_TEXTS = (".csv", ".tsv", ".txt")
_FRAMES = (".parquet", ".feather", ".arrow")
_WORKBOOKS = (".xlsx", ".xlsm")
_SUFFIXES = (".npz", *_TEXTS, *(f"{s}.gz" for s in _TEXTS), *_FRAMES, *_WORKBOOKS)
_MOST_CELLS = 1 << 25  # of a workbook, empty ones too
_BYTES_OF_XML = 3  # of memory, for each byte of a workbook
_BYTES_OF_CHARACTER = 4  # of a workbook: in openpyxl, in our columns, as codes
_MOST_ROWS = 1 << 20  # of a workbook, as a spreadsheet program has them


@dataclasses.dataclass(frozen=True)
class Table:
    """What a file holds.

    Attributes:
      x: inputs `[N, ...]`: an array of an .npz file, and else a DataFrame. Words are
        categories in it, and a missing value is NaN.
      y: labels `[N]`, with the name of their column or array.
      groups: `[N]`, or None.
      notes: sentences on what was left out, or was not plain, for the user to read.
      lines: where each row starts in a text file, `[N]` from 1 on; else None.
    """

    x: np.ndarray | pd.DataFrame
    y: pd.Series
    groups: pd.Series | None
    notes: tuple[str, ...]
    lines: np.ndarray | None = None


def load(
    path: str,
    inputs: str = "x",
    labels: str = "",
    leave_out: str = "",
    groups: str = "",
) -> tuple[np.ndarray | pd.DataFrame, np.ndarray]:
    """Read inputs and labels.

    Args:
      path: an .npz file with two arrays; a text table with one row an example (.csv,
        .tsv or .txt, also .gz), with or without a line of column names; a .parquet or
        .feather file; or an .xlsx workbook, of which the first sheet is read.
      inputs: name of the array of inputs in an .npz file. In a table, all columns but
        those named below are inputs.
      labels: name of the array of labels, by default "y", or of their column, by
        default the last one. Columns without names are called "0", "1" and so on.
      leave_out: names of columns that are no inputs, separated by commas.
      groups: name of the column of groups, or of their array; `read` returns them.

    Returns:
      Inputs `[N, ...]`, and labels `[N]`. The inputs of a table are float64 if all are
      numbers, and else a DataFrame. A missing input is NaN.

    Raises:
      UserError: the file is missing or cannot be read without doubt, it has no such
        array or column, or a label is missing; the message names line and column.
    """
    table = read(path, inputs, labels, leave_out, groups)
    x, y = table.x, table.y
    if isinstance(x, pd.DataFrame):
        rows = as_rows(x)
        x = x if rows.levels else np.asarray(rows.values, np.float64)
    if all(isinstance(label, str) for label in y):
        return x, np.array(y, str)
    return x, y.to_numpy()


def read(
    path: str,
    inputs: str = "x",
    labels: str = "",
    leave_out: str = "",
    groups: str = "",
) -> Table:
    """Read a file as `load` does, with the names of columns, groups and notes."""
    if not path:
        raise UserError("data.path: give a file, as in --config.data.path=FILE.npz")
    file = Path(path).expanduser()
    name = file.name.lower()
    if file.is_dir():
        raise UserError(f"data.path: {path} is a folder; give a file of a table")
    if not name.endswith(_SUFFIXES):
        raise UserError(f"data.path: {path}: must end in {', '.join(_SUFFIXES)}")
    if not file.is_file():
        raise UserError(f"data.path: no such file: {path}")
    if name.endswith(".npz"):
        if leave_out:
            raise UserError("data.leave_out: an .npz file has arrays, not columns")
        return _read_npz(file, inputs, labels or "y", groups)
    if name.endswith(_FRAMES):
        return _read_frame(file, labels, leave_out, groups)
    wanted = (labels, groups, leave_out, *leave_out.split(","))
    if name.endswith(_WORKBOOKS):
        sheet = _read_workbook(file, wanted)
    else:
        sheet = text_tables.read(file, wanted)
    chosen = _choose(file, sheet.names, labels, leave_out, groups)
    frame = text_columns.to_frame(sheet, chosen.inputs)
    y = text_columns.labels_of(sheet, chosen.labels, "label")
    group = None
    if chosen.groups is not None:
        group = text_columns.labels_of(sheet, chosen.groups, "group")
    return Table(frame, y, group, tuple(sheet.notes), sheet.lines)


@dataclasses.dataclass(frozen=True)
class _Chosen:
    inputs: list[int]
    labels: int
    groups: int | None


def _choose(
    file: Path, names: list[str], labels: str, leave_out: str, groups: str
) -> _Chosen:
    """Find the columns of inputs, labels and groups."""

    def index_of(name: str, field: str) -> int:
        if name not in names:
            raise UserError(
                f"data.{field}: {file} has no column {name!r}{nearest(name, names)}; "
                f"it has {', '.join(names)}"
            )
        return names.index(name)

    # A column's own name may have a comma.
    listed = [leave_out] if leave_out in names else leave_out.split(",")
    listed = [name if name in names else name.strip() for name in listed]
    out = {index_of(name, "leave_out") for name in listed if name}
    group = index_of(groups, "groups") if groups else None
    rest = [i for i in range(len(names)) if i not in out and i != group]
    label = index_of(labels, "labels") if labels else (rest or [None])[-1]
    if label is not None and (label == group or label in out):
        other = "data.groups" if label == group else "data.leave_out"
        raise UserError(f"data.labels: {names[label]!r} is also in {other}")
    rest = [i for i in rest if i != label]
    if not rest:
        raise UserError(f"{file}: needs a column of inputs and one of labels")
    return _Chosen(rest, label, group)


def _read_npz(file: Path, inputs: str, labels: str, groups: str) -> Table:
    fields = {"inputs": inputs, "labels": labels} | (
        {"groups": groups} if groups else {}
    )
    try:
        # np.load does not close a damaged file that it has opened itself.
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as archive:
            for field, name in fields.items():
                if name not in archive:
                    raise UserError(
                        f"data.{field}: {file} has no array {name!r}"
                        f"{nearest(name, archive)}; it has {', '.join(archive)}"
                    )
            room.check_members(file, archive.zip, fields.values())
            arrays = {field: archive[name] for field, name in fields.items()}
        for field, array in arrays.items():
            if not isinstance(array, np.ndarray):  # the bytes of a file of another kind
                raise UserError(f"{file}: {fields[field]!r} is no array")
            if array.dtype.kind == "U" and not _is_text(array):
                raise UserError(f"{file}: {fields[field]!r} holds no text; damaged?")
    except UserError:
        raise
    except Exception as error:  # damage may raise anything
        reason = reason_of(error)
        if "allow_pickle" in reason:
            reason = "arrays of Python objects are not read; use numbers and strings"
        raise UserError(f"{file}: cannot be read: {reason}") from error
    series = {}
    for field in fields.keys() - {"inputs"}:
        array, name = arrays[field], fields[field]
        if array.ndim != 1:
            hint = f"; {name}.ravel() makes it so" if 1 in array.shape else ""
            raise UserError(
                f"data.{field}: array {name!r} of {file} must have shape [N], not "
                f"{array.shape}{hint}"
            )
        series[field] = pd.Series(array, name=name)
    return Table(arrays["inputs"], series["labels"], series.get("groups"), ())


def _is_text(array: np.ndarray) -> bool:
    """Return whether all characters of an array of text exist in Unicode."""
    native = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
    codes = native.reshape(-1).view(np.uint32) if native.dtype.itemsize else native[:0]
    return not codes.size or int(codes.max()) <= sys.maxunicode


def _read_frame(file: Path, labels: str, leave_out: str, groups: str) -> Table:
    try:
        table, nested = arrow_files.read(file)
        # Whole numbers stay whole, where some are missing.
        frame = table.to_pandas(integer_object_nulls=True)
    except UserError:
        raise
    except Exception as error:  # damage may raise anything
        raise UserError(f"{file}: cannot be read: {reason_of(error)}") from error
    frame.columns = unique_names([str(name) for name in frame.columns])
    chosen = _choose(file, list(frame.columns), labels, leave_out, groups)
    for index in {*chosen.inputs, chosen.labels, chosen.groups} - {None}:
        if (name := frame.columns[index]) in nested:
            raise UserError(
                f"{file}: column {name!r} holds lists or structs; leave it out, or "
                "give a number or a word for each row"
            )
    notes = ()
    if not isinstance(frame.index, pd.RangeIndex):
        notes = ("the index that the file states is left out",)
    frame = frame.reset_index(drop=True)
    y = frame.iloc[:, chosen.labels]
    group = None if chosen.groups is None else frame.iloc[:, chosen.groups]
    return Table(frame.iloc[:, chosen.inputs], y, group, notes)


def _read_workbook(file: Path, wanted: Iterable[str]) -> text_tables.Sheet:
    import openpyxl  # takes a fifth of a second

    try:
        with zipfile.ZipFile(file) as archive:
            size = sum(member.file_size for member in archive.infolist())
        room.check(file, _BYTES_OF_XML * size, "use fewer rows")
        most = room.memory() / _BYTES_OF_CHARACTER
        book = openpyxl.load_workbook(file, read_only=True, data_only=True)
        shown = [sheet for sheet in book.worksheets if sheet.sheet_state == "visible"]
        sheet = (shown or book.worksheets)[0]
        rows, count, size = [], 0, 0
        for line, cells in enumerate(sheet.iter_rows(values_only=True), 1):
            count += max(len(cells), 1)  # rows that are left out count, too
            if count > _MOST_CELLS or line > _MOST_ROWS:
                raise ValueError(
                    f"more than {_MOST_CELLS:,} cells or {_MOST_ROWS:,} rows; save it "
                    "as .csv"
                )
            # One cell far away gives all rows its length.
            filled = [i for i, cell in enumerate(cells, 1) if cell is not None]
            kept = cells[: max(filled, default=0)]
            rows.append((line, [_text(cell) for cell in kept]))
            # Many cells may share one long text.
            size += sum(map(len, rows[-1][1]))
            if size > most:
                raise ValueError("its texts take more memory than there is")
        width = max((len(cells) for _, cells in rows), default=0)
        if len(rows) * width > _MOST_CELLS:
            raise ValueError(f"more than {_MOST_CELLS:,} cells; save it as .csv")
        for _, cells in rows:
            cells += [_text(None)] * (width - len(cells))
        notes = []
        if len(book.worksheets) > 1:
            notes.append(f"of {len(book.worksheets)} sheets, {sheet.title!r} is read")
        book.close()
        formula = None
        if any(not all(cells) for _, cells in rows):
            book = openpyxl.load_workbook(file, read_only=True)
            formula = _without_value(book[sheet.title], rows)
            book.close()
    except UserError:
        raise
    except Exception as error:  # damage may raise anything
        raise UserError(f"{file}: cannot be read: {reason_of(error)}") from error
    if formula is not None:
        raise UserError(
            f"{file}, line {formula[0]}: the formula {formula[1]} has no value saved; "
            "open the file in a spreadsheet program, and save it"
        )
    return text_tables.from_rows(file, rows, notes, wanted)


def _without_value(
    sheet: Any, rows: Sequence[tuple[int, list[str]]]
) -> tuple[int, str] | None:
    """Return line and text of the first formula whose value is not in the rows."""
    for (line, values), cells in zip(rows, sheet.iter_rows(), strict=False):
        for value, cell in zip(values, cells, strict=False):
            if not value and cell.data_type == "f":
                return line, str(cell.value)
    return None


def _text(cell: object) -> str:
    """Return a cell of a workbook as a text table has it."""
    if isinstance(cell, bool):
        return "TRUE" if cell else "FALSE"
    if isinstance(cell, datetime.timedelta):  # more than a day of hours, maybe
        minutes, seconds = divmod(int(cell.total_seconds()), 60)
        return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"
    text = "" if cell is None else str(cell).strip()
    # Three decimals may be thousands in a text, but not in a cell of numbers.
    three = isinstance(cell, float) and re.fullmatch(r"-?\d+\.\d{3}", text)
    return f"{text}0" if three else text
