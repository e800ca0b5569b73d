"""ResNet50 as torchvision has it, with a fine map for localization (Section 6.1)."""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from mi_classifier.errors import UserError
from mi_classifier.models.adl import AttentionDropout
from mi_classifier.models.kernels import max_pool_of_three
from mi_classifier.models.layers import BatchNorm, Conv, ConvNorm, GAPHead, check_sides
from mi_classifier.models.output import ModelOutput

_BLOCKS = (3, 4, 6, 3)
# By `stem_stride`: the side and the stride of the first kernel, and whether a pool of
# stride 2 follows it.
_STEMS = {4: (7, 2, True), 2: (3, 2, False), 1: (3, 1, False)}
_ADL_AFTER = {3: (1,), 4: (1, 3)}  # blocks of a layer, both counted from 1
# torch.nn.Linear's initialization: uniform within one over the root of the fan-in.
_LINEAR = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


class ResNet50(nn.Module):
    """Fifty layers of bottleneck blocks under a global-average-pooled head.

    Parameters have torchvision's names.

    Attributes:
      width: channels of the stem; ResNet50 has 64.
      stem_stride: pixels of the image for one of the stem's output, along each side. 4
        is ImageNet's: 7 x 7 of stride 2, and a pool. 2 and 1 are 3 x 3 without a pool,
        for small images: 64 px give maps of 8 x 8 and 16 x 16 instead of 4 x 4. Each
        takes four times as long as the one before.
      last_stride: of layer4; 1 gives a 14 x 14 map at 224 px, 2 is the standard.
      dtype: of activations, "float32" or "bfloat16"; all else is float32.
      sync_batch_norm: whether training normalizes over the examples of all devices.
      remat: whether training recomputes each block for its gradient, to save memory.
      adl: whether training has attention-based dropout in layer3 and layer4.
      adl_threshold: gamma, the share of an image's largest attention.
      adl_drop_rate: probability that attention-based dropout hides cells.
    """

    num_classes: int
    width: int = 64
    stem_stride: int = 4
    last_stride: int = 1
    dtype: str = "float32"
    sync_batch_norm: bool = False
    remat: bool = False
    adl: bool = False
    adl_threshold: float = 0.9
    adl_drop_rate: float = 0.75

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> ModelOutput:
        """Map images `[B, H, W, 3]`, sides 32 or more, to `ModelOutput`."""
        check_sides("resnet50", images, 32)
        if self.stem_stride not in _STEMS:
            raise UserError(
                f"model.stem_stride: must be 1, 2 or 4, not {self.stem_stride}"
            )
        side, stride, pools = _STEMS[self.stem_stride]
        dtype = jnp.dtype(self.dtype)
        conv = functools.partial(Conv, use_bias=False, dtype=dtype)
        norm = functools.partial(BatchNorm, train, dtype, 1e-5, self.sync_batch_norm)
        bottleneck = nn.remat(_Bottleneck) if self.remat and train else _Bottleneck
        drop = (self.adl_threshold, self.adl_drop_rate)
        stem = conv(self.width, (side,) * 2, stride, padding=side // 2, name="conv1")
        x = nn.relu(norm(name="bn1")(stem(images.astype(dtype))))
        if pools:
            x = max_pool_of_three(x, padding=1)
        for layer, blocks in enumerate(_BLOCKS, start=1):
            stride = {1: 1, 4: self.last_stride}.get(layer, 2)
            x = _Layer(
                functools.partial(
                    bottleneck, conv, norm, self.width * 2 ** (layer - 1)
                ),
                strides=(stride, *[1] * (blocks - 1)),
                drop=functools.partial(AttentionDropout, *drop),
                drops=_ADL_AFTER.get(layer, ()) if self.adl else (),
                name=f"layer{layer}",
            )(x, train)
        logits = GAPHead(self.num_classes, _LINEAR, name="head")(x)
        return ModelOutput(logits, x)


class _Layer(nn.Module):
    block: Callable[..., nn.Module]
    strides: tuple[int, ...]
    drop: Callable[[], nn.Module]
    drops: tuple[int, ...]  # numbers of the blocks that `drop` follows

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        for index, stride in enumerate(self.strides):
            x = self.block(stride, projects=index == 0, name=str(index))(x)
            if index + 1 in self.drops:
                x = self.drop()(x, train)
        return x


class _Bottleneck(nn.Module):
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    width: int
    stride: int
    projects: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = self.conv(self.width, (1, 1), name="conv1")(x)
        y = nn.relu(self.norm(name="bn1")(y))
        y = self.conv(self.width, (3, 3), self.stride, padding=1, name="conv2")(y)
        y = nn.relu(self.norm(name="bn2")(y))
        y = self.norm(name="bn3")(self.conv(4 * self.width, (1, 1), name="conv3")(y))
        if self.projects:
            conv = functools.partial(self.conv, 4 * self.width, (1, 1), self.stride)
            x = ConvNorm(conv, self.norm, ("0", "1"), name="downsample")(x)
        return nn.relu(x + y)
