"""The fully connected net of Section 4.1 and Figure 5."""

import math
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
        x = images.reshape(len(images), math.prod(images.shape[1:])).T
        for index, units in enumerate(self.hidden):
            x = nn.relu(_Dense(units, name=f"hidden{index}")(x))
        return ModelOutput(_Dense(self.num_classes, name="head")(x).T, x.T)


class _Dense(nn.Module):
    """`nn.Dense`, the same parameters, from `[K, B]` to `[units, B]`.

    With the batch last, XLA's CPU matrix products of a few hundred units spread over
    the cores: a training step of 1,000 examples takes three quarters of the time.
    """

    units: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (len(x), self.units)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.units,))
        return kernel.T @ x + bias[:, None]
