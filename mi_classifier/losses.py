"""Cross-entropies, and what the logits of a net that is trained with each mean.

Every loss is per example (or per label), in nats, in float32 or wider. The caller
decides what to average over, and with which mask.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from mi_classifier import information
from mi_classifier.errors import UserError, check_options, choose
from mi_classifier.rules import by_usual_rules

Array = jax.Array


@by_usual_rules
def softmax_cross_entropy(logits: ArrayLike, labels: ArrayLike) -> Array:
    """Compute the cross-entropy of the ordinary softmax, Eqs. 6 and 7.

    Args:
      logits: `[..., M]`, any floating dtype.
      labels: integers in [0, M), shape `[...]`; one out of range gives NaN.

    Returns:
      `[...]` nats, at least 0.

    Raises:
      ValueError: shapes do not fit.
      TypeError: labels are not integers.

    Examples:
      >>> float(softmax_cross_entropy(jnp.zeros((1, 2)), jnp.array([0]))[0])  # log 2
      0.6931471824645996
    """
    log_probabilities = jax.nn.log_softmax(information.as_float(logits))
    return -information.select_label(log_probabilities, jnp.asarray(labels))


@by_usual_rules
def pc_softmax_cross_entropy(
    logits: ArrayLike, labels: ArrayLike, log_prior: ArrayLike
) -> Array:
    """Compute the cross-entropy of the PC-softmax, Eq. 10 (Theorem 2).

    PC stands for probability-corrected. The loss is minus the pointwise mutual
    information, so its mean is minus the bound on I(X; Y), and usually negative.

    Args:
      logits: `[..., M]`, any floating dtype.
      labels: integers in [0, M), shape `[...]`; one out of range gives NaN.
      log_prior: `[M]` log P(y) of the training labels; -inf for a class never seen.

    Returns:
      `[...]` nats, at least log P(label).

    Raises:
      ValueError: shapes do not fit.
      TypeError: labels are not integers.

    Examples:
      >>> prior = jnp.array([0.9, 0.1])
      >>> n = jnp.array([-9.0, 9.0])  # almost sure of the rare class: log 0.1
      >>> round(float(pc_softmax_cross_entropy(n, 1, jnp.log(prior))), 4)
      -2.3026
    """
    return -information.pointwise_mutual_information(logits, labels, log_prior)


@by_usual_rules
def sigmoid_cross_entropy(logits: ArrayLike, targets: ArrayLike) -> Array:
    """Compute the binary cross-entropy of independent labels.

    Args:
      logits: `[..., L]`, one logit a label, any floating dtype.
      targets: `[..., L]` in [0, 1].

    Returns:
      `[..., L]` nats, at least 0.

    Raises:
      ValueError: shapes differ.

    Examples:
      >>> float(sigmoid_cross_entropy(jnp.zeros(1), jnp.ones(1))[0])  # log 2
      0.6931471824645996
    """
    logits, targets = information.as_float(logits), jnp.asarray(targets)
    information.check_shape("targets", targets, logits.shape)
    return optax.sigmoid_binary_cross_entropy(logits, targets)


@by_usual_rules
def pc_sigmoid_cross_entropy(
    logits: ArrayLike, targets: ArrayLike, positive_prior: ArrayLike
) -> Array:
    """Compute the probability-corrected binary cross-entropy, Section 6.3.

    For each label it is the two-class PC-softmax loss of the logits (n, 0) with priors
    (p, 1 - p): minus the pointwise mutual information between the input and that label.

    Args:
      logits: `[..., L]`, one logit a label, any floating dtype.
      targets: `[..., L]` in [0, 1].
      positive_prior: share of the training examples with the label, in [0, 1], `[L]`
        or a scalar.

    Returns:
      `[..., L]` nats, at least log p if the label is present, else log(1 - p).

    Raises:
      ValueError: shapes do not fit.

    Examples:
      >>> n = jnp.array([20.0])  # almost sure of a label that a tenth has: log 0.1
      >>> round(float(pc_sigmoid_cross_entropy(n, jnp.ones(1), 0.1)[0]), 4)
      -2.3026
    """
    logits, targets = information.as_float(logits), jnp.asarray(targets)
    positive_prior = information.as_float(positive_prior)
    information.check_shape("targets", targets, logits.shape)
    if positive_prior.ndim:
        information.check_shape("positive_prior", positive_prior, logits.shape[-1:])
    log_present, log_absent = jnp.log(positive_prior), jnp.log1p(-positive_prior)
    # log(p e^n + 1 - p), with and without e^n factored out: no digits cancel at huge n.
    present = jnp.logaddexp(log_present, log_absent - logits)
    absent = jnp.logaddexp(log_present + logits, log_absent)
    return targets * present + (1 - targets) * absent


@by_usual_rules
def smooth(
    losses: ArrayLike, labels: ArrayLike, log_prior: ArrayLike, label_smoothing: float
) -> Array:
    """Return the mean loss over smoothed labels (Szegedy et al. 2016, Section 7).

    A share s of the labels is drawn again from the prior, so that the net does not
    become too sure of its training examples. It learns `(1 - s) P(y|x) + s P(y)`
    instead of P(y|x). Its pointwise mutual information then lies between log(s) and
    log((1 - s) / P(y) + s), so the estimate of I(X; Y) is biased, but it stays a lower
    bound: it loses about -log(1 - s) nats where the net is rightly sure, and it gains
    where the net would be wrongly sure. An evaluation computes the bound and the
    cross-entropy from the logits without smoothing; only its `loss` is smoothed.

    Args:
      losses: `[..., M]`, of an example if its label were each of the M.
      labels: integers in [0, M), shape `[...]`.
      log_prior: `[M]` log P(y) of the training labels.
      label_smoothing: s, in [0, 1).

    Returns:
      `[...]` nats.

    Raises:
      UserError: `label_smoothing` is out of range.

    Examples:
      >>> each, prior = jnp.array([0.0, 2.0]), jnp.log(jnp.array([0.5, 0.5]))
      >>> round(float(smooth(each, 0, prior, 0.1)), 4)  # 0.9 * 0 + 0.1 * (0 + 2) / 2
      0.1
    """
    if not 0 <= label_smoothing < 1:
        raise UserError(
            f"loss_options.label_smoothing: must be in [0, 1), not {label_smoothing}"
        )
    losses, labels = jnp.asarray(losses), jnp.asarray(labels)
    plain = information.select_label(losses, labels)
    if not label_smoothing:
        return plain
    prior = jnp.exp(information.as_float(log_prior))
    drawn = (losses * prior).sum(-1)
    return (1 - label_smoothing) * plain + label_smoothing * drawn


def _softmax(
    logits: ArrayLike,
    labels: ArrayLike,
    log_prior: ArrayLike,
    label_smoothing: float = 0.0,
) -> Array:
    losses = -jax.nn.log_softmax(information.as_float(logits))
    return smooth(losses, labels, log_prior, label_smoothing)


def _pc_softmax(
    logits: ArrayLike,
    labels: ArrayLike,
    log_prior: ArrayLike,
    label_smoothing: float = 0.0,
) -> Array:
    losses = -information.log_pc_softmax(logits, log_prior)
    return smooth(losses, labels, log_prior, label_smoothing)


@dataclasses.dataclass(frozen=True)
class Loss:
    """A loss that a config can name, and what the logits of its nets mean.

    Attributes:
      function: maps `(logits, labels, log_prior, **options)` to the loss of each
        example, in nats. `log_prior` `[M]` is log P(y) of the training labels; for
        multi-hot labels, it is the log share of the examples with each label.
      prior_corrected: whether the net learns n = log p(x|y) + c(x), as with PC-softmax,
        instead of n = log P(y|x) + c(x).
      multi_label: whether an example has any number of labels, as multi-hot `[L]`.
      scores: maps `(logits, **options)` of a net to its n(x), where these are not the
        logits themselves, as for a loss with a temperature.
    """

    function: Callable[..., Array]
    prior_corrected: bool
    multi_label: bool
    scores: Callable[..., Array] = lambda logits, **options: logits

    @property
    def rule(self) -> str:
        """The decision rule that the paper's argmax n(x) equals for this loss."""
        return "balanced" if self.prior_corrected else "prior"

    def pc_logits(self, logits: ArrayLike, log_prior: ArrayLike) -> Array:
        """Return prior-corrected logits `[..., M]` of a net trained with this loss.

        `log_prior` `[M]` is log P(y) of its training data.
        """
        logits = self.scores(logits)
        if self.prior_corrected:
            return information.as_float(logits)
        if self.multi_label:
            return information.sigmoid_to_pc_logits(logits, jnp.exp(log_prior))
        return information.softmax_to_pc_logits(logits, log_prior)


LOSSES: dict[str, Loss] = {  # the function, prior_corrected, multi_label
    "softmax": Loss(_softmax, False, False),
    "pc_softmax": Loss(_pc_softmax, True, False),
    "sigmoid": Loss(lambda n, y, _: sigmoid_cross_entropy(n, y), False, True),
    "pc_sigmoid": Loss(
        lambda n, y, log_p: pc_sigmoid_cross_entropy(n, y, jnp.exp(log_p)), True, True
    ),
}


def create_loss(name: str, options: Mapping[str, Any] | None = None) -> Loss:
    """Create a loss of `LOSSES`; `options` are its own hyper-parameters, by name.

    Raises:
      UserError: the name or an option is unknown.
    """
    loss = LOSSES[choose(name, LOSSES, "loss")]
    options = dict(options or {})
    check_options(functools.partial(loss.function, 0, 0, 0), options, "loss_options")
    if not options:
        return loss
    function = functools.partial(loss.function, **options)
    scores = functools.partial(loss.scores, **options)
    return dataclasses.replace(loss, function=function, scores=scores)
