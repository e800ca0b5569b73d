import numpy as np
import pytest

from mi_classifier import information
from mi_classifier.evaluation import evaluators
from mi_classifier.evaluation.evaluators import Classification, Information, Priors
from mi_classifier.models import ModelOutput


def run(evaluator, logits, labels, training, population=None):
    priors = Priors(training, training if population is None else population)
    batch = {"label": labels, "image": logits}
    output = ModelOutput(logits, logits)
    measures = evaluator.measure(evaluators.Inference(output, batch, priors, {}))
    measures = {name: np.asarray(value) for name, value in measures.items()}
    return evaluator.summarize(measures, {"label": labels}, priors)


@pytest.fixture
def example():
    generator = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [60, 30, 10])
    logits = generator.standard_normal((100, 3)).astype(np.float32)
    logits[np.arange(100), labels] += 1
    return logits, labels, information.log_label_prior(labels, 3)


def test_accuracies_by_hand():
    labels = np.array([0, 0, 0, 1, 3])
    predictions = np.array([0, 0, 1, 1, 0])
    result = evaluators.accuracies(predictions, labels, 4)
    assert result["micro"] == 3 / 5
    np.testing.assert_allclose(result["per_class"], [2 / 3, 1, np.nan, 0])
    np.testing.assert_allclose(result["macro"], (2 / 3 + 1 + 0) / 3)


def test_nats_and_bits_by_hand():
    result = evaluators.nats_and_bits(np.array([1, 2, 3, 6], np.float32), {})
    assert result["nats"] == 3
    np.testing.assert_allclose(result["bits"], 3 / np.log(2))
    np.testing.assert_allclose(result["standard_error"], np.sqrt(14 / 3 / 4))
    assert np.isnan(evaluators.nats_and_bits(np.ones(1), {})["standard_error"])


def test_information_of_a_softmax_net_is_log_softmax_plus_entropy(example):
    logits, labels, log_prior = example
    result = run(Information("softmax"), logits, labels, log_prior)
    log_softmax = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    chosen = log_softmax[np.arange(100), labels]
    entropy = float(information.label_entropy(log_prior))
    bound = result["mutual_information"]
    np.testing.assert_allclose(bound["nats"], chosen.mean() + entropy, rtol=1e-5)
    np.testing.assert_allclose(bound["bits"], bound["nats"] / np.log(2))
    np.testing.assert_allclose(result["label_entropy"], entropy)
    np.testing.assert_allclose(result["cross_entropy"], -chosen.mean(), rtol=1e-5)
    np.testing.assert_allclose(result["loss"], -chosen.mean(), rtol=1e-5)
    paper = result["paper_softmax_plus_log_m"]
    np.testing.assert_allclose(paper, chosen.mean() + np.log(3), rtol=1e-5)
    error = (chosen - log_prior[labels]).std(ddof=1) / 10
    np.testing.assert_allclose(bound["standard_error"], error, rtol=1e-5)


def test_the_two_losses_meet_when_their_logits_differ_by_the_prior(example):
    logits, labels, log_prior = example
    softmax = run(Information("softmax"), logits, labels, log_prior)
    corrected = run(Information("pc_softmax"), logits - log_prior, labels, log_prior)
    for name in ("mutual_information", "cross_entropy", "label_entropy"):
        assert softmax[name] == pytest.approx(corrected[name], rel=1e-5)
    assert corrected["loss"] == pytest.approx(-corrected["mutual_information"]["nats"])
    softmax = run(Classification("softmax"), logits, labels, log_prior)
    corrected = run(Classification("pc_softmax"), logits - log_prior, labels, log_prior)
    for rule in evaluators.RULES:
        np.testing.assert_equal(softmax[rule], corrected[rule])
    assert (softmax["paper_rule"], corrected["paper_rule"]) == ("prior", "balanced")


def test_decisions_are_argmax_with_and_without_the_prior(example):
    logits, labels, log_prior = example
    result = run(Classification("pc_softmax"), logits, labels, log_prior)
    balanced = (logits.argmax(-1) == labels).mean()
    prior = ((logits + log_prior).argmax(-1) == labels).mean()
    assert result["balanced"]["micro"] == pytest.approx(balanced)
    assert result["prior"]["micro"] == pytest.approx(prior)
    assert prior > balanced


def test_under_label_shift_the_bound_is_that_of_the_population(example):
    """A net that knows the densities exactly scores the population's true bound."""
    _, _, training = example
    generator = np.random.default_rng(1)
    population = np.log(np.array([0.1, 0.2, 0.7], np.float32))
    labels = generator.choice(3, 200_000, p=np.exp(population))
    means = np.array([0.0, 1.5, 3.0])
    x = generator.standard_normal(len(labels)) + means[labels]
    log_density = -0.5 * (x[:, None] - means) ** 2
    posterior_logits = (log_density + training).astype(np.float32)
    result = run(Information("softmax"), posterior_logits, labels, training, population)
    density = np.exp(log_density)
    truth = np.log(
        density[np.arange(len(labels)), labels] / (density @ np.exp(population))
    ).mean()
    assert result["mutual_information"]["nats"] == pytest.approx(truth, abs=1e-4)
    # By the training prior it would overshoot.
    wrong = run(Information("softmax"), posterior_logits, labels, training)
    assert wrong["mutual_information"]["nats"] > truth + 0.1


def test_a_class_never_trained_on_stays_finite():
    training = np.log(np.array([0.5, 0.5, 1e-30], np.float32))
    training[2] = -np.inf
    labels = np.array([0, 1, 2, 2])
    logits = np.zeros((4, 3), np.float32)
    population = information.log_label_prior(labels, 3)
    for loss in ("softmax", "pc_softmax"):
        result = run(Information(loss), logits, labels, training, population)
        assert np.isfinite(result["mutual_information"]["nats"])
        assert np.isfinite(result["loss"])
        # A prior of zero rules the class out; an ordinary softmax does not.
        assert np.isfinite(result["cross_entropy"]) == (loss == "softmax")
        accuracy = run(Classification(loss), logits, labels, training, population)
        assert accuracy["prior"]["per_class"][2] == 0
