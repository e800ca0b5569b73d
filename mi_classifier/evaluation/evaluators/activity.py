"""Detect a dead net: features that are all 0 say nothing about the input."""

import dataclasses

from mi_classifier.data import Split
from mi_classifier.evaluation.evaluators import base
from mi_classifier.evaluation.results import Result, mean


@dataclasses.dataclass(frozen=True)
class ActivityResult(Result):
    """How often the net's features say nothing."""

    silent: float  # share of examples whose features are all 0, in [0, 1]


def create(subject: base.Subject) -> base.Evaluator:
    """Create the evaluator of the net's features."""

    def measure(inference: base.Inference) -> base.Measured:
        features = inference.output.features
        return {"silent": ~(features != 0).any(tuple(range(1, features.ndim)))}

    def summarize(measured: base.Measured, split: Split, priors: base.Priors) -> Result:
        return ActivityResult(mean(measured["silent"]))

    return base.Evaluator(measure, summarize)
