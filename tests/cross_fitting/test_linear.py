"""Linear learners give what scikit-learn gives, and each row what it gives alone."""

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression

import mi_classifier as mi
from mi_classifier.cross_fitting import linear
from mi_classifier.cross_fitting.batches import Task
from mi_classifier.cross_fitting.inputs import make_inputs
from mi_classifier.data.containers import as_rows


def task_of(x, y, num_classes):
    everything = np.zeros(len(y), bool)
    return Task(make_inputs(as_rows(x)), y, everything, everything, *2 * (num_classes,))


@pytest.mark.parametrize("labels", [[0, 1], [0, 2], [0, 1, 3]])
def test_probabilities_are_those_of_scikit_learn(labels):
    """Also of two labels, which have one kernel there, and if one has no rows."""
    generator = np.random.default_rng(0)
    y = np.resize(labels, 200)
    x = generator.standard_normal((200, 3)) + y[:, None] / 2
    task = task_of(x, y, 4)
    found = linear.fit(task, np.arange(150))
    probability = found.probabilities(task.inputs, np.arange(150, 200))
    encoded = task.inputs[np.arange(200)].astype(np.float64)
    for one, model in zip(
        probability,
        (LogisticRegression(), LinearDiscriminantAnalysis("lsqr", shrinkage="auto")),
        strict=True,
    ):
        expected = model.fit(encoded[:150], y[:150]).predict_proba(encoded[150:])
        np.testing.assert_allclose(one[:, labels], expected, rtol=1e-6)
        assert one.sum(1) == pytest.approx(1)
    alone = [found.probabilities(task.inputs, np.array([row])) for row in (150, 199)]
    assert (np.concatenate(alone, 1) == probability[:, [0, -1]]).all()


@pytest.mark.parametrize("label", [np.arange(12), np.zeros(12, int)])
def test_what_cannot_be_fitted_says_the_frequencies(label):
    x = np.random.default_rng(0).standard_normal((12, 3))
    task = task_of(x, label, 12)
    found = linear.fit(task, np.arange(12)).probabilities(task.inputs, np.arange(5))
    expected = np.bincount(label, minlength=12) / 12
    np.testing.assert_allclose(found, np.tile(expected, (2, 5, 1)))


@pytest.mark.parametrize("rare", [1, 2, 3])
def test_a_label_of_few_rows_far_from_others(rare):
    """In some folds only stopping rows have it, and a linear learner is sure of it."""
    generator = np.random.default_rng(0)
    y = np.r_[np.arange(60) % 2, np.full(rare, 2)]
    x = generator.standard_normal((len(y), 2)) + 1_000 * (y == 2)[:, None]
    fit = mi.cross_fit(x, y)
    assert np.isfinite(fit.pmi).all() and np.isfinite(fit.summary().nats)
    assert fit.probabilities(x).sum(1) == pytest.approx(1)
    few = np.r_[np.zeros(60 - rare, int), np.ones(rare, int)]
    assert np.isfinite(mi.cross_fit(x[:60], few).pmi).all()


@pytest.mark.slow
def test_forty_labels_of_ten_rows_are_learned():
    """I(X; Y) = H(Y); nets alone find four fifths of it."""
    generator = np.random.default_rng(0)
    y = generator.integers(40, size=400)
    x = 8 * np.eye(40)[y] + generator.standard_normal((400, 40))
    found = mi.estimate_mutual_information(x, y)
    assert found.nats > 0.95 * found.label_entropy
