"""A small convolutional net under a global-average-pooled head (Section 6.3)."""

import flax.linen as nn
import jax

from mi_classifier.models.layers import GAPHead, convolve_in_scan, max_pool
from mi_classifier.models.output import ModelOutput


class GapCNN(nn.Module):
    """Convolutions to a map of a quarter of the image's sides, its mean, a dense layer.

    A cell sees 36 x 36 pixels: a whole digit of MNIST, and what surrounds it.

    Attributes:
      num_classes: number of classes M.
    """

    num_classes: int

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> ModelOutput:
        """Maps images `[B, H, W, C]`, sides 4 or more, to `ModelOutput`."""
        del train
        x = _conv(images, 16, 5, "conv0")
        x = _conv(max_pool(x), 32, 3, "conv1")
        x = max_pool(x)
        for index in (2, 3, 4):
            x = _conv(x, 64, 3, f"conv{index}")
        return ModelOutput(GAPHead(self.num_classes, name="head")(x), x)


def _conv(x: jax.Array, channels: int, size: int, name: str) -> jax.Array:
    layer = nn.Conv(
        channels,
        (size, size),
        kernel_init=nn.initializers.he_normal(),
        conv_general_dilated=convolve_in_scan,
        name=name,
    )
    return nn.relu(layer(x))
