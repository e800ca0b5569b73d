"""A text table is read as its author meant it, or refused with line and cause."""

import csv
import io

import chex
import hypothesis
import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest

from mi_classifier.data import arrays
from mi_classifier.errors import UserError
from tests.data.tables import (
    GERMAN,
    HEADER,
    KINDS,
    NUMBERS,
    ROWS,
    text_of,
    with_cells,
    write,
)


@pytest.mark.parametrize(
    ("text", "options"),
    [
        (text_of(), {}),
        (text_of(separator=";"), {}),
        (text_of(GERMAN, ";"), {}),
        (text_of(GERMAN, "\t"), {}),
        (text_of([[f'"{cell}"' for cell in row] for row in GERMAN]), {}),
        (text_of(separator="|"), {}),
        (text_of(separator=", "), {}),
        (text_of(separator="\t"), {"name": "a.tsv"}),
        (text_of(separator="\t"), {"encoding": "utf-16"}),
        (text_of(), {"encoding": "utf-16-le"}),
        (text_of(), {"encoding": "utf-8-sig"}),
        (text_of(separator="   "), {"name": "a.txt"}),
        (text_of(end="\r\n"), {}),
        (text_of(end="\r"), {}),
        ("sep=;\n" + text_of(separator=";"), {}),
        ("sep=\t\r\n" + text_of(separator="\t", end="\r\n"), {}),
        (text_of([[*row, ""] for row in ROWS]), {}),
        (text_of([[*row, ""] for row in ROWS], header=[*HEADER, ""]), {}),
        ("#" + text_of(), {}),
        ("# " + text_of(separator=" "), {"name": "a.txt"}),
        (text_of(with_cells(0, lambda i: ROWS[i][0].replace("-", "\u2212"))), {}),
        (text_of(with_cells(2, lambda i: f'"{KINDS[i]}"')), {}),
    ],
)
def test_plain_tables_are_read_without_a_word(tmp_path, text, options):
    table = arrays.read(write(tmp_path, text, **options))
    assert list(table.x.columns) == ["size", "age"] and table.notes == ()
    chex.assert_trees_all_equal(table.x.to_numpy(), NUMBERS)
    assert table.y.tolist() == KINDS.tolist() and table.y.name == "kind"


@pytest.mark.parametrize(
    ("text", "note"),
    [
        (text_of() + ",,\n,,\n", "2 empty rows are left out"),
        (text_of(end="\n\n"), "60 empty rows are left out"),
        ("My data\n" + text_of(), "line 1 is left out, for it is a title.*: My data"),
        ("My data,,\n,,\n" + text_of(), "line 1 is left out"),
        ("# made, by me\n" + text_of(), "line 1 is left out"),
        (
            text_of(with_cells(0, lambda i: f"{i},{ROWS[i][0]}"), header=["", *HEADER]),
            "the first column is an index",
        ),
        (
            text_of(
                with_cells(0, lambda i: f"{60 - i},{ROWS[i][0]}"),
                header=["Unnamed: 0", *HEADER],
            ),
            "the first column is an index",
        ),
        (  # as R writes it
            text_of(with_cells(0, lambda i: f'"{i + 1}" {ROWS[i][0]}'), " "),
            "the first column is an index",
        ),
        (
            text_of(
                with_cells(0, lambda i: f"{ROWS[i][0]},"),
                header=["size", "", *HEADER[1:]],
            ),
            "column 2, which has no name, is empty",
        ),
        (
            text_of(
                with_cells(0, lambda i: f"{ROWS[i][0]},NA"),
                header=["size", "u", *HEADER[1:]],
            ),
            "column 'u' is empty",
        ),
        (text_of() + "# the end\n", "1 line.* that begin with #"),
    ],
)
def test_what_holds_no_data_is_left_out_and_told(tmp_path, text, note):
    table = arrays.read(write(tmp_path, text))
    assert list(table.x.columns) == ["size", "age"]
    chex.assert_trees_all_equal(table.x.to_numpy(), NUMBERS)
    assert table.y.tolist() == KINDS.tolist()
    with pytest.raises(AssertionError, match=note):
        raise AssertionError(*table.notes)


@pytest.mark.parametrize(
    ("header", "names", "notes"),
    [
        (None, ["0", "1"], 1),
        (["0", "1", "2"], ["0", "1"], 0),  # as pandas names columns without names
        (["2019", "2020", "kind"], ["2019", "2020"], 0),
        (["a", "a", "kind"], ["a", "a.1"], 1),
    ],
)
def test_names_may_be_absent_or_numbers(tmp_path, header, names, notes):
    table = arrays.read(write(tmp_path, text_of(header=header)))
    assert list(table.x.columns) == names and len(table.notes) == notes
    chex.assert_trees_all_equal(table.x.to_numpy(), NUMBERS)


def test_a_first_row_of_missing_cells_is_no_header(tmp_path):
    rows = [["NA", "", "ape"], *ROWS]
    table = arrays.read(write(tmp_path, text_of(rows, header=None)))
    assert len(table.x) == 61 and np.isnan(table.x.to_numpy()[0]).all()


def test_a_table_of_words_has_a_header_or_not(tmp_path):
    words = with_cells(0, lambda i: "red" if i % 2 else "blue")
    words = with_cells(1, lambda i: "sml"[i % 3], words)
    for header, names in ((None, ["0", "1"]), (HEADER, HEADER[:2])):
        path = write(tmp_path, text_of(words, header=header))
        table = arrays.read(path)
        assert list(table.x.columns) == names and len(table.x) == 60
        x, _ = arrays.load(path)
        assert x.iloc[:3].to_numpy().tolist() == [[*row[:2]] for row in words[:3]]


SOME = {
    "thousands": (",", '"1,234.5"', 1234.5),
    "German thousands": (";", "1.234,5", 1234.5),
    "thousands alone, in a file of decimal commas": ("german", "1.234", 1234.0),
    "round thousands, in a file of decimal commas": ("german", "1.000", 1000.0),
    "whole numbers, in a file of semicolons": ("words;", "12", 12.0),
    "decimals alone, in a file of decimal points": (",", "1.234", 1.234),
    "thousands alone, in a file of decimal points": (",", '"1,234"', 1234.0),
    "decimals alone, in a file of semicolons": ("words;", "1,234", 1.234),
    "two thousands": ("\t", "1 234 567", 1234567.0),
    "narrow blanks": (";", "1\u202f234,5", 1234.5),
    "Swiss": (";", "1'234.5", 1234.5),
    "percent": (",", "12.5 %", 0.125),
    "percent after a no-break space": (",", "12.5\u202f%", 0.125),
    "currency": (",", '"$1,234.50"', 1234.5),
    "euros": ("german", "5,50 €", 5.5),
    "TRUE": (",", "TRUE", 1.0),
    "date": (",", "2020-01-02", 1_577_923_200.0),
    "instant": (",", "2020-01-02T01:00:00+01:00", 1_577_923_200.0),
}


@pytest.mark.parametrize(("separator", "cell", "value"), SOME.values(), ids=SOME.keys())
def test_numbers_are_read_in_many_spellings(tmp_path, separator, cell, value):
    rows = GERMAN if separator == "german" else ROWS
    separator = ";" if separator == "german" else separator
    if separator == "words;":
        rows, separator = with_cells(1, lambda i: "red" if i % 2 else "blue"), ";"
    rows = with_cells(0, lambda i: "" if i == 7 else cell, rows)
    table = arrays.read(write(tmp_path, text_of(rows, separator)))
    expected = np.where(np.arange(60) == 7, np.nan, value)
    np.testing.assert_allclose(table.x["size"].to_numpy(), expected, rtol=1e-15)


@pytest.mark.parametrize(
    "word", ["NA", "?", "#N/A", "n/a", "NaN", "NULL", "None", "", " "]
)
def test_missing_cells_are_nan_in_x_and_an_error_in_y(tmp_path, word):
    rows = with_cells(1, lambda i: word if i in (3, 9) else ROWS[i][1])
    x, _ = arrays.load(write(tmp_path, text_of(rows)))
    chex.assert_trees_all_equal(np.argwhere(np.isnan(x)), np.array([[3, 1], [9, 1]]))
    words = with_cells(1, lambda i: word if i in (3, 9) else "red" if i % 2 else "blue")
    x, _ = arrays.load(write(tmp_path, text_of(words)))
    assert np.flatnonzero(x["age"].isna()).tolist() == [3, 9]
    rows = with_cells(2, lambda i: word if i in (3, 9) else KINDS[i])
    with pytest.raises(UserError, match="line 5: has no label, nor have 1 other rows"):
        arrays.load(write(tmp_path, text_of(rows)))


@pytest.mark.parametrize("name", ["kind", "2020"])
def test_a_column_that_is_asked_for_tells_the_line_of_names(tmp_path, name):
    path = write(tmp_path, f"2018,2019,{name}\n" + "3,4,1\n5,6,2\n" * 30)
    table = arrays.read(path, labels=name)
    assert list(table.x.columns) == ["2018", "2019"] and len(table.y) == 60


def test_an_empty_last_column_is_left_out_if_the_labels_are_another(tmp_path):
    path = write(tmp_path, "a,kind,notes\n" + "3,x,\n5,y,\n" * 30)
    table = arrays.read(path, labels="kind")
    assert list(table.x.columns) == ["a"]
    assert table.notes == ("column 'notes' is empty and left out",)
    with pytest.raises(UserError, match="column 'notes' is empty there"):
        arrays.read(path)


def test_a_header_that_is_shorter_than_the_rows(tmp_path):
    """R has no name for its row names; a decimal comma makes a cell too many."""
    rows = "".join(f"{i},4,5{i},lo\n" for i in range(1, 61))
    (note,) = arrays.read(write(tmp_path, "size,age,kind\n" + rows)).notes[:1]
    assert "which have no name, name the rows" in note
    with pytest.raises(UserError, match="line 1: 3 names, and 4 cells below"):
        arrays.read(write(tmp_path, "id,size,kind\n" + rows))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"PK\x03\x04rest", "workbook or a compressed file"),
        (b"\x1f\x8brest", "workbook or a compressed file"),
        (b"a,b\n1,2\n3,\x004\n" * 9, "line 3: holds a zero byte"),
    ],
)
def test_what_is_no_text_is_named(tmp_path, content, words):
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=words):
        arrays.read(str(path))


def test_quoted_cells_may_have_delimiters_quotes_and_lines(tmp_path):
    cells = ["plain", '"a, b"', '"a ""b"" c"', '"two\nlines"', 'a 5" pipe']
    read = ["plain", "a, b", 'a "b" c', "two\nlines", 'a 5" pipe']
    rows = with_cells(1, lambda i: cells[i % 5])
    table = arrays.read(write(tmp_path, text_of(rows)))
    assert table.x["age"].tolist() == [read[i % 5] for i in range(60)]
    assert table.lines[:6].tolist() == [2, 3, 4, 5, 7, 8]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("u,v,k\n1,2,a\n1,red,b\n3,4,a\n", ["line 3", "'v'", "'red' is not a number"]),
        ("u,v,k\n1,2,a\n1,2\n", ["line 3", "2 cells", "3"]),
        ("u,v,k\n1,2,a\n1,2,a,4\n", ["line 3", "4 cells", "3"]),
        ("u,v,k\n1,2,a\n1,2,\n", ["line 3", "no label"]),
        ("u,,k\n1,2,a\n1,2,b\n", ["line 1", "a column has no name"]),
        ("u,v,k\n", ["no row"]),
        ("1\n2\n", ["one of labels"]),
        ("", ["is empty"]),
        ("\n \n", ["is empty"]),
        (text_of(GERMAN), ["line 1", "3 cells; most lines have 5", "decimals"]),
        (text_of([[a, c] for a, _, c in GERMAN], header=["u", "k"]), ["2 cells", "3"]),
        ("Data, 2020\n" + text_of(), ["line 1", "2 cells"]),
        (text_of() + "Source: a book\n", ["line 62", "1 cells"]),
        (text_of(with_cells(1, lambda i: "w" * 140_000)), ["line 2", "131,072"]),
        (text_of() + text_of(), ["line 62", "'size'", "is not a number"]),
        (
            text_of(with_cells(2, lambda i: '"ape' if i == 40 else "bee")),
            ["line 42", "never closed"],
        ),
        (
            text_of(with_cells(2, lambda i: '"ape' if i == 40 else '"bee"')),
            ["lines 42 to 43", "text follows a closing quote"],
        ),
        (
            text_of(with_cells(2, lambda i: {40: '"ape', 45: 'ape"'}.get(i, "bee"))),
            ["line 42", "6 lines that look like rows"],
        ),
        (
            text_of(with_cells(2, lambda i: {40: '"ape', 41: 'ape"'}.get(i, "bee"))),
            ["line 42", "2 lines that look like rows"],
        ),
        (
            text_of(
                with_cells(0, lambda i: GERMAN[i][0] if i % 2 else ROWS[i][0]), ";"
            ),
            ["'size'", "decimal point", "decimal comma"],
        ),
        (
            text_of([["1.234", "2", kind] for _, _, kind in ROWS], ";"),
            ["'size'", "1234 or 1.234", "semicolons"],
        ),
        (
            text_of(with_cells(0, lambda i: "1,234"), "\t").replace(".", ""),
            ["'size'", "1234 or 1.234"],
        ),
        (
            text_of(with_cells(0, lambda i: f"{i}.5" if i % 3 else f"[{i}.5]")),
            ["line 2", "'[0.5]' is not a number"],
        ),
        (
            text_of(with_cells(2, lambda i: ["1", "1.0", "0"][i % 3])),
            ["'kind'", "'1' and '1.0' are the same number"],
        ),
        (text_of(with_cells(2, lambda i: "")), ["line 2", "no label, nor have 59"]),
    ],
)
def test_mistakes_are_told_by_line_and_cause(tmp_path, text, words):
    path = write(tmp_path, text)
    with pytest.raises(UserError) as error:
        arrays.load(path)
    for word in [*words, path]:
        assert word in str(error.value)


def test_latin_text_is_read_and_told(tmp_path):
    rows = with_cells(2, lambda i: ["Süd", "Nord"][i % 2])
    table = arrays.read(write(tmp_path, text_of(rows), encoding="latin-1"))
    assert table.y.tolist()[:2] == ["Süd", "Nord"]
    assert table.notes == ("the file is not UTF-8; it is read as cp1252",)


WORDS = st.text("abcxyz ,;.'\"äß\t|#-\n", min_size=1, max_size=6).map(
    lambda word: "w" + word.strip() + "w"
)


@st.composite
def tables(draw):
    """A DataFrame of numbers, whole numbers, booleans and words, with some missing."""
    rows = draw(st.integers(4, 30))
    frame = {}
    for index in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(["float", "int", "bool", "word"]))
        cells = {
            "float": st.floats(-1e6, 1e6).map(lambda v: round(v, 2) + 0.001953125),
            "int": st.integers(-2000, 2000),
            "bool": st.booleans(),
            "word": WORDS,
        }[kind]
        column = draw(st.lists(cells, min_size=rows, max_size=rows))
        if kind in ("float", "word") and draw(st.booleans()):
            column[draw(st.integers(1, rows - 1))] = None
        frame[f"{kind} {index}"] = column
    frame["label"] = [
        *draw(st.lists(WORDS, min_size=rows - 2, max_size=rows - 2)),
        "p",
        "q",
    ]
    return pd.DataFrame(frame)


@hypothesis.settings(
    deadline=None,
    max_examples=40,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
@hypothesis.given(
    tables(),
    st.sampled_from([(",", "."), (";", "."), (";", ","), ("\t", "."), ("\t", ",")]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    st.booleans(),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
)
def test_what_pandas_writes_reads_back(
    tmp_path, frame, marks, encoding, index, quoting
):
    separator, decimal = marks
    text = io.StringIO()
    frame.to_csv(text, sep=separator, decimal=decimal, index=index, quoting=quoting)
    try:
        table = arrays.read(write(tmp_path, text.getvalue(), encoding=encoding))
    except UserError as error:  # words of several lines may look like rows
        assert "look like rows" in str(error)
        return
    assert list(table.x.columns) == list(frame.columns[:-1])
    assert table.y.tolist() == frame["label"].tolist()
    for name in table.x:
        read, written = table.x[name], frame[name]
        assert read.isna().tolist() == written.isna().tolist()
        assert read.dropna().tolist() == written.dropna().tolist()
