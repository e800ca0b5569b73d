"""PMI, its bound and entropies equal SciPy's in float64 and stay finite."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized
from scipy import special, stats
from scipy.special import logsumexp

from mi_classifier import information, losses

SHAPES = [(4,), (3, 4), (2, 3, 4), (5, 1)]


def random_prior(classes, seed=0):
    prior = np.random.default_rng(seed).dirichlet(np.ones(classes))
    return np.log(prior)


def reference_log_pc_softmax(logits, log_prior):
    """Eq. 10 in float64, by SciPy."""
    logits = np.asarray(logits, np.float64)
    return logits - logsumexp(
        logits, axis=-1, b=np.exp(np.float64(log_prior)), keepdims=True
    )


class LogPcSoftmaxTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    @parameterized.parameters(*SHAPES)
    def test_is_equation_10(self, *shape):
        logits = 5 * np.random.default_rng(1).standard_normal(shape, np.float32)
        log_prior = random_prior(shape[-1]).astype(np.float32)
        result = self.variant(information.log_pc_softmax)(logits, log_prior)
        chex.assert_shape(result, shape)
        chex.assert_type(result, jnp.float32)
        np.testing.assert_allclose(
            result, reference_log_pc_softmax(logits, log_prior), atol=5e-6
        )

    @chex.variants(with_jit=True, without_jit=True)
    def test_uniform_prior_is_softmax_plus_log_m(self):
        logits = 5 * np.random.default_rng(2).standard_normal((1000, 7), np.float32)
        log_m = np.float32(np.log(7))
        result = self.variant(information.log_pc_softmax)(logits, np.full(7, -log_m))
        log_softmax = jax.jit(jax.nn.log_softmax)(logits)
        # The same arithmetic; a compiled logarithm may round its last bit otherwise.
        unit = np.spacing(np.maximum(np.abs(log_softmax), log_m))
        assert np.all(np.abs(result - (log_softmax + log_m)) <= 2 * unit)


def test_weighted_by_the_prior_it_sums_to_one():
    log_prior = random_prior(6)
    logits = np.random.default_rng(3).standard_normal((10, 6))
    ratios = np.exp(information.log_pc_softmax(logits, log_prior))
    np.testing.assert_allclose(ratios @ np.exp(log_prior), 1, atol=1e-5)


def test_a_common_constant_changes_nothing():
    log_prior = random_prior(6)
    logits = np.random.default_rng(4).standard_normal((10, 6)).astype(np.float32)
    chex.assert_trees_all_close(
        information.log_pc_softmax(logits, log_prior),
        information.log_pc_softmax(logits + 64.0, log_prior),
        atol=1e-4,
    )


@pytest.mark.parametrize("scale", [1.0, 1e4])
@pytest.mark.parametrize("label", range(4))
def test_a_class_never_seen_and_huge_logits_stay_finite(scale, label):
    log_prior = jnp.array(
        [-jnp.inf, -0.5, -2.0, jnp.log(1 - np.exp(-0.5) - np.exp(-2))]
    )
    logits = scale * jnp.array([[1.0, -1, 1, -1], [-1, 1, 1, -1], [1, 0, 0, 0]])
    labels = jnp.full(3, label)
    bound, gradient = jax.value_and_grad(information.variational_bound)(
        logits, labels, log_prior
    )
    chex.assert_tree_all_finite((bound, gradient))
    expected = reference_log_pc_softmax(logits, log_prior)[:, label].mean()
    np.testing.assert_allclose(bound, expected, rtol=1e-6, atol=1e-6)
    # The class without a prior is in no normalizer.
    if label != 0:
        assert np.all(gradient[:, 0] == 0)


def test_huge_logits_keep_the_digits_of_the_prior():
    log_prior = jnp.log(jnp.array([0.1, 0.9]))
    logits = jnp.array([[1e4, 1e4]])
    result = information.log_pc_softmax(logits, log_prior)
    np.testing.assert_allclose(result, [[0.0, 0.0]], atol=1e-6)
    decision = information.optimal_decision(logits, log_prior, "prior")
    assert decision.tolist() == [1]


def test_a_class_with_a_tiny_prior_does_not_underflow():
    log_prior = jnp.array([-200.0, 0.0])
    result = information.log_pc_softmax(jnp.array([150.0, 0.0]), log_prior)
    np.testing.assert_allclose(result, [150.0, 0.0], atol=1e-4)


def test_one_class_carries_no_information():
    pmi = information.pointwise_mutual_information(
        jnp.array([[7.0], [-1e4]]), jnp.array([0, 0]), jnp.zeros(1)
    )
    assert pmi.tolist() == [0.0, 0.0]
    assert information.label_entropy(jnp.zeros(1)) == 0.0


def test_bfloat16_logits_are_computed_in_float32():
    logits = np.random.default_rng(5).standard_normal((8, 4)).astype(jnp.bfloat16)
    log_prior = random_prior(4).astype(np.float32)
    result = information.log_pc_softmax(logits, log_prior)
    chex.assert_type(result, jnp.float32)
    expected = reference_log_pc_softmax(logits.astype(np.float64), log_prior)
    np.testing.assert_allclose(result, expected, atol=1e-6)


def test_labels_out_of_range_give_nan():
    pmi = information.pointwise_mutual_information(
        jnp.zeros((4, 3)), jnp.array([-1, 3, 2, -7]), jnp.log(jnp.ones(3) / 3)
    )
    assert np.isnan(pmi).tolist() == [True, True, False, True]


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint32, np.int64])
def test_labels_of_any_integer_dtype(dtype):
    values = jnp.arange(200.0)[None] * jnp.ones((2, 1))
    uniform = jnp.full(200, -jnp.log(200.0))
    expected = information.log_pc_softmax(values, uniform)[:, 7]
    result = information.pointwise_mutual_information(
        values, np.full(2, 7, dtype), uniform
    )
    np.testing.assert_array_equal(result, expected)
    outside = np.array([-3, -1], dtype) if np.iinfo(dtype).min < 0 else None
    if outside is not None:
        assert np.isnan(
            information.pointwise_mutual_information(values, outside, uniform)
        ).all()


def test_huge_logits_of_a_class_never_seen_do_not_matter():
    log_prior = jnp.array([np.log(0.5), np.log(0.5), -jnp.inf])
    logits = jnp.array([-3e38, -3e38, 3e38])
    value, gradient = jax.value_and_grad(
        lambda n: information.pointwise_mutual_information(n, jnp.array(1), log_prior)
    )(logits)
    assert value == 0
    np.testing.assert_allclose(gradient, [-0.5, 0.5, 0])


def test_the_bound_of_no_example_is_zero():
    empty = jnp.zeros((0, 3)), jnp.zeros(0, int), random_prior(3)
    assert information.variational_bound(*empty) == 0
    assert information.variational_bound(*empty, mask=jnp.zeros(0)) == 0


class VariationalBoundTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    def test_mask_leaves_padding_out_of_value_and_gradient(self):
        log_prior = random_prior(3).astype(np.float32)
        logits = np.random.default_rng(6).standard_normal((5, 3)).astype(np.float32)
        labels = np.array([0, 1, 2, 1, 0])
        padded = np.concatenate([logits, np.full((2, 3), np.nan, np.float32)])
        bound, gradient = self.variant(
            jax.value_and_grad(information.variational_bound)
        )(padded, np.append(labels, [99, -5]), log_prior, np.repeat([1.0, 0], [5, 2]))
        chex.assert_shape(bound, ())
        expected = information.variational_bound(logits, labels, log_prior)
        np.testing.assert_allclose(bound, expected, rtol=1e-6)
        assert np.all(gradient[5:] == 0) and np.all(np.isfinite(gradient))

    @chex.variants(with_jit=True, without_jit=True)
    def test_all_masked_is_zero(self):
        bound, gradient = self.variant(
            jax.value_and_grad(information.variational_bound)
        )(jnp.full((2, 3), jnp.nan), jnp.zeros(2, int), random_prior(3), jnp.zeros(2))
        assert bound == 0
        assert np.all(gradient == 0)


def test_bound_never_exceeds_the_entropy_and_meets_it_when_y_is_a_function_of_x():
    labels = np.repeat([0, 1, 2], [50, 30, 20])
    log_prior = information.log_label_prior(labels, 3)
    entropy = information.label_entropy(log_prior)
    sure = 50 * jax.nn.one_hot(labels, 3)
    np.testing.assert_allclose(
        information.variational_bound(sure, labels, log_prior), entropy, rtol=1e-6
    )
    noisy = np.random.default_rng(7).standard_normal((100, 3))
    assert information.variational_bound(noisy, labels, log_prior) < entropy


def test_label_entropy_in_closed_form():
    log_prior = information.log_label_prior(np.array([0, 0, 1, 3]), 5)
    expected = 0.5 * np.log(2) + 2 * 0.25 * np.log(4)
    np.testing.assert_allclose(
        information.label_entropy(log_prior), expected, rtol=1e-6
    )
    gradient = jax.grad(information.label_entropy)(jnp.asarray(log_prior))
    chex.assert_tree_all_finite(gradient)


def test_log_label_prior():
    log_prior = information.log_label_prior(np.array([2, 2, 0, 2]), 4)
    np.testing.assert_allclose(np.exp(log_prior), [0.25, 0, 0.75, 0], rtol=1e-6)
    with pytest.raises(ValueError, match=r"\[0, 4\)"):
        information.log_label_prior(np.array([4]), 4)
    with pytest.raises(ValueError, match="at least one"):
        information.log_label_prior(np.array([], int), 4)


def test_optimal_decision_rules():
    log_prior = jnp.log(jnp.array([0.9, 0.1]))
    logits = jnp.array([[0.0, 1.0], [0.0, 3.0], [1.0, 0.0]])
    prior = information.optimal_decision(logits, log_prior, "prior")
    balanced = information.optimal_decision(logits, log_prior, "balanced")
    assert prior.tolist() == [0, 1, 0]  # log 9 = 2.2 lies between 1 and 3
    assert balanced.tolist() == [1, 1, 0]
    chex.assert_type([prior, balanced], jnp.int32)
    with pytest.raises(ValueError, match="'prior' or 'balanced'"):
        information.optimal_decision(logits, log_prior, "best")


@pytest.mark.parametrize("rule", ["prior", "balanced"])
@pytest.mark.parametrize("huge", [1e4, 3e38])
def test_no_rule_chooses_a_class_never_seen(rule, huge):
    logits = jnp.array([[huge, 0.0, -1.0], [huge, -huge, -huge]])
    log_prior = jnp.array([-jnp.inf, np.log(0.5), np.log(0.5)])
    assert information.optimal_decision(logits, log_prior, rule).tolist() == [1, 1]


def test_softmax_logits_enter_the_bound_as_log_softmax_plus_entropy():
    labels = np.repeat([0, 1, 2], [60, 30, 10])
    log_prior = information.log_label_prior(labels, 3)
    logits = np.random.default_rng(8).standard_normal((100, 3)).astype(np.float32)
    log_softmax = jax.nn.log_softmax(logits)[np.arange(100), labels].mean()
    bound = information.variational_bound(
        information.softmax_to_pc_logits(logits, log_prior), labels, log_prior
    )
    np.testing.assert_allclose(
        bound, log_softmax + information.label_entropy(log_prior), rtol=1e-5
    )


def test_softmax_logits_of_a_class_never_seen_stay_finite():
    log_prior = jnp.array([-jnp.inf, np.log(0.5), np.log(0.5)])
    result = information.softmax_to_pc_logits(jnp.ones((2, 3)), log_prior)
    chex.assert_tree_all_finite(result)


def test_wrong_shapes_and_dtypes_are_named():
    with pytest.raises(ValueError, match=r"log_prior must have shape \(3,\)"):
        information.log_pc_softmax(jnp.zeros((2, 3)), jnp.zeros(4))
    with pytest.raises(ValueError, match=r"labels must have shape \(2,\)"):
        information.pointwise_mutual_information(
            jnp.zeros((2, 3)), jnp.zeros((3,), int), jnp.zeros(3)
        )
    with pytest.raises(TypeError, match="integers"):
        information.pointwise_mutual_information(
            jnp.zeros((2, 3)), jnp.zeros(2), jnp.zeros(3)
        )
    with pytest.raises(ValueError, match="logits"):
        information.log_pc_softmax(1.0, jnp.zeros(()))


def test_standard_error_equals_scipys_and_counts_groups_once():
    values = np.random.default_rng(0).standard_normal(50)
    expected = stats.sem(values)
    assert information.standard_error(values) == pytest.approx(expected)
    group = np.arange(50)
    assert information.standard_error(values, group) == pytest.approx(expected)
    thrice = information.standard_error(np.tile(values, 3), np.tile(group, 3))
    assert thrice == pytest.approx(expected)
    assert np.isnan(information.standard_error(np.ones(4), np.zeros(4, int)))
    two = information.standard_error(values, means=2)
    assert two == pytest.approx(expected * np.sqrt(49 / 48))


def test_sigmoid_logits_become_pc_logits():
    """The PC-sigmoid of the result is the posterior of the sigmoid over the prior."""
    logits, prior = np.array([[-2.0, 0.5, 3.0]]), np.array([0.1, 0.5, 0.9])
    posterior = special.expit(logits)
    ours = information.sigmoid_to_pc_logits(logits, prior)
    minus = losses.pc_sigmoid_cross_entropy(ours, np.ones((1, 3)), prior)
    np.testing.assert_allclose(-minus, np.log(posterior / prior), rtol=1e-5)
    minus = losses.pc_sigmoid_cross_entropy(ours, np.zeros((1, 3)), prior)
    np.testing.assert_allclose(
        -minus, np.log((1 - posterior) / (1 - prior)), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("prior", [0.0, 1.0])
def test_a_label_that_all_or_no_examples_carry_has_log_odds_zero(prior):
    assert information.log_odds(prior) == 0
    assert jax.grad(information.log_odds)(prior) == 0
    assert information.sigmoid_to_pc_logits(2.0, prior) == 2
