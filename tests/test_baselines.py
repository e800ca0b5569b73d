"""Each baseline follows its paper: closed forms, brute force, and known truths."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from mi_classifier import baselines
from mi_classifier.data import gaussian_mixture


def samples(rows, dim, seed=0):
    generator = np.random.default_rng(seed)
    split = gaussian_mixture.sample(generator.integers(0, 5, rows), dim, generator)
    return split["image"], split["label"]


def test_monte_carlo_is_the_mean_of_equation_11():
    x, y = samples(2_000, 2)
    log_density = gaussian_mixture.log_density(jnp.asarray(x))
    nats, error = baselines.monte_carlo(log_density, y, np.full(5, -np.log(5)))
    means = np.array(gaussian_mixture.MEANS)
    density = np.exp(-0.5 * ((x[:, None] - means[:, None]) ** 2).sum(-1))
    ratio = np.log(density[np.arange(len(y)), y] / density.mean(1))
    assert nats == pytest.approx(ratio.mean(), abs=1e-5)
    assert error == pytest.approx(ratio.std(ddof=1) / np.sqrt(2_000), rel=1e-4)
    assert abs(nats - 1.301) < 4 * error  # RECIPES


def by_brute_force(x, y, k):
    """Ross's formula from all distances."""
    x = x / x.std(0)
    distance = np.sqrt(((x[:, None] - x) ** 2).sum(-1))
    terms = []
    for i in range(len(x)):
        own = np.flatnonzero((y == y[i]) & (np.arange(len(x)) != i))
        neighbors = min(k, len(own))
        radius = np.sort(distance[i, own])[neighbors - 1]
        # All others up to the k-th neighbor, which is among them.
        m = np.sum(np.delete(distance[i], i) <= radius)
        terms.append(
            special.digamma(neighbors)
            - special.digamma(len(own) + 1)
            - special.digamma(m)
        )
    return special.digamma(len(x)) + np.mean(terms)


@pytest.mark.parametrize(("dim", "k"), [(1, 3), (2, 1), (4, 5)])
def test_nearest_neighbors_agree_with_brute_force(dim, k):
    x, y = samples(200, dim)
    expected = by_brute_force(x.astype(np.float64), y, k)
    assert baselines.nearest_neighbors(x, y, k) == pytest.approx(expected, abs=1e-12)


def test_nearest_neighbors_of_rare_labels_agree_with_brute_force():
    x, y = samples(200, 2)
    y[0], y[1:3] = 8, 9  # one example is left out; two are each other's neighbors
    expected = by_brute_force(x[1:].astype(np.float64), y[1:], 3)
    assert baselines.nearest_neighbors(x, y) == pytest.approx(expected, abs=1e-12)
    names = np.array(list("abcdefghij"))[y]
    assert baselines.nearest_neighbors(x, names) == pytest.approx(expected, abs=1e-12)


def test_nearest_neighbors_are_near_the_truth_in_low_dimension():
    assert abs(baselines.nearest_neighbors(*samples(20_000, 2)) - 1.301) < 0.02
    x, y = samples(5_000, 1)
    assert abs(baselines.nearest_neighbors(x[:, 0], y) - 1.030) < 0.04


def test_nearest_neighbors_refuse_wrong_arguments():
    x, y = samples(10, 2)
    with pytest.raises(ValueError, match="not \\(10, 2\\) and \\(9,\\)"):
        baselines.nearest_neighbors(x, y[:9])
    with pytest.raises(ValueError, match="k must"):
        baselines.nearest_neighbors(x, y, 0)
    with pytest.raises(ValueError, match="two examples"):
        baselines.nearest_neighbors(x, np.arange(10))


def cut(x, y, *sizes):
    """Splits samples into training, validation and test samples."""
    ends = np.cumsum(sizes)
    return list(zip(np.split(x, ends), np.split(y, ends), strict=True))[:3]


@pytest.mark.slow
def test_mine_is_near_the_truth_and_near_zero_for_shuffled_labels():
    x, y = samples(12_000, 2)
    bound = baselines.mine(*cut(x, y, 8_000, 2_000, 2_000))
    assert abs(bound.all_pairs - 1.301) < 0.06
    assert abs(bound.shuffled - bound.all_pairs) < 0.2
    shuffled = np.random.default_rng(0).permutation(y)
    nothing = baselines.mine(*cut(x, shuffled, 8_000, 2_000, 2_000))
    assert abs(nothing.all_pairs) < 0.02


def test_mine_is_at_most_the_entropy_of_the_labels():
    x, y = samples(1_500, 10)
    bound = baselines.mine(*cut(x, y, 1_000, 250, 250), seed=3)
    frequency = np.bincount(y[1_250:]) / 250
    assert 0.5 < bound.all_pairs <= -(frequency * np.log(frequency)).sum() + 1e-5
    with pytest.raises(ValueError, match="samples must be"):
        baselines.mine((x, y[:5]), (x, y), (x, y))


def test_a_critic_maximizes_the_objective_that_it_is_given():
    """The objective is the InfoNCE bound, van den Oord et al. (2018)."""

    def bounds(critic, x, y, key):
        frequency = jnp.bincount(y, length=5)[:, None] / len(y)
        log_mean = jax.nn.logsumexp(critic.of_each_label(x), 0, b=frequency)
        return ((critic(x, y) - log_mean).mean(),)

    def loss(critic, x, y, key, memory):
        return -bounds(critic, x, y, key)[0], memory

    x, y = samples(500, 2)
    objective = baselines.Objective(loss, bounds)
    parts = cut(x, y, 200, 100, 200)
    (nats,) = baselines.train_critic(objective, *parts, seed=0)
    assert abs(nats - 1.301) < 0.3


@pytest.mark.parametrize("name", baselines.BASELINES)
def test_every_baseline_names_its_values(name):
    x, y = samples(1_500, 10)
    baseline = baselines.BASELINES[name]
    values = baseline.estimate(*cut(x, y, 1_000, 250, 250), seed=3)
    assert len(values) == len(baseline.titles)
    assert all(0.5 < value < 2.5 for value in values)
