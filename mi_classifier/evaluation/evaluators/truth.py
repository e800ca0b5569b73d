"""The results of a net that knows the true densities, on the same examples (Eq. 11)."""

import dataclasses

from mi_classifier import information
from mi_classifier.data import Split
from mi_classifier.evaluation.evaluators import base
from mi_classifier.evaluation.evaluators.accuracy import Accuracy, accuracy, equal_rules
from mi_classifier.evaluation.results import Estimate, Result, Row


@dataclasses.dataclass(frozen=True)
class TruthResult(Result):
    """The true mutual information, and how far the net's bound is from it.

    The net's bound and the estimate by the true densities use the same examples, so the
    standard error of their difference is much smaller than either's.
    """

    mutual_information: Estimate  # Monte-Carlo, with the true densities
    error: Estimate  # the net's bound minus that estimate
    prior: Accuracy  # of the true densities by the prior rule
    balanced: Accuracy  # of the true densities by the balanced rule
    closed_form: float | None = None  # I(X; Y) in nats, if it has one
    equal_rules: bool = False  # as in an `AccuracyResult`

    def rows(self) -> list[Row]:
        """Return rows to show below those of the net."""
        below = "  in bits"
        rows = [
            Row("  closed-form truth", self.closed_form, below=below),
            self.mutual_information.row("  Monte-Carlo truth", below),
            self.error.row("  ours above the truth", below),
        ]
        for rule, above in base.rule_titles(self.equal_rules).items():
            title, shares = "    true densities", getattr(self, rule).shares
            rows.append(Row(title, shares, unit="percent", below=f"  {above}"))
        return [row for row in rows if row.value is not None]


def create(subject: base.Subject) -> base.Evaluator | None:
    """Create the evaluator with the densities of the data, if they are known."""
    dataset, loss = subject.dataset, subject.loss
    if dataset.log_density is None:
        return None

    def measure(inference: base.Inference) -> base.Measured:
        output, batch, (training, population), _ = inference
        true_logits = dataset.log_density(batch)
        logits = loss.pc_logits(output.logits, training)
        pmi_of = information.pointwise_mutual_information
        pmi = pmi_of(true_logits, batch["label"], population)
        error = pmi_of(logits, batch["label"], population) - pmi
        decide = information.optimal_decision
        decisions = {rule: decide(true_logits, training, rule) for rule in base.RULES}
        return {"pmi": pmi, "error": error, **decisions}

    def summarize(measured: base.Measured, split: Split, priors: base.Priors) -> Result:
        labels, num_classes = split["label"], len(priors.training)
        return TruthResult(
            Estimate.of(measured["pmi"], split),
            Estimate.of(measured["error"], split),
            *(accuracy(measured[rule], labels, num_classes) for rule in base.RULES),
            dataset.mutual_information,
            equal_rules(loss, priors.training),
        )

    return base.Evaluator(measure, summarize)
