"""Files of a few KiB that stand for very much end in one line, not in a full memory."""

import gzip
import io
import re
import tarfile
import time
import zipfile

import numpy as np
import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import feather

from mi_classifier.data import arrays, boxed_sets, cub200, exported, room, text_files
from mi_classifier.data.archive import read_members
from mi_classifier.data.containers import unique_names
from mi_classifier.errors import UserError


def sparse_tar(path, kind):
    with tarfile.open(path, "w") as archive:
        member = tarfile.TarInfo("root/a.txt")
        if kind == "pax":
            member.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
            content = b"999999999\n" + bytes(512)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        elif kind == "old":
            member.type = tarfile.GNUTYPE_SPARSE
            archive.addfile(member)
        else:
            text = b"x" * 200_000
            header = b"%d comment=%s\n" % (len(text) + 16, text)
            member = tarfile.TarInfo("header")
            member.type, member.size = tarfile.XGLTYPE, len(header)
            archive.addfile(member, io.BytesIO(header))


@pytest.mark.parametrize(
    ("kind", "words"),
    [("pax", "sparse"), ("old", "sparse"), ("global", "a global header of")],
)
def test_tar_members_that_fill_the_memory_are_refused(tmp_path, kind, words):
    path = tmp_path / "a.tar"
    sparse_tar(path, kind)
    with pytest.raises(UserError, match=words):
        list(read_members(path, "root", lambda name: True))


def test_a_file_of_a_folder_that_is_too_large_is_not_read(tmp_path):
    with (tmp_path / "a.jpg").open("wb") as file:
        file.truncate(1 << 40)  # takes no room on the disk
    with pytest.raises(UserError, match="refused, because it has 1099511627776 bytes"):
        list(read_members(tmp_path, "root", lambda name: True))


def test_texts_that_fill_the_memory_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(boxed_sets, "_MOST_TEXT", 10)
    (tmp_path / "classes.txt").write_text("1 a\n" * 10)
    with pytest.raises(UserError, match="its texts have more than 40 bytes"):
        boxed_sets.read_texts(cub200.OFFICIAL, tmp_path)


def test_one_far_cell_does_not_fill_the_memory(tmp_path, monkeypatch):
    book = openpyxl.Workbook()
    for row in (["a", "y"], *([i, "no" if i % 2 else "yes"] for i in range(40))):
        book.active.append(row)
    path = tmp_path / "t.xlsx"
    book.save(path)
    assert len(arrays.load(path, "y")[0]) == 40
    monkeypatch.setattr(arrays, "_MOST_CELLS", 81)
    with pytest.raises(UserError, match=r"more than 81 cells or .* save it as"):
        arrays.load(path, "y")


def test_far_rows_of_a_workbook_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "_MOST_ROWS", 1_000)
    path = tmp_path / "a.xlsx"
    book = openpyxl.Workbook()
    book.active.append(["x", "y"])
    book.active.append([1, "a"])
    book.save(path)
    content = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(content, "w") as new:
        for name in old.namelist():
            text = old.read(name).replace(b'r="2"', b'r="40000000"')
            new.writestr(name, re.sub(rb"<dimension [^>]*>", b"", text))
    path.write_bytes(content.getvalue())
    with pytest.raises(UserError, match=r"cells or 1,000 rows; save it as \.csv"):
        arrays.read(str(path))


def test_a_line_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(text_files, "_LONGEST_LINE", 1 << 16)
    with gzip.open(tmp_path / "a.csv.gz", "wb") as file:
        file.write(b"x,y\n" + b"1," * (1 << 16))
    with pytest.raises(UserError, match="line 2: has more than 65,536 characters"):
        arrays.read(str(tmp_path / "a.csv.gz"))


def test_many_columns_of_one_name_take_no_time():
    started = time.monotonic()
    assert unique_names(["a"] * 20_000)[-1] == "a.19999"
    assert unique_names(["a", "a", "a.1", "a"]) == ("a", "a.2", "a.1", "a.3")
    assert time.monotonic() - started < 2


ROOM = 100 << 20  # bytes of memory, as far as the readers know
ZEROS = np.zeros(1 << 26, np.float32)  # 256 MiB


def write_npz(path):
    np.savez_compressed(path, x=ZEROS, y=ZEROS[:1])


def write_npz_by_plain_names(path):
    file = io.BytesIO()
    np.save(file, ZEROS)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x", file.getvalue())
        archive.writestr("y", file.getvalue())


def write_features(path):
    np.savez_compressed(path, features=ZEROS, head_kernel=0, labels=0)


def write_text(path):
    with gzip.open(path, "wb", 1) as file:
        for _ in range(64):
            file.write(b"1,2\n" * (1 << 19))


def write_frame(path):
    column = pa.array(ZEROS)
    table = pa.table({"x": column, "y": column})
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    else:
        feather.write_feather(table, path, compression="zstd")


def write_words(path):
    words = pa.array(["x" * 30_000] * 10_000, pa.large_string())
    pq.write_table(pa.table({"x": words, "y": words}), path)


def write_workbook(path):
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet()
    for row in range(10_000):
        sheet.append(["x" * 30_000, str(row)])
    book.save(path)


BOMBS = {
    "a.npz": write_npz,
    "b.npz": write_npz_by_plain_names,
    "net.npz": write_features,
    "a.csv.gz": write_text,
    "a.parquet": write_frame,
    "a.feather": write_frame,
    "b.parquet": write_words,
    "a.xlsx": write_workbook,
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_file_that_takes_more_than_the_memory_is_refused(tmp_path, monkeypatch, name):
    path = tmp_path / name
    BOMBS[name](path)
    assert path.stat().st_size < 2 << 20
    monkeypatch.setattr(room, "memory", lambda: ROOM)
    with pytest.raises(
        UserError, match=rf"{name}: (takes \d\.\d GiB|.* its texts take more)"
    ):
        (exported.read if name == "net.npz" else arrays.read)(str(path))


def test_the_memory_is_known():
    assert 1 << 26 < room.memory() < 1 << 50


def test_an_npz_file_of_empty_words_is_refused(tmp_path):
    header = b"{'descr': '<U0', 'fortran_order': False, 'shape': (100000000,)}"
    start = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", start)
        archive.writestr("y.npy", start)
    with pytest.raises(UserError, match=r"x\.npy holds 100,000,000 empty words"):
        arrays.read(str(tmp_path / "a.npz"))


@pytest.mark.parametrize("name", ["a.parquet", "a.feather"])
def test_lists_are_refused_unless_they_are_left_out(tmp_path, name):
    columns = {"x": [1.5, 2.5], "list": [[1], [2, 3]], "pair": [{"a": 1}, {"a": 2}]}
    table = pa.table({**columns, "word": ["p", None], "y": ["u", "v"]})
    if name == "a.parquet":
        pq.write_table(table, tmp_path / name)
    else:
        feather.write_feather(table, tmp_path / name)
    with pytest.raises(UserError, match="column 'list' holds lists or structs; leave"):
        arrays.read(str(tmp_path / name), leave_out="pair")
    found = arrays.read(str(tmp_path / name), leave_out="pair,list")
    assert found.x["x"].tolist() == [1.5, 2.5] and found.y.tolist() == ["u", "v"]
    assert found.x["word"].isna().tolist() == [False, True]
