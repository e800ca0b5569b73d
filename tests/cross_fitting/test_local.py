"""Neighbors and forests join the nets, in small tables too."""

import dataclasses

import numpy as np
import pytest

from mi_classifier.cross_fitting.inputs import make_inputs
from mi_classifier.cross_fitting.plan import make_plan
from mi_classifier.data.containers import as_rows
from mi_classifier.estimate import cross_fit


@pytest.fixture(scope="module", params=[60, 100])
def fitted(request):
    """A fit with local learners. Of 60 rows, 36 train: too few for neighbors."""
    generator = np.random.default_rng(0)
    y = np.arange(request.param) % 3
    x = generator.standard_normal((len(y), 2))
    x[:, 0] += 2 * y
    plan = make_plan(make_inputs(as_rows(x)), 3, len(x))
    plan = dataclasses.replace(plan, local=True, rounds=2, cycles=1)
    return cross_fit(x, y, plan=plan), generator.standard_normal((300, 2))


@pytest.mark.slow
def test_learners_have_weights_and_find_something(fitted):
    fit, x = fitted
    assert fit.summary().nats > 0.2
    assert fit.probabilities(x).sum(1) == pytest.approx(1)


@pytest.mark.slow
def test_a_row_gets_the_same_probabilities_beside_any_others(fitted):
    fit, x = fitted
    together = fit.probabilities(x)
    assert (fit.probabilities(x) == together).all()
    for row in range(25):
        assert (fit.probabilities(x[[row]]) == together[[row]]).all()
    assert (fit.probabilities(x[::7]) == together[::7]).all()
