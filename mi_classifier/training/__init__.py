"""State, optimizer, step, loop and logging."""

from mi_classifier.training.loop import train
from mi_classifier.training.state import TrainState

__all__ = ["TrainState", "train"]
