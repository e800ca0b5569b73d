"""Detect a dead net: features that are all 0 say nothing about the input."""

import dataclasses

import numpy as np

from mi_classifier.data import Split
from mi_classifier.evaluation.evaluators.base import (
    Evaluator,
    Inference,
    Measurements,
    Priors,
    Subject,
)
from mi_classifier.evaluation.results import Result, mean


@dataclasses.dataclass(frozen=True)
class ActivityResult(Result):
    """How often the net's features say nothing.

    Attributes:
      silent: the share of examples whose features are all 0, in [0, 1].
    """

    silent: float


class Activity(Evaluator):
    """Measures whether all features of an example are 0."""

    def measure(self, inference: Inference) -> Measurements:
        """Returns "silent" `[B]`."""
        features = inference.output.features
        return {"silent": ~(features != 0).any(tuple(range(1, features.ndim)))}

    def summarize(
        self, measurements: dict[str, np.ndarray], split: Split, priors: Priors
    ) -> ActivityResult:
        """Returns the share of silent examples."""
        del split, priors
        return ActivityResult(mean(measurements["silent"]))


def create(subject: Subject) -> Activity:
    """Applies to every net."""
    del subject
    return Activity()
