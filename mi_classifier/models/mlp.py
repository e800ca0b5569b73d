"""The fully connected net of Section 4.1 and Figure 5."""

import math
from collections.abc import Sequence

import flax.linen as nn
import jax

from mi_classifier.errors import UserError
from mi_classifier.models.cpu_kernels import DenseOfColumns
from mi_classifier.models.output import ModelOutput


class MLP(nn.Module):
    """Hidden layers of ReLU units and a linear head.

    Attributes:
      hidden: units of each hidden layer; the paper's are three of 100.
    """

    num_classes: int
    hidden: Sequence[int] = (100, 100, 100)

    def __post_init__(self) -> None:
        if not isinstance(self.hidden, (tuple, list)) or not all(
            type(units) is int and 0 < units < 2**31 for units in self.hidden
        ):
            raise UserError(
                f"model.hidden: must be positive whole numbers, not {self.hidden!r}"
            )
        super().__post_init__()

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> ModelOutput:
        """Map inputs `[B, ...]`, flattened, to `ModelOutput`."""
        x = images.reshape(len(images), math.prod(images.shape[1:])).T
        for index, units in enumerate(self.hidden):
            x = nn.relu(DenseOfColumns(units, name=f"hidden{index}")(x))
        return ModelOutput(DenseOfColumns(self.num_classes, name="head")(x).T, x.T)
