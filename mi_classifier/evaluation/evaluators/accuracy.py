"""How often the net decides correctly, by both decision rules (Tables 3 and 5)."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mi_classifier import information
from mi_classifier.data import Split
from mi_classifier.evaluation.evaluators.base import (
    RULES,
    Evaluator,
    Inference,
    Measurements,
    Priors,
    Subject,
)
from mi_classifier.evaluation.results import ClassColumn, Result, Row
from mi_classifier.losses import Loss


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """Shares of correct decisions, all in [0, 1].

    With several labels an example, there is a decision for each label. Then `exact`,
    `recall` and `specificity` are known, too.

    Attributes:
      micro: the share of all decisions that are correct.
      macro: the mean recall of the classes; with several labels, the mean of recall and
        specificity over the labels.
      per_class: recall of each class, NaN for a class without examples; with several
        labels, the share of examples whose decision for the label is correct; `[M]`.
      exact: the share of examples whose labels are all correct.
      recall: for each label, the share of correct decisions among the examples that
        have it, `[M]`.
      specificity: the same among the other examples, `[M]`.
    """

    micro: float
    macro: float
    per_class: np.ndarray
    exact: float | None = None
    recall: np.ndarray | None = None
    specificity: np.ndarray | None = None

    @property
    def shares(self) -> tuple[float, float]:
        """Micro and macro accuracy."""
        return self.micro, self.macro


@dataclasses.dataclass(frozen=True)
class AccuracyResult(Result):
    """Accuracies by decision rule.

    Attributes:
      prior: accuracy of the rule that makes the fewest errors, argmax n + log P.
      balanced: accuracy of the rule with the highest mean recall, argmax n.
      paper_rule: the rule that the paper's argmax of the net's logits amounts to.
    """

    prior: Accuracy
    balanced: Accuracy
    paper_rule: str

    def by_rule(self, rule: str) -> Accuracy:
        """Returns the accuracy of "prior", "balanced" or "paper"."""
        return getattr(self, self.paper_rule if rule == "paper" else rule)

    def rows(self) -> list[Row]:
        """Returns the accuracies of each rule."""
        rows = [Row("accuracy, micro/macro %", None)]
        for rule in RULES:
            found, starred = self.by_rule(rule), self.paper_rule == rule
            title = f"  {rule} rule"
            rows.append(Row(title, found.shares, unit="percent", starred=starred))
            if found.exact is not None:
                rows.append(Row("    all labels right", found.exact, unit="percent"))
        return rows

    def by_class(self) -> list[ClassColumn]:
        """Returns the accuracy of each class, one column for each rule."""
        return [
            ClassColumn(f"{rule} rule", self.by_rule(rule).per_class, unit="percent")
            for rule in RULES
        ]


def accuracy(predictions: np.ndarray, labels: np.ndarray, num_classes: int) -> Accuracy:
    """Returns the accuracy where an example has one label.

    Args:
      predictions: `[N]` class indices.
      labels: `[N]` class indices.
      num_classes: number of classes M.
    """
    correct = np.bincount(labels[predictions == labels], minlength=num_classes)
    counts = np.bincount(labels, minlength=num_classes)
    per_class = np.divide(
        correct, counts, out=np.full(num_classes, np.nan), where=counts > 0
    )
    micro = float(correct.sum() / counts.sum())
    return Accuracy(micro, float(np.nanmean(per_class)), per_class)


def multi_label_accuracy(decisions: np.ndarray, present: np.ndarray) -> Accuracy:
    """Returns the accuracy where an example has any number of labels.

    Args:
      decisions: `[N, L]` booleans.
      present: `[N, L]` booleans, the true labels.
    """
    right = decisions == present
    with np.errstate(invalid="ignore"):
        recall = (right & present).sum(0) / present.sum(0)
        specificity = (right & ~present).sum(0) / (~present).sum(0)
    return Accuracy(
        micro=float(right.mean()),
        macro=float(np.nanmean([recall, specificity])),
        per_class=right.mean(0),
        exact=float(right.all(1).mean()),
        recall=recall,
        specificity=specificity,
    )


def decide(logits: jax.Array, loss: Loss, log_prior: jax.Array) -> Measurements:
    """Returns the net's decisions, by each rule of `RULES`.

    Args:
      logits: `[B, M]`, from the net.
      loss: the net's training loss.
      log_prior: log P(y) of the training labels, `[M]`; with several labels, the log
        share of the training examples that have each.

    Returns:
      By rule, class indices `[B]`; with several labels, booleans `[B, M]`. No rule
      decides for a class that is missing from the training labels.
    """
    logits = loss.pc_logits(logits, log_prior)
    if not loss.multi_label:
        return {r: information.optimal_decision(logits, log_prior, r) for r in RULES}
    odds = information.log_odds(jnp.exp(log_prior))
    seen = ~jnp.isneginf(log_prior)
    return {"prior": (logits + odds > 0) & seen, "balanced": (logits > 0) & seen}


def join_names(present: np.ndarray, class_names: Sequence[str]) -> list[str]:
    """Returns the names of the labels of each example, such as "3 7".

    Args:
      present: `[N, L]`, nonzero where an example has a label.
      class_names: L names.
    """
    return [" ".join(class_names[i] for i in np.flatnonzero(row)) for row in present]


@dataclasses.dataclass(frozen=True)
class Decisions(Evaluator):
    """Measures the net's decisions by each rule.

    Attributes:
      loss: the net's training loss.
    """

    loss: Loss

    def measure(self, inference: Inference) -> Measurements:
        """Returns the result of `decide`."""
        return decide(inference.output.logits, self.loss, inference.priors.training)

    def summarize(
        self, measurements: Mapping[str, np.ndarray], split: Split, priors: Priors
    ) -> AccuracyResult:
        """Returns the accuracies of each rule."""
        labels = split["label"]

        def of_rule(rule: str) -> Accuracy:
            if self.loss.multi_label:
                return multi_label_accuracy(measurements[rule], labels > 0)
            return accuracy(measurements[rule], labels, len(priors.training))

        return AccuracyResult(of_rule("prior"), of_rule("balanced"), self.loss.rule)

    def columns(
        self,
        measurements: Mapping[str, np.ndarray],
        split: Split,
        class_names: Sequence[str],
    ) -> dict[str, Sequence[Any]]:
        """Returns the predicted names: by the paper's rule, then by each rule."""
        del split
        names = {
            rule: join_names(measurements[rule], class_names)
            if self.loss.multi_label
            else np.asarray(class_names)[measurements[rule]]
            for rule in RULES
        }
        each = {f"{rule}_prediction": names[rule] for rule in RULES}
        return {"prediction": names[self.loss.rule], **each}


def create(subject: Subject) -> Decisions:
    """Applies to every net."""
    return Decisions(subject.loss)
