"""The score of a net that knew the densities, on the same examples (Eq. 11)."""

import dataclasses
from collections.abc import Callable

import jax
import numpy as np

from mi_classifier import information
from mi_classifier.data import Split
from mi_classifier.evaluation.evaluators.accuracy import Accuracy, accuracy
from mi_classifier.evaluation.evaluators.base import (
    RULES,
    Batch,
    Evaluator,
    Inference,
    Measurements,
    Priors,
    Subject,
)
from mi_classifier.evaluation.results import Estimate, Result, Row
from mi_classifier.losses import Loss


@dataclasses.dataclass(frozen=True)
class TruthResult(Result):
    """What is true, and how far the net is from it.

    Attributes:
      mutual_information: the Monte-Carlo estimate of I(X; Y) with the true densities.
      error: the net's bound less that estimate. It is far more certain than either, for
        both see the same examples.
      prior: accuracy of the Bayes classifier by the prior rule.
      balanced: the same by the balanced rule.
      closed_form: I(X; Y) in nats, where it is known.
    """

    mutual_information: Estimate
    error: Estimate
    prior: Accuracy
    balanced: Accuracy
    closed_form: float | None = None

    def rows(self) -> list[Row]:
        """Returns the truth below the bound, Bayes' accuracies below the net's."""
        below = "  in bits"
        rows = [
            self.mutual_information.row("  Monte-Carlo truth", below),
            self.error.row("  ours above the truth", below),
        ]
        if self.closed_form is not None:
            rows.insert(0, Row("  closed-form truth", self.closed_form, below=below))
        for rule in RULES:
            shares = getattr(self, rule).shares
            row = Row("    true densities", shares, None, "percent", f"  {rule} rule")
            rows.append(row)
        return rows


@dataclasses.dataclass(frozen=True)
class Truth(Evaluator):
    """Measures the bound with true log densities log p(x|y) in the place of logits.

    Attributes:
      log_density: from a batch to log p(x|y) `[B, M]`.
      loss: the net's training loss.
      closed_form: I(X; Y) in nats, where it is known.
    """

    log_density: Callable[[Batch], jax.Array]
    loss: Loss
    closed_form: float | None

    def measure(self, inference: Inference) -> Measurements:
        """Returns true pointwise mutual information, the net's error, Bayes' decisions."""
        output, batch, priors, _ = inference
        logits = self.log_density(batch)
        pmi = information.pointwise_mutual_information(
            logits, batch["label"], priors.population
        )
        ours = information.pointwise_mutual_information(
            self.loss.pc_logits(output.logits, priors.training),
            batch["label"],
            priors.population,
        )
        decisions = {
            rule: information.optimal_decision(logits, priors.training, rule)
            for rule in RULES
        }
        return {"pmi": pmi, "error": ours - pmi, **decisions}

    def summarize(
        self, measurements: dict[str, np.ndarray], split: Split, priors: Priors
    ) -> TruthResult:
        """Returns the Monte-Carlo estimate, the net's error, and Bayes' accuracies."""
        labels, num_classes = split["label"], len(priors.training)
        return TruthResult(
            Estimate.of(measurements["pmi"], split),
            Estimate.of(measurements["error"], split),
            *(accuracy(measurements[rule], labels, num_classes) for rule in RULES),
            self.closed_form,
        )


def create(subject: Subject) -> Truth | None:
    """Applies where the densities are known."""
    dataset = subject.dataset
    if dataset.log_density is None:
        return None
    return Truth(dataset.log_density, subject.loss, dataset.mutual_information)
