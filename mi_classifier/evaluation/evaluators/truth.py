"""The results of a net that knows the true densities, on the same examples (Eq. 11)."""

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
    """The true mutual information, and how far the net's bound is from it.

    Attributes:
      mutual_information: the Monte-Carlo estimate of I(X; Y) with the true densities.
      error: the net's bound minus that estimate. Both are computed from the same
        examples, so its standard error is much smaller than either's.
      prior: accuracy of the true densities by the prior rule.
      balanced: accuracy of the true densities by the balanced rule.
      closed_form: I(X; Y) in nats, or None if it has no closed form.
    """

    mutual_information: Estimate
    error: Estimate
    prior: Accuracy
    balanced: Accuracy
    closed_form: float | None = None

    def rows(self) -> list[Row]:
        """Returns rows to show below those of the net."""
        below = "  in bits"
        rows = [
            self.mutual_information.row("  Monte-Carlo truth", below),
            self.error.row("  ours above the truth", below),
        ]
        if self.closed_form is not None:
            rows.insert(0, Row("  closed-form truth", self.closed_form, below=below))
        for rule in RULES:
            title, shares = "    true densities", getattr(self, rule).shares
            rows.append(Row(title, shares, unit="percent", below=f"  {rule} rule"))
        return rows


@dataclasses.dataclass(frozen=True)
class Truth(Evaluator):
    """Measures the bound with the true log densities log p(x|y) as logits.

    Attributes:
      log_density: function from a batch to log p(x|y), `[B, M]`.
      loss: the net's training loss.
      closed_form: I(X; Y) in nats, or None if it has no closed form.
    """

    log_density: Callable[[Batch], jax.Array]
    loss: Loss
    closed_form: float | None

    def measure(self, inference: Inference) -> Measurements:
        """Returns the true PMI, the error of the net's PMI, and the decisions."""
        output, batch, priors, _ = inference
        true_logits = self.log_density(batch)
        logits = self.loss.pc_logits(output.logits, priors.training)
        pmi, ours = (
            information.pointwise_mutual_information(
                n, batch["label"], priors.population
            )
            for n in (true_logits, logits)
        )
        decisions = {
            rule: information.optimal_decision(true_logits, priors.training, rule)
            for rule in RULES
        }
        return {"pmi": pmi, "error": ours - pmi, **decisions}

    def summarize(
        self, measurements: dict[str, np.ndarray], split: Split, priors: Priors
    ) -> TruthResult:
        """Returns the Monte-Carlo estimate, the net's error, and the accuracies."""
        labels, num_classes = split["label"], len(priors.training)
        return TruthResult(
            Estimate.of(measurements["pmi"], split),
            Estimate.of(measurements["error"], split),
            *(accuracy(measurements[rule], labels, num_classes) for rule in RULES),
            self.closed_form,
        )


def create(subject: Subject) -> Truth | None:
    """Applies if the densities of the data are known."""
    dataset = subject.dataset
    if dataset.log_density is None:
        return None
    return Truth(dataset.log_density, subject.loss, dataset.mutual_information)
