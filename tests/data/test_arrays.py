"""Inputs, labels and groups are read by name, from files of every kind."""

import gzip

import chex
import numpy as np
import openpyxl
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pyarrow import feather

from mi_classifier.data import arrays
from mi_classifier.data.containers import as_rows
from mi_classifier.errors import UserError
from tests.data.tables import KINDS, NUMBERS, text_of, with_cells, write

X = np.array([[1.5, -2], [3, 4e5], [0.25, 6]])


def test_npz_files_are_read(tmp_path):
    path = tmp_path / "a.npz"
    labels = np.array(["a", "b", "a"])
    np.savez(path, x=X, y=labels, other=X[:, 0], subject=[1, 2, 2])
    x, y = arrays.load(str(path))
    chex.assert_trees_all_equal((x, y.tolist()), (X, labels.tolist()))
    x, y = arrays.load(str(path), inputs="other", labels="y")
    chex.assert_trees_all_equal(x, X[:, 0])
    table = arrays.read(str(path), groups="subject")
    assert (table.y.name, table.groups.tolist()) == ("y", [1, 2, 2])


@pytest.mark.parametrize(
    ("text", "labels", "expected"),
    [
        ("1.5,-2,a\n3,4e5,b\n0.25,6,a\n", "", "aba"),
        ("u,v,kind\n1.5,-2,a\n3,4e5,b\n0.25,6,a\n", "", "aba"),
        ("\ufeffkind,u,v\r\na,1.5,-2\r\nb,3,4e5\r\n\r\na,0.25,6\r\n", "kind", "aba"),
        ("u,kind,v\n1.5,7,-2\n3,8,4e5\n0.25,7,6\n", "kind", "787"),
        ("0,1,kind\n1.5,-2,7\n3,4e5,8\n0.25,6,7\n", "", "787"),  # numbered columns
        ('u,v,k\n1.5,-2,"a"\n 3 ,4e5, b\n0.25,6,a\n', "", "aba"),
    ],
)
def test_csv_files_are_read(tmp_path, text, labels, expected):
    x, y = arrays.load(write(tmp_path, text), labels=labels)
    chex.assert_trees_all_equal(x, X)
    assert y.tolist() == list(expected)


def test_columns_are_chosen_by_name(tmp_path):
    table = arrays.read(write(tmp_path, text_of()), labels="kind", leave_out="size")
    assert list(table.x.columns) == ["age"]
    path = write(tmp_path, text_of(with_cells(1, lambda i: str(i // 2))))
    table = arrays.read(path, groups="age")
    assert table.groups.tolist() == [str(i // 2) for i in range(60)]
    assert list(table.x.columns) == ["size"] and table.y.name == "kind"
    for options, words in (
        ({"labels": "kid"}, r"data\.labels: .* no column 'kid', did you mean 'kind'"),
        (
            {"leave_out": "size, agee"},
            r"data\.leave_out: .* 'agee', did you mean 'age'",
        ),
        ({"groups": "siz"}, r"data\.groups: .* 'siz', did you mean 'size'"),
        ({"labels": "size", "leave_out": "size"}, "'size' is also in data.leave_out"),
        ({"leave_out": "size,age"}, "needs a column of inputs"),
    ):
        with pytest.raises(UserError, match=words):
            arrays.read(write(tmp_path, text_of()), **options)


def test_data_frames_are_read(tmp_path):
    frame = pd.DataFrame({"size": NUMBERS[:, 0], "kind": KINDS})
    frame["color"] = pd.Categorical(["red", None] * 30)
    frame["day"] = pd.Timestamp("2020-01-02")
    frame.set_axis(range(60, 0, -1)).to_parquet(tmp_path / "a.parquet")
    frame.to_feather(tmp_path / "a.feather")
    frame.to_csv(tmp_path / "a.csv.gz")
    pl.from_pandas(frame).write_parquet(tmp_path / "b.parquet")
    for name in ("a.parquet", "a.feather", "a.csv.gz", "b.parquet"):
        table = arrays.read(str(tmp_path / name), labels="kind")
        assert list(table.x.columns) == ["size", "color", "day"], name
        chex.assert_trees_all_equal(table.x["size"].to_numpy(), NUMBERS[:, 0])
        assert table.x["color"].isna().tolist() == [False, True] * 30
        assert table.y.tolist() == KINDS.tolist() and table.y.name == "kind"


def test_workbooks_are_read_as_text_tables_are(tmp_path):
    frame = pd.DataFrame({"size": NUMBERS[:, 0], "wild": KINDS == "ape"})
    frame["day"], frame["kind"] = pd.Timestamp("2020-01-02"), KINDS
    frame.iloc[3, 0] = None
    path = str(tmp_path / "a.xlsx")
    with pd.ExcelWriter(path) as book:
        frame.to_excel(book, sheet_name="mine", startrow=2)  # below empty rows
        frame.to_excel(book, sheet_name="other")
    table = arrays.read(path)
    expected = np.stack([NUMBERS[:, 0], KINDS == "ape", np.full(60, 1_577_923_200)], 1)
    expected[3, 0] = np.nan
    chex.assert_trees_all_equal(arrays.load(path)[0], expected)
    assert table.y.tolist() == KINDS.tolist() and table.lines[0] == 4
    assert table.notes[0] == "of 2 sheets, 'mine' is read"
    book = openpyxl.load_workbook(path)
    for line, cell in enumerate((1.125, 2, 999, 3.375), 4):  # numbers, not thousands
        book["mine"].cell(line, 2, cell)
    book.save(tmp_path / "numbers.xlsx")
    read = arrays.read(str(tmp_path / "numbers.xlsx")).x["size"]
    assert read.tolist()[:4] == [1.125, 2, 999, 3.375]
    book["mine"].sheet_state = "hidden"
    book["other"]["B2"] = "=1+1"
    book.save(tmp_path / "formula.xlsx")
    with pytest.raises(UserError, match=r"line 2: the formula =1\+1 has no value"):
        arrays.read(str(tmp_path / "formula.xlsx"))
    (tmp_path / "broken.xlsx").write_bytes(b"PK\x03\x04 no workbook")
    with pytest.raises(UserError, match="cannot be read"):
        arrays.load(str(tmp_path / "broken.xlsx"))


def test_a_damaged_file_is_named(tmp_path):
    np.savez(tmp_path / "a.npz", x=X, z=X)
    np.savez(tmp_path / "o.npz", x=X, y=np.array([None, "a", 1], object))
    np.savez(tmp_path / "c.npz", x=X, y=np.ones((3, 1)))
    for name in ("broken.npz", "broken.parquet", "broken.csv.gz"):
        (tmp_path / name).write_bytes(b"PK\x03\x04 not such a file")
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(text_of().encode())[:-20])
    (tmp_path / "a.csv").write_text("u,kind\n1,a\n")
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00")
    for name, options, words in (
        ("", {}, "--config.data.path="),
        ("none.npz", {}, "no such file"),
        ("a.doc", {}, "must end in .npz, .csv"),
        ("a.npz", {}, "data.labels: .* no array 'y'.* it has x, z"),
        ("a.npz", {"inputs": "X"}, "data.inputs: .* no array 'X'"),
        ("a.npz", {"leave_out": "x"}, "data.leave_out: an .npz file has arrays"),
        ("o.npz", {}, "Python objects"),
        ("c.npz", {}, r"'y' .* must have shape \[N\], not \(3, 1\); y.ravel\(\)"),
        ("broken.npz", {}, "cannot be read"),
        ("broken.parquet", {}, "cannot be read"),
        ("broken.csv.gz", {}, "cannot be read"),
        ("cut.csv.gz", {}, "cannot be read"),
        ("a.csv", {"labels": "kinds"}, "no column 'kinds', did you mean 'kind'"),
        ("b.csv", {}, "cannot be read"),
    ):
        path = str(tmp_path / name) if name else ""
        with pytest.raises(UserError, match=words):
            arrays.load(path, **options)


@pytest.mark.parametrize("name", ["a.parquet", "a.feather"])
def test_whole_numbers_of_a_file_stay_whole_where_some_are_missing(tmp_path, name):
    large = pd.array([10**18, 10**18 + 1, None], "Int64")
    frame = pd.DataFrame({"a": large, "y": ["p", "q", "p"]})
    write = frame.to_parquet if name.endswith("parquet") else frame.to_feather
    write(tmp_path / name)
    table = arrays.read(str(tmp_path / name), labels="y")
    with pytest.raises(UserError, match="equal as floats"):
        as_rows(table.x)


def test_a_damaged_feather_file_is_refused_before_it_is_followed(tmp_path):
    path = tmp_path / "a.feather"
    table = pa.table({"x": ["ant", "bee"], "y": ["u", "v"]})
    feather.write_feather(table, path, compression="uncompressed")
    offsets = [np.array(ends, "<i4").tobytes() for ends in ([0, 3, 6], [0, 1 << 30, 6])]
    path.write_bytes(path.read_bytes().replace(*offsets))
    with pytest.raises(UserError, match=r"a\.feather: cannot be read"):
        arrays.load(str(path))


def test_a_frame_without_columns_is_told(tmp_path):
    path = tmp_path / "a.feather"
    feather.write_feather(pa.table({}), path)
    with pytest.raises(UserError, match="needs a column of inputs and one of labels"):
        arrays.load(str(path))


def test_zeros_after_the_end_of_a_gzip_file_are_no_damage(tmp_path):
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"x,y\n1,a\n2,b\n") + bytes(9))
    x, y = arrays.load(str(path))
    assert x.tolist() == [[1], [2]] and y.tolist() == ["a", "b"]
