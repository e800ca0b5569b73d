"""Read inputs and labels from a user's .npz or .csv file."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mi_classifier.errors import UserError, nearest, reason_of

_SUFFIXES = (".npz", ".csv")


def load(
    path: str, inputs: str = "x", labels: str = ""
) -> tuple[np.ndarray, np.ndarray]:
    """Read inputs and labels.

    Args:
      path: an .npz file with two arrays, or a .csv file with numbers and one label in
        each row. A .csv file may start with a line of column names.
      inputs: name of the array of inputs in an .npz file. In a .csv file, all columns
        but the labels are inputs.
      labels: name of the array of labels, by default "y", or of their column, by
        default the last one.

    Returns:
      Inputs `[N, ...]` and labels `[N]`.

    Raises:
      UserError: the file is missing or has another format, it has no such array or
        column, or a cell is not a number; the message says in which line and column.
    """
    if not path:
        raise UserError("data.path: give a file, as in --config.data.path=FILE.npz")
    file = Path(path).expanduser()
    if file.suffix.lower() not in _SUFFIXES:
        raise UserError(f"data.path: {path}: must end in {' or '.join(_SUFFIXES)}")
    if not file.is_file():
        raise UserError(f"data.path: no such file: {path}")
    if file.suffix.lower() == ".npz":
        return _load_npz(file, inputs, labels or "y")
    return _load_csv(file, labels)


def _load_npz(file: Path, inputs: str, labels: str) -> tuple[np.ndarray, np.ndarray]:
    try:
        # np.load does not close a damaged file that it has opened itself.
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as archive:
            for field, name in (("inputs", inputs), ("labels", labels)):
                if name not in archive:
                    raise UserError(
                        f"data.{field}: {file} has no array {name!r}"
                        f"{nearest(name, archive)}; it has {', '.join(archive)}"
                    )
            return archive[inputs], archive[labels]
    except UserError:
        raise
    except Exception as error:  # damage may raise anything
        reason = reason_of(error)
        if "allow_pickle" in reason:
            reason = "arrays of Python objects are not read; use numbers and strings"
        raise UserError(f"{file}: cannot be read: {reason}") from error


def read_csv(file: Path) -> list[tuple[int, list[str]]]:
    """Return the line number and the cells of each row that is not empty."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.reader(lines)
            return [(reader.line_num, row) for row in reader if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{file}: cannot be read: {error}") from error


def _load_csv(file: Path, labels: str) -> tuple[np.ndarray, np.ndarray]:
    rows = read_csv(file)
    if not rows:
        raise UserError(f"{file}: is empty")
    width = len(rows[0][1])
    for line, row in rows:
        if len(row) != width:
            raise UserError(
                f"{file}, line {line}: {len(row)} cells; the first line has {width}"
            )
    if width < 2:
        raise UserError(f"{file}: needs a column of inputs and one of labels")
    names = [str(i) for i in range(width)]
    if _is_header(rows):
        line, cells = rows.pop(0)
        names = [cell.strip() for cell in cells]
        if not all(names):
            raise UserError(f"{file}, line {line}: a column has no name")
        if not rows:
            raise UserError(f"{file}: has column names but no rows")
    if labels and labels not in names:
        raise UserError(
            f"data.labels: {file} has no column {labels!r}{nearest(labels, names)}; it "
            f"has {', '.join(names)}"
        )
    column = names.index(labels) if labels else width - 1
    y = [row.pop(column).strip() for _, row in rows]
    for (line, _), label in zip(rows, y, strict=True):
        if not label:
            raise UserError(f"{file}, line {line}: has no label")
    names.pop(column)
    x = np.array([list(map(_number, row)) for _, row in rows])
    for index, position in np.argwhere(~np.isfinite(x))[:1]:
        line, cells = rows[index]
        cell = cells[position].strip()
        what = f"{cell!r} is not a number" if cell else "is empty"
        raise UserError(
            f"{file}, line {line}, column {names[position]!r}: {what}; encode "
            "categories as 0/1 columns, and drop or fill what is missing"
        )
    return x, np.array(y)


def _is_header(rows: Sequence[tuple[int, list[str]]]) -> bool:
    """Return whether the first row holds names; names of columns may be numbers."""
    *inputs, label = np.isfinite([_number(cell) for cell in rows[0][1]])
    numbered = not label and all(np.isfinite(_number(row[-1])) for _, row in rows[1:])
    return not any(inputs) or (all(inputs) and numbered and len(rows) > 1)


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return np.nan
