"""Layers that several nets share; they save the same parameters as Flax's own."""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from mi_classifier import parallel
from mi_classifier.models.kernels import convolve, moments
from mi_classifier.models.output import ModelOutput

# As torchvision's nets start their convolutions (He et al. 2015).
_KAIMING = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
Conv = functools.partial(nn.Conv, kernel_init=_KAIMING, conv_general_dilated=convolve)


class GAPHead(nn.Module):
    """Global average pooling and a linear head, in float32 for any dtype of features.

    Training drops the share `dropout` of the pooled features.
    """

    num_classes: int
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    dropout: float = 0.0

    @nn.compact
    def __call__(self, features: jax.Array, train: bool = False) -> jax.Array:
        """Map features `[B, h, w, K]` to logits `[B, M]`."""
        pooled = features.mean((1, 2), dtype=jnp.float32)
        if self.dropout:
            pooled = nn.Dropout(self.dropout, deterministic=not train)(pooled)
        shape = (pooled.shape[-1], self.num_classes)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, shape[1:], jnp.float32)
        # By default, accelerators round the factors to fewer digits.
        return jnp.matmul(pooled, kernel, precision="highest") + bias


class PooledHead(nn.Module):
    """The last layer of a net with a GAP head, on features as its input.

    Attributes:
      dropout: share of the pooled features that training drops.
    """

    num_classes: int
    dropout: float = 0.0

    @nn.compact
    def __call__(self, features: jax.Array, train: bool = False) -> ModelOutput:
        """Map features `[B, h, w, K]` to `ModelOutput`."""
        head = GAPHead(self.num_classes, dropout=self.dropout, name="head")
        return ModelOutput(head(features, train), features)


class ConvNorm(nn.Module):
    """A convolution and the normalization of its output, made by their `names`."""

    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    names: tuple[str, str]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[B, H, W, C]` to `[B, h, w, features]`."""
        return self.norm(name=self.names[1])(self.conv(name=self.names[0])(x))


class BatchNorm(nn.Module):
    """Batch normalization whose running statistics take 0.1 of the new, as PyTorch's.

    It computes what `nn.BatchNorm` does, with the same names, but scales and shifts in
    one step: it keeps only its input for the gradient, no other array of that size.
    """

    moves: bool  # normalize by the batch's statistics, and update the running ones
    dtype: jnp.dtype  # of the output; statistics are float32
    epsilon: float
    sync: bool  # the batch's statistics are means over all devices

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalize `[B, h, w, C]` over all axes but the last."""
        shape = x.shape[-1:]
        scale = self.param("scale", nn.initializers.ones, shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, shape, jnp.float32)
        like = shape, jnp.float32
        means = self.variable("batch_stats", "mean", jnp.zeros, *like)
        variances = self.variable("batch_stats", "var", jnp.ones, *like)
        if self.moves:
            mean, square = moments(x)
            if self.sync and not self.is_initializing():
                mean, square = parallel.mean_over_devices((mean, square))
            variance = jnp.maximum(square - mean * mean, 0)
            if not self.is_initializing():
                means.value = 0.9 * means.value + 0.1 * mean
                variances.value = 0.9 * variances.value + 0.1 * variance
        else:
            mean, variance = means.value, variances.value
        factor = scale * jax.lax.rsqrt(variance + self.epsilon)
        x = x.astype(jnp.float32)
        return (x * factor + (bias - mean * factor)).astype(self.dtype)


def check_sides(name: str, images: jax.Array, least: int) -> None:
    """Raise a ValueError for images that are too small for a net's strides."""
    if min(images.shape[1:3]) < least:
        raise ValueError(
            f"{name} needs images of {least} pixels a side, not {images.shape[1:3]}"
        )
