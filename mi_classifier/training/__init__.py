"""Train a classifier: state, optimizer, step, loop, checks and logging."""

from mi_classifier.training.loop import Trained, train
from mi_classifier.training.state import TrainState

__all__ = ["TrainState", "Trained", "train"]
