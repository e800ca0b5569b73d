"""Evaluators of multi-hot labels: each label is a question of its own (Section 6.3)."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mi_classifier import information, losses
from mi_classifier.data import Split
from mi_classifier.evaluation.evaluators import (
    RULES,
    Evaluator,
    Inference,
    Measures,
    Priors,
    by_rule,
    mean,
    nats_and_bits,
    paper_rule,
)


def pc_logits(logits: jax.Array, loss: str, log_prior: jax.Array) -> jax.Array:
    """Returns PC-sigmoid logits, whichever loss the net was trained with."""
    if loss == "pc_sigmoid":
        return logits
    return information.sigmoid_to_pc_logits(logits, jnp.exp(log_prior))


def decide(logits: jax.Array, loss: str, log_prior: jax.Array) -> Measures:
    """Which labels are present, by each rule.

    Args:
      logits: `[..., L]` of the net.
      loss: it was trained with.
      log_prior: `[L]` log share of training examples that carry each label.

    Returns:
      For each rule booleans `[..., L]`: "balanced", p(x|present) is the larger, n > 0
      of a PC-sigmoid net; "prior", the label is likelier present than not, n > 0 of an
      ordinary sigmoid net. Neither says so of a label that training never showed.
    """
    logits = pc_logits(logits, loss, log_prior)
    odds = information.log_odds(jnp.exp(log_prior))
    seen = ~jnp.isneginf(log_prior)
    return {"balanced": (logits > 0) & seen, "prior": (logits + odds > 0) & seen}


@dataclasses.dataclass(frozen=True)
class MultiLabelInformation(Evaluator):
    """How many nats the inputs carry about each label, by the net.

    The bound is that of PC-sigmoid under the population's frequencies; a net trained
    with the ordinary sigmoid enters it with n - log(p / (1 - p)).

    Attributes:
      loss: the net's training loss.
    """

    loss: str
    name: str = "information"

    def measure(self, inference: Inference) -> Measures:
        """Pointwise mutual information and training loss of each label, in nats."""
        output, batch, priors, _ = inference
        targets = batch["label"]
        logits = pc_logits(output.logits, self.loss, priors.training)
        cross_entropy = losses.pc_sigmoid_cross_entropy(
            logits, targets, jnp.exp(priors.population)
        )
        loss = losses.LOSSES[self.loss](output.logits, targets, priors.training)
        return {"pmi": -cross_entropy, "loss": loss}

    def summarize(
        self, measures: dict[str, np.ndarray], split: Split, priors: Priors
    ) -> dict[str, Any]:
        """The bound and H(Y) of each label, their means, and the mean loss."""
        prior = np.exp(np.asarray(priors.population))
        with np.errstate(divide="ignore"):
            pairs = np.log(np.stack([prior, 1 - prior], -1))
        entropies = [float(information.label_entropy(pair)) for pair in pairs]
        pmi = measures["pmi"]
        return {
            "mutual_information": nats_and_bits(pmi.mean(1), split),
            "per_label": [nats_and_bits(column, split) for column in pmi.T],
            "label_entropy": float(np.mean(entropies)),
            "label_entropies": entropies,
            "loss": mean(measures["loss"]),
        }

    def columns(
        self,
        measures: dict[str, np.ndarray],
        split: Split,
        class_names: Sequence[str],
    ) -> dict[str, Sequence[Any]]:
        """The pointwise mutual information of the example, a label on average."""
        del split, class_names
        return {"pmi_nats": measures["pmi"].mean(1)}


@dataclasses.dataclass(frozen=True)
class MultiLabelClassification(Evaluator):
    """How often the net rightly says that a label is present or not (Table 5).

    Attributes:
      loss: the net's training loss.
    """

    loss: str
    name: str = "accuracy"

    def measure(self, inference: Inference) -> Measures:
        """Whether each label is present, under each rule."""
        return decide(inference.output.logits, self.loss, inference.priors.training)

    def summarize(
        self, measures: dict[str, np.ndarray], split: Split, priors: Priors
    ) -> dict[str, Any]:
        """Accuracies of each rule, and which one the paper uses."""
        del priors
        present = split["label"] > 0
        figures = {rule: accuracies(measures[rule], present) for rule in RULES}
        return figures | {"paper_rule": paper_rule(self.loss)}

    def columns(
        self,
        measures: dict[str, np.ndarray],
        split: Split,
        class_names: Sequence[str],
    ) -> dict[str, Sequence[Any]]:
        """The labels decided to be present: by the paper's rule, and by each."""
        del split
        return by_rule(
            {rule: join_names(measures[rule], class_names) for rule in RULES}, self.loss
        )


def join_names(present: np.ndarray, class_names: Sequence[str]) -> list[str]:
    """Returns the names of the labels of each example, such as "3 7".

    Args:
      present: `[N, L]`, nonzero where an example has a label.
      class_names: L names.
    """
    return [" ".join(class_names[i] for i in np.flatnonzero(row)) for row in present]


def accuracies(decisions: np.ndarray, present: np.ndarray) -> dict[str, Any]:
    """Accuracies of decisions about labels.

    Args:
      decisions: `[N, L]` booleans.
      present: `[N, L]` booleans, the truth.

    Returns:
      "per_class" `[L]`, the share of examples decided rightly, for each label; "micro",
      its mean; "recall" `[L]`, the same share among the examples that carry the label,
      NaN if none does, and "specificity" `[L]` among the others; "macro", the mean of
      these two; "exact", the share of examples with all labels right.
    """
    right = decisions == present
    with np.errstate(invalid="ignore"):
        recall = (right & present).sum(0) / present.sum(0)
        specificity = (right & ~present).sum(0) / (~present).sum(0)
    return {
        "micro": float(right.mean()),
        "macro": float(np.nanmean([recall, specificity])),
        "exact": float(right.all(1).mean()),
        "per_class": right.mean(0),
        "recall": recall,
        "specificity": specificity,
    }
