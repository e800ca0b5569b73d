"""Scores of rows by trained nets: log P(y|x) / P(y)."""

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from mi_classifier import information
from mi_classifier.cross_fitting.inputs import Inputs
from mi_classifier.cross_fitting.plan import Plan

Array = jax.Array
# Factors of the logits; each net gets the one that is best on its stopping fold.
SCALES = np.array([0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0], np.float32)


@dataclasses.dataclass(frozen=True)
class Nets:
    """Trained nets; those that score fold k are `seeds * k` and after.

    Attributes:
      model: the module of all of them.
      params: stacked, `[nets, ...]`.
      scale: factor of each net's logits, `[nets]`.
      log_prior: log P(y) of all rows among the labels that the net was trained on,
        -inf for the others, `[nets, M]`.
      log_doubt: log 1 / N, see `log_ratio`.
      plan: how they were trained.
    """

    model: nn.Module
    params: optax.Params
    scale: np.ndarray
    log_prior: np.ndarray
    log_doubt: np.float32
    plan: Plan


def log_ratio(logits: Array, log_prior: Array, log_doubt: Array) -> Array:
    """Compute log P(y|x) / P(y) by a net; 0 for a label that the net never saw.

    P(y|x) is mixed with one part in N of P(y), because N rows cannot make a net surer
    than that. One outlier then costs at most log(N) / N nats, not hundreds.

    Args:
      logits: `[..., M]`.
      log_prior: log P(y) among the labels that the net saw, `[M]`.
      log_doubt: log 1 / N.

    Returns:
      `[..., M]` nats.
    """
    ratio = information.log_pc_softmax(logits, log_prior)
    ratio = jnp.logaddexp(ratio + jnp.log1p(-jnp.exp(log_doubt)), log_doubt)
    return jnp.where(jnp.isneginf(log_prior), 0, ratio)


@functools.partial(jax.jit, static_argnames="model")
def stopping_bounds(
    model: nn.Module,
    params: optax.Params,
    stopping_sets: tuple[Array, Array, Array],
    stopping: Array,
    log_prior: Array,
    log_doubt: Array,
) -> Array:
    """Compute each net's bound on its stopping fold, for each scale of its logits.

    Args:
      model: the module of every net.
      params: `[nets, ...]`.
      stopping_sets: inputs, labels and mask, `[folds, chunks, chunk, ...]`.
      stopping: the stopping fold of each net, `[nets]`.
      log_prior: as of `Nets`, `[nets, M]`.
      log_doubt: log 1 / N.

    Returns:
      `[nets, len(SCALES)]` nats.
    """

    def net(params: optax.Params, fold: Array, log_prior: Array) -> Array:
        def chunk(rows: tuple[Array, Array, Array]) -> Array:
            x, label, mask = rows
            logits = model.apply({"params": params}, x, train=False).logits
            ratios = [log_ratio(s * logits, log_prior, log_doubt) for s in SCALES]
            pmi = information.select_label(
                jnp.stack(ratios), jnp.broadcast_to(label, (len(SCALES), len(label)))
            )
            return jnp.where(mask, pmi, 0).sum(1)

        sums = jax.lax.map(chunk, jax.tree.map(lambda a: a[fold], stopping_sets))
        return sums.sum(0) / stopping_sets[2][fold].sum()

    return jax.vmap(net)(params, stopping, log_prior)


def log_ratios(
    nets: Nets, inputs: Inputs, rows: np.ndarray, fold: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Score rows by the nets of a fold, whose mean is P(y|x), a chunk at a time.

    Yields:
      Some of the rows `[B]` and their log P(y|x) / P(y), float64 `[B, M]` nats.
    """
    own = slice(fold * nets.plan.seeds, (fold + 1) * nets.plan.seeds)
    members = jax.tree.map(lambda a: a[own], (nets.params, nets.scale, nets.log_prior))
    size = max(min(nets.plan.chunk, len(rows)), 1)
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        x = inputs[np.resize(part, size)]
        ratios = _mean_log_ratio(nets.model, members, nets.log_doubt, x)
        yield part, np.asarray(ratios, np.float64)[: len(part)]


@functools.partial(jax.jit, static_argnames="model")
def _mean_log_ratio(
    model: nn.Module, members: tuple[Any, Array, Array], log_doubt: Array, x: Array
) -> Array:
    def net(params: optax.Params, scale: Array, log_prior: Array) -> Array:
        logits = model.apply({"params": params}, x, train=False).logits
        return log_ratio(scale * logits, log_prior, log_doubt)

    ratios = jax.vmap(net)(*members)
    return jax.nn.logsumexp(ratios, axis=0) - jnp.log(len(ratios))
