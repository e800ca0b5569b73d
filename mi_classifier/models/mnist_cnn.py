"""The convolutional net of Section 4.2 and Figure 6."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from mi_classifier.models.cpu_kernels import convolve_in_scan, max_pool
from mi_classifier.models.output import ModelOutput


class MnistCNN(nn.Module):
    """Two 5 x 5 convolutions, each with ReLU and max-pooling, and two dense layers.

    Attributes:
      num_classes: number of classes M.
      label_noise: whether to model wrong labels by a confusion of classes, the same for
        all images and learned with the rest (Goldberger & Ben-Reuven 2017). The logits
        are then log-probabilities, of an ordinary softmax.
    """

    num_classes: int
    label_noise: bool = False

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> ModelOutput:
        """Maps images `[B, H, W, C]`, sides 16 or more, to `ModelOutput`."""
        del train
        x = images
        for index, channels in enumerate((20, 50)):
            x = nn.Conv(
                channels,
                (5, 5),
                padding="VALID",
                conv_general_dilated=convolve_in_scan,
                name=f"conv{index}",
            )(x)
            x = max_pool(nn.relu(x))
        x = x.reshape(len(x), math.prod(x.shape[1:]))
        x = nn.relu(nn.Dense(500, name="hidden")(x))
        logits = nn.Dense(self.num_classes, name="head")(x)
        if self.label_noise:
            logits = _Confusion(self.num_classes, name="confusion")(logits)
        return ModelOutput(logits, x)


class _Confusion(nn.Module):
    """Maps logits of the true class to log-probabilities of the label in the data."""

    num_classes: int

    @nn.compact
    def __call__(self, logits: jax.Array) -> jax.Array:
        classes = self.num_classes
        kernel = self.param("kernel", lambda _: 0.3 * jnp.eye(classes))
        # The factor of ten keeps a channel without wrong labels within easy reach.
        log_channel = jax.nn.log_softmax(10 * kernel)
        log_true = jax.nn.log_softmax(logits)
        return jax.nn.logsumexp(log_true[..., None] + log_channel, axis=-2)
