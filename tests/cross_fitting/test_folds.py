"""Folds and stopping rows have every label; a group is never in two."""

import numpy as np
import pytest

from mi_classifier.cross_fitting.folds import FOLDS, deal


@pytest.mark.parametrize("rare", [1, 2, 4])
def test_labels_are_spread_over_folds(rare):
    label = np.repeat([0, 1, 2], [101, 57, rare])
    fold, _ = deal(np.arange(len(label)), label, np.random.default_rng(0))
    for value in range(3):
        counts = np.bincount(fold[label == value], minlength=FOLDS)
        assert np.ptp(counts) <= 1
    assert np.ptp(np.bincount(fold)) <= 1


@pytest.mark.parametrize(("rows", "share"), [(300, 1 / 4), (20_000, 1 / 8)])
def test_stopping_rows_are_a_fixed_share_of_each_label(rows, share):
    label = np.arange(rows) % 3
    fold, stops = deal(np.arange(rows), label, np.random.default_rng(0))
    for value in range(3):
        for k in range(FOLDS):
            own = (label == value) & (fold != k)
            assert stops[own].mean() == pytest.approx(share, abs=0.04)


def test_a_group_is_in_one_fold_and_stops_or_trains_as_a_whole():
    generator = np.random.default_rng(0)
    group = generator.integers(0, 60, 500)
    group = np.unique(group, return_inverse=True)[1]
    fold, stops = deal(group, generator.integers(0, 2, 500), generator)
    for number in range(group.max() + 1):
        assert len(set(fold[group == number])) == 1
        assert len(set(stops[group == number])) == 1


@pytest.mark.parametrize("groups", [10, 11, 40])
def test_few_groups_still_train_and_stop_every_fold(groups):
    fold, stops = deal(
        np.arange(groups), np.zeros(groups, int), np.random.default_rng(0)
    )
    for k in range(FOLDS):
        assert (fold == k).any()
        assert stops[fold != k].any() and not stops[fold != k].all()


def test_every_label_of_five_rows_trains_every_fold():
    label = np.repeat(np.arange(60), 5)
    fold, stops = deal(np.arange(300), label, np.random.default_rng(0))
    for k in range(FOLDS):
        trained = label[(fold != k) & ~stops]
        assert np.bincount(trained, minlength=60).min() >= 2
