"""VGG16-GAP (Section 6.1, Figure 7): VGG16 under a global-average-pooled head."""

import functools
from collections.abc import Sequence
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from mi_classifier.errors import UserError
from mi_classifier.models.adl import AttentionDropout
from mi_classifier.models.kernels import max_pool
from mi_classifier.models.layers import Conv, GAPHead, check_sides
from mi_classifier.models.output import ModelOutput

_conv = functools.partial(Conv, kernel_size=(3, 3))
# Each stage's first number in torchvision's list of layers: its channels, in widths.
_STAGES = {0: (1, 1), 5: (2, 2), 10: (4, 4, 4), 17: (8, 8, 8), 24: (8, 8, 8)}


class VGG16GAP(nn.Module):
    """VGG16's convolutions without the last pool, conv6 of 1,024 channels, their mean.

    Parameters have torchvision's names, "features" and a number.

    Attributes:
      width: channels of the first stage; VGG16 has 64.
      pools: how many of VGG16's first four pools are kept, 0 to 4. Each doubles the
        pixels of a cell of the map: with 3, images of 64 px give 8 x 8, not 4 x 4.
      dtype: of activations, "float32" or "bfloat16"; parameters and head are float32.
      remat: whether training recomputes each stage for its gradient, to save memory.
      adl: whether training has attention-based dropout, after pool3, pool4 and conv5_3.
      adl_threshold: gamma, the share of an image's largest attention.
      adl_drop_rate: probability that attention-based dropout hides cells.
    """

    NEW_LAYERS: ClassVar[tuple[str, ...]] = ("conv6",)  # not in pretrained VGG16

    num_classes: int
    width: int = 64
    pools: int = 4
    dtype: str = "float32"
    remat: bool = False
    adl: bool = False
    adl_threshold: float = 0.8
    adl_drop_rate: float = 0.75

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> ModelOutput:
        """Map images `[B, H, W, 3]`, sides 16 or more, to `ModelOutput`."""
        check_sides("vgg16_gap", images, 16)
        if not 0 <= self.pools <= 4:
            raise UserError(f"model.pools: must be in [0, 4], not {self.pools}")
        dtype = jnp.dtype(self.dtype)
        drop = (self.adl_threshold, self.adl_drop_rate) if self.adl else None
        remat = self.remat and train
        features = _Features(self.width, self.pools, drop, remat, name="features")
        x = features(images.astype(dtype), train)
        x = nn.relu(_conv(16 * self.width, dtype=dtype, name="conv6")(x))
        logits = GAPHead(self.num_classes, nn.initializers.normal(0.01), name="head")(x)
        return ModelOutput(logits, x)


class _Features(nn.Module):
    width: int
    pools: int
    drop: tuple[float, float] | None
    remat: bool

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        stage = _Features._stage
        if self.remat:
            stage = nn.remat(stage, static_argnums=(2, 3))
        for number, (first, widths) in enumerate(_STAGES.items()):
            x = stage(self, x, first, widths)
            if number < self.pools:
                x = max_pool(x)
            if self.drop and first >= 10:
                x = AttentionDropout(*self.drop)(x, train)
        return x

    def _stage(self, x: jax.Array, first: int, widths: Sequence[int]) -> jax.Array:
        for index, width in enumerate(widths):
            name = str(first + 2 * index)  # each ReLU counts too
            x = nn.relu(_conv(width * self.width, dtype=x.dtype, name=name)(x))
        return x
