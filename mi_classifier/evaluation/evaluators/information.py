"""How many nats the inputs carry about the labels, according to the net (Eq. 5)."""

import dataclasses
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from mi_classifier import information, losses
from mi_classifier.data import Split
from mi_classifier.evaluation.evaluators import base
from mi_classifier.evaluation.results import ClassColumn, Estimate, Result, Row, mean


@dataclasses.dataclass(frozen=True)
class InformationResult(Result):
    """The bound under the population's class frequencies, and what to compare it with.

    With several labels an example, the bound, H(Y) and the loss are means over the
    labels l, of I(X; Y_l) and so on.

    Attributes:
      mutual_information: the lower bound on I(X; Y).
      label_entropy: H(Y) in nats, the largest possible I(X; Y).
      cross_entropy: the mean of -log P(y|x) by the net, in nats; None with several
        labels.
      loss: the mean training loss.
      paper_softmax_plus_log_m: the paper's E log softmax + log M (Section 6.3), a bound
        only if all classes are equally frequent; None with several labels, or if the
        net was trained with prior correction.
      per_label: the bound of each of several labels.
      label_entropies: H(Y_l) of each of several labels, in nats.
    """

    mutual_information: Estimate
    label_entropy: float
    cross_entropy: float | None
    loss: float
    paper_softmax_plus_log_m: float | None = None
    per_label: Sequence[Estimate] | None = None
    label_entropies: Sequence[float] | None = None

    def rows(self) -> list[Row]:
        """Return the bound, the paper's formula, H(Y) and the cross-entropy."""
        bound, each = self.mutual_information, " a label" if self.per_label else ""
        error = bound.standard_error / information.NATS_PER_BIT
        rows = [
            bound.row(f"mutual information{each}, nats"),
            Row("  in bits", bound.bits, error),
            Row("  paper's softmax+log M", self.paper_softmax_plus_log_m),
            Row(f"label entropy H(Y){each}, nats", self.label_entropy),
            Row("cross-entropy, nats", self.cross_entropy),
        ]
        return [row for row in rows if row.value is not None]

    def by_class(self) -> list[ClassColumn]:
        """Return the bound and H(Y) of each of several labels."""
        if self.per_label is None:
            return []
        nats = [each.nats for each in self.per_label]
        errors = [each.standard_error for each in self.per_label]
        return [
            ClassColumn("I(X; Y), nats", nats, errors),
            ClassColumn("H(Y)", self.label_entropies),
        ]


def create(subject: base.Subject) -> base.Evaluator:
    """Create the evaluator of the bound, from the net's prior-corrected logits."""
    loss = subject.loss

    def measure(inference: base.Inference) -> base.Measurements:
        output, batch, (training, population), _ = inference
        labels, logits = batch["label"], loss.pc_logits(output.logits, training)
        measured = {"loss": loss.function(output.logits, labels, training)}
        if loss.multi_label:
            shares = jnp.exp(population)
            pmi = -losses.pc_sigmoid_cross_entropy(logits, labels, shares)
            return {"pmi": pmi, **measured}
        pmi_of = information.pointwise_mutual_information
        posterior = output.logits
        if loss.prior_corrected:
            posterior = posterior + training
        else:
            uniform = jnp.full_like(training, -np.log(len(training)))
            measured["paper"] = pmi_of(posterior, labels, uniform)
        cross_entropy = losses.softmax_cross_entropy(posterior, labels)
        pmi = pmi_of(logits, labels, population)
        return {"pmi": pmi, "cross_entropy": cross_entropy, **measured}

    return base.Evaluator(
        measure, _summarize_labels if loss.multi_label else _summarize, _columns
    )


def _summarize(
    measured: base.Measurements, split: Split, priors: base.Priors
) -> InformationResult:
    return InformationResult(
        Estimate.of(measured["pmi"], split),
        float(information.label_entropy(priors.population)),
        mean(measured["cross_entropy"]),
        mean(measured["loss"]),
        mean(measured["paper"]) if "paper" in measured else None,
    )


def _summarize_labels(
    measured: base.Measurements, split: Split, priors: base.Priors
) -> InformationResult:
    shares = np.exp(np.asarray(priors.population))
    with np.errstate(divide="ignore"):
        pairs = np.log(np.stack([shares, 1 - shares], -1))
    entropies = [float(information.label_entropy(pair)) for pair in pairs]
    return InformationResult(
        Estimate.of(measured["pmi"].mean(1), split),
        float(np.mean(entropies)),
        cross_entropy=None,
        loss=mean(measured["loss"]),
        per_label=[Estimate.of(column, split) for column in measured["pmi"].T],
        label_entropies=entropies,
    )


def _columns(
    measured: base.Measurements, split: Split, class_names: Sequence[str]
) -> base.Columns:
    """Return the pointwise mutual information of each example, a mean over labels."""
    pmi = measured["pmi"]
    return {"pmi_nats": pmi if pmi.ndim == 1 else pmi.mean(1)}
