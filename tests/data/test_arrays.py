"""Arrays are read from .npz and .csv files, and mistakes are told by line."""

import chex
import numpy as np
import pytest

from mi_classifier.data import arrays
from mi_classifier.errors import UserError

X = np.array([[1.5, -2], [3, 4e5], [0.25, 6]])


def test_npz_files_are_read(tmp_path):
    path = tmp_path / "a.npz"
    labels = np.array(["a", "b", "a"])
    np.savez(path, x=X, y=labels, other=X[:, 0])
    x, y = arrays.load(str(path))
    chex.assert_trees_all_equal((x, y.tolist()), (X, labels.tolist()))
    x, y = arrays.load(str(path), inputs="other", labels="y")
    chex.assert_trees_all_equal(x, X[:, 0])


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
    path = tmp_path / "a.csv"
    path.write_text(text, newline="", encoding="utf-8")
    x, y = arrays.load(str(path), labels=labels)
    chex.assert_trees_all_equal(x, X)
    assert y.tolist() == list(expected)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("u,v,k\n1,2,a\n1,,b\n", ["line 3", "'v'", "is empty"]),
        ("u,v,k\n1,2,a\n1,red,b\n", ["line 3", "'v'", "'red'", "0/1 columns"]),
        ("u,v,k\n1,2,a\n1,nan,b\n", ["line 3", "'v'", "'nan'"]),
        ("1,,a\n1,2,b\n", ["line 1", "'1'", "is empty"]),
        ("u,v,k\n1,2,a\n1,2\n", ["line 3", "2 cells", "3"]),
        ("u,v,k\n1,2,a\n1,2,\n", ["line 3", "no label"]),
        ("u,,k\n1,2,a\n", ["line 1", "a column has no name"]),
        ("u,v,k\n", ["no row"]),
        ("1\n2\n", ["one of labels"]),
        ("", ["is empty"]),
    ],
)
def test_csv_mistakes_are_told_by_line(tmp_path, text, words):
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        arrays.load(str(path))
    for word in [*words, str(path)]:
        assert word in str(error.value)


def test_unreadable_files_are_named(tmp_path):
    np.savez(tmp_path / "a.npz", x=X, z=X)
    np.savez(tmp_path / "o.npz", x=X, y=np.array([None, "a", 1], object))
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 not a zip file")
    (tmp_path / "a.csv").write_text("u,kind\n1,a\n")
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00")
    for name, options, words in (
        ("", {}, "--config.data.path="),
        ("none.npz", {}, "no such file"),
        ("a.txt", {}, "must end in .npz or .csv"),
        ("a.npz", {}, "data.labels: .* no array 'y'.* it has x, z"),
        ("a.npz", {"inputs": "X"}, "data.inputs: .* no array 'X'"),
        ("o.npz", {}, "Python objects"),
        ("broken.npz", {}, "cannot be read"),
        ("a.csv", {"labels": "kinds"}, "no column 'kinds', did you mean 'kind'"),
        ("b.csv", {}, "cannot be read"),
    ):
        path = str(tmp_path / name) if name else ""
        with pytest.raises(UserError, match=words):
            arrays.load(path, **options)
