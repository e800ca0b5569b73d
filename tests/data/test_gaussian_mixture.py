"""The Gaussian mixture has the paper's sizes, densities and mutual information."""

import chex
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from mi_classifier import information
from mi_classifier.data import gaussian_mixture, load_dataset
from mi_classifier.errors import UserError

# RECIPES' Monte Carlo of 2,000,000 samples: MI in nats, Bayes' accuracies in percent.
TRUTH = {
    (1, True): (1.030, 74.5, 74.5),
    (2, True): (1.301, 87.5, 87.5),
    (5, True): (1.554, 98.0, 98.0),
    (10, True): (1.606, 99.9, 99.9),
    (1, False): (1.023, 79.9, 77.8),
    (2, False): (1.239, 89.9, 89.0),
    (5, False): (1.445, 98.3, 98.2),
    (10, False): (1.487, 99.9, 99.9),
}


@pytest.mark.parametrize("balanced", [True, False])
def test_sizes_are_those_of_table_1(balanced):
    dataset = gaussian_mixture.load(dim=3, balanced=balanced, seed=0)
    counts = sum(
        np.bincount(dataset.splits[name]["label"])
        for name in ("train", "validation", "test")
    )
    expected = [12_000] * 5 if balanced else [6_000, 12_000, 18_000, 24_000, 30_000]
    assert counts.tolist() == expected
    chex.assert_shape(dataset.splits["train"]["image"], (sum(expected) * 8 // 10, 3))
    chex.assert_type(dataset.splits["train"]["image"], np.float32)
    for name in ("validation", "test"):
        assert len(dataset.splits[name]["label"]) == sum(expected) // 10
        frequencies = np.exp(dataset.log_prior(name))
        np.testing.assert_allclose(
            frequencies, np.divide(expected, sum(expected)), atol=0.02
        )


def test_log_density_equals_scipys():
    x = np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32)
    expected = [
        multivariate_normal(np.full(4, mean)).logpdf(x)
        for mean in gaussian_mixture.MEANS
    ]
    np.testing.assert_allclose(
        gaussian_mixture.log_density(jnp.asarray(x)), np.transpose(expected), rtol=1e-5
    )


@pytest.mark.parametrize(("dim", "balanced"), TRUTH)
def test_information_and_bayes_accuracy_equal_monte_carlo(dim, balanced):
    dataset = gaussian_mixture.load(dim=dim, balanced=balanced, seed=1)
    split, log_prior = dataset.splits["fresh"], dataset.log_prior()
    logits = gaussian_mixture.log_density(jnp.asarray(split["image"]))
    nats, prior, rule = TRUTH[dim, balanced]
    mutual_information = information.variational_bound(
        logits, split["label"], log_prior
    )
    assert abs(mutual_information - nats) < 0.003
    for name, percent in (("prior", prior), ("balanced", rule)):
        decision = information.optimal_decision(logits, log_prior, name)
        assert abs(100 * np.mean(decision == split["label"]) - percent) < 0.15


def test_the_seed_decides_everything():
    one, same, other = (
        gaussian_mixture.load(dim=2, balanced=False, seed=seed).splits
        for seed in (0, 0, 1)
    )
    chex.assert_trees_all_equal(one, same)
    assert not np.array_equal(one["train"]["image"], other["train"]["image"])


def test_wrong_options_are_named():
    with pytest.raises(UserError, match=r"data\.dim: must be at least 1"):
        load_dataset(
            {"name": "gaussian_mixture", "dim": 0, "balanced": True, "seed": 0}
        )
    with pytest.raises(UserError, match=r"data\.name: unknown value 'mnits'.*'mnist'"):
        load_dataset({"name": "mnits"})
    with pytest.raises(UserError, match=r"data\.dim: no such option"):
        load_dataset({"name": "mnist", "dim": 3})
