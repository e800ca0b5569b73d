"""Results are those of NumPy, for batches of any size."""

import dataclasses

import jax
import numpy as np
import pytest
from scipy.special import logsumexp

from mi_classifier import parallel
from mi_classifier.data import load_dataset
from mi_classifier.evaluation import Subject, make_split_pass
from mi_classifier.evaluation.evaluators import create_evaluators
from mi_classifier.losses import LOSSES
from mi_classifier.models import create_model


@pytest.fixture(scope="module")
def untrained():
    """A mixture of unequal frequencies, a net with random weights, and evaluators."""
    dataset = load_dataset(
        {"name": "gaussian_mixture", "dim": 2, "balanced": False, "seed": 0}
    )
    model = create_model("mlp", 5, hidden=(16,))
    params = model.init(jax.random.key(0), dataset.example_input())
    subject = Subject(dataset, LOSSES["pc_softmax"])
    evaluators = create_evaluators(["information", "truth", "accuracy"], subject)
    return dataset, model, parallel.replicate(params), evaluators


def results_of(untrained, split, batch_size):
    dataset, model, variables, evaluators = untrained
    evaluate_split = make_split_pass(model, dataset, evaluators, batch_size)
    results, measured = evaluate_split(variables, split)
    assert measured.keys() == evaluators.keys()
    return results


def test_results_do_not_depend_on_the_batch_size(untrained):
    first, *others = (
        results_of(untrained, "test", size) for size in (9_000, 1_000, 777, 100_000)
    )
    assert first.num_examples == 9_000
    for other in others:
        assert other.num_examples == 9_000
        for name in ("information", "truth"):
            found, expected = map(dataclasses.asdict, (other[name], first[name]))
            jax.tree.map(
                lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5),
                found,
                expected,
            )
        for rule in ("prior", "balanced"):
            found, expected = other["accuracy"], first["accuracy"]
            np.testing.assert_array_equal(
                found.by_rule(rule).per_class, expected.by_rule(rule).per_class
            )


def test_results_are_those_of_numpy(untrained):
    dataset, model, variables, _ = untrained
    results = results_of(untrained, "validation", 1_000)
    split = dataset.splits["validation"]
    labels, rows = split["label"], np.arange(len(split["label"]))
    prior = np.bincount(labels) / len(labels)
    logits = np.float64(model.apply(variables, split["image"]).logits)
    pmi = logits[rows, labels] - logsumexp(logits, axis=-1, b=prior)
    bound = results["information"].mutual_information
    np.testing.assert_allclose(bound.nats, pmi.mean(), rtol=1e-5)
    np.testing.assert_allclose(
        bound.standard_error, pmi.std(ddof=1) / np.sqrt(len(pmi)), rtol=1e-5
    )
    means = np.array([0, 2, -2, 4, -4.0])
    density = -0.5 * ((split["image"][:, None] - means[:, None]) ** 2).sum(-1)
    true = density[rows, labels] - logsumexp(density, axis=-1, b=prior)
    truth = results["truth"]
    np.testing.assert_allclose(truth.mutual_information.nats, true.mean(), rtol=1e-5)
    np.testing.assert_allclose(truth.error.nats, (pmi - true).mean(), atol=1e-5)
    np.testing.assert_allclose(
        truth.error.standard_error,
        (pmi - true).std(ddof=1) / np.sqrt(len(pmi)),
        rtol=1e-4,
    )
    np.testing.assert_allclose(
        truth.balanced.micro, (density.argmax(-1) == labels).mean()
    )
