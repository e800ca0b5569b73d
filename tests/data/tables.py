"""A table of 60 rows, as text, for the tests that read files."""

import numpy as np

GENERATOR = np.random.default_rng(0)
NUMBERS = GENERATOR.standard_normal((60, 2)).round(3)
KINDS = np.array(["ape", "bee"])[GENERATOR.integers(0, 2, 60)]
ROWS = [[str(a), str(b), kind] for (a, b), kind in zip(NUMBERS, KINDS, strict=True)]
HEADER = ["size", "age", "kind"]
GERMAN = [[a.replace(".", ","), b.replace(".", ","), kind] for a, b, kind in ROWS]


def text_of(rows=ROWS, separator=",", header=HEADER, end="\n"):
    rows = [header, *rows] if header else rows
    return "".join(separator.join(row) + end for row in rows)


def with_cells(column, cells, rows=ROWS):
    """The rows with other cells in a column; `cells` is a function of the index."""
    return [[*row[:column], cells(i), *row[column + 1 :]] for i, row in enumerate(rows)]


def write(folder, text, name="a.csv", encoding="utf-8"):
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return str(path)
