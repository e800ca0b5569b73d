"""From a model, its variables and a split to numbers; knows nothing of training."""

from mi_classifier.evaluation.evaluating import evaluate
from mi_classifier.evaluation.evaluators import Evaluator, Priors
from mi_classifier.evaluation.split_pass import for_dataset, make_evaluation

__all__ = [
    "Evaluator",
    "Priors",
    "evaluate",
    "for_dataset",
    "make_evaluation",
]
