"""The fully connected net of Section 4.1 and Figure 5."""

from collections.abc import Sequence

import flax.linen as nn
import jax

from mi_classifier.models.output import ModelOutput


class MLP(nn.Module):
    """Hidden layers of ReLU units and a linear head.

    Attributes:
      num_classes: number of classes M.
      hidden: units of each hidden layer; the paper's are three of 100.
    """

    num_classes: int
    hidden: Sequence[int] = (100, 100, 100)

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> ModelOutput:
        """Maps inputs `[B, ...]`, flattened, to `ModelOutput`."""
        del train
        x = images.reshape(len(images), -1)
        for index, units in enumerate(self.hidden):
            x = nn.relu(nn.Dense(units, name=f"hidden{index}")(x))
        return ModelOutput(nn.Dense(self.num_classes, name="head")(x), x)
