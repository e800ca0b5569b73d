"""Evaluate a trained net: from a net and a split to results, as frozen dataclasses.

Nothing here prints, draws or writes; `mi_classifier.reporting` does.
"""

from mi_classifier.evaluation.evaluate import ablate_net, evaluate_net, make_split_pass
from mi_classifier.evaluation.evaluators import Evaluator, Priors, Subject
from mi_classifier.evaluation.results import Evaluation, Results
from mi_classifier.evaluation.trained_net import TrainedNet, load_config, load_net

__all__ = [
    "Evaluation",
    "Evaluator",
    "Priors",
    "Results",
    "Subject",
    "TrainedNet",
    "ablate_net",
    "evaluate_net",
    "load_config",
    "load_net",
    "make_split_pass",
]
