"""What leaving a column out costs: the same nets, trained on for a while without it.

A mask sets the inputs of a column to 0, which is their mean. All nets start from those
that saw every column, and see the same batches. Some go on with every column, and the
others are compared with them. Nothing is lost with a column that the nets ignore.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from mi_classifier.cross_fitting import alone, nets
from mi_classifier.cross_fitting.batches import Task
from mi_classifier.cross_fitting.folds import FOLDS
from mi_classifier.cross_fitting.mixture import pool, weigh
from mi_classifier.cross_fitting.nets import Nets
from mi_classifier.cross_fitting.plan import Plan
from mi_classifier.cross_fitting.summary import Rated
from mi_classifier.models import ModelOutput

AT_ONCE = 16  # nets of each fold that are trained together
_ROUNDS = 8  # of training without a column; with more, results stay the same
_FINE_ROUNDS = 20  # if nets have Fourier features, which change with a column
_PARTS = 5  # of the steps of a fit, one trains without a column
_SCORED_VALUES = 1 << 22  # nets times rows times labels at a time
_MOST_HELPERS = 6
_POWER = 0.5  # of a helper, when it is tried
_LEAST_GAIN = 0.002  # nats, of a helper


@dataclasses.dataclass(frozen=True)
class Masked:
    """A net that sees some of its inputs: those where the parameter "mask" is 1."""

    net: nn.Module

    def apply(self, variables: Any, x: jax.Array, **options: Any) -> ModelOutput:
        """Map inputs `[B, width + padding]` to logits."""
        params = dict(variables["params"])
        seen = params.pop("mask") > 0  # has no gradient, so that it never changes
        return self.net.apply({"params": params}, x * seen, **options)


def short_plan(plan: Plan, num_classes: int) -> Plan:
    """Return how to train for a while from where `plan` has ended."""
    rounds = max(_FINE_ROUNDS if plan.scales else _ROUNDS, plan.num_blocks)
    whole = plan.rounds * plan.steps
    steps = plan.steps if plan.scales else max(whole // _PARTS // rounds, 1)
    chunk = int(np.clip((1 << 16) // num_classes, 16, 128))
    return dataclasses.replace(plan, rounds=rounds, steps=steps, chunk=chunk)


def best_of_each_fold(trained: Nets) -> Nets:
    """Return the net of each fold that does best on its stopping rows."""
    best = np.asarray(trained.bound).reshape(FOLDS, -1).argmax(1)
    chosen = best + np.arange(FOLDS) * (len(trained.bound) // FOLDS)
    return nets.of(trained, chosen)


def seen_columns(base: Nets, task: Task) -> np.ndarray:
    """Return the columns that any net sees: the others have no weight left."""
    kernel = np.asarray(base.params["hidden0"]["kernel"])
    width, origin = task.inputs.width, task.inputs.origin
    seen = (kernel[:, :width] != 0).any((0, 2))
    if "fourier" in base.params:
        seen[: len(task.inputs.numbers)] = True
    return np.unique(origin[seen])


@dataclasses.dataclass(frozen=True)
class Helpers:
    """Columns whose own learners know what the nets do not, such as a wave."""

    columns: tuple[tuple[int, alone.Column], ...] = ()
    gains: tuple[float, ...] = ()

    def tried(
        self, index: int, column: alone.Column, base: list[np.ndarray]
    ) -> "Helpers":
        """Return these helpers and a column, if it tells more than most of them.

        Args:
          index: of the column.
          column: its own learners.
          base: log P(y|x) / P(y) by the nets, of each fold's stopping rows.
        """
        gain = []
        for fold, ratios in enumerate(base):
            rows = column.split.stopping(fold)
            own = column.log_ratios(fold, rows, scored=False)
            both = np.stack([ratios, own])
            product = pool(both, np.array([1, _POWER]), column.split.log_prior)
            difference = product - ratios
            gain.append(difference[np.arange(len(rows)), column.split.label[rows]])
        gain = np.concatenate(gain)
        # Each stopping row is here for four folds.
        error = 2 * gain.std() / np.sqrt(len(gain) * column.split.evidence)
        if gain.mean() < max(2 * error, _LEAST_GAIN):
            return self
        every = sorted(
            [
                *zip(self.gains, self.columns, strict=True),
                (gain.mean(), (index, column)),
            ],
            key=lambda one: -one[0],
        )[:_MOST_HELPERS]
        return Helpers(tuple(c for _, c in every), tuple(g for g, _ in every))


def ratios_of(trained: Nets, task: Task, rows: np.ndarray, chunk: int) -> np.ndarray:
    """Compute log P(y|x) / P(y) of rows by every net, float64 `[nets, B, M]`."""
    parts = []
    for start in range(0, len(rows), chunk):
        part = rows[start : start + chunk]
        found = nets.log_ratios(trained, task.inputs[np.resize(part, chunk)])
        found = np.asarray(found, np.float64)
        parts.append(found[:, : len(part), : task.num_classes])
    return np.concatenate(parts, 1)


@dataclasses.dataclass(frozen=True)
class _Learners:
    """The nets of a fold, one for each column that is left out, and their helpers."""

    nets: Nets
    task: Task
    left_out: np.ndarray
    helpers: Helpers
    fold: int
    chunk: int

    def ratios(self, rows: np.ndarray, scored: bool) -> list[np.ndarray]:
        """Compute log P(y|x) / P(y) by a net and its helpers, of each column left out.

        Returns:
          For each column `[E, B, M]`; a column does not help where it is left out.
        """
        of_nets = ratios_of(self.nets, self.task, rows, self.chunk)
        of_helpers = [
            (index, column.log_ratios(self.fold, rows, scored))
            for index, column in self.helpers.columns
        ]
        return [
            np.stack([own, *(r for helper, r in of_helpers if helper != index)])
            for index, own in zip(self.left_out, of_nets, strict=True)
        ]


@dataclasses.dataclass(frozen=True)
class Scorer:
    """Scores every row without a column; `plan` says how to train without it."""

    task: Task
    split: alone.Split
    helpers: Helpers
    plan: Plan
    seed: int

    def scores(
        self,
        base: Nets,
        left_out: np.ndarray,
        advance: Callable[[float], None] | None,
    ) -> np.ndarray:
        """Train nets without each of some columns, and score the rows.

        Args:
          base: a net of each fold, which saw every column.
          left_out: the columns; -1 leaves out none.
          advance: is told of each net's steps; None if nets are not to train on.

        Returns:
          log P(y|x) / P(y) of each row and its label, `[columns, N]` nats.
        """
        masks = self.task.inputs.origin != left_out[:, None]
        masks = np.pad(masks, [(0, 0), (0, self.task.inputs.padding)])
        count = len(masks)
        every = jax.tree.map(lambda a: np.concatenate([a] * count), base)
        mask = np.repeat(masks, FOLDS, 0).astype(np.float32)
        start = every.replace(
            model=Masked(base.model),
            params={**every.params, "mask": mask},
            bound=np.full(count * FOLDS, -np.inf, np.float32),
        )
        tuned = start
        if advance is not None:
            tuned = nets.tune(self.task, start, self.plan, self.seed, advance)
        tuned = jax.device_get(tuned)
        pmi = np.zeros((count, len(self.task.label)))
        for fold in range(FOLDS):
            own = nets.of(tuned, slice(fold, None, FOLDS))
            chunk = self.plan.chunk
            learners = _Learners(own, self.task, left_out, self.helpers, fold, chunk)
            rows = np.flatnonzero(self.task.fold == fold)
            pmi[:, rows] = self._of_fold(learners, rows)
        return pmi

    def rated(self, pmi: np.ndarray, group: np.ndarray) -> Rated:
        """Return rows and their scores, for an error bar."""
        return Rated(pmi, self.split.label, self.split.fold, group)

    def _of_fold(self, learners: _Learners, rows: np.ndarray) -> np.ndarray:
        """Mix the learners of a fold, and score its rows, `[columns, B]`."""
        label, log_prior = self.split.label, self.split.log_prior
        stopping = self.split.stopping(learners.fold)
        weights = [
            weigh(ratios, label[stopping], log_prior, self.split.evidence)
            for ratios in learners.ratios(stopping, scored=False)
        ]
        parts = []
        size = max(_SCORED_VALUES // (len(weights) * len(log_prior)), learners.chunk)
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            mixed = [
                weight.mix(ratios, log_prior)[np.arange(len(part)), label[part]]
                for weight, ratios in zip(
                    weights, learners.ratios(part, scored=True), strict=True
                )
            ]
            parts.append(np.stack(mixed))
        return np.concatenate(parts, 1)
