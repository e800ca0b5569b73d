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
    return Task(make_inputs(as_rows(x)), y, everything, everything, num_classes)


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


def test_what_cannot_be_fitted_is_left_out():
    generator = np.random.default_rng(0)
    x, one_each = generator.standard_normal((12, 3)), np.arange(12)
    for y, rows, learners in ((one_each, 12, 1), (one_each * 0, 12, 0)):
        task = task_of(x, y, 12)
        found = linear.fit(task, np.arange(rows))
        assert len(found.probabilities(task.inputs, np.arange(5))) == learners


@pytest.mark.slow
def test_a_hundred_labels_of_ten_rows_are_learned():
    """I(X; Y) = H(Y); nets alone find less than half of it."""
    generator = np.random.default_rng(0)
    y = generator.integers(100, size=1_000)
    x = 8 * np.eye(100)[y] + generator.standard_normal((1_000, 100))
    found = mi.estimate_mutual_information(x, y)
    assert found.nats > 0.95 * found.label_entropy
