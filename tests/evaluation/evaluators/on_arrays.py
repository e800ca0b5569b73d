"""Run an evaluator on arrays, without a net or a data set."""

import jax
import numpy as np

from mi_classifier.evaluation import Priors, Subject
from mi_classifier.evaluation.evaluators import Inference
from mi_classifier.losses import LOSSES
from mi_classifier.models import ModelOutput


def subject_of(loss, dataset=None, **localization):
    """Returns what an evaluator is created for."""
    return Subject(dataset, LOSSES[loss], localization or None)


def measure(evaluator, split, logits, priors, features=None, kernel=None):
    """Returns the measurements of a split that is a single batch."""
    output = ModelOutput(logits, logits if features is None else features)
    params = {} if kernel is None else {"head": {"kernel": kernel}}
    measured = evaluator.measure(Inference(output, split, priors, params))
    return jax.tree.map(np.asarray, measured)


def run(evaluator, split, logits, priors, features=None, kernel=None):
    """Returns the result of a split that is a single batch."""
    measured = measure(evaluator, split, logits, priors, features, kernel)
    return evaluator.summarize(measured, split, priors)


def priors_of(training, population=None):
    """Returns the log of class frequencies, by default the same for both."""
    with np.errstate(divide="ignore"):
        population = training if population is None else population
        return Priors(np.log(training), np.log(population))
