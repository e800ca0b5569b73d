"""Pointwise mutual information, its variational bound, and entropies.

All values are in nats and in log-space, computed in float32 or wider for any dtype of
the inputs. A class without training examples has `log_prior` -inf: it is part of no
normalizer, and values and gradients stay finite.
"""

import operator

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from mi_classifier.rules import by_usual_rules

Array = jax.Array
NATS_PER_BIT = float(np.log(2.0))


def log_label_prior(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Return the log of the labels' empirical distribution, P(y) of Eq. 10.

    Args:
      labels: integer class indices in [0, num_classes), shape [N], N >= 1.
      num_classes: number of classes M.

    Returns:
      float32 `[M]`; -inf for a class without examples.

    Raises:
      ValueError: there is no label, or a label lies outside [0, num_classes).
      TypeError: `num_classes` is not an integer.

    Examples:
      >>> np.exp(log_label_prior(np.array([0, 0, 1, 0]), 2)).tolist()
      [0.75, 0.25]
    """
    labels = np.asarray(labels)
    num_classes = operator.index(num_classes)
    if labels.size == 0:
        raise ValueError("labels: a prior needs at least one example")
    if labels.min() < 0 or labels.max() >= num_classes:
        raise ValueError(
            f"labels must lie in [0, {num_classes}), "
            f"found [{labels.min()}, {labels.max()}]"
        )
    counts = np.bincount(labels.ravel(), minlength=num_classes)
    with np.errstate(divide="ignore"):
        return np.log(counts / labels.size).astype(np.float32)


def as_float(x: ArrayLike) -> Array:
    """Return `x` in float32, or in its own floating dtype if that is wider."""
    x = jnp.asarray(x)
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def select_label(values: Array, labels: Array) -> Array:
    """Return `values[..., labels]`; NaN for a label out of [0, M)."""
    check_shape("labels", labels, values.shape[:-1])
    indices = label_indices(labels, values.shape[-1])[..., None]
    return jnp.take_along_axis(values, indices, axis=-1, mode="fill")[..., 0]


def label_indices(labels: Array, num_classes: int) -> Array:
    """Return int32 labels; one outside [0, M) becomes M, which a gather can fill."""
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TypeError(f"labels must be integers, not {labels.dtype}")
    if labels.dtype.itemsize < 4:  # else the number of classes could wrap
        labels = labels.astype(jnp.int32)
    inside = (labels >= 0) & (labels <= num_classes - 1)
    return jnp.where(inside, labels.astype(jnp.int32), num_classes)


def check_shape(name: str, x: Array, shape: tuple[int, ...]) -> None:
    """Raise a ValueError that names the array whose shape is not `shape`."""
    if x.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, not {x.shape}")


def _checked(logits: ArrayLike, log_prior: ArrayLike) -> tuple[Array, Array]:
    logits, log_prior = as_float(logits), as_float(log_prior)
    if logits.ndim == 0:
        raise ValueError("logits must have shape [..., M], not ()")
    check_shape("log_prior", log_prior, logits.shape[-1:])
    return logits, log_prior


def _center(logits: Array, log_prior: Array) -> Array:
    """Subtract the largest logit of a class that has a prior, which changes no ratio.

    Logits near 1e4 would leave a float32 no digits for the prior that is added next.
    """
    return logits - jnp.where(_seen(log_prior), logits, -jnp.inf).max(-1, keepdims=True)


def _seen(log_prior: Array) -> Array:
    return ~jnp.isneginf(log_prior)


@by_usual_rules
@jax.jit
def log_pc_softmax(logits: ArrayLike, log_prior: ArrayLike) -> Array:
    """Return the log of the probability-corrected softmax, Eq. 10.

    `n_y - log sum_y' P(y') exp(n_y')` is the pointwise mutual information between an
    input and each class. Its `exp` is a density ratio, not a probability: weighted by
    P(y) it sums to one. Adding a constant to all logits changes nothing.

    Args:
      logits: `[..., M]`, any floating dtype.
      log_prior: `[M]` log P(y) in nats; -inf for a class never seen.

    Returns:
      `[..., M]` nats, float32 or wider.

    Raises:
      ValueError: `log_prior` is not `[M]`.

    Examples:
      >>> ratios = np.exp(log_pc_softmax(np.array([0.0, 1.0]), np.log([0.75, 0.25])))
      >>> print((ratios * [0.75, 0.25]).sum().round(4))
      1.0
    """
    logits, log_prior = _checked(logits, log_prior)
    # Shift by the class that dominates the sum: every exponent is then at most 0, and
    # under a uniform prior the result is that of log_softmax, to the last bit.
    seen = _seen(log_prior)
    z = jax.lax.stop_gradient(_center(logits, log_prior))
    top = jnp.argmax(jnp.where(seen, z + log_prior, -jnp.inf), -1, keepdims=True)
    z = logits - jax.lax.stop_gradient(jnp.take_along_axis(logits, top, axis=-1))
    top_prior = jax.lax.stop_gradient(log_prior)[top]
    terms = jnp.where(seen, z + (log_prior - top_prior), -jnp.inf)
    return z - jnp.log(jnp.exp(terms).sum(-1, keepdims=True)) - top_prior


@by_usual_rules
def pointwise_mutual_information(
    logits: ArrayLike, labels: ArrayLike, log_prior: ArrayLike
) -> Array:
    """Return the pointwise mutual information of inputs and their labels, in nats.

    It is the integrand of Eq. 5 with f = n: `log_pc_softmax` at the label. Under a
    uniform prior it is Eq. 9's `log softmax + log M`. For log densities log p(x|y)
    instead of logits it is exact, the summand of Eq. 11.

    Args:
      logits: `[..., M]`.
      labels: integers in [0, M), shape `[...]`; a label out of range gives NaN.
      log_prior: `[M]` log P(y).

    Returns:
      `[...]` nats, at most -log P(label).

    Raises:
      ValueError: shapes do not fit.
      TypeError: labels are not integers.

    Examples:
      >>> print(pointwise_mutual_information([9.0, 0.0], 0, np.log([0.5] * 2)).round(3))
      0.693
    """
    return select_label(log_pc_softmax(logits, log_prior), jnp.asarray(labels))


@by_usual_rules
def variational_bound(
    logits: ArrayLike,
    labels: ArrayLike,
    log_prior: ArrayLike,
    mask: ArrayLike | None = None,
) -> Array:
    """Return the lower bound on I(X; Y) of Eq. 5, the mean PMI of a sample.

    See `pointwise_mutual_information` for the errors.

    Args:
      logits: `[..., M]`.
      labels: integers in [0, M), shape `[...]`.
      log_prior: `[M]` log P(y).
      mask: `[...]`, 1 for a real example, 0 for padding to ignore; None counts all.

    Returns:
      Scalar, nats; 0 if there is no example, or the mask leaves none.

    Examples:
      >>> logits, labels = np.array([[9.0, 0.0], [0.0, 9.0]]), np.array([0, 1])
      >>> print(variational_bound(logits, labels, np.log([0.5, 0.5])).round(3))
      0.693
    """
    logits, labels = as_float(logits), jnp.asarray(labels)
    mask = jnp.ones(labels.shape, bool) if mask is None else jnp.asarray(mask) > 0
    check_shape("labels", labels, logits.shape[:-1])
    check_shape("mask", mask, logits.shape[:-1])
    # Replace padding before the logarithms, so that its gradient is not NaN either.
    logits = jnp.where(mask[..., None], logits, 0)
    labels = jnp.where(mask, labels, 0)
    pmi = pointwise_mutual_information(logits, labels, log_prior)
    return jnp.where(mask, pmi, 0).sum() / jnp.maximum(mask.sum(), 1)


@by_usual_rules
def label_entropy(log_prior: ArrayLike) -> Array:
    """Return the entropy H(Y) of the labels in nats, an upper bound on I(X; Y).

    Args:
      log_prior: `[M]` log P(y); a class at -inf contributes 0.

    Returns:
      Scalar in [0, log M].

    Examples:
      >>> print(label_entropy(np.log([0.5, 0.5])).round(3))
      0.693
    """
    log_prior = as_float(log_prior)
    check_shape("log_prior", log_prior, (log_prior.size,))
    return jnp.sum(jnp.exp(log_prior) * -jnp.where(_seen(log_prior), log_prior, 0))


def standard_error(
    values: np.ndarray, group: np.ndarray | None = None, means: int = 1
) -> float:
    """Return the standard error of a mean over examples, which may form groups.

    Args:
      values: `[N]`, with or without their mean (or means) subtracted.
      group: integers `[N]`, from 0 on; the examples of a group need not be independent
        of each other. None if all examples are independent.
      means: how many means were estimated from the values.

    Returns:
      The error, summed in float64 (cluster-robust, as Liang & Zeger 1986); NaN if
      there are no more groups than means.

    Examples:
      >>> standard_error(np.array([1.0, 3.0])), standard_error(np.array([1.0]))
      (1.0, nan)
    """
    values = np.asarray(values, np.float64)
    residuals = values - values.mean()
    sums = residuals if group is None else np.bincount(group, residuals)
    count = len(sums) if group is None else len(np.unique(group))
    if count <= means:
        return float("nan")
    return float(np.sqrt((sums**2).sum() * count / (count - means)) / len(values))


@by_usual_rules
def optimal_decision(logits: ArrayLike, log_prior: ArrayLike, rule: str) -> Array:
    """Return the class to predict from PC-softmax logits.

    Args:
      logits: `[..., M]`, logits of a PC-softmax net (see `softmax_to_pc_logits`).
      log_prior: `[M]` log P(y).
      rule: "prior" maximizes P(y|x), `argmax n + log P`, for the fewest errors on data
        with these class frequencies; "balanced" maximizes p(x|y), `argmax n`, for the
        best average recall over classes. Neither predicts a class at -inf, because no
        example has trained its logit.

    Returns:
      `[...]` int32 class indices.

    Raises:
      ValueError: the rule is unknown, or `log_prior` is not `[M]`.

    Examples:
      >>> logits, log_prior = np.array([0.0, 1.0]), np.log([0.9, 0.1])
      >>> [int(optimal_decision(logits, log_prior, r)) for r in ("prior", "balanced")]
      [0, 1]
    """
    logits, log_prior = _checked(logits, log_prior)
    if rule not in ("prior", "balanced"):
        raise ValueError(f"rule must be 'prior' or 'balanced', not {rule!r}")
    if rule == "prior":
        logits = _center(logits, log_prior) + log_prior
    scores = jnp.where(_seen(log_prior), logits, -jnp.inf)
    return jnp.argmax(scores, axis=-1).astype(jnp.int32)


@by_usual_rules
def softmax_to_pc_logits(logits: ArrayLike, log_prior: ArrayLike) -> Array:
    """Turn logits of an ordinary softmax net into those of a PC-softmax net.

    An ordinary softmax net learns n = log P(y|x) + c(x), a PC-softmax net learns
    n = log p(x|y) + c(x); by Bayes' rule they differ by log P(y). The bound of the
    result is E log softmax + H(Y), valid for any class frequencies; Eq. 9's `+ log M`
    is valid for uniform ones only.

    Args:
      logits: `[..., M]`.
      log_prior: `[M]` log P(y) of the data that the net was trained on. Nothing is
        subtracted for a class at -inf.

    Returns:
      `[..., M]`, float32 or wider, minus a constant of each example that changes no
      ratio and leaves digits for the prior.

    Raises:
      ValueError: `log_prior` is not `[M]`.

    Examples:
      >>> print(softmax_to_pc_logits(np.log([0.5, 0.5]), np.log([0.5, 0.5])))
      [0.6931472 0.6931472]
    """
    logits, log_prior = _checked(logits, log_prior)
    return _center(logits, log_prior) - jnp.where(_seen(log_prior), log_prior, 0)


def log_odds(positive_prior: ArrayLike) -> Array:
    """Return the log-odds log(p / (1 - p)) of a label's presence; 0 if p is 0 or 1.

    Args:
      positive_prior: p in [0, 1], any shape.

    Examples:
      >>> print(log_odds([0.0, 0.5, 1.0]))
      [0. 0. 0.]
    """
    prior = as_float(positive_prior)
    inside = (prior > 0) & (prior < 1)
    prior = jnp.where(inside, prior, 0.5)
    return jnp.log(prior) - jnp.log1p(-prior)


@by_usual_rules
def sigmoid_to_pc_logits(logits: ArrayLike, positive_prior: ArrayLike) -> Array:
    """Turn logits of an ordinary sigmoid net into those of a PC-sigmoid net.

    An ordinary sigmoid net learns the log-odds of presence given the input, a
    PC-sigmoid net the log-likelihood ratio; they differ by the prior's log-odds.

    Args:
      logits: `[..., L]`.
      positive_prior: `[L]`, share of training examples that carry each label. Nothing
        is subtracted for a label that all examples carry, or none.

    Returns:
      `[..., L]`, float32 or wider.
    """
    return as_float(logits) - log_odds(positive_prior)
