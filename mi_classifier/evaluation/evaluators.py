"""Evaluators: small plug-ins over one pass through a split.

Each has a `measure`, compiled into the evaluation step, that turns a batch into arrays
of one value an example; a `summarize` that turns those of the whole split, padding
removed, into numbers; and, if it has something to say of each example, `columns` of
predictions.csv. A new question is a new class with these. Here are those of one label
an example; `multi_label`, `calibration` and `localizing` have more.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from mi_classifier import information, losses
from mi_classifier.data import Split
from mi_classifier.models import ModelOutput

RULES = ("prior", "balanced")
Batch = dict[str, jax.Array]
Measures = dict[str, jax.Array]


class Priors(NamedTuple):
    """Class frequencies, as log P(y) `[M]`.

    Attributes:
      training: of the training labels, which the net has learned.
      population: of what is evaluated, the split's own, for which a bound must hold.
    """

    training: jax.typing.ArrayLike
    population: jax.typing.ArrayLike


class Inference(NamedTuple):
    """A batch, and what the model makes of it.

    Attributes:
      output: logits and features.
      batch: the split's arrays, as stored.
      priors: class frequencies.
      params: the model's parameters.
    """

    output: ModelOutput
    batch: Batch
    priors: Priors
    params: Mapping[str, Any]


class Evaluator(Protocol):
    """One question about a model."""

    name: str

    def measure(self, inference: Inference) -> Measures:
        """Returns arrays `[B]` or `[B, ...]`, one value an example."""

    def summarize(
        self, measures: dict[str, np.ndarray], split: Split, priors: Priors
    ) -> dict[str, Any]:
        """Returns numbers from the measures `[N, ...]` of the whole split."""

    def columns(
        self,
        measures: dict[str, np.ndarray],
        split: Split,
        class_names: Sequence[str],
    ) -> dict[str, Sequence[Any]]:
        """Returns what predictions.csv says of each example: N values by column."""
        del measures, split, class_names
        return {}


def paper_rule(loss: str) -> str:
    """Returns the decision rule that argmax n(x), the paper's, amounts to."""
    return "balanced" if loss.startswith("pc_") else "prior"


def by_rule(
    decisions: Mapping[str, Sequence[str]], loss: str
) -> dict[str, Sequence[str]]:
    """Returns columns of decisions: the paper's rule first, then each rule's."""
    named = {f"{rule}_prediction": decisions[rule] for rule in RULES}
    return {"prediction": decisions[paper_rule(loss)], **named}


def pc_logits(logits: jax.Array, loss: str, log_prior: jax.Array) -> jax.Array:
    """Returns PC-softmax logits, whichever loss the net was trained with."""
    if loss == "pc_softmax":
        return logits
    return information.softmax_to_pc_logits(logits, log_prior)


def mean(values: np.ndarray) -> float:
    """Returns the mean, summed in float64."""
    return float(values.mean(dtype=np.float64))


def nats_and_bits(pmi: np.ndarray, split: Split) -> dict[str, float]:
    """Mutual information from the pointwise mutual information of N examples.

    Args:
      pmi: `[N]` nats.
      split: the examples'; its "draw", if any, says which are not independent.

    Returns:
      The mean in "nats" and "bits", and its "standard_error" in nats, NaN for a single
      example.
    """
    nats = mean(pmi)
    return {
        "nats": nats,
        "bits": nats / information.NATS_PER_BIT,
        "standard_error": information.standard_error(pmi, split.get("draw")),
    }


def accuracies(
    predictions: np.ndarray, labels: np.ndarray, num_classes: int
) -> dict[str, Any]:
    """Micro, macro and per-class accuracy.

    Args:
      predictions: `[N]` class indices.
      labels: `[N]` class indices.
      num_classes: number of classes M.

    Returns:
      "micro", the share of examples decided rightly; "per_class" `[M]`, the same of
      each class, NaN for one without examples; "macro", the mean over the others.
    """
    correct = np.bincount(labels[predictions == labels], minlength=num_classes)
    counts = np.bincount(labels, minlength=num_classes)
    per_class = np.divide(
        correct, counts, out=np.full(num_classes, np.nan), where=counts > 0
    )
    return {
        "micro": float(correct.sum() / counts.sum()),
        "macro": float(np.nanmean(per_class)),
        "per_class": per_class,
    }


def _decide(logits: jax.Array, log_prior: jax.Array) -> Measures:
    return {
        rule: information.optimal_decision(logits, log_prior, rule) for rule in RULES
    }


def _accuracies_by_rule(
    measures: dict[str, np.ndarray], labels: np.ndarray, num_classes: int
) -> dict[str, Any]:
    return {rule: accuracies(measures[rule], labels, num_classes) for rule in RULES}


@dataclasses.dataclass(frozen=True)
class Activity(Evaluator):
    """Whether the net is dead: features that are all 0 tell nothing of an input."""

    name: str = "activity"

    def measure(self, inference: Inference) -> Measures:
        """Whether all features of an example are 0."""
        features = inference.output.features
        return {"silent": ~(features != 0).any(tuple(range(1, features.ndim)))}

    def summarize(
        self, measures: dict[str, np.ndarray], split: Split, priors: Priors
    ) -> dict[str, float]:
        """The "silent" share of examples, in [0, 1]."""
        del split, priors
        return {"silent": mean(measures["silent"])}


@dataclasses.dataclass(frozen=True)
class Information(Evaluator):
    """How many nats the inputs carry about the labels, by the net (Eq. 5).

    The bound is that of PC-softmax under the population's class frequencies; a net
    trained with the ordinary softmax enters it with n - log P(y). For such a net the
    paper's own column, E log softmax + log M, is given too: it is a bound only if all
    classes are equally frequent.

    Attributes:
      loss: the net's training loss.
    """

    loss: str
    name: str = "information"

    def measure(self, inference: Inference) -> Measures:
        """Pointwise mutual information, cross-entropy and training loss, in nats."""
        output, batch, priors, _ = inference
        labels = batch["label"]
        logits = pc_logits(output.logits, self.loss, priors.training)
        corrected = self.loss == "pc_softmax"
        posterior = output.logits + priors.training if corrected else output.logits
        measures = {
            "pmi": information.pointwise_mutual_information(
                logits, labels, priors.population
            ),
            "cross_entropy": losses.softmax_cross_entropy(posterior, labels),
            "loss": losses.CLASSIFICATION_LOSSES[self.loss](
                output.logits, labels, priors.training
            ),
        }
        if not corrected:
            uniform = jnp.full_like(priors.training, -np.log(len(priors.training)))
            measures["paper"] = information.pointwise_mutual_information(
                output.logits, labels, uniform
            )
        return measures

    def summarize(
        self, measures: dict[str, np.ndarray], split: Split, priors: Priors
    ) -> dict[str, Any]:
        """The bound with its standard error, H(Y), cross-entropy and loss."""
        figures = {
            "mutual_information": nats_and_bits(measures["pmi"], split),
            "label_entropy": float(information.label_entropy(priors.population)),
            "cross_entropy": mean(measures["cross_entropy"]),
            "loss": mean(measures["loss"]),
        }
        if "paper" in measures:
            figures["paper_softmax_plus_log_m"] = mean(measures["paper"])
        return figures

    def columns(
        self,
        measures: dict[str, np.ndarray],
        split: Split,
        class_names: Sequence[str],
    ) -> dict[str, Sequence[Any]]:
        """The pointwise mutual information of the example and its label."""
        del split, class_names
        return {"pmi_nats": measures["pmi"]}


@dataclasses.dataclass(frozen=True)
class Classification(Evaluator):
    """How often the net decides rightly, under both decision rules (Table 3).

    Attributes:
      loss: the net's training loss.
    """

    loss: str
    name: str = "accuracy"

    def measure(self, inference: Inference) -> Measures:
        """The class decided for under each rule."""
        log_prior = inference.priors.training
        logits = pc_logits(inference.output.logits, self.loss, log_prior)
        return _decide(logits, log_prior)

    def summarize(
        self, measures: dict[str, np.ndarray], split: Split, priors: Priors
    ) -> dict[str, Any]:
        """Accuracies of each rule, and which one the paper uses."""
        figures = _accuracies_by_rule(measures, split["label"], len(priors.training))
        return figures | {"paper_rule": paper_rule(self.loss)}

    def columns(
        self,
        measures: dict[str, np.ndarray],
        split: Split,
        class_names: Sequence[str],
    ) -> dict[str, Sequence[Any]]:
        """The class decided for: by the paper's rule, and by each."""
        del split
        names = np.asarray(class_names)
        return by_rule({rule: names[measures[rule]] for rule in RULES}, self.loss)


@dataclasses.dataclass(frozen=True)
class Truth(Evaluator):
    """What a net that knew the densities would score, on the same samples (Eq. 11).

    The log densities log p(x|y) stand in for the logits, which makes the bound the
    Monte-Carlo estimate of the true mutual information, and the decisions Bayes'. How
    far the net is above it is far more certain than either, for both see the same
    examples.

    Attributes:
      log_density: from a batch to log p(x|y) `[B, M]`.
      loss: the net's training loss.
    """

    log_density: Callable[[Batch], jax.Array]
    loss: str
    name: str = "truth"

    def measure(self, inference: Inference) -> Measures:
        """True pointwise mutual information, the net's above it, Bayes' decisions."""
        output, batch, priors, _ = inference
        logits = self.log_density(batch)
        pmi = information.pointwise_mutual_information(
            logits, batch["label"], priors.population
        )
        ours = information.pointwise_mutual_information(
            pc_logits(output.logits, self.loss, priors.training),
            batch["label"],
            priors.population,
        )
        return {"pmi": pmi, "error": ours - pmi, **_decide(logits, priors.training)}

    def summarize(
        self, measures: dict[str, np.ndarray], split: Split, priors: Priors
    ) -> dict[str, Any]:
        """The Monte-Carlo estimate, the net's error, and Bayes' accuracies."""
        return {
            "mutual_information": nats_and_bits(measures["pmi"], split),
            "error": nats_and_bits(measures["error"], split),
            **_accuracies_by_rule(measures, split["label"], len(priors.training)),
        }
