"""State, optimizer, step, loop, checks and logging of a training."""

from mi_classifier.training.loop import Trained, train
from mi_classifier.training.state import TrainState

__all__ = ["TrainState", "Trained", "train"]
