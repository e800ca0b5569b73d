"""Labels of any kind become indices; a missing one is an error in any spelling."""

import datetime
import decimal

import chex
import jax.numpy as jnp
import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse

from mi_classifier.cross_fitting import checked
from mi_classifier.data import labels as data_labels
from mi_classifier.data.labels import (
    as_groups,
    as_known_labels,
    as_labels,
    check_index,
)
from mi_classifier.errors import UserError

INDEX = np.array([0, 1, 1, 0, 1, 0])
WORDS = np.array(["ape", "bee"])[INDEX]
DAYS = [datetime.date(2020, 1, 1 + i) for i in INDEX]


def put(values, *missing, kind=object):
    """Labels of which those in row 2 and maybe later ones are missing."""
    values = np.array(values, kind)
    for row, value in enumerate(missing, 2):
        values[row] = value
    return values


@pytest.mark.parametrize(
    ("y", "expected"),
    [
        (INDEX, [0, 1]),
        (INDEX.astype(np.int8), [0, 1]),
        (INDEX.tolist(), [0, 1]),
        (INDEX > 0, [False, True]),
        (INDEX.astype(float), [0.0, 1.0]),
        (INDEX.astype(object), [0, 1]),
        (jnp.asarray(INDEX, jnp.bfloat16), [0.0, 1.0]),
        (WORDS, ["ape", "bee"]),
        (WORDS.tolist(), ["ape", "bee"]),
        (WORDS.astype(object), ["ape", "bee"]),
        (WORDS.astype("S"), ["ape", "bee"]),
        (pd.Series(WORDS, index=range(6, 0, -1)), ["ape", "bee"]),
        (pd.Series(WORDS, dtype="string"), ["ape", "bee"]),
        (pd.Categorical(WORDS, ["zoo", "bee", "ape"]), ["ape", "bee"]),
        (pd.Series(INDEX).astype("category"), [0, 1]),
        (pd.Series(INDEX, dtype="Int64"), [0, 1]),
        (pd.Series(INDEX, dtype="int64[pyarrow]"), [0, 1]),
        (pd.Series(INDEX > 0, dtype="boolean"), [False, True]),
        (pd.Index(INDEX), [0, 1]),
        (pd.DataFrame({"y": INDEX}), [0, 1]),
        ({"y": INDEX}, [0, 1]),
        (pl.Series(INDEX), [0, 1]),
        (pl.Series(WORDS).cast(pl.Categorical), ["ape", "bee"]),
        (pl.DataFrame({"y": INDEX}), [0, 1]),
        (np.ma.array(INDEX), [0, 1]),
        (DAYS, [datetime.date(2020, 1, 1), datetime.date(2020, 1, 2)]),
        ([decimal.Decimal(int(i)) for i in INDEX], [0, 1]),
        ([["NA", "None"][i] for i in INDEX], ["NA", "None"]),  # two names of classes
    ],
)
def test_labels_of_any_kind_are_sorted_and_keep_their_kind(y, expected):
    labels, label = as_labels(y, 6)
    assert labels.tolist() == expected
    assert [type(one) for one in labels.tolist()] == [
        type(one) for one in expected
    ] or (isinstance(labels[0], decimal.Decimal))
    chex.assert_trees_all_equal(label, INDEX.astype(np.int32))
    chex.assert_trees_all_equal(as_known_labels(y, labels, 6), label)


def test_dates_of_a_series_are_labels():
    labels, label = as_labels(pd.Series(pd.to_datetime(DAYS)), 6)
    assert labels.dtype.kind == "M"
    chex.assert_trees_all_equal(label, INDEX.astype(np.int32))


@pytest.mark.parametrize(
    "y",
    [
        put(INDEX, np.nan),
        put(INDEX, np.nan, kind=float),
        put(INDEX, None),
        put(WORDS, None),
        put(WORDS, np.nan),
        put(WORDS, pd.NA),
        put(WORDS, ""),
        put(WORDS, "  "),
        put(WORDS, "#N/A"),
        ["ape", "bee", np.nan, "ape", "bee", "ape"],
        ["ape", "bee", None, "ape", "bee", "ape"],
        np.array(["ape", "bee", np.nan, "ape", "bee", "ape"]),  # NumPy writes "nan"
        [0, 1, np.ma.masked, 0, 1, 0],
        np.ma.array(INDEX, mask=np.arange(6) == 2),
        np.ma.array(WORDS, mask=np.arange(6) == 2),
        pd.Series(put(WORDS, None)),
        pd.Series(put(WORDS, None)).astype("category"),
        pd.Series(put(INDEX, pd.NA), dtype="Int64"),
        pd.Series(put(INDEX > 0, pd.NA), dtype="boolean"),
        pd.Series(pd.to_datetime(put(DAYS, None))),
        put(DAYS, pd.NaT),
        pl.Series(put(INDEX, None).tolist()),
        pl.Series(put(WORDS, None).tolist()),
        pl.Series(put(WORDS, None).tolist()).cast(pl.Categorical),
        np.array([0, 1, "NaT", 0, 1, 0], "M8[D]"),
    ],
)
def test_a_missing_label_is_told_by_its_row(y):
    with pytest.raises(UserError, match=r"^y: (missing|nan) in row 2; drop such rows"):
        as_labels(y, 6)


def test_more_missing_labels_are_counted():
    with pytest.raises(UserError, match=r"missing in row 2 \(and 2 more\); drop"):
        as_labels(put(WORDS, None, np.nan, "nan"), 6)
    with pytest.raises(UserError, match=r"inf in row 2; drop"):
        as_labels(put(INDEX, np.inf, kind=float), 6)


@pytest.mark.parametrize(
    ("y", "words"),
    [
        ([1, "1", 1, "1", 1, 1], ["of one kind", "int and str"]),
        (INDEX * 1j, ["must be labels", "complex"]),
        (np.eye(2)[INDEX], ["(6, 2)", "one-hot", "y.argmax(1)"]),
        (pd.get_dummies(WORDS), ["one-hot", "y.to_numpy().argmax(1)"]),
        (scipy.sparse.csr_array(np.eye(2)[INDEX]), ["one-hot"]),
        (INDEX[:, None], ["(6, 1)", "y.ravel()"]),
        (np.stack([INDEX, INDEX], 1), ["(6, 2)"]),
        (INDEX[:5], ["(6, 3)", "(5,)"]),
        (1, ["()"]),
        (np.arange(6) / 7, ["6 different labels", "continuous", "quantiles"]),
        (np.arange(6), ["6 different labels", "names each row"]),
        (list("abcdef"), ["6 different labels", "names each row"]),
        ((np.arange(6) / 7).astype(str), ["continuous"]),
    ],
)
def test_other_labels_are_refused(y, words):
    with pytest.raises(UserError) as error:
        as_labels(y, (6, 3))
    for word in words:
        assert word in str(error.value)


def test_many_numbers_with_decimals_are_continuous_even_if_they_come_again():
    y = np.arange(6_000) % 60
    assert len(as_labels(y, 6_000)[0]) == 60
    assert len(as_labels((y / 7).astype(str), 6_000)[0]) == 60
    with pytest.raises(
        UserError, match="60 different labels in 6000 rows; y is contin"
    ):
        as_labels(y / 7, 6_000)
    with pytest.raises(UserError, match="hold no rows"):
        as_labels([], 0)


def test_labels_that_a_fit_does_not_have_are_refused():
    with pytest.raises(UserError, match="label 9 is not among those of the fit"):
        as_known_labels([0, 9], np.array([0, 1]), 2)
    chex.assert_trees_all_equal(
        as_known_labels(["bee", "ape", "bee"], np.array(["ape", "bee"]), 3),
        np.array([1, 0, 1], np.int32),
    )


def test_groups_may_be_of_any_kind_but_not_missing():
    assert as_groups(["b", 1, "1", 1, "b"], 5)[1].tolist() == [0, 1, 2, 1, 0]
    assert as_groups(pl.Series([7, 7, 3]), 3)[1].tolist() == [0, 0, 1]
    with pytest.raises(UserError, match=r"groups: missing in row 1; .* its own group"):
        as_groups(["a", None], 2)
    with pytest.raises(UserError, match=r"x and groups: must have shapes"):
        as_groups([1, 2], 3)


def test_the_same_rows_in_another_order_are_refused():
    x = pd.DataFrame({"a": range(4)}, index=list("pqrs"))
    y = pd.Series(range(4), index=list("pqrs"))
    for other in (y, y.reset_index(drop=True), y.to_numpy(), y.set_axis(list("wxyz"))):
        data_labels.check_index(x, other)
    data_labels.check_index(x.reset_index(drop=True), y.reset_index(drop=True)[1:])
    for other in (y[::-1], y.reindex(list("qrst"))):
        with pytest.raises(UserError, match=r"x and y: .* y = y\.loc\[x\.index\]"):
            data_labels.check_index(x, other)
    with pytest.raises(UserError, match="x and y"):
        counted = y.reset_index(drop=True)
        data_labels.check_index(x.reset_index(drop=True), counted[::-1])
    with pytest.raises(UserError, match="x and groups"):
        data_labels.check_index(x, y[::-1], "groups")


def test_labels_that_differ_in_case_or_blanks_are_warned_of():
    y = np.array(["ape", "Ape", "bee"])[np.arange(60) % 3]
    x = np.random.default_rng(0).standard_normal(60)
    person = np.array(["Ann", "Ann ", "Bob", "Eve"])[np.arange(60) % 4]
    found = checked.prepare(x, y, groups=person).warnings
    assert len(found) == 2
    assert "labels 'Ape' and 'ape' may be the same" in found[0]
    assert "groups 'Ann' and 'Ann ' may be the same" in found[1]
    assert not checked.prepare(x, y == "ape").warnings


def test_the_advice_for_a_matrix_or_a_repeated_index_works():
    y = scipy.sparse.csr_matrix([[1], [0]])
    with pytest.raises(UserError, match=r"y.toarray\(\).ravel\(\) makes it so"):
        as_labels(y, 2)
    frame = pd.Series([1, 2, 3], index=[5, 5, 6])
    with pytest.raises(UserError, match="orders; drop both by reset_index"):
        check_index(frame, frame[::-1])
