"""The results of a net that knows the true densities, on the same examples (Eq. 11)."""

import dataclasses

from mi_classifier import information
from mi_classifier.data import Split
from mi_classifier.evaluation.evaluators import base
from mi_classifier.evaluation.evaluators.accuracy import Accuracy, accuracy
from mi_classifier.evaluation.evaluators.base import RULES
from mi_classifier.evaluation.results import Estimate, Result, Row


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
        """Return rows to show below those of the net."""
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


def create(subject: base.Subject) -> base.Evaluator | None:
    """Create the evaluator with the densities of the data, if they are known."""
    dataset, loss = subject.dataset, subject.loss
    if dataset.log_density is None:
        return None

    def measure(inference: base.Inference) -> base.Measurements:
        output, batch, priors, _ = inference
        true_logits = dataset.log_density(batch)
        logits = loss.pc_logits(output.logits, priors.training)
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
        measured: base.Measurements, split: Split, priors: base.Priors
    ) -> TruthResult:
        labels, num_classes = split["label"], len(priors.training)
        return TruthResult(
            Estimate.of(measured["pmi"], split),
            Estimate.of(measured["error"], split),
            *(accuracy(measured[rule], labels, num_classes) for rule in RULES),
            dataset.mutual_information,
        )

    return base.Evaluator(measure, summarize)
