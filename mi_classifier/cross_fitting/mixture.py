"""Mix the learners of a fold, by how well each one does on the stopping rows."""

import dataclasses

import jax
import numpy as np

from mi_classifier.cross_fitting import local, nets
from mi_classifier.cross_fitting.folds import FOLDS
from mi_classifier.cross_fitting.inputs import Inputs
from mi_classifier.cross_fitting.nets import Nets, Task
from mi_classifier.cross_fitting.plan import Plan

_STEPS = 50  # of the EM algorithm
_PSEUDO_ROWS = 0.5  # of each learner, so that none has a weight of 0 by chance


@dataclasses.dataclass(frozen=True)
class Mixture:
    """The learners of every fold and their weights.

    Attributes:
      nets: those of all folds.
      local: of each fold, or None.
      weights: of each fold's nets, then its local learners, `[folds, learners]`.
      log_prior: log P(y) of all rows, `[M]`.
      chunk: rows that are scored at once.
    """

    nets: Nets
    local: tuple[local.Local, ...]
    weights: np.ndarray
    log_prior: np.ndarray
    chunk: int

    def log_ratios(self, inputs: Inputs, rows: np.ndarray, fold: int) -> np.ndarray:
        """Compute log P(y|x) / P(y) of at most `chunk` rows by a fold, `[B, M]`."""
        mixed = np.tensordot(self.weights[fold], self._ratios(inputs, rows, fold), 1)
        return np.log(mixed)

    def _ratios(self, inputs: Inputs, rows: np.ndarray, fold: int) -> np.ndarray:
        """Compute P(y|x) / P(y) by each learner of a fold, float64 `[E, B, M]`."""
        own = jax.tree.map(lambda a: a.reshape(FOLDS, -1, *a.shape[1:])[fold], self.nets)
        padded = np.resize(rows, min(self.chunk, nets.power_of_two(len(rows))))
        parts = [np.exp(np.asarray(nets.log_ratios(own, inputs[padded]), np.float64))]
        parts[0] = parts[0][:, : len(rows)]
        if self.local:
            doubt = np.exp(float(self.nets.log_doubt[0]))
            ratio = self.local[fold].probabilities(inputs, rows) / np.exp(self.log_prior)
            parts.append((1 - doubt) * ratio + doubt)
        return np.concatenate(parts)


def fit(task: Task, trained: Nets, plan: Plan, seed: int) -> Mixture:
    """Fit the local learners, and weigh all learners on the stopping rows."""
    locals_: list[local.Local] = []
    learners = len(trained.fold) // FOLDS
    counts = np.bincount(task.label, minlength=task.num_classes)
    mixture = Mixture(
        nets=trained,
        local=(),
        weights=np.full((FOLDS, learners), 1 / learners),
        log_prior=np.log(counts / counts.sum()),
        chunk=plan.chunk,
    )
    others = [np.flatnonzero(task.fold != k) for k in range(FOLDS)]
    if plan.local:
        locals_ = [
            local.fit(task, rows[~task.stops[rows]], seed) for rows in others
        ]
        mixture = dataclasses.replace(mixture, local=tuple(locals_))
    weights = []
    for k, rows in enumerate(others):
        stopping = rows[task.stops[rows]][: plan.stopping_rows]
        parts = [
            mixture._ratios(task.inputs, part, k)[:, np.arange(len(part)), task.label[part]]
            for part in np.split(stopping, range(plan.chunk, len(stopping), plan.chunk))
        ]
        weights.append(weigh(np.concatenate(parts, 1)))
    return dataclasses.replace(mixture, weights=np.stack(weights))


def weigh(ratios: np.ndarray) -> np.ndarray:
    """Find the weights of the mixture that makes rows likeliest, by EM.

    Args:
      ratios: P(y|x) / P(y) of each row's label by each learner, `[E, B]`.

    Returns:
      `[E]`, positive, with sum 1.
    """
    weights = np.full(len(ratios), 1 / len(ratios))
    for _ in range(_STEPS):
        share = weights[:, None] * ratios
        share = (share / share.sum(0)).sum(1) + _PSEUDO_ROWS
        weights = share / share.sum()
    return weights
