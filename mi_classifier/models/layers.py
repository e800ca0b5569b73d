"""Layers that several nets share; they save the same parameters as Flax's own."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from mi_classifier import parallel

# torchvision's nets start their convolutions from this (He et al. 2015).
KAIMING = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


class GAPHead(nn.Module):
    """Global average pooling and a linear head, in float32 for any dtype of features.

    Attributes:
      num_classes: number of classes M.
      kernel_init: of the kernel `[K, M]`.
      dropout: share of pooled features that training drops.
    """

    num_classes: int
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    dropout: float = 0.0

    @nn.compact
    def __call__(self, features: jax.Array, train: bool = False) -> jax.Array:
        """Maps features `[B, h, w, K]` to logits `[B, M]`."""
        pooled = features.mean((1, 2), dtype=jnp.float32)
        if self.dropout:
            pooled = nn.Dropout(self.dropout, deterministic=not train)(pooled)
        shape = (pooled.shape[-1], self.num_classes)
        kernel = self.param("kernel", self.kernel_init, shape)
        bias = self.param("bias", nn.initializers.zeros, shape[1:])
        return pooled @ kernel + bias


class ConvNorm(nn.Module):
    """A convolution and the normalization of its output.

    Attributes:
      conv: makes the convolution, given its name.
      norm: makes the normalization, given its name.
      names: of the two.
    """

    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    names: tuple[str, str]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[B, H, W, C]` to `[B, h, w, features]`."""
        return self.norm(name=self.names[1])(self.conv(name=self.names[0])(x))


class BatchNorm(nn.Module):
    """Batch normalization whose running statistics take 0.1 of the new, as PyTorch's.

    It computes what `nn.BatchNorm` does, with the same names, but scales and shifts in
    one step: it keeps only its input for the gradient, no other array of that size.

    Attributes:
      moves: whether to normalize by the batch's statistics, and to update the running
        ones; if not, it normalizes by the running ones.
      dtype: of the output; statistics are float32.
      epsilon: added to the variance.
      sync: whether the batch's statistics are means over all devices.
    """

    moves: bool
    dtype: jnp.dtype
    epsilon: float
    sync: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalizes `[B, h, w, C]` over all axes but the last."""
        shape = x.shape[-1:]
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        means = self.variable("batch_stats", "mean", jnp.zeros, shape)
        variances = self.variable("batch_stats", "var", jnp.ones, shape)
        x = x.astype(jnp.float32)
        if self.moves:
            mean, square = x.mean((0, 1, 2)), (x * x).mean((0, 1, 2))
            if self.sync and not self.is_initializing():
                mean, square = parallel.mean_over_devices((mean, square))
            variance = jnp.maximum(square - mean * mean, 0)
            if not self.is_initializing():
                means.value = 0.9 * means.value + 0.1 * mean
                variances.value = 0.9 * variances.value + 0.1 * variance
        else:
            mean, variance = means.value, variances.value
        factor = scale * jax.lax.rsqrt(variance + self.epsilon)
        return (x * factor + (bias - mean * factor)).astype(self.dtype)


def check_sides(name: str, images: jax.Array, least: int) -> None:
    """Raises a ValueError for images that are too small for a net's strides."""
    if min(images.shape[1:3]) < least:
        raise ValueError(
            f"{name} needs images of {least} pixels a side, not {images.shape[1:3]}"
        )
