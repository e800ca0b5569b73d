"""Cross-entropies: softmax, PC-softmax, sigmoid, PC-sigmoid.

Each is per example (or per label), in nats, float32 at least, never averaged: what to
average over, and with which mask, is for the caller to say.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from mi_classifier import information

Array = jax.Array


def softmax_cross_entropy(logits: ArrayLike, labels: ArrayLike) -> Array:
    """Cross-entropy of the ordinary softmax, Eqs. 6 and 7.

    Args:
      logits: `[..., M]`, any floating dtype.
      labels: integers in [0, M), shape `[...]`; one out of range gives NaN.

    Returns:
      `[...]` nats, at least 0.

    Raises:
      ValueError: shapes do not fit.
      TypeError: labels are not integers.
    """
    log_probabilities = jax.nn.log_softmax(information.as_float(logits))
    return -information.select_label(log_probabilities, jnp.asarray(labels))


def pc_softmax_cross_entropy(
    logits: ArrayLike, labels: ArrayLike, log_prior: ArrayLike
) -> Array:
    """Cross-entropy of the probability-corrected softmax, Eq. 10 (Theorem 2).

    It is minus the pointwise mutual information, so its mean is minus the bound on
    I(X; Y); unlike other cross-entropies it can be, and usually is, negative.

    Args:
      logits: `[..., M]`, any floating dtype.
      labels: integers in [0, M), shape `[...]`; one out of range gives NaN.
      log_prior: `[M]` log P(y) of the training labels; -inf for a class never seen.

    Returns:
      `[...]` nats, at least log P(label).

    Raises:
      ValueError: shapes do not fit.
      TypeError: labels are not integers.
    """
    return -information.pointwise_mutual_information(logits, labels, log_prior)


def sigmoid_cross_entropy(logits: ArrayLike, targets: ArrayLike) -> Array:
    """Binary cross-entropy of independent labels.

    Args:
      logits: `[..., L]`, one logit a label, any floating dtype.
      targets: `[..., L]` in [0, 1].

    Returns:
      `[..., L]` nats, at least 0.

    Raises:
      ValueError: shapes differ.
    """
    logits, targets = information.as_float(logits), jnp.asarray(targets)
    information.check_shape("targets", targets, logits.shape)
    return optax.sigmoid_binary_cross_entropy(logits, targets)


def pc_sigmoid_cross_entropy(
    logits: ArrayLike, targets: ArrayLike, positive_prior: ArrayLike
) -> Array:
    """Probability-corrected binary cross-entropy, Section 6.3.

    For each label the two-class PC-softmax over logits (n, 0) with priors (p, 1 - p):
    minus the pointwise mutual information between the input and that label.

    Args:
      logits: `[..., L]`, one logit a label, any floating dtype.
      targets: `[..., L]` in [0, 1].
      positive_prior: `[L]`, or a scalar, share of training examples that carry the
        label, in [0, 1], both ends included.

    Returns:
      `[..., L]` nats, at least log p where the label is present, log(1 - p) where not.

    Raises:
      ValueError: shapes do not fit.
    """
    logits, targets = information.as_float(logits), jnp.asarray(targets)
    positive_prior = information.as_float(positive_prior)
    information.check_shape("targets", targets, logits.shape)
    if positive_prior.ndim:
        information.check_shape("positive_prior", positive_prior, logits.shape[-1:])
    log_present, log_absent = jnp.log(positive_prior), jnp.log1p(-positive_prior)
    # log(p e^n + 1 - p), with and without e^n taken out: neither cancels at huge n.
    present = jnp.logaddexp(log_present, log_absent - logits)
    absent = jnp.logaddexp(log_present + logits, log_absent)
    return targets * present + (1 - targets) * absent


def _softmax(logits: Array, labels: Array, log_prior: Array) -> Array:
    del log_prior
    return softmax_cross_entropy(logits, labels)


def _sigmoid(logits: Array, targets: Array, log_prior: Array) -> Array:
    del log_prior
    return sigmoid_cross_entropy(logits, targets)


def _pc_sigmoid(logits: Array, targets: Array, log_prior: Array) -> Array:
    return pc_sigmoid_cross_entropy(logits, targets, jnp.exp(log_prior))


# The losses that a config names, all of one signature: (logits, labels, log_prior).
CLASSIFICATION_LOSSES: dict[str, Callable[[Array, Array, Array], Array]] = {
    "softmax": _softmax,
    "pc_softmax": pc_softmax_cross_entropy,
}
# Of multi-hot labels, where log_prior is the log share of examples that carry each.
MULTI_LABEL_LOSSES: dict[str, Callable[[Array, Array, Array], Array]] = {
    "sigmoid": _sigmoid,
    "pc_sigmoid": _pc_sigmoid,
}
LOSSES = CLASSIFICATION_LOSSES | MULTI_LABEL_LOSSES
