"""Calibration of claims whose truth is known, and against an independent count."""

import dataclasses

import numpy as np
import pytest

from mi_classifier import information
from mi_classifier.evaluation.evaluators.calibration import (
    claimed_pmi,
    create,
    expected_calibration_error,
    reliability,
)
from mi_classifier.losses import LOSSES
from tests.evaluation.evaluators.on_arrays import measure, priors_of, subject_of

PRIOR = np.array([0.5, 0.3, 0.15, 0.05])


def posteriors_and_labels(count=40_000, seed=0):
    """Posteriors `[N, 4]` whose mean is the prior, and labels drawn from them."""
    generator = np.random.default_rng(seed)
    posterior = generator.dirichlet(PRIOR, count)
    labels = (posterior.cumsum(1) > generator.random((count, 1))).argmax(1)
    return posterior, labels


def run(logits, labels, loss, prior=PRIOR):
    evaluator, split = create(subject_of(loss)), {"label": labels}
    measured = measure(evaluator, split, logits, priors_of(prior))
    return measured, evaluator.summarize(measured, split, priors_of(prior))


@pytest.mark.parametrize("loss", ["softmax", "pc_softmax"])
def test_true_claims_are_calibrated_and_exaggerated_ones_are_not(loss):
    posterior, labels = posteriors_and_labels()
    logits = np.log(np.maximum(posterior, 1e-30)).astype(np.float32)
    if loss == "pc_softmax":
        logits -= np.log(PRIOR).astype(np.float32)
    _, honest = run(logits, labels, loss)
    assert honest.expected_calibration_error < 0.01
    assert honest.nats < 0.03
    for row in honest.bins:
        assert abs(row.claimed - row.observed) < 4.5 * row.standard_error
    _, loud = run(3 * logits, labels, loss)
    assert loud.expected_calibration_error > 0.1 and loud.nats > 0.1
    top = loud.bins[-1]
    assert top.observed < top.claimed - 5 * top.standard_error


def test_claims_are_the_pmi_and_the_probability_of_the_likeliest_classes():
    posterior, labels = posteriors_and_labels(50)
    logits = np.log(np.maximum(posterior, 1e-30)).astype(np.float32)
    measured, _ = run(logits, labels, "softmax")
    expected = logits - np.log(PRIOR)
    order = np.argsort(-posterior, axis=1)
    np.testing.assert_array_equal(measured["classes"], order)
    np.testing.assert_allclose(
        measured["pmi"], np.take_along_axis(expected, order, 1), rtol=1e-3, atol=1e-4
    )
    np.testing.assert_allclose(
        measured["probability"],
        np.take_along_axis(posterior, order, 1),
        rtol=1e-3,
        atol=1e-6,
    )
    own = information.pointwise_mutual_information(
        logits - np.log(PRIOR, dtype=np.float32), labels, np.log(PRIOR)
    )
    every = claimed_pmi(logits, LOSSES["softmax"], priors_of(PRIOR))
    np.testing.assert_allclose(every[np.arange(50), labels], own, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("loss", ["sigmoid", "pc_sigmoid"])
def test_claims_about_several_labels_are_about_their_presence(loss):
    generator = np.random.default_rng(1)
    prior = np.array([0.1, 0.4, 0.8])
    odds = np.log(prior / (1 - prior))
    logits = odds + generator.normal(0, 2, (30_000, 3))
    probability = 1 / (1 + np.exp(-logits))
    labels = (generator.random(logits.shape) < probability).astype(np.float32)
    prior = probability.mean(0)
    given = logits if loss == "sigmoid" else logits - np.log(prior / (1 - prior))
    measured, result = run(given.astype(np.float32), labels, loss, prior)
    order = np.argsort(-probability, axis=1)
    np.testing.assert_array_equal(measured["classes"], order)
    expected = np.take_along_axis(np.log(probability / prior), order, 1)
    np.testing.assert_allclose(measured["pmi"], expected, rtol=1e-3, atol=1e-4)
    assert result.expected_calibration_error < 0.01
    for row in result.bins:
        assert abs(row.claimed - row.observed) < 4.5 * row.standard_error


def test_logits_that_are_not_finite_do_not_count():
    logits = np.zeros((40, 4), np.float32)
    logits[:3] = np.nan
    logits[3, 1] = np.inf
    measured, result = run(logits, np.zeros(40, np.int32), "softmax")
    assert np.isnan(measured["probability"][:3]).all()
    assert np.isfinite(result.expected_calibration_error)
    assert all(np.isfinite(dataclasses.astuple(row)).all() for row in result.bins)
    _, result = run(np.full((5, 4), np.nan), np.zeros(5, np.int32), "softmax")
    assert np.isnan(result.expected_calibration_error) and result.bins == []


def test_probabilities_use_training_frequencies_and_pmi_those_of_the_population():
    """The net learned classes of 9 to 1; in the population they are 1 to 1."""
    training = np.array([0.9, 0.1, 0.0])
    population = np.array([0.4, 0.4, 0.2])
    logits = np.log(np.array([[0.7, 0.3, 1e-9]], np.float32))
    priors = priors_of(training, population)
    measured = measure(create(subject_of("softmax")), {}, logits, priors)
    np.testing.assert_array_equal(measured["classes"], [[0, 1, 2]])
    np.testing.assert_allclose(measured["probability"], [[0.7, 0.3, 0]], atol=1e-6)
    likelihood = np.array([0.7 / 0.9, 0.3 / 0.1, 1e-9])
    expected = np.log(likelihood / (likelihood @ population))
    np.testing.assert_allclose(measured["pmi"][0, :2], expected[:2], rtol=1e-3)


def test_sure_but_wrong_claims_have_a_bin_of_their_own():
    pmi = np.array([[1.6, -1e6]] * 40)  # all sure of the first class
    hits = np.zeros(pmi.shape, bool)
    hits[:8, 0] = hits[8:, 1] = True
    low, high = reliability(pmi, np.full_like(pmi, 0.2), hits)
    assert low.labels == 32 and low.claimed == pytest.approx(-20)
    assert high.labels == 8 and high.observed < high.claimed - 1


def test_bins_count_pairs_and_labels_once():
    pmi = np.array([[0.1, -3.0]] * 30 + [[0.6, -3.1]] * 30)
    prior = np.full_like(pmi, 0.5)
    hits = np.zeros(pmi.shape, bool)
    hits[:12, 0] = hits[30:57, 0] = True
    hits[12:20, 1] = True  # eight labels: too few for a bin, and joined with the next
    low, high = reliability(pmi, prior, hits)
    assert (low.pairs, low.labels) == (90, 20)
    assert (high.pairs, high.labels) == (30, 27)
    assert high.observed == pytest.approx(np.log(0.9 / 0.5))
    assert high.claimed == pytest.approx(0.6)
    assert high.standard_error == pytest.approx(np.sqrt(0.1 / 27))
    share = (30 * np.exp(0.1) + 30 * np.exp(-3.0) + 30 * np.exp(-3.1)) / 90
    assert low.claimed == pytest.approx(np.log(share))


def test_too_few_pairs_or_labels_give_no_bin():
    assert reliability(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros((0, 3), bool)) == []
    never = reliability(np.ones(20), np.zeros(20), np.zeros(20, bool))
    assert never == []
    few = reliability(np.ones(20), np.full(20, 0.1), np.arange(20) < 3)
    assert few == []  # three labels say nothing
    sunk = reliability(np.full(20, -np.inf), np.full(20, 0.1), np.ones(20, bool))
    assert all(np.isfinite(row.observed) for row in sunk)


def test_expected_calibration_error_is_that_of_a_loop():
    generator = np.random.default_rng(2)
    probability = np.append(generator.random(999), 1.0)
    hits = generator.random(1_000) < probability**2
    total = 0.0
    for low in np.arange(15) / 15:
        inside = (probability >= low) & (probability < low + 1 / 15)
        inside |= (low == 14 / 15) & (probability == 1)
        if inside.any():
            gap = abs(hits[inside].mean() - probability[inside].mean())
            total += inside.mean() * gap
    ours = expected_calibration_error(probability, hits)
    assert ours == pytest.approx(total, abs=1e-9)


def test_a_note_tells_that_few_labels_say_little():
    for count, notes in ((40, 1), (400, 0)):
        posterior, labels = posteriors_and_labels(count)
        logits = np.log(np.maximum(posterior, 1e-30)).astype(np.float32)
        _, result = run(logits, labels, "softmax")
        assert len(result.notes()) == notes
        for note in result.notes():
            assert f"the test split has {count} labels" in note and "150" in note
    _, result = run(np.full((5, 4), np.nan), np.zeros(5, np.int32), "softmax")
    assert "has 0 labels" in result.notes()[0]
