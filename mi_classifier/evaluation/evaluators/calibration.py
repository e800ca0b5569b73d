"""Calibration: whether a pointwise mutual information of 2 nats is worth 2 nats.

A pointwise mutual information (PMI) of s nats claims that the class is e^s times as
frequent among such examples as among all. This file checks the claim on all pairs of an
example and one of its likeliest classes. Among the pairs with about the same s, it
compares two shares: how often the class is the label, and how often it would be by the
class frequencies alone.
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from mi_classifier import information
from mi_classifier.data import Split
from mi_classifier.evaluation.evaluators import base
from mi_classifier.evaluation.results import Result, Row
from mi_classifier.losses import Loss

NUM_CLASSES = 10  # likeliest classes of an example that are checked
_WIDTH = 0.5  # of a bin, nats
_FEWEST = 10  # labels that a bin claims or has
_CONFIDENCE_BINS = 15  # as Guo et al. (2017)
_FEW = _FEWEST * _CONFIDENCE_BINS  # labels; below, most bins have fewer than `_FEWEST`


@dataclasses.dataclass(frozen=True)
class Bin:
    """Pairs of an example and a class with about the same claimed PMI."""

    claimed: float  # mean PMI that the net claims, nats
    observed: float  # PMI that the labels show, nats
    standard_error: float  # of `observed`, nats
    pairs: int  # number of pairs
    labels: int  # number of pairs whose class is the label


@dataclasses.dataclass(frozen=True)
class CalibrationResult(Result):
    """How far the net's claims are from the labels."""

    # This is about the likeliest class, or the ten likeliest if labels are several.
    expected_calibration_error: float
    nats: float  # the mean distance between claimed and observed PMI, over the labels
    bins: Sequence[Bin]  # that `nats` is computed from

    def rows(self) -> list[Row]:
        """Return both errors."""
        share = self.expected_calibration_error
        return [
            Row("calibration error, nats", self.nats),
            Row("  of probabilities, %", share, unit="percent"),
        ]

    def notes(self) -> list[str]:
        """Return a note if the labels are too few."""
        labels = sum(row.labels for row in self.bins)
        if labels >= _FEW:
            return []
        note = f"calibration error: the test split has {labels} labels to count"
        return [f"{note}; below {_FEW} the error says little, even if it is 0"]


def create(subject: base.Subject) -> base.Evaluator:
    """Create the evaluator of what the net claims about each example's likely classes.

    Probabilities use the class frequencies of training, PMI those of the population.
    """
    loss = subject.loss

    def measure(inference: base.Inference) -> base.Measured:
        logits, priors = inference.output.logits, inference.priors
        trained = base.Priors(priors.training, priors.training)
        log_probability = priors.training + claimed_pmi(logits, loss, trained)
        pmi = claimed_pmi(logits, loss, priors)
        count = min(NUM_CLASSES, logits.shape[-1])
        log_probability, classes = jax.lax.top_k(log_probability, count)
        pmi = jnp.take_along_axis(pmi, classes, axis=-1)  # [B, C], like the others
        return {"classes": classes, "pmi": pmi, "probability": jnp.exp(log_probability)}

    def summarize(measured: base.Measured, split: Split, priors: base.Priors) -> Result:
        classes, labels = measured["classes"], split["label"]
        if loss.multi_label:
            hits, counted = np.take_along_axis(labels, classes, axis=1) > 0, slice(None)
        else:
            hits, counted = classes == labels[:, None], slice(1)
        probability = measured["probability"][:, counted]
        error = expected_calibration_error(probability, hits[:, counted])
        frequencies = np.exp(np.asarray(priors.population))[classes]
        bins = reliability(measured["pmi"], frequencies, hits)
        gaps = [abs(b.claimed - b.observed) for b in bins]
        weights = [b.labels for b in bins]
        nats = float(np.average(gaps, weights=weights)) if bins else np.nan
        return CalibrationResult(error, nats, bins)

    return base.Evaluator(measure, summarize)


def claimed_pmi(logits: jax.Array, loss: Loss, priors: base.Priors) -> jax.Array:
    """Return the PMI of every class `[B, M]` in nats, from a net's logits `[B, M]`.

    PMI plus log P(y) of the population is log P(y|x). If an example may have several
    labels, the PMI is between the input and the event that the example has the label.
    """
    population = jnp.asarray(priors.population)
    logits = loss.pc_logits(logits, priors.training)
    if not loss.multi_label:
        return information.log_pc_softmax(logits, population)
    share = jnp.exp(population)
    absent = jnp.where(share < 1, jnp.log1p(-share), -jnp.inf)
    return logits - jnp.logaddexp(logits + population, absent)


def reliability(pmi: np.ndarray, prior: np.ndarray, hits: np.ndarray) -> list[Bin]:
    """Compare claimed and observed PMI of pairs of an example and a class.

    The arrays have any one shape: the claims in nats, P(y) of the class, and whether
    the class is the label. Bins are half a nat wide, or wider where fewer than ten
    labels are claimed and observed.
    """
    pmi, prior = (np.asarray(a, np.float64).ravel() for a in (pmi, prior))
    hits = np.ravel(hits)
    # Skip classes with zero prior, and PMI that is NaN or +inf.
    possible = (prior > 0) & (pmi < np.inf)
    pmi, prior, hits = pmi[possible], prior[possible], hits[possible]
    if not len(pmi):
        return []
    pmi = pmi.clip(-20, None)  # all claims below e^-20 share a bin
    cells = np.floor(pmi / _WIDTH).astype(int)
    cells -= cells.min()
    counted = (prior * np.exp(pmi), prior, hits, np.ones(len(pmi)))
    sums = np.stack([np.bincount(cells, weights) for weights in counted], 1)
    merged, rest = [], np.zeros(4)
    for row in sums:
        rest = rest + row
        if rest[2] and max(rest[0], rest[2]) >= _FEWEST:
            merged.append(rest)
            rest = np.zeros(4)
    if rest[3] and merged:
        merged[-1] = merged[-1] + rest
    return [
        Bin(
            claimed=float(np.log(claimed / expected)),
            observed=float(np.log(labels / expected)),
            standard_error=float(np.sqrt((1 - labels / pairs) / labels)),
            pairs=int(pairs),
            labels=int(labels),
        )
        for claimed, expected, labels, pairs in merged
    ]


def expected_calibration_error(probability: np.ndarray, hits: np.ndarray) -> float:
    """Return the expected calibration error (Guo et al. 2017), in [0, 1].

    The arrays have any one shape: the probability claimed for each pair of an example
    and a class, where NaN does not count, and whether the class is the label.
    """
    probability, hits = np.ravel(probability).astype(np.float64), np.ravel(hits)
    claimed = ~np.isnan(probability)
    probability, hits = probability[claimed], hits[claimed]
    if not len(hits):
        return np.nan
    cells = np.minimum(probability * _CONFIDENCE_BINS, _CONFIDENCE_BINS - 1).astype(int)
    gaps = np.bincount(cells, hits - probability)
    return float(np.abs(gaps).sum() / len(hits))
