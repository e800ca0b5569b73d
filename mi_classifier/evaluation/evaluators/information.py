"""How many nats the inputs carry about the labels, according to the net (Eq. 5)."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from mi_classifier import information, losses
from mi_classifier.data import Split
from mi_classifier.evaluation.evaluators.base import (
    Evaluator,
    Inference,
    Measurements,
    Priors,
    Subject,
)
from mi_classifier.evaluation.results import ClassColumn, Estimate, Result, Row, mean
from mi_classifier.losses import Loss


@dataclasses.dataclass(frozen=True)
class InformationResult(Result):
    """The bound where an example has one label.

    Attributes:
      mutual_information: the lower bound on I(X; Y).
      label_entropy: H(Y) in nats, the largest possible I(X; Y).
      cross_entropy: the mean of -log P(y|x) by the net, in nats.
      loss: the mean training loss.
      paper_softmax_plus_log_m: the paper's E log softmax + log M (Section 6.3), a bound
        only if all classes are equally frequent; None if the net was trained with prior
        correction.
    """

    mutual_information: Estimate
    label_entropy: float
    cross_entropy: float
    loss: float
    paper_softmax_plus_log_m: float | None = None

    def rows(self) -> list[Row]:
        """Returns the bound, the paper's formula, H(Y) and the cross-entropy."""
        rows = _bound_rows(self.mutual_information, "mutual information, nats")
        if self.paper_softmax_plus_log_m is not None:
            rows.append(Row("  paper's softmax+log M", self.paper_softmax_plus_log_m))
        return [
            *rows,
            Row("label entropy H(Y), nats", self.label_entropy),
            Row("cross-entropy, nats", self.cross_entropy),
        ]


@dataclasses.dataclass(frozen=True)
class MultiLabelInformationResult(Result):
    """The bound where an example has any number of labels.

    Attributes:
      mutual_information: the lower bound on I(X; Y_l), the mean over the labels l.
      per_label: the bound of each label.
      label_entropy: H(Y_l) in nats, the mean over the labels.
      label_entropies: H(Y_l) of each label.
      loss: the mean training loss.
    """

    mutual_information: Estimate
    per_label: Sequence[Estimate]
    label_entropy: float
    label_entropies: Sequence[float]
    loss: float

    def rows(self) -> list[Row]:
        """Returns the bound and H(Y)."""
        return [
            *_bound_rows(self.mutual_information, "mutual information a label, nats"),
            Row("label entropy H(Y) a label, nats", self.label_entropy),
        ]

    def by_class(self) -> list[ClassColumn]:
        """Returns the bound and H(Y) of each label."""
        nats = [each.nats for each in self.per_label]
        errors = [each.standard_error for each in self.per_label]
        return [
            ClassColumn("I(X; Y), nats", nats, errors),
            ClassColumn("H(Y)", self.label_entropies),
        ]


def _bound_rows(bound: Estimate, title: str) -> list[Row]:
    error = bound.standard_error / information.NATS_PER_BIT
    return [bound.row(title), Row("  in bits", bound.bits, error)]


@dataclasses.dataclass(frozen=True)
class Information(Evaluator):
    """Measures the bound under the population's class frequencies.

    If the net was trained without prior correction, the bound uses n - log P(y).

    Attributes:
      loss: the net's training loss.
    """

    loss: Loss

    def measure(self, inference: Inference) -> Measurements:
        """Returns pointwise mutual information, cross-entropy and loss, in nats."""
        output, batch, priors, _ = inference
        labels = batch["label"]
        logits = self.loss.pc_logits(output.logits, priors.training)
        corrected = self.loss.prior_corrected
        posterior = output.logits + priors.training if corrected else output.logits
        measured = {
            "pmi": information.pointwise_mutual_information(
                logits, labels, priors.population
            ),
            "cross_entropy": losses.softmax_cross_entropy(posterior, labels),
            "loss": self.loss.function(output.logits, labels, priors.training),
        }
        if not corrected:
            uniform = jnp.full_like(priors.training, -np.log(len(priors.training)))
            measured["paper"] = information.pointwise_mutual_information(
                output.logits, labels, uniform
            )
        return measured

    def summarize(
        self, measurements: dict[str, np.ndarray], split: Split, priors: Priors
    ) -> InformationResult:
        """Returns the bound, and the entropies to compare it with."""
        paper = measurements.get("paper")
        return InformationResult(
            Estimate.of(measurements["pmi"], split),
            float(information.label_entropy(priors.population)),
            mean(measurements["cross_entropy"]),
            mean(measurements["loss"]),
            None if paper is None else mean(paper),
        )

    def columns(
        self,
        measurements: dict[str, np.ndarray],
        split: Split,
        class_names: Sequence[str],
    ) -> dict[str, Sequence[Any]]:
        """Returns the pointwise mutual information of each example and its label."""
        del split, class_names
        return {"pmi_nats": measurements["pmi"]}


@dataclasses.dataclass(frozen=True)
class MultiLabelInformation(Evaluator):
    """Measures the bound of each label, by PC-sigmoid.

    If the net was trained without prior correction, the bound uses
    n - log(p / (1 - p)).

    Attributes:
      loss: the net's training loss.
    """

    loss: Loss

    def measure(self, inference: Inference) -> Measurements:
        """Returns pointwise mutual information and loss of each label, in nats."""
        output, batch, priors, _ = inference
        targets = batch["label"]
        logits = self.loss.pc_logits(output.logits, priors.training)
        cross_entropy = losses.pc_sigmoid_cross_entropy(
            logits, targets, jnp.exp(priors.population)
        )
        loss = self.loss.function(output.logits, targets, priors.training)
        return {"pmi": -cross_entropy, "loss": loss}

    def summarize(
        self, measurements: dict[str, np.ndarray], split: Split, priors: Priors
    ) -> MultiLabelInformationResult:
        """Returns the bound and H(Y) of each label, and their means."""
        prior = np.exp(np.asarray(priors.population))
        with np.errstate(divide="ignore"):
            pairs = np.log(np.stack([prior, 1 - prior], -1))
        entropies = [float(information.label_entropy(pair)) for pair in pairs]
        pmi = measurements["pmi"]
        return MultiLabelInformationResult(
            Estimate.of(pmi.mean(1), split),
            [Estimate.of(column, split) for column in pmi.T],
            float(np.mean(entropies)),
            entropies,
            mean(measurements["loss"]),
        )

    def columns(
        self,
        measurements: dict[str, np.ndarray],
        split: Split,
        class_names: Sequence[str],
    ) -> dict[str, Sequence[Any]]:
        """Returns the mean pointwise mutual information of each example's labels."""
        del split, class_names
        return {"pmi_nats": measurements["pmi"].mean(1)}


def create(subject: Subject) -> Evaluator:
    """Applies to every net."""
    if subject.loss.multi_label:
        return MultiLabelInformation(subject.loss)
    return Information(subject.loss)
