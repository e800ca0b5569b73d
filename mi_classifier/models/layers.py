"""What several nets are made of; the parameters are Flax's own."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from mi_classifier import parallel


def convolve(
    x: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int],
    padding: str,
    **options: object,
) -> jax.Array:
    """A convolution of stride 1 for `nn.Conv`, as a matrix product on CPUs.

    XLA's CPU convolutions fall off a cliff inside a `scan` (ten times slower gradients,
    as of JAX 0.10); matrix products do not.

    Args:
      x: `[B, H, W, C]`.
      kernel: `[kh, kw, C, features]`.
      strides: all 1.
      padding: "VALID" or "SAME".
      **options: of `jax.lax.conv_general_dilated`, all at their default.
    """
    if jax.default_backend() != "cpu":
        return jax.lax.conv_general_dilated(x, kernel, strides, padding, **options)
    kh, kw, channels, features = kernel.shape
    if padding == "SAME":
        sides = [((k - 1) // 2, k // 2) for k in (kh, kw)]
        x = jnp.pad(x, [(0, 0), *sides, (0, 0)])
    height, width = x.shape[1] - kh + 1, x.shape[2] - kw + 1
    patches = [
        x[:, i : i + height, j : j + width] for i in range(kh) for j in range(kw)
    ]
    return jnp.concatenate(patches, -1) @ kernel.reshape(kh * kw * channels, features)


def max_pool(x: jax.Array) -> jax.Array:
    """The maximum of each 2 x 2 window; an odd last row or column is dropped.

    `nn.max_pool` does the same; its gradient is three times slower on CPUs.
    """
    batch, height, width, channels = x.shape
    x = x[:, : height // 2 * 2, : width // 2 * 2]
    return x.reshape(batch, height // 2, 2, width // 2, 2, channels).max((2, 4))


class GAPHead(nn.Module):
    """Global average pooling and a linear head, in float32 whatever comes in.

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


def batch_norm(
    train: bool, dtype: jnp.dtype, epsilon: float, sync: bool, name: str
) -> nn.BatchNorm:
    """Batch normalization with PyTorch's momentum of 0.1 for the new.

    Args:
      train: whether to normalize by the batch, or by what was learned of all.
      dtype: of what comes out; statistics are float32.
      epsilon: added to the variance.
      sync: whether the batch is that of all devices.
      name: of the module.
    """
    return nn.BatchNorm(
        use_running_average=not train,
        momentum=0.9,
        epsilon=epsilon,
        dtype=dtype,
        axis_name=parallel.AXIS if sync and train else None,
        name=name,
    )


def check_sides(name: str, images: jax.Array, least: int) -> None:
    """Raises a ValueError for images that a net's strides leave nothing of."""
    if min(images.shape[1:3]) < least:
        raise ValueError(
            f"{name} needs images of {least} pixels a side, not {images.shape[1:3]}"
        )
