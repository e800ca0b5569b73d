"""Cross-fit: deal the folds, train the learners, and score each row by its fold's."""

import dataclasses
import functools
from collections.abc import Iterator

import flax.linen as nn
import jax
import numpy as np
import threadpoolctl

from mi_classifier.cross_fitting import mixture, nets
from mi_classifier.cross_fitting.batches import Task
from mi_classifier.cross_fitting.folds import FOLDS, deal
from mi_classifier.cross_fitting.inputs import Inputs
from mi_classifier.cross_fitting.mixture import Mixture
from mi_classifier.cross_fitting.plan import Plan, default_model, make_plan, outputs_of
from mi_classifier.errors import UserError
from mi_classifier.progress import Progress

LEAST_GROUPS = 2 * FOLDS  # with fewer there is nothing to train on
_SCORED_VALUES = 1 << 22  # of all learners, rows and labels, or inputs, at a time
_GAP_ROWS = 2_000  # of each fold, by which the training gap is measured


@dataclasses.dataclass(frozen=True)
class Scores:
    """What the learners say about rows that they never saw.

    Attributes:
      pmi: log P(y|x) / P(y) of each row and its label, nats `[N]`.
      predicted: index of the most probable label, `[N]`.
      confidence: its probability, `[N]`.
    """

    pmi: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray


def fit(
    inputs: Inputs,
    label: np.ndarray,
    group: np.ndarray,
    model: nn.Module | None,
    plan: Plan | None,
    seed: int,
) -> tuple[Mixture, np.ndarray]:
    """Train learners for each fold; return them, and the fold of each row, `[N]`."""
    num_classes = int(label.max()) + 1
    fold, stops = deal(group, label, np.random.default_rng([seed, 0]))
    groups = int(group.max()) + 1
    plan = plan or make_plan(inputs, num_classes, groups, model is not None)
    outputs = num_classes if model else outputs_of(inputs, num_classes)
    model = model or default_model(inputs, outputs, plan)
    _check_model(model, inputs, outputs, plan)
    evidence = groups / len(label)
    task = Task(inputs, label, fold, stops, num_classes, outputs, evidence)
    total = nets.most_steps(plan)
    with Progress("cross-fitting", total, at_most=True) as progress:
        trained = nets.train(task, model, plan, seed, progress.advance)
        # On small matrices, threads of NumPy's products cost more than they save.
        with threadpoolctl.threadpool_limits(1, "blas"):
            fitted = mixture.fit(task, trained, plan, seed)
        progress.finish()
    return fitted, fold


def score(
    fitted: Mixture, inputs: Inputs, label: np.ndarray, fold: np.ndarray
) -> Scores:
    """Score each row by the learners of its fold."""
    count = len(label)
    scores = Scores(np.zeros(count), np.zeros(count, np.int64), np.zeros(count))
    for k in range(FOLDS):
        for rows in parts_of(np.flatnonzero(fold == k), fitted, inputs):
            ratios = fitted.log_ratios(inputs, rows, k)
            probability = ratios + fitted.log_prior
            best = probability.argmax(1)
            each = np.arange(len(rows))
            scores.pmi[rows] = ratios[each, label[rows]]
            scores.predicted[rows] = best
            scores.confidence[rows] = np.exp(probability[each, best])
    return scores


def probabilities(fitted: Mixture, inputs: Inputs) -> np.ndarray:
    """Compute P(y|x) of rows that no learner saw, by all folds' mean, `[N, M]`."""
    result = np.zeros((len(inputs), len(fitted.log_prior)))
    for rows in parts_of(np.arange(len(inputs)), fitted, inputs):
        for k in range(FOLDS):
            ratios = fitted.log_ratios(inputs, rows, k)
            result[rows] += np.exp(ratios + fitted.log_prior)
    return result / result.sum(1, keepdims=True)


def parts_of(rows: np.ndarray, fitted: Mixture, inputs: Inputs) -> Iterator[np.ndarray]:
    """Yield rows in parts that can be scored at once."""
    values = len(fitted.weights[0].shares) * len(fitted.log_prior)
    size = max(_SCORED_VALUES // max(values, inputs.width), fitted.chunk)
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def training_gap(
    fitted: Mixture, inputs: Inputs, label: np.ndarray, fold: np.ndarray
) -> float:
    """Return by how many nats the nets score rows of other folds better than their own.

    Most rows of other folds have trained them. With more rows, the bound on training
    rows falls and that on other rows rises, until they meet.
    """
    gaps = []
    for k in range(FOLDS):
        means = []
        for mask in (fold != k, fold == k):
            rows = np.flatnonzero(mask)
            rows = rows[:: -(-len(rows) // _GAP_ROWS)]
            best = fitted.of_best_net(inputs, rows, k)
            means.append(best[np.arange(len(rows)), label[rows]].mean())
        gaps.append(means[0] - means[1])
    return float(np.mean(gaps))


def _check_model(
    model: nn.Module, inputs: Inputs, num_outputs: int, plan: Plan
) -> None:
    """Check that a model fits the data, the plan and the contract of `create_model`."""
    init = functools.partial(model.init_with_output, train=False)
    output, variables = jax.eval_shape(init, jax.random.key(0), inputs[np.arange(1)])
    if (shape := output.logits.shape) != (1, num_outputs):
        raise UserError(
            f"model: gives {shape[-1]} logits, but y has {num_outputs} labels"
        )
    if set(variables) != {"params"} or "head" not in variables["params"]:
        raise UserError(
            "model: must have parameters only, the last layer's named 'head'"
        )
    kernel = variables["params"].get("hidden0", {}).get("kernel")
    if plan.lasso and getattr(kernel, "ndim", 0) != 2:
        raise UserError(
            "plan.lasso: the model has no dense layer 'hidden0' that can leave out "
            "inputs; name its first layer so, or set lasso=0"
        )
