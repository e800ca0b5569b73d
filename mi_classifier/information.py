"""Pointwise mutual information, its variational bound, and entropies.

Everything is in nats and in log-space, computed in float32 at least, whatever the
dtype of the inputs. A class that the training set never shows has `log_prior` -inf;
it takes no part in a normalizer, and values and gradients stay finite.
"""

import operator

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

Array = jax.Array
NATS_PER_BIT = float(np.log(2.0))


def log_label_prior(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Returns the log of the labels' empirical distribution, P(y) of Eq. 10.

    Args:
      labels: integer class indices in [0, num_classes), shape [N], N >= 1.
      num_classes: number of classes M.

    Returns:
      float32 `[M]`; -inf for a class without examples.

    Raises:
      ValueError: no labels, or a label outside of [0, num_classes).
      TypeError: `num_classes` is no integer.
    """
    labels = np.asarray(labels)
    num_classes = operator.index(num_classes)
    if labels.size == 0:
        raise ValueError("labels: at least one example is needed for a prior")
    if labels.min() < 0 or labels.max() >= num_classes:
        raise ValueError(
            f"labels must lie in [0, {num_classes}), "
            f"found [{labels.min()}, {labels.max()}]"
        )
    counts = np.bincount(labels.ravel(), minlength=num_classes)
    with np.errstate(divide="ignore"):
        return np.log(counts / labels.size).astype(np.float32)


def as_float(x: ArrayLike) -> Array:
    """Returns `x` in float32, or in its own floating dtype where that is wider."""
    x = jnp.asarray(x)
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def select_label(values: Array, labels: Array) -> Array:
    """Returns `values[..., labels]`; NaN, never a neighbor, for a label out of range.

    Args:
      values: `[..., M]`.
      labels: integers in [0, M), shape `[...]`.
    """
    check_shape("labels", labels, values.shape[:-1])
    indices = label_indices(labels, values.shape[-1])[..., None]
    return jnp.take_along_axis(values, indices, axis=-1, mode="fill")[..., 0]


def label_indices(labels: Array, num_classes: int) -> Array:
    """Returns int32 labels; one out of [0, M) is M, which a gather can fill.

    Raises:
      TypeError: labels are not integers.
    """
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TypeError(f"labels must be integers, not {labels.dtype}")
    # A number of classes that a narrow dtype cannot hold would wrap in the comparison,
    # and a negative index would count from the end.
    if labels.dtype.itemsize < 4:
        labels = labels.astype(jnp.int32)
    inside = (labels >= 0) & (labels <= num_classes - 1)
    return jnp.where(inside, labels.astype(jnp.int32), num_classes)


def check_shape(name: str, x: Array, shape: tuple[int, ...]) -> None:
    """Raises a ValueError that names the array whose shape is not `shape`."""
    if x.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, not {x.shape}")


def _check_logits(logits: Array, log_prior: Array) -> None:
    if logits.ndim == 0:
        raise ValueError("logits must have shape [..., M], not ()")
    check_shape("log_prior", log_prior, logits.shape[-1:])


def _center(logits: Array, log_prior: Array) -> Array:
    """Subtracts the largest logit of a class that has a prior.

    A constant in x alone, which changes no ratio; but at 1e4 a float32 has no digits
    left for the prior that is about to be added.
    """
    return logits - jnp.where(_seen(log_prior), logits, -jnp.inf).max(-1, keepdims=True)


def _seen(log_prior: Array) -> Array:
    return ~jnp.isneginf(log_prior)


@jax.jit
def log_pc_softmax(logits: ArrayLike, log_prior: ArrayLike) -> Array:
    """Log of the probability-corrected softmax, Eq. 10.

    `n_y - log sum_y' P(y') exp(n_y')`: the pointwise mutual information between an
    input and each class. It is a density ratio, not a probability: `exp` of it,
    weighted by P(y), sums to one. Adding a constant to all logits changes nothing.

    Args:
      logits: `[..., M]`, any floating dtype.
      log_prior: `[M]` log P(y) in nats; -inf for a class never seen.

    Returns:
      `[..., M]` nats, float32 or wider.

    Raises:
      ValueError: `log_prior` is not `[M]`.
    """
    logits, log_prior = as_float(logits), as_float(log_prior)
    _check_logits(logits, log_prior)
    # Shift by the class that dominates the sum: every exponent is then at most 0, and
    # under a uniform prior the arithmetic is that of log_softmax, to the last bit.
    seen = _seen(log_prior)
    z = jax.lax.stop_gradient(_center(logits, log_prior))
    top = jnp.argmax(jnp.where(seen, z + log_prior, -jnp.inf), -1, keepdims=True)
    z = logits - jax.lax.stop_gradient(jnp.take_along_axis(logits, top, axis=-1))
    top_prior = jax.lax.stop_gradient(log_prior)[top]
    terms = jnp.where(seen, z + (log_prior - top_prior), -jnp.inf)
    return z - jnp.log(jnp.exp(terms).sum(-1, keepdims=True)) - top_prior


def pointwise_mutual_information(
    logits: ArrayLike, labels: ArrayLike, log_prior: ArrayLike
) -> Array:
    """Pointwise mutual information between inputs and their labels, in nats.

    The integrand of Eq. 5 with f = n: `log_pc_softmax` at the label. Under a uniform
    prior it is Eq. 9's `log softmax + log M`. With log densities log p(x|y) in place
    of logits it is exact, the summand of Eq. 11.

    Args:
      logits: `[..., M]`.
      labels: integers in [0, M), shape `[...]`; one out of range gives NaN.
      log_prior: `[M]` log P(y).

    Returns:
      `[...]` nats, at most -log P(label).

    Raises:
      ValueError: shapes do not fit.
      TypeError: labels are not integers.
    """
    return select_label(log_pc_softmax(logits, log_prior), jnp.asarray(labels))


def variational_bound(
    logits: ArrayLike,
    labels: ArrayLike,
    log_prior: ArrayLike,
    mask: ArrayLike | None = None,
) -> Array:
    """Lower bound on the mutual information I(X; Y), Eq. 5, as a sample mean.

    Args:
      logits: `[..., M]`.
      labels: integers in [0, M), shape `[...]`.
      log_prior: `[M]` log P(y).
      mask: `[...]`, 1 for a real example and 0 for padding, whose logits and labels
        are never looked at; None counts every example.

    Returns:
      Scalar, nats; 0 when there is no example, or the mask leaves none.

    Raises:
      ValueError: shapes do not fit.
      TypeError: labels are not integers.
    """
    logits, labels = as_float(logits), jnp.asarray(labels)
    mask = jnp.ones(labels.shape, bool) if mask is None else jnp.asarray(mask) > 0
    check_shape("labels", labels, logits.shape[:-1])
    check_shape("mask", mask, logits.shape[:-1])
    # Padding is replaced before the logarithms, so that not even its gradient is NaN.
    logits = jnp.where(mask[..., None], logits, 0)
    labels = jnp.where(mask, labels, 0)
    pmi = pointwise_mutual_information(logits, labels, log_prior)
    return jnp.where(mask, pmi, 0).sum() / jnp.maximum(mask.sum(), 1)


def label_entropy(log_prior: ArrayLike) -> Array:
    """Entropy H(Y) of the labels in nats, the most that any input can tell of them.

    Args:
      log_prior: `[M]` log P(y); a class at -inf contributes 0.

    Returns:
      Scalar in [0, log M].
    """
    log_prior = as_float(log_prior)
    check_shape("log_prior", log_prior, (log_prior.size,))
    return jnp.sum(jnp.exp(log_prior) * -jnp.where(_seen(log_prior), log_prior, 0))


def standard_error(
    values: np.ndarray, draw: np.ndarray | None = None, means: int = 1
) -> float:
    """Standard error of the mean of examples, some of which may be of one draw.

    Args:
      values: `[N]`, with their mean (or means) subtracted or not.
      draw: integers `[N]`, from 0 on; examples with the same one are as good as one.
        None if all are independent.
      means: how many were estimated from the values.

    Returns:
      The error, summed in float64 (cluster-robust, as Liang & Zeger 1986); NaN if
      there are no more draws than means.
    """
    values = np.asarray(values, np.float64)
    residuals = values - values.mean()
    sums = residuals if draw is None else np.bincount(draw, residuals)
    count = len(sums) if draw is None else len(np.unique(draw))
    if count <= means:
        return float("nan")
    return float(np.sqrt((sums**2).sum() * count / (count - means)) / len(values))


def optimal_decision(logits: ArrayLike, log_prior: ArrayLike, rule: str) -> Array:
    """The class to decide for, given PC-softmax logits.

    Args:
      logits: `[..., M]`, logits of a PC-softmax net (see `softmax_to_pc_logits`).
      log_prior: `[M]` log P(y).
      rule: "prior" maximizes P(y|x), `argmax n + log P`, the fewest errors on data
        with these class frequencies; "balanced" maximizes p(x|y), `argmax n`, the
        best average recall over classes. Neither decides for a class at -inf, whose
        logit no example has taught.

    Returns:
      `[...]` int32 class indices.

    Raises:
      ValueError: another rule, or `log_prior` is not `[M]`.
    """
    logits, log_prior = as_float(logits), as_float(log_prior)
    _check_logits(logits, log_prior)
    if rule not in ("prior", "balanced"):
        raise ValueError(f"rule must be 'prior' or 'balanced', not {rule!r}")
    if rule == "prior":
        logits = _center(logits, log_prior) + log_prior
    scores = jnp.where(_seen(log_prior), logits, -jnp.inf)
    return jnp.argmax(scores, axis=-1).astype(jnp.int32)


def softmax_to_pc_logits(logits: ArrayLike, log_prior: ArrayLike) -> Array:
    """Turns logits of an ordinary softmax net into those of a PC-softmax net.

    An ordinary softmax net learns n = log P(y|x) + c(x), a PC-softmax net
    n = log p(x|y) + c(x); by Bayes' rule they differ by log P(y). The bound of the
    result is E log softmax + H(Y), valid for any class frequencies, where Eq. 9's
    `+ log M` holds for uniform ones only.

    Args:
      logits: `[..., M]`.
      log_prior: `[M]` log P(y) of the data that the net was trained on. Nothing is
        subtracted for a class at -inf.

    Returns:
      `[..., M]`, float32 or wider, shifted by a constant of each example that makes
      room for the prior's digits and changes no ratio.

    Raises:
      ValueError: `log_prior` is not `[M]`.
    """
    logits, log_prior = as_float(logits), as_float(log_prior)
    _check_logits(logits, log_prior)
    return _center(logits, log_prior) - jnp.where(_seen(log_prior), log_prior, 0)


def log_odds(positive_prior: ArrayLike) -> Array:
    """The log-odds log(p / (1 - p)) of a label's presence; 0 where p is 0 or 1.

    Args:
      positive_prior: p in [0, 1], any shape.
    """
    prior = as_float(positive_prior)
    inside = (prior > 0) & (prior < 1)
    prior = jnp.where(inside, prior, 0.5)
    return jnp.log(prior) - jnp.log1p(-prior)


def sigmoid_to_pc_logits(logits: ArrayLike, positive_prior: ArrayLike) -> Array:
    """Turns logits of an ordinary sigmoid net into those of a PC-sigmoid net.

    An ordinary sigmoid net learns the log-odds of presence given the input, a
    PC-sigmoid net the log-likelihood ratio; they differ by the prior's log-odds.

    Args:
      logits: `[..., L]`.
      positive_prior: `[L]`, share of training examples that carry each label. Nothing
        is subtracted for one that all carry, or none.

    Returns:
      `[..., L]`, float32 or wider.
    """
    return as_float(logits) - log_odds(positive_prior)
