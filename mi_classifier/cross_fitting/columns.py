"""Ask each column what it says alone, and what is lost without it."""

import dataclasses
from collections.abc import Callable

import numpy as np
import scipy.sparse
import threadpoolctl

from mi_classifier.cross_fitting import alone, dependence, left_out, nets
from mi_classifier.cross_fitting.batches import Task
from mi_classifier.cross_fitting.fitting import LEAST_GROUPS
from mi_classifier.cross_fitting.folds import FOLDS, deal
from mi_classifier.cross_fitting.inputs import Inputs, make_inputs
from mi_classifier.cross_fitting.left_out import Helpers, Scorer
from mi_classifier.cross_fitting.nets import Nets
from mi_classifier.cross_fitting.plan import Plan, default_model, make_plan, outputs_of
from mi_classifier.cross_fitting.summary import (
    Rated,
    error_bar,
    error_bar_of_difference,
)
from mi_classifier.data.containers import Rows
from mi_classifier.progress import Progress

MOST_LEFT_OUT = 500  # columns that nets see; in a wider table, no net is trained
_MOST_TRAINED = 63  # columns without which nets train on: those that they miss most
_STEPS_OF_COLUMN = 2_000  # of a net, take as long as the learners of a column


@dataclasses.dataclass(frozen=True)
class Question:
    """A table, and how its rows depend on each other.

    Attributes:
      rows: the inputs, `[N, D]`.
      label: integers in [0, M), `[N]`.
      group: rows of the same number depend on each other, `[N]` from 0 on.
      find_copies: whether to look for copies in each column, because nobody has said
        which rows depend on each other.
      seed: decides folds, initial weights and the order of the rows.
    """

    rows: Rows
    label: np.ndarray
    group: np.ndarray
    find_copies: bool
    seed: int

    @property
    def num_columns(self) -> int:
        """D."""
        return self.rows.values.shape[1]

    @property
    def num_classes(self) -> int:
        """M."""
        return int(self.label.max()) + 1

    def plan(self, inputs: Inputs) -> Plan:
        """Return how to train nets on every column."""
        return make_plan(inputs, self.num_classes, int(self.group.max()) + 1)

    def split(self, group: np.ndarray) -> alone.Split:
        """Deal the rows, as `fitting.fit` does."""
        generator = np.random.default_rng([self.seed, 0])
        fold, stops = deal(group, self.label, generator)
        counts = np.bincount(self.label)
        log_prior = np.log(counts / counts.sum())
        evidence = (int(group.max()) + 1) / len(group)
        return alone.Split(self.label, fold, stops, log_prior, evidence)


@dataclasses.dataclass(frozen=True)
class Answer:
    """What columns say.

    Attributes:
      alone: nats and their standard errors, `[2, D]`.
      lost: the same of what leaving a column out costs.
      freedom: degrees of freedom of the errors of `alone`, `[D]`.
      warnings: sentences about what is odd.
    """

    alone: np.ndarray
    lost: np.ndarray
    freedom: np.ndarray
    warnings: tuple[str, ...] = ()


def ask(question: Question, without: bool = True) -> Answer:
    """Ask each column; `without` says whether also to leave out each column."""
    nothing, groups = np.zeros((2, question.num_columns)), int(question.group.max()) + 1
    unasked = Answer(nothing, nothing, np.full(question.num_columns, groups - FOLDS))
    if question.label.max() == 0:
        return unasked
    if groups < LEAST_GROUPS:
        few = f"{groups} independent rows or groups are too few to learn"
        return dataclasses.replace(
            unasked, warnings=(f"{few}, so all estimates are 0",)
        )
    inputs = make_inputs(question.rows).padded() if without else None
    if without and len(np.unique(inputs.origin)) > MOST_LEFT_OUT:
        answer = ask(question, without=False)
        told = f"more than {MOST_LEFT_OUT} columns: what is lost was not measured"
        warnings = (told, *answer.warnings)
        unknown = np.full_like(nothing, np.nan)
        return dataclasses.replace(answer, lost=unknown, warnings=warnings)
    without = without and inputs.varies
    total = question.num_columns * _STEPS_OF_COLUMN
    total += _most_steps(inputs, question) if without else 0
    with (
        Progress("ranking columns", total, at_most=True) as progress,
        # More threads would wait for each other in small products of matrices.
        threadpoolctl.threadpool_limits(1, "blas"),
    ):
        asked = _Asked(question, inputs, progress.advance)
        answer = asked.both() if without else asked.alone([])[0]
        progress.finish()
    return answer


def _most_steps(inputs: Inputs, question: Question) -> int:
    plan = question.plan(inputs)
    short = left_out.short_plan(plan, question.num_classes)
    columns = min(len(np.unique(inputs.origin)), _MOST_TRAINED) + left_out.AT_ONCE
    return nets.most_steps(plan) + FOLDS * short.rounds * short.steps * columns


@dataclasses.dataclass(frozen=True)
class _Asked:
    question: Question
    inputs: Inputs | None
    advance: Callable[[float], None]

    def both(self) -> Answer:
        """Train nets on every column, ask each alone, and train without each."""
        question, inputs = self.question, self.inputs
        split, num_classes = question.split(question.group), question.num_classes
        plan = question.plan(inputs)
        outputs = outputs_of(inputs, num_classes)
        model = default_model(inputs, outputs, plan)
        roles = (split.label, split.fold, split.stops)
        task = Task(inputs, *roles, num_classes, outputs, split.evidence)
        trained = nets.train(task, model, plan, question.seed, self.advance)
        base = left_out.best_of_each_fold(trained)
        short = left_out.short_plan(plan, num_classes)
        of_stopping = [
            left_out.ratios_of(_one(base, k), task, split.stopping(k), short.chunk)[0]
            for k in range(FOLDS)
        ]
        answer, helpers = self.alone(of_stopping)
        helping = [index for index, _ in helpers.columns]
        asked = np.union1d(left_out.seen_columns(base, task), helping).astype(int)
        scorer = left_out.Scorer(task, split, helpers, short, question.seed)
        lost = np.zeros_like(answer.lost)
        if len(asked) > _MOST_TRAINED:
            self._leave_out(asked, scorer, base, lost, train=False)
            asked = asked[np.argsort(-lost[0, asked])[:_MOST_TRAINED]]
        self._leave_out(asked, scorer, base, lost, train=True)
        return dataclasses.replace(answer, lost=lost)

    def _leave_out(
        self,
        asked: np.ndarray,
        scorer: Scorer,
        base: Nets,
        lost: np.ndarray,
        train: bool,
    ) -> None:
        """Write into `lost` what is lost without each of the columns `asked`."""
        chunks = -(-(len(asked) + 1) // left_out.AT_ONCE)
        size = -(-(len(asked) + 1) // chunks)
        padded = np.resize(np.r_[-1, asked], chunks * size)
        whole = None
        for chunk in padded.reshape(chunks, size):
            pmi = scorer.scores(base, chunk, self.advance if train else None)
            whole = pmi[0] if whole is None else whole
            for index, own in zip(chunk, pmi, strict=True):
                if index >= 0:
                    rated = scorer.rated(whole - own, self.question.group)
                    lost[:, index] = rated.pmi.mean(), error_bar_of_difference(rated)[0]

    def alone(self, of_stopping: list[np.ndarray]) -> tuple[Answer, Helpers]:
        """Ask each column alone, and find those that help the nets.

        Args:
          of_stopping: log P(y|x) / P(y) by the nets, of each fold's stopping rows; or
            empty.

        Returns:
          The answer, which says that nothing is lost, and the helpers.
        """
        question = self.question
        found, helpers, warnings = np.zeros((2, question.num_columns)), Helpers(), []
        freedom = np.full(question.num_columns, int(question.group.max()) + 1 - FOLDS)
        values = question.rows.values
        values = values.tocsc() if scipy.sparse.issparse(values) else values
        split = question.split(question.group)
        for index in range(question.num_columns):
            self.advance(_STEPS_OF_COLUMN)
            x, category = values[:, [index]], index in question.rows.levels
            x = x.toarray() if scipy.sparse.issparse(x) else np.asarray(x)
            x = x[:, 0].astype(np.float64)
            if len(np.unique(x)) < 2:
                continue
            group, own_split = question.group, split
            if question.find_copies and not category:
                copies = dependence.find_groups(Rows(x[:, None]))
                if copies.warning:
                    group, own_split = copies.group, question.split(copies.group)
                    warnings.append(f"{question.rows.column(index)}: {copies.warning}")
            freedom[index] = max(int(group.max()) + 1 - FOLDS, 1)
            if group.max() + 1 < LEAST_GROUPS:
                continue
            column = alone.fit(x, category, own_split)
            rated = Rated(column.pmi(), own_split.label, own_split.fold, group)
            found[:, index] = rated.pmi.mean(), error_bar(rated)[0]
            if of_stopping and own_split is split:
                helpers = helpers.tried(index, column, of_stopping)
        answer = Answer(found, np.zeros_like(found), freedom, tuple(warnings))
        return answer, helpers


def _one(base: Nets, fold: int) -> Nets:
    return nets.of(base, slice(fold, fold + 1))
