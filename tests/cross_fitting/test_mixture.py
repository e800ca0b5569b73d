"""Rows decide the weights of a mixture, which is a density ratio as its parts are."""

import numpy as np
import pytest

from mi_classifier.cross_fitting.mixture import Weights, pool, weigh


def ratios(probabilities, prior):
    return np.log(probabilities) - np.log(prior)


@pytest.fixture(scope="module")
def learners():
    """Three learners of 4,000 rows of 3 labels: the truth, noise, and none at all."""
    generator = np.random.default_rng(0)
    truth = generator.dirichlet([0.5] * 3, 4_000)
    label = (truth.cumsum(1) > generator.random((4_000, 1))).argmax(1)
    prior = np.bincount(label) / 4_000
    noise = generator.dirichlet([0.5] * 3, 4_000)
    nothing = np.tile(prior, (4_000, 1))
    parts = [ratios(0.99 * p + 0.01 * prior, prior) for p in (truth, noise, nothing)]
    return np.stack(parts), label, np.log(prior)


def test_the_better_learner_has_nearly_all_of_the_weight(learners):
    log_ratios, label, log_prior = learners
    weights = weigh(log_ratios, label, log_prior)
    assert weights.shares.sum() == pytest.approx(1)
    assert weights.shares[[0, 3]].sum() > 0.95
    assert weights.powers[0] == pytest.approx(1, abs=0.1)
    assert abs(weights.powers[1]) < 0.1
    best = log_ratios[0][np.arange(4_000), label].mean()
    mixed = weights.mix(log_ratios, log_prior)[np.arange(4_000), label].mean()
    assert mixed > best - 0.001


def test_a_mixture_of_density_ratios_is_one(learners):
    log_ratios, label, log_prior = learners
    prior = np.exp(log_prior)
    for weights in (
        weigh(log_ratios, label, log_prior),
        Weights(np.array([0.5, 0.7, 2.0]), np.array([0.1, 0.2, 0.3, 0.4])),
    ):
        mixed = np.exp(weights.mix(log_ratios, log_prior))
        np.testing.assert_allclose(mixed @ prior, 1, rtol=1e-6)


def test_the_product_of_independent_evidence_is_better_than_any_part():
    """Two learners that see one of two independent columns each: log odds add up."""
    generator = np.random.default_rng(0)
    label = generator.integers(0, 2, 20_000)
    x = generator.standard_normal((2, 20_000)) + label - 0.5
    posterior = np.stack([1 / (1 + np.exp(x)), 1 / (1 + np.exp(-x))], 2)
    log_prior = np.log([0.5, 0.5])
    log_ratios = ratios(posterior, [0.5, 0.5])
    weights = weigh(log_ratios, label, log_prior)
    np.testing.assert_allclose(weights.powers, 1, atol=0.05)
    assert weights.shares[2] > 0.9
    exact = 1 / (1 + np.exp(-x.sum(0)))
    product = np.exp(pool(log_ratios, np.ones(2), log_prior)[:, 1]) / 2
    np.testing.assert_allclose(product, exact, rtol=1e-6)


def test_copies_of_a_row_are_no_evidence(learners):
    """Twenty copies of each row, of which this is told, weigh as one."""
    log_ratios, label, log_prior = learners
    log_ratios, label = log_ratios[:, :50], label[:50]
    once = weigh(log_ratios, label, log_prior)
    rows = np.repeat(np.arange(50), 20)
    copied = weigh(log_ratios[:, rows], label[rows], log_prior, evidence=1 / 20)
    np.testing.assert_allclose(copied.shares, once.shares, atol=1e-6)
    np.testing.assert_allclose(copied.powers, once.powers, atol=1e-3)
    trusting = weigh(log_ratios[:, rows], label[rows], log_prior)
    assert abs(trusting.powers - once.powers).max() > 0.01
