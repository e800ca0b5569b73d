"""From a net and a split to results, as dataclasses; knows nothing of training.

Nothing in this room prints, draws or writes: `reporting` does.
"""

from mi_classifier.evaluation.evaluate import ablate_net, evaluate_net
from mi_classifier.evaluation.evaluators import Evaluator, Priors, Subject
from mi_classifier.evaluation.results import Evaluation, Results
from mi_classifier.evaluation.split_pass import make_split_pass, summarize
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
    "summarize",
]
