"""Multi-label evaluators against NumPy and by hand."""

import numpy as np
import pytest
from scipy import special

from mi_classifier.evaluation.evaluators import Inference, Priors
from mi_classifier.evaluation.multi_label import (
    MultiLabelClassification,
    MultiLabelInformation,
    accuracies,
    decide,
)
from mi_classifier.models import ModelOutput

LOSSES = ("sigmoid", "pc_sigmoid")


@pytest.fixture
def example():
    """Logits of the posterior log-odds, noisy, labels `[N, 3]`, and their prior."""
    generator = np.random.default_rng(0)
    prior = np.array([0.1, 0.5, 0.8])
    labels = (generator.random((400, 3)) < prior).astype(np.float32)
    odds = np.log(prior / (1 - prior))
    logits = odds + 2 * (2 * labels - 1) + generator.normal(size=labels.shape)
    return logits.astype(np.float32), labels, prior


def run(evaluator, logits, labels, prior, population=None):
    population = labels.mean(0) if population is None else population
    priors = Priors(np.log(prior), np.log(population))
    batch = {"label": labels}
    inference = Inference(ModelOutput(logits, logits), batch, priors, {})
    measures = {k: np.asarray(v) for k, v in evaluator.measure(inference).items()}
    return evaluator.summarize(measures, {"label": labels}, priors)


@pytest.mark.parametrize("loss", LOSSES)
def test_information_is_that_of_the_two_class_pc_softmax(example, loss):
    logits, labels, prior = example
    odds = np.log(prior / (1 - prior))
    given = logits if loss == "sigmoid" else logits - odds
    result = run(MultiLabelInformation(loss), given, labels, prior)
    n, share = np.float64(logits) - odds, labels.mean(0)
    normalizer = np.logaddexp(np.log(share) + n, np.log1p(-share))
    pmi = np.where(labels > 0, n, 0) - normalizer
    bound = result["mutual_information"]
    np.testing.assert_allclose(bound["nats"], pmi.mean(), rtol=1e-5)
    np.testing.assert_allclose(
        [row["nats"] for row in result["per_label"]], pmi.mean(0), rtol=1e-4
    )
    error = pmi.mean(1).std(ddof=1) / np.sqrt(len(pmi))
    np.testing.assert_allclose(bound["standard_error"], error, rtol=1e-4)
    entropies = special.entr(share) + special.entr(1 - share)
    np.testing.assert_allclose(result["label_entropies"], entropies, rtol=1e-5)
    np.testing.assert_allclose(result["label_entropy"], entropies.mean(), rtol=1e-5)


def test_the_loss_is_the_training_loss(example):
    logits, labels, prior = example
    result = run(MultiLabelInformation("sigmoid"), logits, labels, prior)
    expected = np.logaddexp(0, np.where(labels > 0, -logits, logits)).mean()
    np.testing.assert_allclose(result["loss"], expected, rtol=1e-5)


def test_rules_of_both_losses_agree(example):
    logits, _, prior = example
    odds = np.log(prior / (1 - prior))
    plain = decide(logits, "sigmoid", np.log(prior))
    corrected = decide(logits - odds, "pc_sigmoid", np.log(prior))
    np.testing.assert_array_equal(plain["prior"], logits > 0)
    np.testing.assert_array_equal(corrected["balanced"], logits - odds > 0)
    for rule in ("prior", "balanced"):
        # But for logits within rounding of the threshold.
        assert (np.asarray(plain[rule]) == corrected[rule]).mean() > 0.995


def test_a_label_never_seen_is_never_decided_for():
    logits = np.full((2, 2), 50.0)
    decided = decide(logits, "pc_sigmoid", np.array([-np.inf, 0.0]))
    for rule in ("prior", "balanced"):
        np.testing.assert_array_equal(decided[rule], [[False, True]] * 2)


def test_a_label_that_none_or_all_carry_is_no_information():
    labels = np.tile(np.array([[0.0, 1.0]], np.float32), (5, 1))
    logits = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    with np.errstate(divide="ignore"):
        result = run(
            MultiLabelInformation("pc_sigmoid"), logits, labels, np.array([0.0, 1.0])
        )
    assert result["mutual_information"]["nats"] == pytest.approx(0, abs=1e-6)
    assert result["label_entropy"] == 0


def test_accuracies_by_hand():
    present = np.array([[1, 0], [1, 0], [0, 0], [0, 0]], bool)
    decisions = np.array([[1, 0], [0, 0], [0, 1], [0, 0]], bool)
    result = accuracies(decisions, present)
    np.testing.assert_allclose(result["per_class"], [3 / 4, 3 / 4])
    np.testing.assert_allclose(result["recall"], [1 / 2, np.nan])
    np.testing.assert_allclose(result["specificity"], [1, 3 / 4])
    assert result["micro"] == 3 / 4
    assert result["macro"] == pytest.approx((1 / 2 + 1 + 3 / 4) / 3)
    assert result["exact"] == 2 / 4


@pytest.mark.parametrize("loss", LOSSES)
def test_the_papers_rule_is_the_sign_of_the_logit(example, loss):
    logits, labels, prior = example
    result = run(MultiLabelClassification(loss), logits, labels, prior)
    rule = {"sigmoid": "prior", "pc_sigmoid": "balanced"}[loss]
    assert result["paper_rule"] == rule
    expected = ((logits > 0) == (labels > 0)).mean(0)
    np.testing.assert_allclose(result[rule]["per_class"], expected)
