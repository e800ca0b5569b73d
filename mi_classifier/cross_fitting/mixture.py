"""Mix the learners of a fold, by how well each one does on the stopping rows."""

import dataclasses

import jax
import numpy as np
from scipy import optimize, special

from mi_classifier.cross_fitting import linear, local, nets
from mi_classifier.cross_fitting.batches import Task
from mi_classifier.cross_fitting.folds import FOLDS
from mi_classifier.cross_fitting.inputs import Inputs
from mi_classifier.cross_fitting.nets import Nets
from mi_classifier.cross_fitting.plan import Plan

_STEPS = 300  # of the EM algorithm
_PSEUDO_ROWS = 0.5  # of a learner on average, so that shares stay near their start
_LINEAR = 0.8  # of the odds, because simple learners are better where little is known
# Forests are fitted again if they count at least so much in the mixture.
_LEAST_PART = 0.05
_WEIGHED_VALUES = 1 << 21  # stopping rows times labels, at most
_POOL_VALUES = 1 << 23  # of all learners, rows and labels; with more, there is no pool
# On the squared distance of powers from where they start, for all rows together.
_PENALTIES = (3.0, 300.0)
_FEW_LEARNERS = 8  # up to so many, the first penalty is enough
_PARTS = 4  # of the rows; each tells which penalty is better for the others
_TRUST = 0.08  # in each row, when learners are compared to find where weights start
_MOST_TRUST = 40.0  # in all rows


@dataclasses.dataclass(frozen=True)
class Weights:
    """How the learners of a fold are mixed.

    Attributes:
      powers: of the learners' P(y|x) in their product, which is one more learner,
        `[E]`. All are 0 if there is no product.
      shares: of the learners, then of their product, `[E + 1]`, with sum 1.
    """

    powers: np.ndarray
    shares: np.ndarray

    def mix(self, log_ratios: np.ndarray, log_prior: np.ndarray) -> np.ndarray:
        """Mix log P(y|x) / P(y), `[E, B, M]`, to that of the mixture, `[B, M]`.

        `log_prior` is log P(y) among labels that were seen in training, `[M]`, -inf for
        others, about which no learner says anything.
        """
        product = pool(log_ratios, self.powers, log_prior)
        every = np.concatenate([log_ratios, product[None]])
        mixed = special.logsumexp(every, 0, b=self.shares[:, None, None])
        return np.where(np.isneginf(log_prior), 0, mixed)


def pool(
    log_ratios: np.ndarray, powers: np.ndarray, log_prior: np.ndarray
) -> np.ndarray:
    """Return log of the learners' product, normalized so that P(y|x) sums to 1."""
    # No matrix product: its rounding of a row depends on the rows beside it.
    product = (powers[:, None, None] * log_ratios).sum(0)
    product -= special.logsumexp(product + log_prior, 1, keepdims=True)
    return np.where(np.isneginf(log_prior), 0, product)


@dataclasses.dataclass(frozen=True)
class Mixture:
    """The learners of every fold, and how they are mixed.

    Attributes:
      nets: those of all folds, as NumPy arrays.
      linear: of each fold; empty if none are asked for.
      local: of each fold; empty if no local learner suits the data.
      weights: of each fold's nets, then its linear and its local learners.
      log_prior: log P(y) of all rows, `[M]`.
      chunk: rows that are scored at once.
    """

    nets: Nets
    linear: tuple[linear.Linear, ...]
    local: tuple[local.Local, ...]
    weights: tuple[Weights, ...]
    log_prior: np.ndarray
    chunk: int

    def log_ratios(self, inputs: Inputs, rows: np.ndarray, fold: int) -> np.ndarray:
        """Compute log P(y|x) / P(y) of at most `chunk` rows by a fold, `[B, M]`."""
        parts = self.of_learners(inputs, rows, fold)
        return self.weights[fold].mix(parts, self.seen_prior(fold))

    def of_linear(self, fold: int) -> slice:
        """Return the places of the linear learners of a fold."""
        first = len(self.nets.fold) // FOLDS
        count = len(self.linear[fold].kernels) if self.linear else 0
        return slice(first, first + count)

    def seen_prior(self, fold: int) -> np.ndarray:
        """Return log P(y) among the labels that a fold's learners saw, `[M]`."""
        learners = len(self.nets.fold) // FOLDS
        log_prior = self.nets.log_prior[fold * learners, : len(self.log_prior)]
        return np.asarray(log_prior, np.float64)

    def of_learners(self, inputs: Inputs, rows: np.ndarray, fold: int) -> np.ndarray:
        """Compute log P(y|x) / P(y) by each learner of a fold, float64 `[E, B, M]`."""
        parts = [self._of_nets(fold, inputs, rows)]
        doubt = np.exp(float(self.nets.log_doubt[0]))
        prior = np.exp(self.seen_prior(fold))
        for others in (self.linear, self.local):
            if not others:
                continue
            probability = others[fold].probabilities(inputs, rows) * (prior > 0)
            total = probability.sum(2, keepdims=True)
            # A learner that is sure of a label that no net saw says nothing.
            known = np.where(total > 0, total, 1)
            probability = np.where(total > 0, probability / known, prior)
            ratio = np.divide(probability, prior, where=prior > 0, out=probability)
            mixed = np.where(prior > 0, (1 - doubt) * ratio + doubt, 1)
            parts.append(np.log(mixed))
        return np.concatenate(parts)

    def of_best_net(self, inputs: Inputs, rows: np.ndarray, fold: int) -> np.ndarray:
        """Compute log P(y|x) / P(y) by the best net of a fold, `[B, M]`."""
        best = self.nets.bound.reshape(FOLDS, -1)[fold].argmax()
        return self._of_nets(fold, inputs, rows)[best]

    def _of_nets(self, fold: int, inputs: Inputs, rows: np.ndarray) -> np.ndarray:
        count = len(self.nets.fold) // FOLDS
        own = nets.of(self.nets, slice(fold * count, (fold + 1) * count))
        own, parts = jax.device_put(own), []
        for start in range(0, len(rows), self.chunk):
            part = rows[start : start + self.chunk]
            # Always of one size, so that a row's result does not depend on others.
            ratios = nets.log_ratios(own, inputs[np.resize(part, self.chunk)])
            ratios = np.asarray(ratios, np.float64)
            parts.append(ratios[:, : len(part), : len(self.log_prior)])
        return np.concatenate(parts, 1)


def fit(task: Task, trained: Nets, plan: Plan, seed: int) -> Mixture:
    """Fit the linear and the local learners, and weigh all on the stopping rows."""
    counts = np.bincount(task.label, minlength=task.num_classes)
    trained = jax.device_get(trained)
    log_prior = np.log(counts / counts.sum())
    others = [np.flatnonzero(task.fold != k) for k in range(FOLDS)]
    own = [rows[~task.stops[rows]] for rows in others]
    of_lines = tuple(linear.fit(task, rows) for rows in own) if plan.linear else ()
    nearby = tuple(local.fit(task, rows, seed) for rows in own) if plan.local else ()
    mixture = Mixture(trained, of_lines, nearby, (), log_prior, plan.chunk)
    weights, most = [], int(_WEIGHED_VALUES // task.num_classes)
    most = int(np.clip(most, 1_000, plan.stopping_rows))
    for k, rows in enumerate(others):
        stopping = rows[task.stops[rows]]
        stopping = stopping[:: -(-len(stopping) // most) or 1]
        log_ratios = mixture.of_learners(task.inputs, stopping, k)
        prior = mixture.seen_prior(k)
        label = task.label[stopping]
        odds = _odds(len(log_ratios), mixture.of_linear(k))
        weights.append(weigh(log_ratios, label, prior, task.evidence, odds))
    # The stopping rows have found the weights; now they are learned from, too.
    if plan.linear:
        of_lines = tuple(linear.fit(task, rows) for rows in others)
    if plan.local:
        grown = [
            one.grown(task, rows, seed, _part_of(weight, one.of_forests) > _LEAST_PART)
            for one, rows, weight in zip(nearby, others, weights, strict=True)
        ]
        nearby = tuple(grown)
    return Mixture(trained, of_lines, nearby, tuple(weights), log_prior, plan.chunk)


def _odds(count: int, simple: slice) -> np.ndarray:
    """Return how likely it seems, without any rows, that a learner is the best one."""
    odds = np.zeros(count)
    odds[simple] = 1
    if not odds.any() or odds.all():
        return np.full(count, 1 / count)
    return np.where(odds, _LINEAR / odds.sum(), (1 - _LINEAR) / (1 - odds).sum())


def _part_of(weights: Weights, learners: slice) -> float:
    """Return how much some learners count in the mixture, from 0 on."""
    part = weights.shares[:-1] + weights.shares[-1] * weights.powers
    return part[learners].sum()


def weigh(
    log_ratios: np.ndarray,
    label: np.ndarray,
    log_prior: np.ndarray,
    evidence: float = 1.0,
    odds: np.ndarray | None = None,
) -> Weights:
    """Find the mixture that makes the labels of some rows likeliest.

    Args:
      log_ratios: log P(y|x) / P(y) by each learner, `[E, B, M]`.
      label: `[B]`.
      log_prior: log P(y) among labels that the learners saw, `[M]`; rows of other
        labels are left out.
      evidence: independent groups per row, below 1 where rows of a group are alike. The
        less there is, the nearer are the weights to the odds.
      odds: weights of the learners where rows say nothing, `[E]`; equal by default.
    """
    seen = ~np.isneginf(log_prior[label])
    log_ratios, label = log_ratios[:, seen], label[seen]
    of_label = log_ratios[:, np.arange(len(label)), label]
    trust = min(_TRUST * evidence * len(label), _MOST_TRUST)
    start = special.softmax(trust * of_label.sum(1) / max(len(label), 1))
    if odds is not None:
        start = start * odds / (start @ odds)
    powers = np.zeros(len(log_ratios))
    if log_ratios.size <= _POOL_VALUES:
        powers = _powers(log_ratios, label, log_prior, start, evidence)
    product = pool(log_ratios, powers, log_prior)[None]
    every = np.concatenate([log_ratios, product])
    ratios = np.exp(every[:, np.arange(len(label)), label])
    return Weights(powers, _shares(ratios, np.append(start / 2, 0.5), evidence))


def _powers(
    log_ratios: np.ndarray,
    label: np.ndarray,
    log_prior: np.ndarray,
    start: np.ndarray,
    evidence: float,
) -> np.ndarray:
    """Fit the powers of the product of learners by the better penalty.

    Many learners that are alike need a large penalty, those that see different things a
    small one.
    """
    penalties = np.array(_PENALTIES) / evidence
    few = len(log_ratios) <= _FEW_LEARNERS or len(label) < _PARTS
    best = 0
    if not few:
        # Parts of rows that follow each other, because such rows may be alike.
        part = np.arange(len(label)) * _PARTS // len(label)
        found = np.zeros(len(penalties))
        for k in range(_PARTS):
            own, other = part != k, part == k
            for index, penalty in enumerate(penalties):
                powers = _penalized_powers(
                    log_ratios[:, own], label[own], log_prior, start, penalty
                )
                product = pool(log_ratios[:, other], powers, log_prior)
                found[index] += product[np.arange(other.sum()), label[other]].sum()
        best = int(found.argmax())
    return _penalized_powers(log_ratios, label, log_prior, start, penalties[best])


def _penalized_powers(
    log_ratios: np.ndarray,
    label: np.ndarray,
    log_prior: np.ndarray,
    start: np.ndarray,
    penalty: float,
) -> np.ndarray:
    """Fit the powers of the product of learners, none negative."""
    of_label = log_ratios[:, np.arange(len(label)), label].sum(1)

    def loss(powers: np.ndarray) -> tuple[float, np.ndarray]:
        product = np.tensordot(powers, log_ratios, 1) + log_prior
        log_sum = special.logsumexp(product, 1)
        share = np.exp(product - log_sum[:, None])
        expected = np.einsum("ebm,bm->e", log_ratios, share)
        away = powers - start
        value = log_sum.sum() - powers @ of_label + penalty * away @ away / 2
        return value, expected - of_label + penalty * away

    bounds = [(0.0, 3.0)] * len(start)
    return optimize.minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x


def _shares(ratios: np.ndarray, start: np.ndarray, evidence: float) -> np.ndarray:
    """Find the shares of learners whose mixture makes rows likeliest, by EM.

    `ratios` are P(y|x) / P(y) of each row's label by each learner, `[E, B]`.
    """
    shares, few_rows = start, _PSEUDO_ROWS * len(start) * start / evidence
    for _ in range(_STEPS):
        part = shares[:, None] * ratios
        part = (part / part.sum(0)).sum(1) + few_rows
        shares = part / part.sum()
    return shares
