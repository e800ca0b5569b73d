"""A small convolutional net under a global-average-pooled head (Section 6.3)."""

import flax.linen as nn
import jax

from mi_classifier.models.cpu_kernels import convolve_in_scan, max_pool
from mi_classifier.models.layers import GAPHead
from mi_classifier.models.output import ModelOutput


class GapCNN(nn.Module):
    """Convolutions to a map of a quarter of the image's sides, its mean, a dense layer.

    A cell sees 36 x 36 pixels: a whole digit of MNIST and its surroundings.

    Attributes:
      num_classes: number of classes M.
    """

    num_classes: int

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> ModelOutput:
        """Maps images `[B, H, W, C]`, sides 4 or more, to `ModelOutput`."""
        del train
        x = images
        for index, channels in enumerate((16, 32, 64, 64, 64)):
            if index in (1, 2):
                x = max_pool(x)
            conv = nn.Conv(
                channels,
                (3, 3) if index else (5, 5),
                kernel_init=nn.initializers.he_normal(),
                conv_general_dilated=convolve_in_scan,
                name=f"conv{index}",
            )
            x = nn.relu(conv(x))
        return ModelOutput(GAPHead(self.num_classes, name="head")(x), x)
