"""Read `boxes.csv` as people have them: other names, orders, separators and paths."""

import contextlib
import csv
import difflib
import io
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from mi_classifier.data import archive, box_conventions, tfds_store
from mi_classifier.data.box_conventions import SHAPES, Columns
from mi_classifier.data.image_files import count_of
from mi_classifier.decoding import size_of
from mi_classifier.errors import UserError
from mi_classifier.text import printable

# Names of columns, in lower case, without signs between letters and without a "bbox" in
# front. Of the names for one thing, the first that a table has counts.
_PATHS = (
    *("path", "imagepath", "filepath", "filename", "file", "imagefile", "imagename"),
    *("image", "img", "name", "imageid"),
)
_LEFT, _TOP = ("x0", "xmin", "left", "xtl"), ("y0", "ymin", "top", "ytl")
_WIDTH, _HEIGHT = ("w", "boxwidth", "width"), ("h", "boxheight", "height")
_LAYOUTS = (
    ("corners", (("x1",), ("y1",), ("x2",), ("y2",))),
    (
        "corners",
        (_LEFT, _TOP, ("x1", "xmax", "right", "xbr"), ("y1", "ymax", "bottom", "ybr")),
    ),
    (
        "centers",
        (
            ("cx", "xc", "xcenter", "centerx", "xcentre", "centrex"),
            ("cy", "yc", "ycenter", "centery", "ycentre", "centrey"),
            _WIDTH,
            _HEIGHT,
        ),
    ),
    ("sizes", (("x", *_LEFT, "x1"), ("y", *_TOP, "y1"), _WIDTH, _HEIGHT)),
)
_IMAGE_WIDTH = ("imagewidth", "imgwidth", "imwidth", "imagew", "imgw", "width")
_IMAGE_HEIGHT = ("imageheight", "imgheight", "imheight", "imageh", "imgh", "height")
_EXPECTED = f"path,{SHAPES['corners']} or path,{SHAPES['sizes']}"


class BoxTable(NamedTuple):
    """The boxes of images, and what to tell about them."""

    boxes: Mapping[str, Sequence[tfds_store.Box]]  # fractions of the image, by name
    notes: list[str]


class _Header(NamedTuple):
    separator: str
    names: list[str]  # as written
    shape: str
    path: int  # number of the column
    numbers: list[int]  # of the four columns
    size: list[int]  # of the columns with the image's width and height, or none


class _Row(NamedTuple):
    line: int
    name: str  # of the image
    values: tuple[float, ...]
    size: tuple[float, ...]  # the image's width and height that the row states


def read(
    table: Path,
    root: Path,
    files: Mapping[str, Path],
    left_out: Collection[str] = (),
    stated: str = "auto",
) -> BoxTable:
    """Read the boxes of images.

    The names in the first line decide what the numbers are: corners, `x0,y0,x1,y1`, or
    `x,y,width,height`, or `x_center,y_center,width,height`, in any order. Numbers are
    half-open pixels of the images, after their turning by EXIF, unless `stated` says
    otherwise. They are checked against all images together.

    Args:
      table: the file; its separator is a comma, semicolon, tab or bar.
      root: the folder where its paths start.
      files: the images, by paths from the root.
      left_out: paths from the root of files that are no images, whose boxes are left
        out.
      stated: the words of `data.boxes`; see `box_conventions.parse`.

    Returns:
      The boxes. An image of unknown size has none: it cannot be decoded either.

    Raises:
      UserError: a line is wrong, a path is that of no image, or the numbers look like
        another convention.
    """
    convention = box_conventions.parse(stated)
    header, rows, notes = _parse(table)
    if not rows:
        raise UserError(f"{table}: holds no box; add lines, or remove the file")
    kept, more = _match(table, rows, _Names(root, files, left_out))
    sizes = _sizes(table, kept, files)
    kept = [row for row in kept if row.name in sizes]
    columns = Columns(
        np.array([row.values for row in kept], float).reshape(-1, 4),
        np.array([sizes[row.name] for row in kept], float).reshape(-1, 2),
        lambda i: f"{table}, line {kept[i].line}: {printable(kept[i].name)}",
    )
    fractions = box_conventions.to_fractions(columns, header.shape, convention)
    boxes = defaultdict(list)
    for row, box in zip(kept, fractions.tolist(), strict=True):
        boxes[row.name].append(tuple(box))
    used = box_conventions.read_as(header.shape, convention)
    told = f"{count_of(len(kept), 'box')} of {count_of(len(boxes), 'image')}"
    notes = [f"{told}, read as {used.describe()}", *notes]
    if kept and not convention.shape and box_conventions.also_sizes(columns, used):
        notes.append(
            f"they would fit as {SHAPES['sizes']} too: if they are, state "
            f"{box_conventions.FLAG}=sizes"
        )
    if without := len(files) - len(boxes):
        notes.append(f"image without a box: {without:,}")
    return BoxTable(boxes, [f"{table.name}: {'; '.join([*notes, *more])}"])


class _Names:
    """Finds the image that a path of the table means."""

    def __init__(
        self, root: Path, files: Collection[str], left_out: Collection[str]
    ) -> None:
        self._roots = {_key(str(path)) for path in (root.absolute(), root.resolve())}
        self._root_name = root.absolute().name
        self._left_out = {_key(name) for name in left_out}
        self._exact = {_key(name): name for name in files}
        self._ends = defaultdict(list)  # images by the end of their path, in lower case
        for key, name in self._exact.items():
            for start in _starts(key):
                self._ends[key[start:].casefold()].append(name)

    def find(self, path: str, where: str) -> str:
        """Return the name of an image, or "" for a file that is left out."""
        ways = list(self._ways(_key(path)))
        for way in ways:
            if way in self._exact:
                return self._exact[way]
            if way in self._left_out:
                return ""
        for way in ways:
            found = self._ends.get(way.casefold(), ())
            if len(found) == 1:
                return found[0]
            if found:
                raise UserError(
                    f"{where}: {path} may be {found[0]} or {found[1]}; write the path "
                    "from the root folder"
                )
        near = difflib.get_close_matches(ways[-1], self._exact, n=1, cutoff=0.5)
        hint = f"; the nearest is {printable(near[0])}" if near else ""
        raise UserError(f"{where}: {path} is not an image of a split{hint}")

    def _ways(self, key: str) -> Iterator[str]:
        """Yield a path, and what follows the root's folder in it."""
        yield key
        for root in self._roots:
            if key.startswith(f"{root}/"):
                yield key[len(root) + 1 :]
        folders = key.split("/")
        if self._root_name in folders[:-1]:
            yield "/".join(folders[folders.index(self._root_name) + 1 :])


def _match(
    table: Path, rows: Sequence[_Row], names: _Names
) -> tuple[list[_Row], list[str]]:
    """Return different rows with the names of images, and what is told of others."""
    kept = {}
    left_out = 0
    for row in rows:
        name = names.find(row.name, f"{table}, line {row.line}")
        left_out += not name
        if name:
            kept.setdefault((name, row.values), row._replace(name=name))
    counts = {
        "repeated line, counted once": len(rows) - left_out - len(kept),
        "line of a file that is left out": left_out,
    }
    told = [f"{what}: {count:,}" for what, count in counts.items() if count]
    return list(kept.values()), told


def _key(path: str) -> str:
    """Return a path with slashes, without "./", and with letters in one form."""
    path = unicodedata.normalize("NFC", path.replace("\\", "/"))
    return PurePosixPath(path).as_posix()


def _starts(key: str) -> list[int]:
    return [0, *(i + 1 for i, sign in enumerate(key) if sign == "/")]


def _parse(table: Path) -> tuple[_Header, list[_Row], list[str]]:
    """Return the header, the rows with a box, and a sentence about the others."""
    content = archive.read_file(table)
    is_wide = content[:2] in (b"\xff\xfe", b"\xfe\xff")  # as Excel may write
    # File names may hold bytes that are no UTF-8.
    encoding, errors = (
        ("utf-16", "replace") if is_wide else ("utf-8-sig", "surrogateescape")
    )
    text = content.decode(encoding, errors)
    first = next((line for line in text.splitlines() if line.strip()), "")
    header = _read_header(table, first)
    rows, empty, names = [], 0, None
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=header.separator,
        skipinitialspace=True,
    )
    try:
        for cells in reader:
            cells = [cell.strip() for cell in cells]
            if not any(cells):
                continue
            if names is None:
                names = cells  # the header
            elif row := _read_row(table, header, reader.line_num, cells):
                rows.append(row)
            else:
                empty += 1
    except csv.Error as error:
        raise UserError(f"{table}, line {reader.line_num}: {error}") from error
    told = [f"line without numbers: {empty:,}"] if empty else []
    return header, rows, told


def _read_header(table: Path, line: str) -> _Header:
    rows: list[list[str]] = [[]]
    for separator in ",;\t|":
        # A file of other content may have a cell that the reader refuses.
        with contextlib.suppress(csv.Error):
            reader = csv.reader([line], delimiter=separator, skipinitialspace=True)
            rows.append([cell.strip().lstrip("# ") for cell in next(reader, [])])
        found = _find_columns([_folded(cell) for cell in rows[-1]])
        if found:
            return _Header(separator, rows[-1], *found)
    cells = max(rows, key=len)
    raise UserError(
        f"{table}: the first line must be {_EXPECTED}, in any order, not {cells}"
    )


def _find_columns(names: list[str]) -> tuple[str, int, list[int], list[int]] | None:
    """Return shape and numbers of columns: path, four numbers, size of the image."""
    used: set[int] = set()

    def take(choices: Sequence[str]) -> int | None:
        for choice in choices:
            for i, name in enumerate(names):
                if name == choice and i not in used:
                    used.add(i)
                    return i
        return None

    for shape, layout in _LAYOUTS:
        used.clear()
        numbers = [take(choices) for choices in layout]
        path = take(_PATHS)
        if path is None or None in numbers:
            continue
        if any(names.count(names[i]) > 1 for i in (path, *numbers)):
            continue
        size = [take(_IMAGE_WIDTH), take(_IMAGE_HEIGHT)]
        return shape, path, numbers, [] if None in size else size
    return None


def _folded(name: str) -> str:
    letters = "".join(sign for sign in name.casefold() if sign.isalnum())
    for start in ("bbox", "boundingbox"):
        letters = letters.removeprefix(start)
    return letters


def _read_row(table: Path, header: _Header, line: int, cells: list[str]) -> _Row | None:
    """Return a row, or None if it names an image and no box."""
    where = f"{table}, line {line}"
    rest = cells[len(header.names) :]
    if len(cells) < len(header.names) or any(rest) or not cells[header.path]:
        raise UserError(f"{where}: not {','.join(header.names)}: {cells}")
    numbers = [cells[i] for i in header.numbers]
    if not any(numbers):
        return None
    if header.separator != ",":
        numbers = [number.replace(",", ".") for number in numbers]
    try:
        values = tuple(map(float, numbers))
    except ValueError:
        raise UserError(f"{where}: not {','.join(header.names)}: {cells}") from None
    if not np.isfinite(values).all():
        raise UserError(
            f"{where}: a number of the box is not finite: {cells}; "
            "correct the line, or remove it"
        )
    size: tuple[float, ...] = ()
    with contextlib.suppress(ValueError):  # other things may have these names
        size = tuple(float(cells[i]) for i in header.size)
    return _Row(line, cells[header.path], values, size)


def _sizes(
    table: Path, rows: Sequence[_Row], files: Mapping[str, Path]
) -> dict[str, tuple[int, int]]:
    """Return width and height of images, compared with what the rows state."""
    sizes = {}
    for row in rows:
        if row.name not in sizes:
            sizes[row.name] = size_of(files[row.name])
        size = sizes[row.name]
        if size and row.size and row.size != size:
            width, height = row.size
            raise UserError(
                f"{table}, line {row.line}: says that {printable(row.name)} has "
                f"{width:g} x {height:g} pixels, but the file has {size[0]} x "
                f"{size[1]}; scale the "
                "boxes to the file"
            )
    return {name: size for name, size in sizes.items() if size}
