"""How often the net decides correctly, by both decision rules (Tables 3 and 5)."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from mi_classifier import information
from mi_classifier.data import Split
from mi_classifier.evaluation.evaluators import base
from mi_classifier.evaluation.evaluators.base import RULES, rule_titles
from mi_classifier.evaluation.results import ClassColumn, Result, Row
from mi_classifier.losses import Loss

_MOST_CONFUSED = 10  # pairs of classes that a result holds


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """Shares of correct decisions, all in [0, 1].

    With several labels an example, there is a decision for each label. Then `per_class`
    is the share of examples whose decision for the label is correct, `macro` is the
    mean of recall and specificity, and the fields after them are known.
    """

    micro: float  # the share of all decisions that are correct
    macro: float  # the mean of `per_class`
    per_class: np.ndarray  # recall of each class [M], NaN for one without examples
    exact: float | None = None  # the share of examples whose labels are all correct
    recall: np.ndarray | None = None  # among the examples that have each label, [M]
    specificity: np.ndarray | None = None  # among the examples without it, [M]

    @property
    def shares(self) -> tuple[float, float]:
        """Return micro and macro accuracy."""
        return self.micro, self.macro


@dataclasses.dataclass(frozen=True)
class Confusion:
    """A pair of classes of which a net takes the first for the second."""

    label: int  # index of the true class
    decided: int  # index of the class that the net decides for
    count: int  # examples
    share: float  # of the examples of the true class, in (0, 1]


@dataclasses.dataclass(frozen=True)
class AccuracyResult(Result):
    """Accuracies by decision rule."""

    prior: Accuracy  # of the rule that makes the fewest errors, argmax n + log P
    balanced: Accuracy  # of the rule with the highest mean recall, argmax n
    paper_rule: str  # the rule that the paper's argmax of the net's logits amounts to
    # Whether both rules are one, because all classes are equally frequent in training.
    equal_rules: bool = False
    # By the paper's rule, most examples first; None with several labels an example.
    confused: Sequence[Confusion] | None = None

    def by_rule(self, rule: str) -> Accuracy:
        """Return the accuracy of "prior", "balanced" or "paper"."""
        return getattr(self, self.paper_rule if rule == "paper" else rule)

    def rows(self) -> list[Row]:
        """Return the accuracies of each rule; of one, if both are equal."""
        rows = [Row("accuracy, micro/macro %", None)]
        for rule, title in rule_titles(self.equal_rules).items():
            found, title = self.by_rule(rule), f"  {title}"
            starred = self.equal_rules or self.paper_rule == rule
            rows.append(Row(title, found.shares, unit="percent", starred=starred))
            if found.exact is not None:
                rows.append(Row("    all labels right", found.exact, unit="percent"))
        return rows

    def by_class(self) -> list[ClassColumn]:
        """Return the accuracy of each class, one column for each rule."""
        return [
            ClassColumn(title, self.by_rule(rule).per_class, unit="percent")
            for rule, title in rule_titles(self.equal_rules).items()
        ]


def accuracy(predictions: np.ndarray, labels: np.ndarray, num_classes: int) -> Accuracy:
    """Return the accuracy of predicted classes `[N]`, given one label an example."""
    correct = np.bincount(labels[predictions == labels], minlength=num_classes)
    counts = np.bincount(labels, minlength=num_classes)
    with np.errstate(invalid="ignore"):
        per_class = correct / counts
    micro = float(correct.sum() / counts.sum())
    return Accuracy(micro, float(np.nanmean(per_class)), per_class)


def multi_label_accuracy(decisions: np.ndarray, present: np.ndarray) -> Accuracy:
    """Return the accuracy of decisions given the true labels, booleans `[N, L]`."""
    right = decisions == present
    with np.errstate(invalid="ignore"):
        recall = (right & present).sum(0) / present.sum(0)
        specificity = (right & ~present).sum(0) / (~present).sum(0)
    micro, exact = float(right.mean()), float(right.all(1).mean())
    macro = float(np.nanmean([recall, specificity]))
    return Accuracy(micro, macro, right.mean(0), exact, recall, specificity)


def most_confused(predictions: np.ndarray, labels: np.ndarray) -> list[Confusion]:
    """Return the pairs of a label and a wrong prediction `[N]` that are most frequent.

    Among pairs of as many examples, those with the larger share of the true class come
    first.

    Examples:
      >>> most_confused(np.array([1, 1, 0, 0]), np.array([0, 0, 0, 1]))[0]
      Confusion(label=0, decided=1, count=2, share=0.6666666666666666)
    """
    sizes = dict(zip(*np.unique(labels, return_counts=True), strict=True))
    wrong = np.stack([labels, predictions], 1)[predictions != labels]
    pairs, counts = np.unique(wrong, axis=0, return_counts=True)
    found = [
        Confusion(int(label), int(decided), int(count), float(count / sizes[label]))
        for (label, decided), count in zip(pairs, counts, strict=True)
    ]
    found.sort(key=lambda pair: (-pair.count, -pair.share))
    return found[:_MOST_CONFUSED]


def equal_rules(loss: Loss, log_prior: jax.typing.ArrayLike) -> bool:
    """Return whether both rules decide alike, by the training's log P(y) `[M]`."""
    log_prior = np.asarray(log_prior)
    if loss.multi_label:
        return np.allclose(information.log_odds(np.exp(log_prior)), 0, atol=1e-6)
    return bool(np.isfinite(log_prior).all() and np.ptp(log_prior) < 1e-6)


def decide(logits: jax.Array, loss: Loss, log_prior: jax.Array) -> base.Measured:
    """Return the decisions of a net's logits `[B, M]`, by each rule of `RULES`.

    They are class indices `[B]`; with several labels, booleans `[B, M]`. No rule
    decides for a class that is missing from the training labels, of `log_prior` `[M]`.
    """
    logits = loss.pc_logits(logits, log_prior)
    if not loss.multi_label:
        return {r: information.optimal_decision(logits, log_prior, r) for r in RULES}
    odds = information.log_odds(jnp.exp(log_prior))
    seen = ~jnp.isneginf(log_prior)
    return {"prior": (logits + odds > 0) & seen, "balanced": (logits > 0) & seen}


def names_of(labels: np.ndarray, class_names: Sequence[str]) -> Sequence[str]:
    """Return the name of each class `[N]`, or joined names if labels are `[N, L]`."""
    if labels.ndim == 1:
        return np.asarray(class_names)[labels]
    return [" ".join(class_names[i] for i in np.flatnonzero(row)) for row in labels]


def create(subject: base.Subject) -> base.Evaluator:
    """Create the evaluator of the net's decisions."""
    loss = subject.loss

    def measure(inference: base.Inference) -> base.Measured:
        return decide(inference.output.logits, loss, inference.priors.training)

    def summarize(measured: base.Measured, split: Split, priors: base.Priors) -> Result:
        labels, confused = split["label"], None
        if loss.multi_label:
            found = [multi_label_accuracy(measured[r], labels > 0) for r in RULES]
        else:
            found = [accuracy(measured[r], labels, len(priors.training)) for r in RULES]
            confused = most_confused(measured[loss.rule], labels)
        equal = equal_rules(loss, priors.training)
        return AccuracyResult(*found, loss.rule, equal, confused)

    def columns(
        measured: base.Measured, split: Split, class_names: Sequence[str]
    ) -> base.Columns:
        names = {rule: names_of(measured[rule], class_names) for rule in RULES}
        by_rule = {f"{rule}_prediction": names[rule] for rule in RULES}
        return {"prediction": names[loss.rule], **by_rule}

    return base.Evaluator(measure, summarize, columns)
