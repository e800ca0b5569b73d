"""From a model, its variables and a split to numbers; knows nothing of training."""

from mi_classifier.evaluation.evaluate import best_template, evaluate, make_evaluation
from mi_classifier.evaluation.evaluators import Evaluator, Priors, for_dataset

__all__ = [
    "Evaluator",
    "Priors",
    "best_template",
    "evaluate",
    "for_dataset",
    "make_evaluation",
]
