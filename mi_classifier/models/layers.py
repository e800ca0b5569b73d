"""Layers as XLA's CPU programs like them; the parameters are Flax's own."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp


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
