"""ResNet50 as torchvision has it, with a fine map for localization (Section 6.1)."""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from mi_classifier.models.adl import AttentionDropout
from mi_classifier.models.cpu_kernels import convolve
from mi_classifier.models.layers import (
    KAIMING,
    BatchNorm,
    ConvNorm,
    GAPHead,
    check_sides,
)
from mi_classifier.models.output import ModelOutput

_BLOCKS = (3, 4, 6, 3)
_ADL_AFTER = ((3, 1), (4, 1), (4, 3))  # (layer, block), counted from 1
# torch.nn.Linear's initialization: uniform within one over the root of the fan-in.
_LINEAR = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


class ResNet50(nn.Module):
    """Fifty layers of bottleneck blocks under a global-average-pooled head.

    Parameters have torchvision's names.

    Attributes:
      num_classes: number of classes M.
      width: channels of the stem; ResNet50 has 64.
      last_stride: of layer4; 1 gives a 14 x 14 map at 224 px, 2 is the standard.
      dtype: of computation, "float32" or "bfloat16"; parameters, batch statistics, head
        and logits are float32.
      sync_batch_norm: whether training normalizes over all devices' examples, or each
        device over its own.
      remat: whether training recomputes each block for its gradient, which takes time
        and saves memory.
      adl: whether training has attention-based dropout, after layer3's first block and
        layer4's first and last.
      adl_threshold: its gamma.
      adl_drop_rate: its probability of hiding.
    """

    num_classes: int
    width: int = 64
    last_stride: int = 1
    dtype: str = "float32"
    sync_batch_norm: bool = False
    remat: bool = False
    adl: bool = False
    adl_threshold: float = 0.9
    adl_drop_rate: float = 0.75

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> ModelOutput:
        """Maps images `[B, H, W, 3]`, sides 32 or more, to `ModelOutput`."""
        check_sides("resnet50", images, 32)
        dtype = jnp.dtype(self.dtype)
        norm = functools.partial(BatchNorm, train, dtype, 1e-5, self.sync_batch_norm)
        conv = functools.partial(
            nn.Conv,
            use_bias=False,
            dtype=dtype,
            kernel_init=KAIMING,
            conv_general_dilated=convolve,
        )
        x = images.astype(dtype)
        x = conv(self.width, (7, 7), strides=2, padding=3, name="conv1")(x)
        x = nn.relu(norm(name="bn1")(x))
        x = nn.max_pool(x, (3, 3), (2, 2), [(1, 1)] * 2)
        for layer, blocks in enumerate(_BLOCKS, start=1):
            drops = [block for at, block in _ADL_AFTER if self.adl and at == layer]
            x = _Layer(
                width=self.width * 2 ** (layer - 1),
                blocks=blocks,
                stride={1: 1, 4: self.last_stride}.get(layer, 2),
                conv=conv,
                norm=norm,
                remat=self.remat and train,
                drops=tuple(drops),
                drop=(self.adl_threshold, self.adl_drop_rate),
                name=f"layer{layer}",
            )(x, train)
        logits = GAPHead(self.num_classes, _LINEAR, name="head")(x)
        return ModelOutput(logits, x)


class _Layer(nn.Module):
    """Bottleneck blocks, the first of them strided; ADL after those in `drops`."""

    width: int
    blocks: int
    stride: int
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    remat: bool
    drops: tuple[int, ...]
    drop: tuple[float, float]

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        bottleneck = nn.remat(_Bottleneck) if self.remat else _Bottleneck
        for block in range(self.blocks):
            stride = self.stride if block == 0 else 1
            x = bottleneck(
                self.width, stride, block == 0, self.conv, self.norm, name=str(block)
            )(x)
            if block + 1 in self.drops:
                x = AttentionDropout(*self.drop)(x, train)
        return x


class _Bottleneck(nn.Module):
    width: int
    stride: int
    projects: bool
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = self.conv(self.width, (1, 1), name="conv1")(x)
        y = nn.relu(self.norm(name="bn1")(y))
        y = self.conv(self.width, (3, 3), strides=self.stride, padding=1, name="conv2")(
            y
        )
        y = nn.relu(self.norm(name="bn2")(y))
        y = self.norm(name="bn3")(self.conv(4 * self.width, (1, 1), name="conv3")(y))
        if self.projects:
            conv = functools.partial(
                self.conv, 4 * self.width, (1, 1), strides=self.stride
            )
            x = ConvNorm(conv, self.norm, ("0", "1"), name="downsample")(x)
        return nn.relu(x + y)
