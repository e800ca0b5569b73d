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

    With several labels an example, `mutual_information`, `label_entropy` and `loss` are
    means over the labels, and `cross_entropy` and the paper's formula do not apply.
    """

    mutual_information: Estimate  # the lower bound on I(X; Y)
    label_entropy: float  # H(Y) in nats, the largest possible I(X; Y)
    cross_entropy: float | None  # the mean of -log P(y|x) by the net, in nats
    loss: float  # the mean training loss
    # E log softmax + log M (Section 6.3), a bound only if all classes are equally
    # frequent; None if the net was trained with prior correction.
    paper_softmax_plus_log_m: float | None = None
    per_label: Sequence[Estimate] | None = None  # the bound of each of several labels
    label_entropies: Sequence[float] | None = None  # and its H(Y) in nats

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

    def measure(inference: base.Inference) -> base.Measured:
        output, batch, (training, population), _ = inference
        labels, logits = batch["label"], loss.pc_logits(output.logits, training)
        measured = {"loss": loss.function(output.logits, labels, training)}
        if loss.multi_label:
            shares = jnp.exp(population)
            pmi = -losses.pc_sigmoid_cross_entropy(logits, labels, shares)
            return {"pmi": pmi, **measured}
        pmi_of = information.pointwise_mutual_information
        posterior = loss.scores(output.logits)
        if loss.prior_corrected:
            posterior = posterior + training
        else:
            uniform = jnp.full_like(training, -np.log(len(training)))
            measured["paper"] = pmi_of(posterior, labels, uniform)
        cross_entropy = losses.softmax_cross_entropy(posterior, labels)
        pmi = pmi_of(logits, labels, population)
        return {"pmi": pmi, "cross_entropy": cross_entropy, **measured}

    return base.Evaluator(measure, _summarize, _columns)


def _summarize(measured: base.Measured, split: Split, priors: base.Priors) -> Result:
    pmi, loss, log_p = measured["pmi"], mean(measured["loss"]), priors.population
    if pmi.ndim == 1:
        entropy = float(information.label_entropy(log_p))
        bound, cross_entropy = Estimate.of(pmi, split), mean(measured["cross_entropy"])
        paper = mean(measured["paper"]) if "paper" in measured else None
        return InformationResult(bound, entropy, cross_entropy, loss, paper)
    shares = np.exp(np.asarray(log_p))
    with np.errstate(divide="ignore"):
        pairs = np.log(np.stack([shares, 1 - shares], -1))
    entropies = [float(information.label_entropy(pair)) for pair in pairs]
    bounds = [Estimate.of(column, split) for column in pmi.T]
    bound, entropy = Estimate.of(pmi.mean(1), split), float(np.mean(entropies))
    return InformationResult(bound, entropy, None, loss, None, bounds, entropies)


def _columns(
    measured: base.Measured, split: Split, class_names: Sequence[str]
) -> base.Columns:
    """Return the pointwise mutual information of each example, a mean over labels."""
    pmi = measured["pmi"]
    return {"pmi_nats": pmi if pmi.ndim == 1 else pmi.mean(1)}
