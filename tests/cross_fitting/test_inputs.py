"""Numbers reach the nets on one scale, and categories as 0/1 inputs."""

import dataclasses

import chex
import numpy as np
import pandas as pd
import pytest
import scipy.sparse

from mi_classifier.cross_fitting import inputs
from mi_classifier.data.containers import as_rows


def encoded(x):
    """The inputs of a net for every row."""
    given = inputs.make_inputs(as_rows(x))
    return given, given[np.arange(len(given))]


def test_columns_of_any_unit_reach_the_net_on_one_scale():
    generator = np.random.default_rng(0)
    x = generator.standard_normal((1_000, 2))
    y = np.stack([x[:, 0], 1e9 + 1e-3 * x[:, 0], 1e200 * x[:, 1], np.ones(1_000)], 1)
    given, seen = encoded(y)
    chex.assert_trees_all_equal(given.numbers, np.array([0, 1, 2]))
    chex.assert_shape(seen, (1_000, 3))
    assert seen.dtype == np.float32
    np.testing.assert_allclose(seen[:, 0], seen[:, 1], atol=2e-3)
    np.testing.assert_allclose(seen.std(0), 1, rtol=0.06)
    # The scaling is monotone, so that no information is lost.
    order = np.argsort(y[:, 0])
    assert (np.diff(seen[order, 0]) >= 0).all()


def test_ordinary_columns_are_hardly_bent_and_long_tails_are_shortened():
    x = np.random.default_rng(0).random((1_000, 1))
    _, seen = encoded(x)
    slope = np.diff(seen[np.argsort(x[:, 0]), 0]) / np.diff(np.sort(x[:, 0]))
    assert slope.min() > 0.8 * slope.max()
    _, seen = encoded(np.random.default_rng(0).standard_cauchy((500, 1)) ** 5)
    assert np.isfinite(seen).all() and np.abs(seen).max() <= 10


def test_mostly_equal_and_integer_columns_have_a_scale():
    x = np.zeros((100, 3), np.int64)
    x[:10, 0], x[:60, 1], x[0, 2] = 7, 1, -(2**40)
    _, seen = encoded(x)
    assert np.isfinite(seen).all() and (np.ptp(seen, axis=0) > 0.5).all()


def test_words_integers_and_0_1_columns_of_categories_carry_the_same_inputs():
    code = np.random.default_rng(0).integers(0, 5, 400)
    words = np.array(["ape", "bee", "cat", "dog", "eel"])[code]
    given, of_words = encoded(pd.DataFrame({"animal": words}))
    assert given.origin.tolist() == [0] * 5
    assert (of_words > 0).sum(1).tolist() == [1] * 400
    _, of_integers = encoded(code)
    np.testing.assert_allclose(of_integers[:, 1:], of_words)
    assert len(np.unique(of_integers[:, 0])) == 5
    _, of_columns = encoded(np.eye(5)[code])
    corr = np.corrcoef(of_columns.T, of_words.T)[:5, 5:]
    np.testing.assert_allclose(np.diag(corr), 1, atol=1e-6)


def test_rare_categories_of_many_share_bins_and_differ_all_the_same():
    code = np.random.default_rng(0).integers(0, 2_000, 20_000)
    words = pd.DataFrame({"id": [f"name {c}" for c in code]})
    given, seen = encoded(words)
    assert given.width == 256 + 2 * 128
    _, first, of = np.unique(code, return_index=True, return_inverse=True)
    chex.assert_trees_all_equal(seen, seen[first][of])
    assert len(np.unique(seen[first], axis=0)) > 0.95 * len(first)


def test_a_missing_value_has_an_input_of_its_own():
    x = np.random.default_rng(0).standard_normal((200, 2))
    x[::4, 1] = np.nan
    given, seen = encoded(x)
    chex.assert_trees_all_equal(given.origin, np.array([0, 1, 1]))
    chex.assert_trees_all_equal(seen[:, 2] > 0, np.isnan(x[:, 1]))
    assert len(np.unique(seen[::4, 1])) == 1
    # The same rows to score: a value that is missing only there is the mean.
    other = np.where(np.arange(400).reshape(200, 2) == 2, np.nan, x)
    assert dataclasses.replace(given, values=other)[np.array([1])][0, 0] == 0


def test_a_sparse_matrix_gives_the_inputs_of_its_dense_form():
    x = np.random.default_rng(0).poisson(0.2, (300, 7)).astype(np.float64)
    given, seen = encoded(scipy.sparse.csr_array(x))
    same, dense = encoded(x)
    chex.assert_trees_all_equal(given.origin, same.origin)
    chex.assert_trees_all_equal(seen, dense)


def test_images_are_scaled_by_channel():
    images = np.random.default_rng(0).integers(0, 255, (50, 16, 16, 3), np.uint8)
    images[..., 2] = 9
    _, seen = encoded(images)
    np.testing.assert_allclose(seen.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(seen.std((0, 1, 2)), [1, 1, 0], atol=1e-5)


@pytest.mark.parametrize(("side", "small"), [(64, 64), (65, 33), (200, 50)])
def test_large_images_are_averaged_over_blocks(side, small):
    images = np.random.default_rng(0).integers(0, 255, (3, side, 20, 2), np.uint8)
    seen = inputs.shrink(images)
    chex.assert_shape(seen, (3, small, 20, 2))
    factor = -(-side // 64)
    expected = images[:, :factor].astype(np.float64).mean(1)
    np.testing.assert_allclose(seen[:, 0], expected, rtol=1e-6)
    last = images[:, (small - 1) * factor :].astype(np.float64).mean(1)
    np.testing.assert_allclose(seen[:, -1], last, rtol=1e-6)
