"""Small convolutional nets: of Section 4.2 and Figure 6, and of Section 6.3."""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from mi_classifier.models.kernels import convolve_in_scan, max_pool
from mi_classifier.models.layers import GAPHead
from mi_classifier.models.output import ModelOutput

_Conv = functools.partial(nn.Conv, conv_general_dilated=convolve_in_scan)


class MnistCNN(nn.Module):
    """Two 5 x 5 convolutions, each with ReLU and max-pooling, and two dense layers.

    With label noise, the net learns one confusion of classes for all images (Goldberger
    & Ben-Reuven 2017), and its logits are log-probabilities of an ordinary softmax.

    Attributes:
      label_noise: whether to model wrong labels in the training data.
    """

    num_classes: int
    label_noise: bool = False

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> ModelOutput:
        """Map images `[B, H, W, C]`, sides 16 or more, to `ModelOutput`."""
        x = images
        for index, channels in enumerate((20, 50)):
            x = _Conv(channels, (5, 5), padding="VALID", name=f"conv{index}")(x)
            x = max_pool(nn.relu(x))
        x = x.reshape(len(x), math.prod(x.shape[1:]))
        x = nn.relu(nn.Dense(500, name="hidden")(x))
        logits = nn.Dense(self.num_classes, precision="highest", name="head")(x)
        if self.label_noise:
            logits = _Confusion(name="confusion")(logits)
        return ModelOutput(logits, x)


class _Confusion(nn.Module):
    """Map logits of the true class to log-probabilities of the label in the data."""

    @nn.compact
    def __call__(self, logits: jax.Array) -> jax.Array:
        kernel = self.param(
            "kernel", lambda _: 0.3 * jnp.eye(logits.shape[-1], dtype=jnp.float32)
        )
        # The factor of ten keeps a channel without wrong labels within easy reach.
        log_channel = jax.nn.log_softmax(10 * kernel)
        log_true = jax.nn.log_softmax(logits)
        return jax.nn.logsumexp(log_true[..., None] + log_channel, axis=-2)


class GapCNN(nn.Module):
    """Convolutions to a map of a quarter of the image's sides, its mean, a dense layer.

    A cell sees 36 x 36 pixels: a whole digit of MNIST and its surroundings.
    """

    num_classes: int

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> ModelOutput:
        """Map images `[B, H, W, C]`, sides 4 or more, to `ModelOutput`."""
        x = images
        init = nn.initializers.he_normal()
        for index, channels in enumerate((16, 32, 64, 64, 64)):
            if index in (1, 2):
                x = max_pool(x)
            size = (3, 3) if index else (5, 5)
            x = _Conv(channels, size, kernel_init=init, name=f"conv{index}")(x)
            x = nn.relu(x)
        return ModelOutput(GAPHead(self.num_classes, name="head")(x), x)
