"""Inputs reach the nets on one scale; copies and rare labels are split with care."""

import chex
import numpy as np
import pytest

from mi_classifier.cross_fitting import inputs


def test_a_vector_is_one_column_and_booleans_are_labels():
    x, y = np.arange(60.0), np.arange(60) > 40
    column, _ = inputs.as_arrays(x, y)
    chex.assert_trees_all_equal(column, x[:, None])
    labels, label = inputs.encode(y)
    chex.assert_trees_all_equal(labels, np.array([False, True]))
    chex.assert_trees_all_equal(label, y.astype(np.int32))


def test_columns_of_any_unit_reach_the_net_on_one_scale():
    generator = np.random.default_rng(0)
    x = generator.standard_normal((1_000, 2))
    y = np.stack([x[:, 0], 1e9 + 1e-3 * x[:, 0], 1e200 * x[:, 1], np.ones(1_000)], 1)
    given = inputs.make_inputs(y)
    chex.assert_trees_all_equal(given.columns, np.array([0, 1, 2]))
    seen = given[np.arange(1_000)]
    chex.assert_shape(seen, (1_000, 3))
    assert seen.dtype == np.float32
    np.testing.assert_allclose(seen[:, 0], seen[:, 1], atol=2e-3)
    np.testing.assert_allclose(seen.std(0), 1, rtol=1e-3)
    # The scaling is monotone, so that no information is lost.
    order = np.argsort(y[:, 0])
    assert (np.diff(seen[order, 0]) >= 0).all()


def test_outliers_are_clipped_at_five_deviations():
    x = np.random.default_rng(0).standard_cauchy((500, 1)) ** 5
    seen = inputs.make_inputs(x)[np.arange(500)]
    assert np.isfinite(seen).all() and np.abs(seen).max() <= 5


def test_mostly_equal_and_integer_columns_have_a_scale():
    x = np.zeros((100, 3), np.int64)
    x[:10, 0], x[:60, 1], x[0, 2] = 7, 1, -(2**40)
    seen = inputs.make_inputs(x)[np.arange(100)]
    assert np.isfinite(seen).all() and (np.ptp(seen, axis=0) > 0.5).all()


def test_images_are_scaled_by_channel():
    images = np.random.default_rng(0).integers(0, 255, (50, 16, 16, 3), np.uint8)
    images[..., 2] = 9
    seen = inputs.make_inputs(images)[np.arange(50)]
    np.testing.assert_allclose(seen.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(seen.std((0, 1, 2)), [1, 1, 0], atol=1e-5)


def test_copies_are_found_and_frequent_values_are_not():
    generator = np.random.default_rng(0)
    rows = generator.standard_normal((400, 3))
    x = np.concatenate([rows, rows[:50], rows[:20], np.zeros((300, 3))])
    x[::2] += 0.0
    group = inputs.copies(inputs.make_inputs(x))
    chex.assert_trees_all_equal(group[:50], group[400:450])
    chex.assert_trees_all_equal(group[:20], group[450:470])
    assert len(np.unique(group)) == 400 + 300 == group.max() + 1
    negative = np.where(x == 0, -0.0, x)
    chex.assert_trees_all_equal(inputs.copies(inputs.make_inputs(negative)), group)


def test_different_rows_are_not_copies():
    grid = np.stack(np.meshgrid(*[np.arange(40)] * 3), -1).reshape(-1, 3)
    group = inputs.copies(inputs.make_inputs(grid))
    assert len(np.unique(group)) == len(grid)


@pytest.mark.parametrize("rare", [1, 2, 4])
def test_labels_are_spread_over_folds(rare):
    label = np.repeat([0, 1, 2], [101, 57, rare])
    fold = inputs.deal(np.arange(len(label)), label, np.random.default_rng(0))
    for value in range(3):
        counts = np.bincount(fold[label == value], minlength=inputs.FOLDS)
        assert np.ptp(counts) <= 1
    assert np.ptp(np.bincount(fold)) <= 1
