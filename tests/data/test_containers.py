"""Each container gives the same array; what is no number is a category, or refused."""

import datetime
import decimal

import chex
import jax.numpy as jnp
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse

from mi_classifier.data import containers
from mi_classifier.data.containers import as_rows
from mi_classifier.data.labels import as_labels
from mi_classifier.errors import UserError

NAN = np.nan
X = np.array([[1.5, 1.0, 0.0], [-2.0, 0.0, 1.0], [0.25, 1.0, 0.0]])
LEVELS = {2: ("bee", "eel")}
FRAME = pd.DataFrame(
    {"size": X[:, 0], "wild": X[:, 1] > 0, "kind": ["bee", "eel", "bee"]}
)
HOLES = pd.DataFrame(
    {"size": [1.5, None, 0.25], "wild": [True, None, False], "kind": ["bee", None, "q"]}
)
STRUCTURED = np.array(
    list(FRAME.itertuples(index=False, name=None)),
    [("size", float), ("wild", bool), ("kind", "U3")],
)


class Tensor:
    """As a tensor of PyTorch that requires a gradient, and lies on another device."""

    dtype = "torch.bfloat16"

    def __init__(self, values, ready=False):
        self.values, self.ready = values, ready

    def detach(self):
        return self

    def cpu(self):
        return self

    def float(self):
        return Tensor(self.values, True)

    def __array__(self, dtype=None, copy=None):
        if not self.ready:
            raise TypeError("Got unsupported ScalarType BFloat16")
        return np.asarray(self.values, dtype)


@pytest.mark.parametrize(
    "table",
    [
        FRAME,
        FRAME.set_axis([7, 3, 5]),  # an index says nothing
        FRAME.convert_dtypes(),
        FRAME.convert_dtypes(dtype_backend="pyarrow"),
        FRAME.astype(object),
        FRAME.astype({"kind": "category"}),
        FRAME.assign(kind=pd.Categorical(FRAME["kind"], ["zoo", "eel", "bee"])),
        FRAME.assign(size=["1.5", "-2", "0.25"]),
        FRAME.assign(size=["1,5", "-2", "0,25"]),
        FRAME.assign(size=[decimal.Decimal(v) for v in ("1.5", "-2", "0.25")]),
        FRAME.assign(size=pd.arrays.SparseArray(X[:, 0])),
        pl.from_pandas(FRAME),
        pl.from_pandas(FRAME).lazy(),
        pl.from_pandas(FRAME).with_columns(
            pl.col("kind").cast(pl.Enum(["eel", "bee"]))
        ),
        pl.from_pandas(FRAME).to_arrow(),
        pl.from_pandas(FRAME).to_arrow().to_batches()[0],
        FRAME.to_dict("list"),
        FRAME.to_dict("series"),
        FRAME.to_dict("records"),
        STRUCTURED,
        STRUCTURED.view(np.recarray),
    ],
)
def test_tables_become_numbers_codes_and_names(table):
    rows = as_rows(table)
    chex.assert_trees_all_equal(rows.values, X)
    assert rows.names == ("size", "wild", "kind")
    assert rows.levels == LEVELS
    assert rows.column(1) == "column 'wild'"


@pytest.mark.parametrize(
    "x",
    [
        X.tolist(),
        [tuple(row) for row in X],
        list(X),
        np.asfortranarray(X),
        X.astype(object),
        X.astype(str),
        X.astype(np.longdouble),
        X.astype(np.float32),
        jnp.asarray(X, jnp.bfloat16),
        Tensor(X),
        [Tensor(row) for row in X],
        np.ma.array(X),
        scipy.sparse.csr_matrix(X).toarray(),
        pd.DataFrame(X),
        X.reshape(3, 3, 1),
    ],
)
def test_arrays_of_numbers_stay_numbers(x):
    rows = as_rows(x)
    chex.assert_trees_all_equal(np.asarray(rows.values, float), X)
    assert rows.values.dtype.kind == "f" and rows.values.dtype.itemsize <= 8
    assert (rows.names, dict(rows.levels)) == ((), {})
    assert rows.column(1) == "column 1"


def test_plain_arrays_are_not_copied_and_memory_maps_not_read(tmp_path):
    assert np.shares_memory(as_rows(X).values, X)
    images = np.zeros((2, 16, 16, 3), np.uint8)
    assert as_rows(images).values is images
    mapped = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", "f4", (10, 2))
    assert isinstance(as_rows(mapped).values, np.memmap)
    chex.assert_shape(as_rows(np.arange(5)).values, (5, 1))
    chex.assert_shape(as_rows(np.zeros((0, 3))).values, (0, 3))


@pytest.mark.parametrize("kind", ["csr", "csc", "coo", "bsr", "dia", "dok", "lil"])
def test_sparse_matrices_stay_sparse(kind):
    rows = as_rows(scipy.sparse.csr_array(X).asformat(kind))
    assert scipy.sparse.issparse(rows.values) and rows.values.format == "csr"
    chex.assert_trees_all_equal(rows.values.toarray(), X)


def test_duplicate_entries_are_summed_and_dummies_stay_sparse():
    double = scipy.sparse.csr_array(([1.0, 2.0], ([0, 0]), [0, 2, 2]), shape=(2, 2))
    double.has_canonical_format = False
    rows = as_rows(double).values
    assert (rows.nnz, rows.toarray().tolist()) == (1, [[3, 0], [0, 0]])
    assert double.nnz == 2  # the user's own stays as it is
    rows = as_rows(pd.get_dummies(FRAME[["kind"]], sparse=True, dtype=int))
    assert scipy.sparse.issparse(rows.values) and rows.names == ("kind_bee", "kind_eel")
    assert rows.values.toarray().tolist() == [[1, 0], [0, 1], [1, 0]]


@pytest.mark.parametrize(
    "table",
    [
        HOLES,
        HOLES.convert_dtypes(),
        HOLES.convert_dtypes(dtype_backend="pyarrow"),
        HOLES.astype({"kind": "category"}),
        pl.from_pandas(HOLES),
        HOLES.assign(kind=["bee", "nan", "q"]),
        HOLES.assign(kind=["bee", " ", "q"]),
        HOLES.to_dict("records"),
    ],
)
def test_a_missing_value_is_nan_and_no_category(table):
    rows = as_rows(table)
    expected = np.array([[1.5, 1, 0], [NAN, NAN, NAN], [0.25, 0, 1]])
    chex.assert_trees_all_equal(rows.values, expected)
    assert rows.levels == {2: ("bee", "q")}
    assert containers.first_missing(rows)[:2] == (1, 0)
    with pytest.raises(UserError, match=r"x: nan in row 1, column 'size'.*'keep'"):
        containers.check_finite(rows)
    containers.check_finite(rows, allow_missing=True)


def test_masked_values_are_missing():
    masked = np.ma.array([[1, 2], [3, 4]], mask=[[0, 1], [0, 0]])
    expected = np.array([[1, NAN], [3, 4]])
    chex.assert_trees_all_equal(as_rows(masked).values, expected)
    chex.assert_trees_all_equal(as_rows(list(masked)).values, expected)
    chex.assert_trees_all_equal(as_rows([[1, None], [3, 4]]).values, expected)
    words = np.ma.array([["a"], ["b"]], mask=[[1], [0]])
    chex.assert_trees_all_equal(as_rows(words).values, np.array([[NAN], [0.0]]))


def test_infinite_values_are_refused_everywhere():
    infinite = np.where(X == 0.25, -np.inf, X)
    for x in (infinite, scipy.sparse.csr_array(infinite), pd.DataFrame(infinite)):
        rows = as_rows(x)
        for allowed in (False, True):
            with pytest.raises(
                UserError, match="x: -inf in row 2, column 0; drop such"
            ):
                containers.check_finite(rows, allowed)
    images = np.zeros((3, 16, 16, 1))
    images[1, 3, 4, 0] = NAN
    with pytest.raises(UserError, match="nan in row 1, column 3, 4, 0"):
        containers.check_finite(as_rows(images))


DAY = datetime.date(2020, 1, 2)
SECONDS = 1_577_923_200.0  # until 2020-01-02 UTC, as `date -d 2020-01-02Z +%s` has it


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (np.array(["2020-01-02", "NaT"], "M8[D]"), SECONDS),
        ([DAY, None], SECONDS),
        (["2020-01-02", None], SECONDS),
        (pl.Series([DAY, None]), SECONDS),
        (
            pd.Series([pd.Timestamp("2020-01-02 01:00", tz="Europe/Berlin"), None]),
            SECONDS,
        ),
        (pd.Series([pd.Period("2020-01-02", "D"), None]), SECONDS),
        (pd.Series([pd.Timedelta("2h"), None]), 7_200.0),
        (pl.Series([datetime.timedelta(hours=2), None]), 7_200.0),
        ([datetime.time(2, 0, 1), None], 7_201.0),
    ],
)
def test_dates_become_seconds(cells, expected):
    chex.assert_trees_all_equal(as_rows(cells).values, np.array([[expected], [NAN]]))


def test_one_kind_of_column_keeps_its_kind():
    for kind in (np.float32, np.int16, bool):
        frame = pd.DataFrame(np.ones((2, 2), kind), columns=["a", "b"])
        assert as_rows(frame).values.dtype == kind
    narrow = pd.DataFrame({"a": pd.array([1, None], "Float32")})
    assert as_rows(narrow).values.dtype == np.float32
    assert as_rows(pd.DataFrame({"a": [1], "b": [0.5]})).values.dtype == np.float64


def test_names_are_different_and_joined():
    def names(columns):
        return as_rows(pd.DataFrame([[1, 2, 3]], columns=columns)).names

    assert names(["a", "a", "a"]) == ("a", "a.1", "a.2")
    assert names(["a", "a", "a.1"]) == ("a", "a.2", "a.1")
    assert names(pd.MultiIndex.from_product([["a"], ["x", "y", "z"]])) == (
        *("a_x", "a_y", "a_z"),
    )
    assert names([2019, 2020, 2021]) == ("2019", "2020", "2021")
    assert names([0, 1, 2]) == ()  # which pandas calls columns without names
    assert as_rows(pd.Series([1, 2], name="q")).names == ("q",)


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (X * 1j, ["must be numbers", "complex"]),
        (scipy.sparse.csr_array(X * 1j), ["must be numbers", "complex"]),
        (FRAME.assign(size=X[:, 0] * 1j), ["'size'", "complex"]),
        (
            FRAME.assign(size=[1.5, "red", 2]),
            ["'size'", "'red' in row 1", "astype(str)"],
        ),
        (FRAME.assign(size=["1.5", "2", "red"]), ["'size'", "'red' in row 2"]),
        (FRAME.assign(size=["1,234", "5", "6"]), ["'size'", "1234 or 1.234"]),
        (FRAME.assign(size=[[1], [2], [3]]), ["'size'", "a list"]),
        (FRAME.assign(size=[2**60, 2**60 + 1, 1]), ["'size'", "2**53"]),
        ([[1, 2], [3]], ["must be an array"]),
        (1.0, ["x and y", "()"]),
        ("table.csv", ["x and y", "()"]),
        (np.zeros((60, 0)), ["(60, 0)"]),
        (pd.DataFrame(index=range(5)), ["no columns"]),
        ({"a": [1, 2], "b": [1]}, ["'b' has 1 rows", "'a' has 2"]),
        ({"a": X}, ["'a'", "[N]"]),
    ],
)
def test_what_is_no_table_is_refused_with_its_column(x, words):
    with pytest.raises(UserError) as error:
        as_rows(x)
    for word in words:
        assert word in str(error.value)


def test_scored_rows_are_coded_as_in_the_fit():
    fit = as_rows(FRAME)
    given = FRAME.assign(kind=["eel", "new", None])
    for table in (given[["kind", "wild", "size"]], given, given.to_numpy(object)):
        rows = as_rows(table, fit)
        expected = np.concatenate([X[:, :2], [[1], [-1], [NAN]]], 1)
        chex.assert_trees_all_equal(rows.values, expected)
        assert rows.levels == LEVELS and rows.names == fit.names
    # Words that happen to be numbers stay the words that they were.
    codes = as_rows({"code": ["12", "A1", "A2"]})
    chex.assert_trees_all_equal(
        as_rows({"code": ["12", "12"]}, codes).values, np.array([[0], [0]])
    )
    chex.assert_trees_all_equal(as_rows(X[:2], as_rows(X)).values, X[:2])
    sparse = as_rows(scipy.sparse.csr_array(X))
    assert scipy.sparse.issparse(as_rows(X, sparse).values)
    chex.assert_trees_all_equal(as_rows(sparse.values, as_rows(X)).values, X)


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (FRAME.drop(columns="wild"), ["no column 'wild'", "as in the fit"]),
        (FRAME.rename(columns={"wild": "Wild"}), ["'wild'", "did you mean 'Wild'"]),
        (FRAME.assign(more=1), ["'more' was not in the fit"]),
        (FRAME.assign(kind=[1, 2, 3]), ["'kind' held words in the fit", "numbers now"]),
        (FRAME.assign(size=["a", "b", "c"]), ["'size' held numbers in the fit", "'a'"]),
        (X[:, :2], ["3 columns, as in the fit, not 2"]),
    ],
)
def test_scored_rows_of_other_columns_are_refused(x, words):
    with pytest.raises(UserError) as error:
        as_rows(x, as_rows(FRAME))
    for word in words:
        assert word in str(error.value)


def test_scored_arrays_of_another_shape_are_refused():
    with pytest.raises(UserError, match=r"x: must be \[N, 3\], as in the fit, not"):
        as_rows(X[:, :1], as_rows(X))


@pytest.mark.parametrize(
    ("fitted", "new", "expected"),
    [
        (["1,5", "2,25"], ["1,234", "3"], [1.234, 3]),
        (["5%", "20%"], ["7%", "10%"], [0.07, 0.1]),
        (["1", "2"], ["1.5", "2"], [1.5, 2]),
        (["31/01/1970", "02/02/1970"], ["02/01/1970", "01/01/1970"], [86400, 0]),
    ],
)
def test_scored_words_are_read_as_those_of_the_fit(fitted, new, expected):
    like = as_rows({"a": fitted})
    rows = as_rows({"a": new}, like)
    np.testing.assert_allclose(rows.values[:, 0], expected)


@pytest.mark.parametrize(
    ("fitted", "new", "words"),
    [
        (["1,5"], ["2.5"], "another way than in the fit"),
        (["5%"], ["7"], "held percentages in the fit, and numbers now"),
        (["5%"], [0.07], "held percentages in the fit, and numbers now"),
        ([0.05], ["7%"], "held numbers in the fit, and percentages now"),
        (["9:05"], ["2020-01-01 09:05"], "held times in the fit, and dates now"),
        ([pd.Timestamp("2020-01-01")], [2020], "held dates in the fit, and numbers"),
        (["31/01/2020"], ["01/31/2020"], "held dates in the fit, and words now"),
    ],
)
def test_scored_words_that_are_written_otherwise_are_refused(fitted, new, words):
    with pytest.raises(UserError, match=words):
        as_rows({"a": new}, as_rows({"a": fitted}))


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (["1.1", "1.10"], "column 'a': '1.1' and '1.10' are read as the same number"),
        (["3.9", "3.10", "3.11"], "'3.10' is read as the number 3.1; if it is a ver"),
        (["3.90", "3.10", "3.11"], ""),
        ([f"{m:02}.20{y}" for m in range(1, 10) for y in (19, 20)], "dates the form"),
        ([f"Mon {h:02}30" for h in range(12)], "words without an order"),
        ([f"MAR-10{i}" for i in range(20, 32)], "words without an order"),
        ([f"MAR-20{i}" for i in range(20, 32)], ""),
        ([f"{i} kg" for i in range(20)], "20 words without an order, such as '0 kg'"),
        (["01/02/2020", "03/02/2020"] * 20, ""),
        (
            [f"0{1 + i % 4}/0{1 + i % 5}/2020" for i in range(20)],
            "the day or the month",
        ),
        ([f"Room {i}" for i in range(20)], "20 words without an order, such as 'Room"),
        (["Ann" + "a" * i for i in range(20)], ""),
        ([f"20{i:02}-{i + 1:02}" for i in range(20)], "a month or a season"),
        ([f"200{i}-{j:02}" for i in range(3) for j in range(1, 13)], ""),
    ],
)
def test_words_that_may_be_meant_otherwise_are_noted(cells, words):
    notes = as_rows({"a": cells}).notes
    assert words in "".join(notes) and bool(notes) == bool(words)


@pytest.mark.parametrize(
    "values",
    [
        pl.Series([10**18, 10**18 + 1, None]),
        pl.Series([10**18, 10**18 + 1, 5]).cast(pl.Int128),
        pa.array([10**18, 10**18 + 1, None]),
        pd.Series([str(10**18), str(10**18 + 1)]),
        pd.Series([10**18, 10**18 + 1, 0.5], dtype=object),
        pd.Series([decimal.Decimal(10**18), decimal.Decimal(10**18 + 1)]),
        pl.Series([decimal.Decimal(10**18), decimal.Decimal(10**18 + 1)]),
    ],
)
def test_whole_numbers_that_floats_cannot_tell_apart_are_refused(values):
    with pytest.raises(UserError, match="equal as floats"):
        as_rows(pa.table({"a": values}) if isinstance(values, pa.Array) else values)


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ([pd.Timestamp("2020-01-01"), "unknown"], "mixes dates and words.*'unknown'"),
        ([10**400, 1], "beyond 1e308"),
        ([1.5, datetime.datetime(2020, 3, 1)], "mixes numbers and dates.*in row 1"),
        ([datetime.time(3), datetime.timedelta(1)], "mixes times and durations"),
        ([pd.Timedelta(1), np.timedelta64(5, "s"), 3], "mixes durations and numbers"),
        ([12.5, "1.300", 800.0], "'1.300', which is a string, can be read in two"),
    ],
)
def test_cells_of_objects_that_have_no_order_are_refused(cells, words):
    with pytest.raises(UserError, match=words):
        as_rows(pd.Series(cells, dtype=object))


def test_an_array_cannot_stand_for_dates():
    like = as_rows({"day": ["2020-12-31", "2021-01-01"], "size": [1, 2]})
    with pytest.raises(UserError, match="held dates in the fit; give a DataFrame"):
        as_rows(np.array([[20201231.0, 1.0]]), like)


@pytest.mark.parametrize("arrow", [pa.date32(), pa.date64()])
def test_dates_of_arrow_are_seconds(arrow):
    dates = pd.Series([datetime.date(1970, 1, 2), None], dtype=pd.ArrowDtype(arrow))
    np.testing.assert_array_equal(as_rows(dates).values[:, 0], [86400, np.nan])


def test_wide_whole_numbers_of_polars_are_numbers():
    rows = as_rows(pl.DataFrame({"a": pl.Series([7, 8]).cast(pl.Int128)}))
    assert rows.values.tolist() == [[7], [8]]


@pytest.mark.parametrize("arrow", [pa.dictionary(pa.int32(), pa.string()), pa.string()])
def test_a_missing_word_of_arrow_stays_missing(arrow):
    words = pa.array(["b", None, "a", "b"], arrow)
    np.testing.assert_array_equal(
        as_rows(pa.table({"a": words})).values[:, 0], [1, NAN, 0, 1]
    )
    with pytest.raises(UserError, match="row 1"):
        as_labels(words, 4)


def test_words_in_arrow_views_are_words():
    views = pd.array(["b", None, "a"], pd.ArrowDtype(pa.string_view()))
    rows = as_rows(pd.DataFrame({"a": views}))
    np.testing.assert_array_equal(rows.values[:, 0], [1, NAN, 0])


def test_booleans_beside_numbers_in_words_are_0_and_1():
    rows = as_rows({"a": np.array([True, False, "1", "3"], object)})
    assert rows.values.tolist() == [[1], [0], [1], [3]]


def test_sparse_columns_of_booleans_and_numbers_are_numbers():
    frame = pd.DataFrame(
        {
            "a": pd.arrays.SparseArray([True, False, True]),
            "b": pd.arrays.SparseArray([0, 2, 1]),
        }
    )
    assert as_rows(frame).values.toarray().tolist() == [[1, 0], [0, 2], [1, 1]]


def test_a_sparse_matrix_cannot_stand_for_words():
    like = as_rows({"a": ["x", "y"], "b": [1, 2]})
    with pytest.raises(UserError, match="held words in the fit, and numbers now"):
        as_rows(scipy.sparse.csr_array(np.eye(2)), like)


def test_an_index_of_levels_is_refused():
    index = pd.MultiIndex.from_tuples([("a", 1), ("b", 2)])
    with pytest.raises(UserError, match="y: is an index of 2 levels"):
        as_labels(index, 2)
