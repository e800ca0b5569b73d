"""The estimate: a mean over rows, its error bar, and how both are told."""

import dataclasses
import html

import numpy as np
from scipy import stats

from mi_classifier import information

_LARGE_GAP = 0.02  # nats between training and other rows that are worth a sentence


@dataclasses.dataclass(frozen=True)
class MutualInformation:
    """An estimate of the mutual information between inputs and labels.

    Attributes:
      nats: the cross-fitted lower bound on I(X; Y), Eq. 5.
      bits: the same in bits.
      standard_error: of `nats`.
      confidence_interval: 95%, in nats, of the bound that the same learners reach on
        the whole population, with the population's label frequencies. As I(X; Y) is
        never negative, an interval wholly below 0 ends at 0.
      label_entropy: H(Y) in nats, an upper bound on I(X; Y).
      accuracy: share of rows whose label is predicted by learners that never saw them.
      majority: share of the most frequent label, the accuracy without any input.
      num_examples: number of rows N.
      num_classes: number of different labels M.
      warnings: sentences about what is odd in the data; empty if nothing is.
      num_groups: number of groups that are independent of each other; N if all rows
        are.
      training_gap: by how many nats the best net of each fold scores its training rows
        better than others. If it is large, more rows would raise the bound.
      conditional: whether `nats` is I(X, Z; Y) - I(Z; Y) instead, which is I(X; Y | Z).
        A difference of two lower bounds is not itself a bound.
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
    num_groups: int = 0
    training_gap: float = 0.0
    conditional: bool = False

    def __str__(self) -> str:
        low, high = self.confidence_interval
        share = f" ({self.nats / self.label_entropy:.1%})" if self.label_entropy else ""
        within = f"95%: {low:.4f} to {high:.4f}"
        what, shown, sign, bound = "I(X; Y)", "I(X; Y)", "≥", "the bound"
        target = "the interval is for the bound that these learners reach on new rows"
        if self.conditional:
            what, shown, sign = "I(X, Z; Y)", "I(X; Y | Z)", "≈"
            bound = "the difference"
            target = (
                "this is I(X, Z; Y) - I(Z; Y), a difference of two lower bounds, so it "
                "is not itself a bound\nthe interval is for the difference of the "
                "bounds that these learners reach on new rows"
            )
        found = self.nats >= 5e-5  # less is printed as 0
        if found:
            head = (
                f"{shown} {sign} {self.nats:.4f} ± {self.standard_error:.4f} nats "
                f"({within}), {self.bits:.4f} bits\n"
                f"of a label entropy H(Y) of {self.label_entropy:.4f} nats{share}"
            )
        else:
            head = (
                f"no information found: {bound} is {self.nats:.4f} ± "
                f"{self.standard_error:.4f} nats ({within})\n"
                f"the label entropy H(Y) is {self.label_entropy:.4f} nats"
            )
        groups, more = "", "rows"
        if 0 < self.num_groups < self.num_examples:
            groups, more = f" in {self.num_groups:,} groups", "groups"
        labels = f"{self.num_classes:,} label" + "s" * (self.num_classes != 1)
        lines = [
            head,
            f"accuracy {self.accuracy:.2%} on held-out rows; the most frequent label "
            + f"alone {self.majority:.2%}",
            f"{self.num_examples:,} rows{groups}, {labels}",
            target,
        ]
        if found and self.training_gap > max(_LARGE_GAP, 2 * self.standard_error):
            lines.append(
                f"{what} is likely higher: the nets score their training rows "
                f"{self.training_gap:.2f} nats better, so more {more} would help"
            )
        lines += [f"warning: {sentence}" for sentence in self.warnings]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"


@dataclasses.dataclass(frozen=True)
class Rated:
    """Rows that learners have scored without having seen them.

    Attributes:
      pmi: log P(y|x) / P(y) of each row and its label, nats `[N]`.
      label: integers in [0, M), `[N]`.
      fold: the fold of each row, `[N]`.
      group: rows of one group depend on each other, integers from 0 on, `[N]`.
    """

    pmi: np.ndarray
    label: np.ndarray
    fold: np.ndarray
    group: np.ndarray


def error_bar(rated: Rated) -> tuple[float, tuple[float, float]]:
    """Compute the standard error of the mean PMI, and a 95% interval, in nats.

    The interval is for E[log P(y|x) - log P(y)] over the population, P(y|x) by the nets
    and P(y) the population's. The mean PMI estimates it with the sample's frequencies.

    * Given the nets, the groups of a fold are independent of each other, so the
      variance is pooled within folds (Bayle et al. 2020, "Cross-validation confidence
      intervals for test error").
    * The sample's frequencies stand for the population's twice. In H(Y) they make the
      mean too low, by a chi-squared variable of M - 1 degrees of freedom over 2N
      (Miller 1955, "Note on the bias of information estimates"). In P(y|x) they make it
      too high, by up to twice that where the inputs say nothing, because every fold has
      the same frequencies. Its share is about 1 - I / H. The mean of both moves the
      interval, though `nats` stays in, and their variance widens it.
    * If few rows of a rare label say most, chance may have left out the most telling
      one. So the upper half of the interval is as wide as if there were one more row of
      the rarest label, with the greatest PMI that it can have.
    """
    folds = len(np.unique(rated.fold))
    means = np.bincount(rated.fold, rated.pmi) / np.bincount(rated.fold).clip(1)
    residual = rated.pmi - means[rated.fold]
    groups = int(rated.group.max()) + 1
    first = information.standard_error(residual, rated.group, folds)
    counts = np.bincount(rated.label)
    freedom = np.count_nonzero(counts) - 1
    log_prior = information.log_label_prior(rated.label, len(counts))
    nats = float(rated.pmi.mean())
    unknown = 1 - nats / max(float(information.label_entropy(log_prior)), 1e-12)
    unknown = min(max(unknown, 0.0), 1.0)
    variance = freedom / (2 * groups**2)
    # The PMIs vary with the frequencies in H(Y), so `first` has part of this already.
    squared = first**2 + (0.5 + 4.5 * unknown) * variance
    # Twice the variance, because a chi-squared variable has a long tail.
    error = float(np.sqrt(max(squared, 2 * variance)))
    center = nats + (1 - 2 * unknown) * freedom / (2 * groups)
    quantile = float(stats.t.ppf(0.975, groups - folds))
    one_more = (-float(log_prior[counts > 0].min()) - nats) / groups
    low = min(nats, center - quantile * error)
    high = center + quantile * float(np.hypot(error, one_more))
    high = min(max(nats, high), float(np.log(freedom + 1)))
    return error, (low, max(high, nats, 0.0))


def error_bar_of_difference(rated: Rated) -> tuple[float, tuple[float, float]]:
    """Compute what `error_bar` does for a mean difference of PMIs, `rated.pmi`.

    Both have the same label frequencies, whose error cancels.
    """
    means = np.bincount(rated.fold, rated.pmi) / np.bincount(rated.fold).clip(1)
    folds, groups = len(np.unique(rated.fold)), int(rated.group.max()) + 1
    residual = rated.pmi - means[rated.fold]
    error = information.standard_error(residual, rated.group, folds)
    margin = float(stats.t.ppf(0.975, groups - folds)) * error
    nats = float(rated.pmi.mean())
    return error, (nats - margin, max(nats + margin, 0.0))
