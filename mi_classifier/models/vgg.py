"""VGG16-GAP (Section 6.1, Figure 7): VGG16 under a global-average-pooled head."""

from collections.abc import Sequence
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from mi_classifier.models.adl import AttentionDropout
from mi_classifier.models.cpu_kernels import convolve, max_pool
from mi_classifier.models.layers import KAIMING, GAPHead, check_sides
from mi_classifier.models.output import ModelOutput

_STAGES = ((1, 1), (2, 2), (4, 4, 4), (8, 8, 8), (8, 8, 8))  # channels, in widths


class VGG16GAP(nn.Module):
    """VGG16's convolutions without the last pool, conv6 of 1,024 channels, their mean.

    Parameters have torchvision's names, "features" and a number.

    Attributes:
      num_classes: number of classes M.
      width: channels of the first stage; VGG16 has 64.
      dtype: of computation, "float32" or "bfloat16"; parameters, head and logits are
        float32.
      remat: whether training recomputes each stage for its gradient, which takes time
        and saves memory.
      adl: whether training has attention-based dropout, after pool3, pool4 and conv5_3.
      adl_threshold: its gamma.
      adl_drop_rate: its probability of hiding.
    """

    NEW_LAYERS: ClassVar[tuple[str, ...]] = ("conv6",)  # not in pretrained VGG16

    num_classes: int
    width: int = 64
    dtype: str = "float32"
    remat: bool = False
    adl: bool = False
    adl_threshold: float = 0.8
    adl_drop_rate: float = 0.75

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> ModelOutput:
        """Maps images `[B, H, W, 3]`, sides 16 or more, to `ModelOutput`."""
        check_sides("vgg16_gap", images, 16)
        dtype = jnp.dtype(self.dtype)
        drop = (self.adl_threshold, self.adl_drop_rate) if self.adl else None
        features = _Features(self.width, drop, self.remat and train, name="features")
        x = features(images.astype(dtype), train)
        x = nn.relu(_conv(16 * self.width, dtype, "conv6")(x))
        logits = GAPHead(self.num_classes, nn.initializers.normal(0.01), name="head")(x)
        return ModelOutput(logits, x)


class _Features(nn.Module):
    """Stages of convolutions, numbered as in torchvision's list of layers."""

    width: int
    drop: tuple[float, float] | None
    remat: bool

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        run = nn.remat(_stage, static_argnums=(2, 3)) if self.remat else _stage
        index = 0
        for stage, widths in enumerate(_STAGES, start=1):
            x = run(self, x, index, tuple(width * self.width for width in widths))
            index += 2 * len(widths)  # with the ReLUs
            if stage < len(_STAGES):
                x = max_pool(x)
                index += 1
            if self.drop and stage >= 3:
                x = AttentionDropout(*self.drop)(x, train)
        return x


def _stage(
    features: nn.Module, x: jax.Array, index: int, channels: Sequence[int]
) -> jax.Array:
    """Applies convolutions that belong to `features`, numbered from `index` on."""
    del features  # Flax adds the convolutions to the module that calls
    for number, count in enumerate(channels):
        x = nn.relu(_conv(count, x.dtype, str(index + 2 * number))(x))
    return x


def _conv(channels: int, dtype: jnp.dtype, name: str) -> nn.Conv:
    return nn.Conv(
        channels,
        (3, 3),
        dtype=dtype,
        kernel_init=KAIMING,
        conv_general_dilated=convolve,
        name=name,
    )
