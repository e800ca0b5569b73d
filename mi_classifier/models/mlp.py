"""The fully connected net of Section 4.1 and Figure 5."""

import math
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from mi_classifier.errors import UserError
from mi_classifier.models.kernels import DenseOfColumns
from mi_classifier.models.output import ModelOutput


class MLP(nn.Module):
    """Hidden layers of ReLU units and a linear head.

    Attributes:
      hidden: units of each hidden layer; the paper's are three of 100.
      frequencies: number of random Fourier features beside the inputs, cosines of
        random directions, which are not trained (Rahimi & Recht 2007, "Random features
        for large-scale kernel machines"; Tancik et al. 2020, "Fourier features let
        networks learn high frequency functions"). They show fine structure to the net.
      fourier_inputs: they are of so many inputs, the first ones.
    """

    num_classes: int
    hidden: Sequence[int] = (100, 100, 100)
    frequencies: int = 0
    fourier_inputs: int = 0

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
        if self.frequencies:
            features = _FourierFeatures(self.frequencies, name="fourier")
            x = jnp.concatenate([x, features(x[: self.fourier_inputs])])
        for index, units in enumerate(self.hidden):
            x = nn.relu(DenseOfColumns(units, name=f"hidden{index}")(x))
        return ModelOutput(DenseOfColumns(self.num_classes, name="head")(x).T, x.T)


class _FourierFeatures(nn.Module):
    """Cosines of random directions of columns `[D, B]`, with variance 1."""

    number: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        normal, turn = nn.initializers.normal(1.0), 2 * jnp.pi
        kernel = self.param("kernel", normal, (len(x), self.number), jnp.float32)
        phase = self.param(
            "phase", nn.initializers.uniform(turn), (self.number,), jnp.float32
        )
        kernel, phase = jax.lax.stop_gradient((kernel, phase))
        turns = jnp.matmul(kernel.T, x, precision="highest") + phase[:, None]
        return jnp.sqrt(2) * jnp.cos(turns)
