"""Losses equal their closed forms, stay finite, and say what their logits mean."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from absl.testing import parameterized
from scipy.special import expit, log_softmax

from mi_classifier import information, losses
from mi_classifier.errors import UserError


class LossesTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    @parameterized.parameters((), (4,), (2, 3))
    def test_softmax_cross_entropy(self, *batch):
        generator = np.random.default_rng(0)
        logits = 5 * generator.standard_normal((*batch, 6)).astype(np.float32)
        labels = generator.integers(0, 6, batch)
        result = self.variant(losses.softmax_cross_entropy)(logits, labels)
        chex.assert_shape(result, batch)
        expected = -np.take_along_axis(
            log_softmax(logits.astype(np.float64), -1), np.array(labels)[..., None], -1
        )[..., 0]
        np.testing.assert_allclose(result, expected, atol=1e-5)

    @chex.variants(with_jit=True, without_jit=True)
    @parameterized.parameters(0.5, 0.07, 1e-6)
    def test_pc_sigmoid_is_the_two_class_pc_softmax(self, prior):
        generator = np.random.default_rng(1)
        logits = 4 * generator.standard_normal((5, 3)).astype(np.float32)
        targets = generator.integers(0, 2, (5, 3))
        result = self.variant(losses.pc_sigmoid_cross_entropy)(
            logits, targets, jnp.full(3, prior)
        )
        chex.assert_shape(result, (5, 3))
        two = jnp.stack([logits, jnp.zeros_like(logits)], -1)
        expected = losses.pc_softmax_cross_entropy(
            two, 1 - targets, jnp.log(jnp.array([prior, 1 - prior]))
        )
        chex.assert_trees_all_close(result, expected, atol=1e-5)


def test_pc_softmax_is_minus_the_pointwise_mutual_information():
    logits = jax.random.normal(jax.random.key(0), (9, 4))
    labels = jnp.arange(9) % 4
    log_prior = jnp.log(jnp.array([0.1, 0.2, 0.3, 0.4]))
    chex.assert_trees_all_equal(
        losses.pc_softmax_cross_entropy(logits, labels, log_prior),
        -information.pointwise_mutual_information(logits, labels, log_prior),
    )


def test_pc_softmax_gradient_is_prior_weighted_probability_minus_one_hot():
    logits = jax.random.normal(jax.random.key(1), (4,))
    prior = jnp.array([0.1, 0.2, 0.3, 0.4])
    gradient = jax.grad(losses.pc_softmax_cross_entropy)(
        logits, jnp.array(2), jnp.log(prior)
    )
    weights = prior * jnp.exp(logits)
    expected = weights / weights.sum() - jax.nn.one_hot(2, 4)
    chex.assert_trees_all_close(gradient, expected, atol=1e-6)


def test_sigmoid_cross_entropy():
    logits = np.array([[-3.0, 0.0, 40.0]])
    targets = np.array([[1, 0, 1]])
    expected = -np.log(np.where(targets == 1, expit(logits), expit(-logits)))
    result = losses.sigmoid_cross_entropy(logits, targets)
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("prior", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("target", [0, 1])
def test_pc_sigmoid_is_finite_at_huge_logits_and_priors_of_zero_and_one(prior, target):
    logits = jnp.array([1e4, -1e4, 2.0])
    value, gradient = jax.vmap(
        jax.value_and_grad(losses.pc_sigmoid_cross_entropy), (0, None, None)
    )(logits, jnp.array(float(target)), jnp.array(prior))
    chex.assert_tree_all_finite((value, gradient))
    # log(p e^n + 1 - p) - t n, in float64
    n = np.asarray(logits, np.float64)
    with np.errstate(divide="ignore"):
        normalizer = np.logaddexp(np.log(prior) + n, np.log1p(-prior))
    np.testing.assert_allclose(value, normalizer - target * n, atol=1e-3)


@pytest.mark.parametrize(
    "loss",
    [
        lambda n: losses.softmax_cross_entropy(n, jnp.zeros(2, int)),
        lambda n: losses.pc_softmax_cross_entropy(
            n, jnp.zeros(2, int), jnp.log(jnp.array([0.5, 0.3, 0.2]))
        ),
        lambda n: losses.sigmoid_cross_entropy(n, jnp.zeros((2, 3))),
        lambda n: losses.pc_sigmoid_cross_entropy(n, jnp.ones((2, 3)), jnp.array(0.2)),
    ],
)
def test_bfloat16_logits_give_a_float32_loss(loss):
    logits = jax.random.normal(jax.random.key(2), (2, 3), jnp.bfloat16)
    chex.assert_type(loss(logits), jnp.float32)
    chex.assert_trees_all_close(loss(logits), loss(logits.astype(jnp.float32)))


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match=r"targets must have shape \(2, 3\)"):
        losses.sigmoid_cross_entropy(jnp.zeros((2, 3)), jnp.zeros(3))
    with pytest.raises(ValueError, match="positive_prior"):
        losses.pc_sigmoid_cross_entropy(
            jnp.zeros((2, 3)), jnp.zeros((2, 3)), jnp.ones(2)
        )
    with pytest.raises(ValueError, match="labels"):
        losses.softmax_cross_entropy(jnp.zeros((2, 3)), jnp.zeros((2, 3), int))


@pytest.mark.parametrize(
    ("name", "at_zero"),
    [
        ("softmax", np.log(3)),
        ("pc_softmax", 0.0),
        ("sigmoid", np.log(2)),
        ("pc_sigmoid", 0.0),
    ],
)
def test_registered_losses_share_a_signature(name, at_zero):
    loss = losses.LOSSES[name]
    uniform = jnp.full(3, -jnp.log(3.0))
    multi_hot = jnp.array([[0, 1, 1], [1, 0, 1]])
    labels = multi_hot if loss.multi_label else jnp.array([0, 2])
    values = loss.function(jnp.zeros((2, 3)), labels, uniform)
    chex.assert_equal_shape([values, labels])
    np.testing.assert_allclose(values, at_zero, atol=1e-6)


@pytest.mark.parametrize("name", ["softmax", "pc_softmax"])
def test_label_smoothing_equals_the_loss_of_smoothed_targets(name):
    """The targets are (1 - s) one-hot + s P(y), as optax takes them."""
    generator = np.random.default_rng(0)
    logits = 3 * generator.standard_normal((7, 4)).astype(np.float32)
    labels, prior = generator.integers(0, 4, 7), np.array([0.1, 0.2, 0.3, 0.4])
    loss = losses.create_loss(name, {"label_smoothing": 0.3})
    targets = 0.7 * np.eye(4)[labels] + 0.3 * prior
    posterior, constant = logits, 0
    if loss.prior_corrected:  # log P(y|x) is log P(y) above the log of the ratio
        posterior, constant = logits + np.log(prior), targets @ np.log(prior)
    expected = optax.softmax_cross_entropy(posterior, targets) + constant
    values = loss.function(logits, labels, np.log(prior))
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["softmax", "pc_softmax"])
def test_smoothing_by_zero_changes_no_bit_and_unseen_classes_stay_finite(name):
    logits, labels = jax.random.normal(jax.random.key(0), (5, 3)), jnp.arange(5) % 2
    log_prior = jnp.array([np.log(0.5), np.log(0.5), -np.inf])
    plain, zero = (
        losses.create_loss(name),
        losses.create_loss(name, {"label_smoothing": 0.0}),
    )
    chex.assert_trees_all_equal(
        *(each.function(logits, labels, log_prior) for each in (plain, zero))
    )
    smoothed = losses.create_loss(name, {"label_smoothing": 0.1})
    value, gradient = jax.value_and_grad(
        lambda n: smoothed.function(n, labels, log_prior).sum()
    )(logits)
    chex.assert_tree_all_finite((value, gradient))


@pytest.mark.parametrize("name", ["softmax", "pc_softmax"])
def test_the_net_of_a_smoothed_loss_has_bounded_information(name):
    """Train two logits for certain labels: the ratio is (1 - s) / P(y) + s, or s."""
    log_prior = jnp.log(jnp.array([0.25, 0.75]))
    loss = losses.create_loss(name, {"label_smoothing": 0.2})
    gradient = jax.jit(jax.grad(lambda n: loss.function(n, jnp.array(0), log_prior)))
    logits = jnp.zeros(2)
    for _ in range(500):
        logits = logits - gradient(logits)
    corrected = loss.pc_logits(logits, log_prior)
    ratios = jnp.exp(information.log_pc_softmax(corrected, log_prior))
    np.testing.assert_allclose(ratios, [0.8 / 0.25 + 0.2, 0.2], rtol=1e-4)


@pytest.mark.parametrize("value", [-0.1, 1.0, float("nan")])
def test_a_smoothing_out_of_range_is_refused(value):
    with pytest.raises(UserError, match=r"label_smoothing: must be in \[0, 1\)"):
        losses.smooth(jnp.zeros(2), 0, jnp.zeros(2), value)


@pytest.mark.parametrize("name", losses.LOSSES)
def test_a_loss_gives_prior_corrected_logits(name):
    """Their pointwise mutual information equals that of the net's own probabilities."""
    loss = losses.LOSSES[name]
    prior = jnp.array([0.2, 0.3, 0.5])
    logits = jax.random.normal(jax.random.key(0), (5, 3))
    corrected = loss.pc_logits(logits, jnp.log(prior))
    if loss.multi_label:
        ones = jnp.ones((5, 3))
        pmi = -losses.pc_sigmoid_cross_entropy(corrected, ones, prior)
        learned = jax.nn.log_sigmoid(logits) - jnp.log(prior)
    else:
        pmi = information.log_pc_softmax(corrected, jnp.log(prior))
        learned = jax.nn.log_softmax(logits) - jnp.log(prior)
    if loss.prior_corrected:
        chex.assert_trees_all_equal(corrected, logits)
    else:
        chex.assert_trees_all_close(pmi, learned, atol=1e-5)


def test_the_rule_follows_from_what_a_loss_is():
    rules = {name: loss.rule for name, loss in losses.LOSSES.items()}
    assert rules == {
        "softmax": "prior",
        "pc_softmax": "balanced",
        "sigmoid": "prior",
        "pc_sigmoid": "balanced",
    }


def test_a_loss_of_another_name_keeps_its_meaning(monkeypatch):
    monkeypatch.setitem(losses.LOSSES, "mine", losses.LOSSES["pc_softmax"])
    assert losses.create_loss("mine") == losses.LOSSES["pc_softmax"]
    assert losses.create_loss("mine").rule == "balanced"


def test_create_loss_binds_the_options(monkeypatch):
    def focal(logits, labels, log_prior, gamma: float = 0.0):
        del log_prior
        values = losses.softmax_cross_entropy(logits, labels)
        return (1 - jnp.exp(-values)) ** gamma * values

    monkeypatch.setitem(losses.LOSSES, "focal", losses.Loss(focal, False, False))
    logits, labels = jnp.zeros((2, 4)), jnp.array([0, 3])
    plain = losses.create_loss("focal").function(logits, labels, None)
    np.testing.assert_allclose(plain, np.log(4), rtol=1e-6)
    bound = losses.create_loss("focal", {"gamma": 2.0})
    assert (bound.prior_corrected, bound.multi_label) == (False, False)
    values = bound.function(logits, labels, None)
    np.testing.assert_allclose(values, (3 / 4) ** 2 * np.log(4), rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("sofmax", {}, "loss: unknown value 'sofmax', did you mean 'softmax'"),
        ("softmax", {"gamma": 2.0}, "loss_options.gamma: no such option"),
        ("softmax", {"label_smoothing": "a"}, "label_smoothing: must be a number"),
        ("sigmoid", {"label_smoothing": 0.1}, "label_smoothing: no such option"),
        ("pc_softmax", {"log_prior": 2.0}, "loss_options.log_prior: no such option"),
    ],
)
def test_unknown_losses_and_options_are_named(name, options, message):
    with pytest.raises(UserError, match=message):
        losses.create_loss(name, options)


def test_a_loss_says_how_its_logits_become_scores(monkeypatch):
    def with_temperature(logits, labels, log_prior, temperature: float = 1.0):
        return losses.pc_softmax_cross_entropy(logits / temperature, labels, log_prior)

    loss = losses.Loss(
        with_temperature,
        prior_corrected=True,
        multi_label=False,
        scores=lambda logits, temperature=1.0: logits / temperature,
    )
    monkeypatch.setitem(losses.LOSSES, "tempered", loss)
    logits, prior = np.float32([[3.0, -6.0], [1.5, 0.0]]), np.log([0.3, 0.7])
    bound = losses.create_loss("tempered", {"temperature": 3.0})
    np.testing.assert_allclose(bound.pc_logits(logits, prior), logits / 3)
    np.testing.assert_array_equal(
        losses.create_loss("pc_softmax").pc_logits(logits, prior), logits
    )
