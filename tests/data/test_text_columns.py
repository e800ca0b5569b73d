"""Cells of a text table become what they mean: numbers, dates, words, or an error."""

import pandas as pd
import pytest

from mi_classifier.data import arrays
from mi_classifier.errors import UserError
from tests.data.tables import GERMAN, text_of, with_cells, write


def test_words_beside_whole_numbers_are_words_and_told(tmp_path):
    rows = with_cells(1, lambda i: ["38", "40", "XL"][i % 3])
    table = arrays.read(write(tmp_path, text_of(rows)))
    assert table.x["age"].tolist()[:3] == ["38", "40", "XL"]
    assert "column 'age' is read as words" in table.notes[0]
    rows = with_cells(1, lambda i: f"2.1.{i}")
    (note,) = arrays.read(write(tmp_path, text_of(rows))).notes
    assert "60 words without an order, such as '2.1.0'" in note
    rows = with_cells(1, lambda i: "Ann" + "abcdef"[i % 6] * (1 + i // 6))
    (note,) = arrays.read(write(tmp_path, text_of(rows))).notes
    assert "60 different ones such as 'Anna'" in note


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (["2020-01-31", "1970-01-02"], [1580428800, 86400]),
        (["31/01/2020", "02/01/1970"], [1580428800, 86400]),
        (["1/31/2020 1:00 AM", "1/2/1970 0:00 AM"], [1580432400, 86400]),
        (["02.01.1970", "03.01.1970"], [86400, 172800]),
        (["31 Jan 2020", "02 Jan 1970"], [1580428800, 86400]),
        (["12:30", "00:01"], [45000, 60]),
        (["12:30 PM", "1:15:30 PM"], [45000, 47730]),
        (["9:05 AM", "1:30 pm"], [32700, 48600]),
        (["31-Dec-20", "02-Jan-00"], [1609372800, 946771200]),
        (["02-Jan-70", "31-Dec-29"], [86400, 1893369600]),
        (['"1,23,456.78"', "5.5"], [123456.78, 5.5]),
        (['"($1,234.50)"', "$2"], [-1234.5, 2]),
        (['"Thu, Jan 1, 1970"', "Friday 2 January 1970"], [0, 86400]),
        (["1970-01-01 00:00:00 UTC", "1970-01-02 00:00:00 UTC"], [0, 86400]),
        (["-$62", "$1"], [-62, 1]),
        (["USD 120", "USD 5"], [120, 5]),
        (["(12)", "3"], [-12, 3]),
    ],
)
def test_dates_times_and_signs_are_numbers(tmp_path, cells, values):
    rows = with_cells(1, lambda i: cells[i % 2])
    table = arrays.read(write(tmp_path, text_of(rows)))
    assert table.x["age"].tolist()[:2] == values
    assert not table.notes


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        (lambda i: f"0{1 + i % 9}/0{1 + i % 4}/2020", "may begin with the day or the"),
        (lambda i: f"{i} kg", "60 words without an order, such as '0 kg'; num"),
        (lambda i: ["1.1", "1.10", "1.2"][i % 3], "'1.1' and '1.10' are read as the"),
        (lambda i: ["1", "01", "2"][i % 3], "'1' and '01' are read as the same number"),
        (lambda i: ["1E2", "100", "7"][i % 3], "'1E2' and '100' are read as the same"),
        (lambda i: ["1,10", "1,1"][i % 2], "'1,10' and '1,1' are read as the same"),
    ],
)
def test_cells_that_may_be_meant_otherwise_are_told(tmp_path, cell, words):
    sheet = text_of(with_cells(1, cell, GERMAN), ";")
    (note,) = arrays.read(write(tmp_path, sheet)).notes
    assert words in note and "column 'age'" in note


@pytest.mark.parametrize(
    ("column", "cell", "words"),
    [
        (1, lambda i: f"{10**18 + i}", "are equal as floats"),
        (1, lambda i: "free" if i == 7 else f"${i}", "line 9.*not a number with \\$"),
        (1, lambda i: ["1.200", "950", "1.051"][i % 3], "1.200' may be 1200 or 1.200"),
        (
            1,
            lambda i: "unknown" if i == 7 else "2020-01-31",
            "line 9.*'unknown' is",
        ),
        (2, lambda i: ["1.1", "1.10"][i % 2], "labels '1.1' and '1.10' are the same"),
    ],
)
def test_cells_that_cannot_be_meant_are_refused(tmp_path, column, cell, words):
    rows = [["1", *row[1:]] for row in with_cells(column, cell)]
    with pytest.raises(UserError, match=words):
        arrays.read(write(tmp_path, text_of(rows)))


def test_thousands_of_one_column_tell_nothing_of_another(tmp_path):
    sheet = "".join(f"102.345.{100 + i}\t{1 + i % 3}.125\tape\n" for i in range(30))
    table = arrays.read(write(tmp_path, "art\tw\tkind\n" + sheet, name="a.tsv"))
    assert table.x["w"].tolist()[:2] == [1.125, 2.125]


def test_times_that_may_have_hours_or_minutes_are_told(tmp_path):
    rows = with_cells(1, lambda i: f"{i % 30}:30" if i % 2 else f"1:0{i % 9}:30")
    (note,) = arrays.read(write(tmp_path, text_of(rows))).notes
    assert "hours and minutes or minutes and seconds; write 0:59:30" in note


def test_zeros_after_the_point_and_large_labels_need_no_word(tmp_path):
    rows = with_cells(1, lambda i: ["1", "1.0", "+1", "0", "-0"][i % 5])
    assert not arrays.read(write(tmp_path, text_of(rows))).notes
    rows = with_cells(2, lambda i: f"{10**18 + i % 2}")
    assert arrays.read(write(tmp_path, text_of(rows))).y.nunique() == 2


def test_labels_with_decimals_are_numbers(tmp_path):
    rows = with_cells(2, lambda i: ["0,5", "1,5"][i % 2], GERMAN)
    _, y = arrays.load(write(tmp_path, text_of(rows, ";")))
    assert y.tolist() == [0.5, 1.5] * 30


def test_thousands_in_a_file_of_semicolons_are_refused(tmp_path):
    """As 1.004 beside 995 is: 1,004 may be a thousand and four."""
    cells = [f"{price:,};{'ab'[price % 2]}" for price in range(500, 1500, 9)]
    path = write(tmp_path, "\n".join(["price;class", *cells]))
    with pytest.raises(UserError, match=r"'1,004' may be 1004 or 1\.004"):
        arrays.read(path)


def test_versions_are_told_in_files_too(tmp_path):
    rows = with_cells(1, lambda i: f"3.{8 + i % 5}")
    (note,) = arrays.read(write(tmp_path, text_of(rows))).notes
    assert "'3.10' is read as the number 3.1" in note


@pytest.mark.parametrize("way", ["%Y-%m-%d %H:%M", "%d.%m.%Y", "%H:%M:%S"])
def test_a_first_row_of_dates_is_data(tmp_path, way):
    days = pd.date_range("2020-01-01", periods=60, freq="31h").strftime(way)
    text = "".join(f"{day},{'yn'[i % 2]}\n" for i, day in enumerate(days))
    table = arrays.read(write(tmp_path, text))
    assert len(table.y) == 60
    assert any("no line of column names" in note for note in table.notes)
    named = arrays.read(write(tmp_path, f"day,class\n{text}", "b.csv"))
    assert len(named.y) == 60 and list(named.x.columns) == ["day"]
