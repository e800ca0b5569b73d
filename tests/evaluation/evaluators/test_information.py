"""The bound, the entropies and the loss equal those of NumPy."""

import numpy as np
import pytest
from scipy import special

from mi_classifier import information
from mi_classifier.evaluation import Priors
from mi_classifier.evaluation.evaluators.information import create
from tests.evaluation.evaluators.on_arrays import measure, priors_of, run, subject_of


@pytest.fixture
def one_label():
    """Logits `[100, 3]`, labels of unequal frequency, and their log prior."""
    generator = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [60, 30, 10])
    logits = generator.standard_normal((100, 3)).astype(np.float32)
    logits[np.arange(100), labels] += 1
    return logits, labels, information.log_label_prior(labels, 3)


@pytest.fixture
def many_labels():
    """Noisy log-odds of the labels, the labels `[400, 3]`, and their prior."""
    generator = np.random.default_rng(0)
    prior = np.array([0.1, 0.5, 0.8])
    labels = (generator.random((400, 3)) < prior).astype(np.float32)
    odds = np.log(prior / (1 - prior))
    logits = odds + 2 * (2 * labels - 1) + generator.normal(size=labels.shape)
    return logits.astype(np.float32), labels, prior


def of_loss(name, logits, labels, training, population=None):
    priors = Priors(training, training if population is None else population)
    return run(create(subject_of(name)), {"label": labels}, logits, priors)


def test_a_softmax_net_has_the_bound_log_softmax_plus_entropy(one_label):
    logits, labels, log_prior = one_label
    result = of_loss("softmax", logits, labels, log_prior)
    log_softmax = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    chosen = log_softmax[np.arange(100), labels]
    entropy = float(information.label_entropy(log_prior))
    bound = result.mutual_information
    np.testing.assert_allclose(bound.nats, chosen.mean() + entropy, rtol=1e-5)
    np.testing.assert_allclose(bound.bits, bound.nats / np.log(2))
    np.testing.assert_allclose(result.label_entropy, entropy)
    np.testing.assert_allclose(result.cross_entropy, -chosen.mean(), rtol=1e-5)
    np.testing.assert_allclose(result.loss, -chosen.mean(), rtol=1e-5)
    paper = result.paper_softmax_plus_log_m
    np.testing.assert_allclose(paper, chosen.mean() + np.log(3), rtol=1e-5)
    error = (chosen - log_prior[labels]).std(ddof=1) / 10
    np.testing.assert_allclose(bound.standard_error, error, rtol=1e-5)


def test_both_losses_agree_if_their_logits_differ_by_the_log_prior(one_label):
    logits, labels, log_prior = one_label
    softmax = of_loss("softmax", logits, labels, log_prior)
    corrected = of_loss("pc_softmax", logits - log_prior, labels, log_prior)
    for name in ("nats", "bits", "standard_error"):
        expected = getattr(softmax.mutual_information, name)
        found = getattr(corrected.mutual_information, name)
        assert found == pytest.approx(expected, rel=1e-5)
    assert softmax.cross_entropy == pytest.approx(corrected.cross_entropy, rel=1e-5)
    assert softmax.label_entropy == corrected.label_entropy
    assert corrected.loss == pytest.approx(-corrected.mutual_information.nats)
    assert corrected.paper_softmax_plus_log_m is None


def test_under_label_shift_the_bound_uses_the_population(one_label):
    """A net that knows the densities exactly reaches the population's true bound."""
    _, _, training = one_label
    generator = np.random.default_rng(1)
    population = np.log(np.array([0.1, 0.2, 0.7], np.float32))
    labels = generator.choice(3, 200_000, p=np.exp(population))
    means = np.array([0.0, 1.5, 3.0])
    x = generator.standard_normal(len(labels)) + means[labels]
    log_density = -0.5 * (x[:, None] - means) ** 2
    posterior = (log_density + training).astype(np.float32)
    result = of_loss("softmax", posterior, labels, training, population)
    density = np.exp(log_density)
    truth = np.log(
        density[np.arange(len(labels)), labels] / (density @ np.exp(population))
    ).mean()
    assert result.mutual_information.nats == pytest.approx(truth, abs=1e-4)
    # With the training prior instead, it would be too high.
    wrong = of_loss("softmax", posterior, labels, training)
    assert wrong.mutual_information.nats > truth + 0.1


@pytest.mark.parametrize("loss", ["softmax", "pc_softmax"])
def test_a_class_missing_from_training_keeps_the_bound_finite(loss):
    priors = priors_of(np.array([0.5, 0.5, 0], np.float32), [0.25, 0.25, 0.5])
    labels, logits = np.array([0, 1, 2, 2]), np.zeros((4, 3), np.float32)
    result = of_loss(loss, logits, labels, *priors)
    assert np.isfinite(result.mutual_information.nats)
    assert np.isfinite(result.loss)
    # A prior of zero rules the class out; an ordinary softmax does not.
    assert np.isfinite(result.cross_entropy) == (loss == "softmax")


def test_predictions_show_the_pmi_of_each_example(one_label, many_labels):
    for loss, (logits, labels, prior) in (
        ("softmax", one_label),
        ("sigmoid", many_labels),
    ):
        evaluator = create(subject_of(loss))
        priors = Priors(prior, prior) if prior.max() <= 0 else priors_of(prior)
        measured = measure(evaluator, {"label": labels}, logits, priors)
        result = evaluator.summarize(measured, {"label": labels}, priors)
        columns = evaluator.columns(measured, {"label": labels}, ("a", "b", "c"))
        assert list(columns) == ["pmi_nats"]
        mean = np.mean(columns["pmi_nats"], dtype=np.float64)
        assert mean == pytest.approx(result.mutual_information.nats, rel=1e-6)


@pytest.mark.parametrize("loss", ["sigmoid", "pc_sigmoid"])
def test_many_labels_have_the_bound_of_the_two_class_pc_softmax(many_labels, loss):
    logits, labels, prior = many_labels
    odds, share = np.log(prior / (1 - prior)), labels.mean(0)
    given = logits if loss == "sigmoid" else (logits - odds).astype(np.float32)
    evaluator = create(subject_of(loss))
    result = run(evaluator, {"label": labels}, given, priors_of(prior, share))
    n = np.float64(logits) - odds
    normalizer = np.logaddexp(np.log(share) + n, np.log1p(-share))
    pmi = np.where(labels > 0, n, 0) - normalizer
    bound = result.mutual_information
    np.testing.assert_allclose(bound.nats, pmi.mean(), rtol=1e-5)
    np.testing.assert_allclose(
        [label.nats for label in result.per_label], pmi.mean(0), rtol=1e-4
    )
    error = pmi.mean(1).std(ddof=1) / np.sqrt(len(pmi))
    np.testing.assert_allclose(bound.standard_error, error, rtol=1e-4)
    entropies = special.entr(share) + special.entr(1 - share)
    np.testing.assert_allclose(result.label_entropies, entropies, rtol=1e-5)
    np.testing.assert_allclose(result.label_entropy, entropies.mean(), rtol=1e-5)
    titles = [column.title for column in result.by_class()]
    assert titles == ["I(X; Y), nats", "H(Y)"]


def test_the_loss_of_many_labels_is_the_training_loss(many_labels):
    logits, labels, prior = many_labels
    evaluator = create(subject_of("sigmoid"))
    result = run(evaluator, {"label": labels}, logits, priors_of(prior, labels.mean(0)))
    expected = np.logaddexp(0, np.where(labels > 0, -logits, logits)).mean()
    np.testing.assert_allclose(result.loss, expected, rtol=1e-5)


def test_labels_that_every_example_or_none_has_carry_no_information():
    labels = np.tile(np.array([0, 1], np.float32), (5, 1))
    logits = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    evaluator = create(subject_of("pc_sigmoid"))
    result = run(evaluator, {"label": labels}, logits, priors_of(np.array([0.0, 1.0])))
    assert result.mutual_information.nats == pytest.approx(0, abs=1e-6)
    assert result.label_entropy == 0
