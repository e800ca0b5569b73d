"""Estimate how many nats inputs carry about labels, by cross-fitting.

The rows are split into folds, and learners that never saw a fold score it. So every row
counts, and the bound of Eq. 5 holds for every learner on the rows that it scores. What
a learner is and how learners are mixed is decided on rows that they do not score.
"""

import dataclasses
from typing import Any

import flax.linen as nn
import numpy as np
from jax.typing import ArrayLike

from mi_classifier import information
from mi_classifier.cross_fitting import fitting
from mi_classifier.cross_fitting.checked import check_size, prepare
from mi_classifier.cross_fitting.folds import FOLDS
from mi_classifier.cross_fitting.inputs import Inputs, make_inputs
from mi_classifier.cross_fitting.mixture import Mixture
from mi_classifier.cross_fitting.plan import Plan
from mi_classifier.cross_fitting.summary import MutualInformation, Rated, error_bar
from mi_classifier.data.containers import Rows, as_rows, check_finite
from mi_classifier.data.labels import as_known_labels
from mi_classifier.errors import UserError
from mi_classifier.rules import with_usual_results


@dataclasses.dataclass(frozen=True)
class CrossFit:
    """The learners of a cross-fit, and their scores of the rows that they never saw.

    Attributes:
      pmi: pointwise mutual information of each row and its label, nats `[N]`.
      predictions: the predicted label of each row, `[N]`, among `labels`.
      confidence: the probability of the predicted label, `[N]`.
      labels: the M different labels, sorted.
      label: each row's label, as an index into `labels`, int32 `[N]`.
      fold: the fold of each row, `[N]`.
      group: rows with the same number depend on each other, `[N]` from 0 on.
      rows: the inputs.
      warnings: sentences about what is odd in the data.
    """

    pmi: np.ndarray
    predictions: np.ndarray
    confidence: np.ndarray
    labels: np.ndarray
    label: np.ndarray
    fold: np.ndarray
    group: np.ndarray
    rows: Rows
    warnings: tuple[str, ...]
    training_gap: float
    _missing: str
    _inputs: Inputs
    _mixture: Mixture | None  # None if there is nothing to learn

    @with_usual_results
    def score(self, x: Any, y: ArrayLike) -> np.ndarray:
        """Compute the pointwise mutual information of rows that no learner has seen.

        The label frequencies are those of the rows of the fit and of the given rows
        together. So the mean over a large sample is with the population's frequencies;
        `confidence_interval` is an interval for it.

        Args:
          x: as in `estimate_mutual_information`, `[N', ...]`.
          y: labels `[N']`, each among `labels`.

        Returns:
          float64 `[folds, N']` nats, by the learners of each fold.

        Raises:
          UserError: inputs of another shape or not finite, or an unknown label.
        """
        inputs = self._given(x)
        label = as_known_labels(y, self.labels, inputs.values.shape)
        if not self._mixture:
            return np.zeros((FOLDS, len(label)))
        own, new = (
            np.bincount(a, minlength=len(self.labels)) for a in (self.label, label)
        )
        together = (own + new) / (len(self.label) + len(label))
        shift = np.log(own / own.sum()) - np.log(together)
        folds = [np.full(len(label), k) for k in range(FOLDS)]
        scores = [fitting.score(self._mixture, inputs, label, fold) for fold in folds]
        return np.stack([score.pmi for score in scores]) + shift[label]

    @with_usual_results
    def probabilities(self, x: Any) -> np.ndarray:
        """Compute P(y|x) of rows that no learner has seen, the mean over all folds.

        Args:
          x: as in `estimate_mutual_information`, `[N', ...]`.

        Returns:
          float64 `[N', M]`, in the order of `labels`.

        Raises:
          UserError: inputs of another shape or not finite.
        """
        inputs = self._given(x)
        if not self._mixture:
            prior = np.bincount(self.label, minlength=len(self.labels))
            return np.tile(prior / prior.sum(), (len(inputs), 1))
        return fitting.probabilities(self._mixture, inputs)

    @with_usual_results
    def summary(self) -> MutualInformation:
        """Compute the estimate and its error bar, see `cross_fitting.summary`."""
        log_prior = information.log_label_prior(self.label, len(self.labels))
        nats, error, interval = float(self.pmi.mean()), 0.0, (0.0, 0.0)
        if self._mixture:
            rated = Rated(self.pmi, self.label, self.fold, self.group)
            error, interval = error_bar(rated)
        return MutualInformation(
            nats=nats,
            bits=nats / information.NATS_PER_BIT,
            standard_error=error,
            confidence_interval=interval,
            label_entropy=abs(float(information.label_entropy(log_prior))),
            accuracy=float((self.predictions == self.labels[self.label]).mean()),
            majority=float(np.exp(log_prior.max())),
            num_examples=len(self.pmi),
            num_classes=len(self.labels),
            warnings=self.warnings,
            num_groups=int(self.group.max()) + 1,
            training_gap=self.training_gap,
        )

    def without_rows(self) -> "CrossFit":
        """Return the same learners without the inputs, to be kept for `probabilities`.

        Nearest neighbors still keep the training rows: their numbers, at most six
        columns, as the nets see them. Other learners keep no rows.
        """
        rows = dataclasses.replace(self.rows, values=self.rows.values[:0])
        inputs = dataclasses.replace(self._inputs, values=rows.values)
        return dataclasses.replace(self, rows=rows, _inputs=inputs)

    def _given(self, x: Any) -> Inputs:
        rows = as_rows(x, like=self.rows)
        check_finite(rows, allow_missing=self._missing == "keep")
        return dataclasses.replace(self._inputs, values=rows.values)


def estimate_mutual_information(
    x: Any,
    y: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    missing: str = "error",
    seed: int = 0,
    model: nn.Module | None = None,
) -> MutualInformation:
    """Estimate how many nats the inputs carry about the labels.

    The estimate is a lower bound in expectation: learners are scored on rows they
    never saw, by the bound of Eq. 5 with the labels' own frequencies. See `cross_fit`
    for what happens to categories, constant columns, copies of rows and rare labels.

    Args:
      x: inputs, one row an example: numbers `[N]` or `[N, D]`, images `[N, H, W, C]`, a
        DataFrame of numbers, booleans, words and categories, a sparse matrix; anything
        that NumPy reads, a memory map included. N of 50 or more.
      y: labels `[N]`: integers, strings, booleans, or anything that can be sorted.
      groups: `[N]`, such as subjects, sites or blocks of a series. The rows of a group
        may depend on each other: they share a fold, and count as one draw in the
        standard error. By default rows are independent, but copies are found.
      missing: "error", or "keep" to keep missing values of x as information.
      seed: decides folds, initial weights and the order of the rows; in [0, 2**32).
      model: a Flax module by the contract of `create_model`, of as many classes as y
        has different labels; by default nets and other learners that fit the data.

    Returns:
      The estimate. `print` shows it.

    Raises:
      UserError: values that are missing or infinite; columns that are neither numbers
        nor categories; too few rows; labels that are continuous. The message says
        where.

    Examples:
      >>> generator = np.random.default_rng(0)
      >>> y = generator.integers(0, 2, 200)
      >>> found = estimate_mutual_information(y + 0.1 * generator.random(200), y)
      >>> found.nats > 0.6
      True
    """
    check_size(y)
    return cross_fit(
        x, y, groups=groups, missing=missing, seed=seed, model=model
    ).summary()


def pointwise_mutual_information_of(
    x: Any,
    y: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    missing: str = "error",
    seed: int = 0,
    model: nn.Module | None = None,
) -> np.ndarray:
    """Compute each row's pointwise mutual information, by learners that never saw it.

    Its mean is `estimate_mutual_information`, whose arguments and errors it shares. If
    a value is far below 0, the inputs contradict the label, which may be wrong.

    Returns:
      float64 `[N]` nats, at most -log P(label).

    Examples:
      >>> x = np.random.default_rng(0).standard_normal((200, 2))
      >>> y = x[:, 0] > 0
      >>> y[0] = not y[0]  # a wrong label
      >>> int(pointwise_mutual_information_of(x, y).argmin())
      0
    """
    check_size(y)
    return cross_fit(x, y, groups=groups, missing=missing, seed=seed, model=model).pmi


@with_usual_results
def cross_fit(
    x: Any,
    y: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    missing: str = "error",
    seed: int = 0,
    model: nn.Module | None = None,
    plan: Plan | None = None,
) -> CrossFit:
    """Train and score the learners behind `estimate_mutual_information`.

    * Columns of numbers are scaled by median and quartiles, and arcsinh shortens long
      tails. A constant column is left out. If no other is left, or if there is a single
      label, the mutual information is 0, exactly.
    * Words and categories are 0/1 inputs. Whole numbers of few different values are
      seen both as numbers and as categories.
    * With `missing="keep"`, the median stands for a missing number, and a 0/1 input
      says that it is missing.
    * Without `groups`, equal rows that could hardly be equal by chance are copies: they
      share a fold, and count as one in the standard error. Copies, rows that depend on
      the rows before them, and columns that count the rows are warned of.
    * Labels are spread over the folds. If no net of a fold trained on a label, its rows
      in that fold count with a pointwise mutual information of 0.
    * In tables that are not too large, logistic regression and linear discriminant
      analysis join the nets, because a few rows of a label are enough for them. Where
      there are 1,000 independent rows or more, and one to six columns are numbers, nets
      with Fourier features, nearest neighbors and random forests join, too. With
      `model`, nets of this module are the only learners.
    * The weights of a fold's learners come from stopping rows: its nets do not train on
      them, and its learners do not score them.
    * Images go through a small convolutional net; sides above 64 pixels are averaged
      over blocks. Other inputs go through dense layers, which leave out irrelevant
      columns by a group lasso on the first.
    * With fewer than ten groups of rows nothing is trained, and the estimate is 0.

    Arguments and errors are those of `estimate_mutual_information`, but N may be
    smaller; `plan` says how to train the nets; by default the data decide.

    Examples:
      >>> x = np.random.default_rng(0).standard_normal((200, 2))
      >>> fit = cross_fit(x, x[:, 0] > 0)
      >>> fit.pmi.shape, 0.3 < fit.summary().nats < float(np.log(2))
      ((200,), True)
      >>> fit.probabilities(np.array([[3.0, 0.0]])).argmax(1)  # of new rows
      array([1])
    """
    if model is not None and not isinstance(model, nn.Module):
        raise UserError(
            f"model: must be a Flax module, such as mi.create_model('mlp', 3), not "
            f"{model!r}"
        )
    if plan is not None and not isinstance(plan, Plan):
        raise UserError(f"plan: must be a Plan or None, not {plan!r}")
    table = prepare(x, y, groups=groups, missing=missing, seed=seed)
    rows, label, group, warnings = table.rows, table.label, table.group, table.warnings
    labels = table.labels
    given, fitted, gap = make_inputs(rows), None, 0.0
    given = given if model else given.padded()
    fold = np.zeros(len(label), np.int64)
    counts = np.bincount(label)
    scores = fitting.Scores(
        pmi=np.zeros(len(label)),
        predicted=np.full(len(label), counts.argmax()),
        confidence=np.full(len(label), counts.max() / len(label)),
    )
    if len(labels) > 1 and given.varies:
        if group.max() + 1 < fitting.LEAST_GROUPS:
            few = f"{group.max() + 1} independent rows or groups are too few to learn"
            warnings = (*warnings, f"{few}, so the estimate is 0")
        else:
            fitted, fold = fitting.fit(given, label, group, model, plan, int(seed))
            scores = fitting.score(fitted, given, label, fold)
            gap = fitting.training_gap(fitted, given, label, fold)
    return CrossFit(
        pmi=scores.pmi,
        predictions=labels[scores.predicted],
        confidence=scores.confidence,
        labels=labels,
        label=label,
        fold=fold,
        group=group,
        rows=rows,
        warnings=warnings,
        training_gap=gap,
        _missing=missing,
        _inputs=given,
        _mixture=fitted,
    )
