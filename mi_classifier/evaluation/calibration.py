"""Reliability: whether a pointwise mutual information of 2 nats is worth 2 nats.

A pointwise mutual information of s nats claims that the class is e^s times as frequent
among such examples as among all. The claim is checked on all pairs of an example and
one of its likeliest classes: among those with about the same s, how often the class is
the label, over how often it would be by class frequencies alone.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mi_classifier import information
from mi_classifier.data import Split
from mi_classifier.evaluation import evaluators, multi_label
from mi_classifier.evaluation.evaluators import Evaluator, Inference, Measures, Priors

NUM_CLASSES = 10  # of each example, the likeliest
_WIDTH = 0.5  # nats
_FEWEST = 10  # labels in a bin, claimed or observed
_CONFIDENCE_BINS = 15


@dataclasses.dataclass(frozen=True)
class Calibration(Evaluator):
    """The likeliest classes of each example, and whether their PMI is to be believed.

    Probabilities are the net's, by the class frequencies of training; PMI is by those
    of the population, as everywhere.

    Attributes:
      loss: the net's training loss.
      multi_label: whether an example has any number of labels.
    """

    loss: str
    multi_label: bool
    name: str = "calibration"

    def measure(self, inference: Inference) -> Measures:
        """The likeliest "classes" `[B, C]`, their "pmi" and "probability"."""
        logits, priors = inference.output.logits, inference.priors
        trained = Priors(priors.training, priors.training)
        log_probability = priors.training + claims(
            logits, self.loss, self.multi_label, trained
        )
        pmi = claims(logits, self.loss, self.multi_label, priors)
        count = min(NUM_CLASSES, logits.shape[-1])
        log_probability, classes = jax.lax.top_k(log_probability, count)
        return {
            "classes": classes,
            "pmi": jnp.take_along_axis(pmi, classes, axis=-1),
            "probability": jnp.exp(log_probability),
        }

    def summarize(
        self, measures: dict[str, np.ndarray], split: Split, priors: Priors
    ) -> dict[str, Any]:
        """Bins of claimed and observed PMI, and calibration errors.

        "expected_calibration_error" is that of Guo et al. (2017), of the likeliest
        class in 15 bins of equal width (where an example may have several labels, of
        its ten likeliest); "nats" is the mean of the distance between claim and
        observation over the labels.
        """
        classes, labels = measures["classes"], split["label"]
        if self.multi_label:
            hits = np.take_along_axis(labels, classes, axis=1) > 0
        else:
            hits = classes == labels[:, None]
        bins = reliability(
            measures["pmi"], np.exp(np.asarray(priors.population))[classes], hits
        )
        weights = np.array([row["labels"] for row in bins])
        gaps = np.array([abs(r["claimed"] - r["observed"]) for r in bins])
        sure = slice(None) if self.multi_label else slice(1)
        return {
            "expected_calibration_error": expected_calibration_error(
                measures["probability"][:, sure], hits[:, sure]
            ),
            "nats": float((weights * gaps).sum() / weights.sum()) if bins else np.nan,
            "bins": bins,
        }


def claims(logits: jax.Array, loss: str, several: bool, priors: Priors) -> jax.Array:
    """The pointwise mutual information of every class, in nats.

    Args:
      logits: `[B, M]` of the net.
      loss: it was trained with.
      several: whether an example has any number of labels; then it is that of their
        being present.
      priors: class frequencies; log P(y) of the population added gives log P(y|x).

    Returns:
      `[B, M]`.
    """
    population = jnp.asarray(priors.population)
    if not several:
        logits = evaluators.pc_logits(logits, loss, priors.training)
        return information.log_pc_softmax(logits, population)
    logits = multi_label.pc_logits(logits, loss, priors.training)
    share = jnp.exp(population)
    absent = jnp.where(share < 1, jnp.log1p(-share), -jnp.inf)
    return logits - jnp.logaddexp(logits + population, absent)


def reliability(
    pmi: np.ndarray, prior: np.ndarray, hits: np.ndarray
) -> list[dict[str, float]]:
    """Compares claimed and observed pointwise mutual information.

    Args:
      pmi: claimed, of P pairs of an example and a class, in nats, any shape.
      prior: P(y) of the pair's class, the same shape.
      hits: whether it is the example's label, the same shape.

    Returns:
      Bins half a nat wide, or wider where fewer than ten labels are claimed and seen:
      the mean PMI "claimed" and "observed", log shares over log prior in nats, the
      standard error of the latter, and how many "pairs" and "labels".
    """
    pmi, prior = (np.asarray(a, np.float64).ravel() for a in (pmi, prior))
    hits = np.ravel(hits)
    # Of a class that never comes nothing is claimed, nor by a net that broke down.
    possible = (prior > 0) & (pmi < np.inf)
    pmi, prior, hits = pmi[possible], prior[possible], hits[possible]
    if not len(pmi):
        return []
    pmi = pmi.clip(-20, None)  # what is less frequent than that is all the same
    cells = np.floor(pmi / _WIDTH).astype(int)
    cells -= cells.min()
    sums = np.stack(
        [
            np.bincount(cells, weights)
            for weights in (prior * np.exp(pmi), prior, hits, np.ones(len(pmi)))
        ],
        1,
    )
    merged, rest = [], np.zeros(4)
    for row in sums:
        rest = rest + row
        if rest[2] and max(rest[0], rest[2]) >= _FEWEST:
            merged.append(rest)
            rest = np.zeros(4)
    if rest[3] and merged:
        merged[-1] = merged[-1] + rest
    bins = []
    for claimed, expected, labels, pairs in merged:
        bins.append(
            {
                "claimed": float(np.log(claimed / expected)),
                "observed": float(np.log(labels / expected)),
                "standard_error": float(np.sqrt((1 - labels / pairs) / labels)),
                "pairs": int(pairs),
                "labels": int(labels),
            }
        )
    return bins


def expected_calibration_error(probability: np.ndarray, hits: np.ndarray) -> float:
    """Returns the expected calibration error (Guo et al. 2017), in [0, 1].

    Args:
      probability: claimed, in [0, 1], any shape; what is NaN does not count.
      hits: whether the claim came true, the same shape.
    """
    probability, hits = np.ravel(probability).astype(np.float64), np.ravel(hits)
    claimed = ~np.isnan(probability)
    probability, hits = probability[claimed], hits[claimed]
    if not len(hits):
        return np.nan
    cells = np.minimum(probability * _CONFIDENCE_BINS, _CONFIDENCE_BINS - 1).astype(int)
    gaps = np.bincount(cells, hits - probability)
    return float(np.abs(gaps).sum() / len(hits))
