"""Estimate how many nats inputs carry about labels, by cross-fitting.

The rows are split into folds, and nets that never saw a fold score it. So every row
counts, and the bound of Eq. 5 holds for every net on the rows that it scores. Each net
stops where it does best on another fold, which it neither trains on nor scores.
"""

import dataclasses
import functools

import flax.linen as nn
import jax
import numpy as np
from jax.typing import ArrayLike
from scipy import stats

from mi_classifier import information
from mi_classifier.cross_fitting import inputs, nets
from mi_classifier.errors import UserError

MIN_ROWS = 50


@dataclasses.dataclass(frozen=True)
class MutualInformation:
    """An estimate of the mutual information between inputs and labels.

    Attributes:
      nats: the cross-fitted lower bound on I(X; Y), Eq. 5.
      bits: the same in bits.
      standard_error: of `nats`.
      confidence_interval: 95%, in nats, of the nets' bound over the whole population.
        As I(X; Y) is never negative, an interval wholly below 0 ends at 0.
      label_entropy: H(Y) in nats, an upper bound on I(X; Y).
      accuracy: share of rows whose label is predicted by the nets that never saw them.
      majority: share of the most frequent label, the accuracy without any input.
      num_examples: number of rows N.
      num_classes: number of different labels M.
      warnings: sentences about what is odd in the data; empty if nothing is.
    """

    nats: float
    bits: float
    standard_error: float
    confidence_interval: tuple[float, float]
    label_entropy: float
    accuracy: float
    majority: float
    num_examples: int
    num_classes: int
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        low, high = self.confidence_interval
        share = f" ({self.nats / self.label_entropy:.1%})" if self.label_entropy else ""
        return (
            f"I(X; Y) ≥ {self.nats:.4f} ± {self.standard_error:.4f} nats "
            f"(95%: {low:.4f} to {high:.4f}), {self.bits:.4f} bits\n"
            f"of a label entropy H(Y) of {self.label_entropy:.4f} nats{share}\n"
            f"accuracy {self.accuracy:.2%} on held-out rows; "
            f"the most frequent label alone {self.majority:.2%}\n"
            f"{self.num_examples:,} rows, {self.num_classes:,} labels"
        ) + "".join(f"\nwarning: {sentence}" for sentence in self.warnings)


@dataclasses.dataclass(frozen=True)
class CrossFit:
    """The nets of a cross-fit, and their scores of the rows that they never saw.

    Attributes:
      pmi: pointwise mutual information of each row and its label, nats `[N]`.
      predictions: the predicted label of each row, `[N]`, among `labels`.
      labels: the M different labels, sorted.
      label: each row's label, as an index into `labels`, int32 `[N]`.
      fold: the fold of each row, `[N]`.
      group: rows with the same number are copies of each other, `[N]`.
      mean_ratio: mean over rows of P(y|x) / P(y) by the nets, `[M]`; 1 if calibrated.
    """

    pmi: np.ndarray
    predictions: np.ndarray
    labels: np.ndarray
    label: np.ndarray
    fold: np.ndarray
    group: np.ndarray
    mean_ratio: np.ndarray
    _inputs: inputs.Inputs
    _nets: nets.Nets | None  # None if there is nothing to learn

    def score(self, x: ArrayLike, y: ArrayLike) -> np.ndarray:
        """Compute the pointwise mutual information of rows that no net has seen.

        Args:
          x: as in `estimate_mutual_information`, `[N', ...]`.
          y: labels `[N']`, each among `labels`.

        Returns:
          float64 `[folds, N']` nats, by the nets of each fold. Its mean over a large
          sample is what `confidence_interval` is an interval for.

        Raises:
          UserError: inputs of another shape or not finite, or an unknown label.
        """
        x, y = inputs.as_arrays(x, y)
        if x.shape[1:] != self._inputs.x.shape[1:]:
            shape = ", ".join(map(str, self._inputs.x.shape[1:]))
            raise UserError(f"x: must be [N, {shape}], as in the fit, not {x.shape}")
        inputs.check_finite(x)
        label = np.searchsorted(self.labels, y).clip(max=len(self.labels) - 1)
        if (unknown := self.labels[label] != y).any():
            raise UserError(f"y: label {y[unknown][0]} is not among those of the fit")
        given = dataclasses.replace(self._inputs, x=x)
        if not self._nets:
            return np.zeros((inputs.FOLDS, len(y)))
        folds = np.repeat(np.arange(inputs.FOLDS)[:, None], len(y), axis=1)
        return np.stack(
            [nets.score(self._nets, given, label, fold)[0] for fold in folds]
        )

    def summary(self) -> MutualInformation:
        """Compute the estimate and its error bar.

        Given the nets, the groups of a fold are independent of each other, so the
        variance is pooled within folds (Bayle et al. 2020, "Cross-validation confidence
        intervals for test error"). The bound uses the label frequencies of the
        sample; the delta method accounts for the error of these frequencies.
        """
        influence = self.pmi - self.mean_ratio[self.label]
        means = np.bincount(self.fold, influence) / np.bincount(self.fold)
        residual = influence - means[self.fold]
        error = information.standard_error(residual, self.group, len(means))
        freedom = self.group.max() + 1 - len(means)
        nats = float(self.pmi.mean())
        margin = float(stats.t.ppf(0.975, freedom)) * error
        log_prior = information.log_label_prior(self.label, len(self.labels))
        return MutualInformation(
            nats=nats,
            bits=nats / information.NATS_PER_BIT,
            standard_error=error,
            confidence_interval=(nats - margin, max(nats + margin, 0.0)),
            label_entropy=float(information.label_entropy(log_prior)),
            accuracy=float((self.predictions == self.labels[self.label]).mean()),
            majority=float(np.exp(log_prior.max())),
            num_examples=len(self.pmi),
            num_classes=len(self.labels),
        )


def estimate_mutual_information(
    x: ArrayLike, y: ArrayLike, *, seed: int = 0, model: nn.Module | None = None
) -> MutualInformation:
    """Estimate how many nats the inputs carry about the labels.

    The estimate is a lower bound in expectation: nets are scored on rows that they
    never saw, by the bound of Eq. 5 with the labels' own frequencies. See `cross_fit`
    for what happens to constant columns, copies of rows and rare labels.

    Args:
      x: inputs, one row an example: numbers `[N]` or `[N, D]`, images `[N, H, W, C]`;
        anything that NumPy reads, a memory map included. N of 50 or more.
      y: labels `[N]`: integers, strings, booleans, or anything that can be sorted.
      seed: decides folds, initial weights and the order of the rows; in [0, 2**32).
      model: a Flax module by the contract of `create_model`, of as many classes as y
        has different labels; by default one that fits the data.

    Returns:
      The estimate. `print` shows it.

    Raises:
      UserError: inputs that are missing, not finite or not numbers; too few rows;
        labels that are continuous. The message says which row.
    """
    return cross_fit(x, y, seed=seed, model=model).summary()


def pointwise_mutual_information_of(
    x: ArrayLike, y: ArrayLike, *, seed: int = 0, model: nn.Module | None = None
) -> np.ndarray:
    """Compute the pointwise mutual information of each row, by nets that never saw it.

    Its mean is `estimate_mutual_information`, whose arguments and errors it shares. If
    a value is far below 0, the inputs contradict the label, which may be wrong.

    Returns:
      float64 `[N]` nats, at most -log P(label).
    """
    return cross_fit(x, y, seed=seed, model=model).pmi


def cross_fit(
    x: ArrayLike,
    y: ArrayLike,
    *,
    seed: int = 0,
    model: nn.Module | None = None,
    plan: nets.Plan | None = None,
) -> CrossFit:
    """Train and score the nets behind `estimate_mutual_information`.

    * Columns are scaled by median and quartiles, and arcsinh shortens long tails. A
      constant column is left out. If no other is left, or if there is a single label,
      the mutual information is 0, exactly.
    * Up to 10 equal rows are taken for copies: they share a fold, and count as one in
      the standard error. More than 10 are a value that x often takes.
    * Labels are spread over the folds. A net that never saw a label says nothing about
      it: its rows count with a pointwise mutual information of 0.
    * Images with sides of 16 to 64 pixels go through a small convolutional net. Other
      inputs are flattened and go through dense layers, which leave out irrelevant
      columns by a group lasso on the first.

    Arguments and errors are those of `estimate_mutual_information`, and `plan` says how
    to train the nets; by default the data decide.
    """
    if not 0 <= seed < 2**32:
        raise UserError(f"seed: must be in [0, 2**32), not {seed}")
    x, y = inputs.as_arrays(x, y)
    labels, label = inputs.encode(y)
    if len(y) < MIN_ROWS:
        raise UserError(f"x: {len(y)} rows are too few; at least {MIN_ROWS} are needed")
    inputs.check_finite(x)
    given, fitted = inputs.make_inputs(x), None
    if len(labels) == 1 or not len(given.columns):
        group, fold = np.arange(len(y)), np.zeros(len(y), np.int64)
        pmi, mean_ratio = np.zeros(len(y)), np.ones(len(labels))
        decided = np.full(len(y), np.bincount(label).argmax())
    else:
        plan = plan or nets.make_plan(given, len(labels), selects=model is None)
        model = model or nets.default_model(given, len(labels))
        _check_model(model, given, len(labels), plan)
        group = inputs.copies(given)
        fold = inputs.deal(group, label, np.random.default_rng([seed, 0]))
        fitted = nets.train(given, label, fold, model, plan, seed)
        pmi, decided, mean_ratio = nets.score(fitted, given, label, fold)
    return CrossFit(
        pmi=pmi,
        predictions=labels[decided],
        labels=labels,
        label=label,
        fold=fold,
        group=group,
        mean_ratio=mean_ratio,
        _inputs=given,
        _nets=fitted,
    )


def _check_model(
    model: nn.Module, given: inputs.Inputs, num_classes: int, plan: nets.Plan
) -> None:
    """Check that a model fits the data, the plan and the contract of `create_model`."""
    init = functools.partial(model.init_with_output, train=False)
    output, variables = jax.eval_shape(init, jax.random.key(0), given[np.arange(1)])
    if (shape := output.logits.shape) != (1, num_classes):
        raise UserError(
            f"model: gives {shape[-1]} logits, but y has {num_classes} labels"
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
