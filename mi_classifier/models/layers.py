"""What several nets are made of; the parameters are Flax's own."""

import functools
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from mi_classifier import parallel


def convolve_in_scan(
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


def convolve(
    x: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    **options: object,
) -> jax.Array:
    """A convolution for `nn.Conv` in large nets, its gradients quick on CPUs as well.

    XLA's CPU gradients with respect to kernels take up to six times PyTorch's (as of
    JAX 0.10). Here they are matrix products: of the pixels themselves where the kernel
    is 1 x 1, of blocks of patches that stay in the cache where the stride is 1.

    Args:
      x: `[B, H, W, C]`.
      kernel: `[kh, kw, C, features]`.
      strides: along H and W.
      padding: "VALID" or "SAME", or before and after H and W.
      **options: of `jax.lax.conv_general_dilated`, all at their default.
    """
    if jax.default_backend() != "cpu":
        return jax.lax.conv_general_dilated(x, kernel, strides, padding, **options)
    size = kernel.shape[:2]
    if isinstance(padding, str):
        padding = jax.lax.padtype_to_pads(x.shape[1:3], size, strides, padding)
    padding = tuple(map(tuple, padding))
    if size == (1, 1) and not any(map(any, padding)):
        return _product(x[:, :: strides[0], :: strides[1]], kernel[0, 0])
    if tuple(strides) != (1, 1):
        return _convolve(x, kernel, strides, padding)
    return _convolve_stride_1(x, kernel, padding)


@jax.custom_vjp
def _product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """A 1 x 1 convolution; its kernel gradient in the order that is the faster one."""
    return x @ kernel


_product.defvjp(
    lambda x, kernel: (x @ kernel, (x, kernel)),
    lambda residuals, gradient: (
        gradient @ residuals[1].T,
        _kernel_gradient(residuals[0], gradient, (1, 1), ((0, 0), (0, 0)))[0, 0],
    ),
)

Padding = tuple[tuple[int, int], tuple[int, int]]
_BLOCK_BYTES = 2**22  # of patches, about a core's cache


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _convolve_stride_1(x: jax.Array, kernel: jax.Array, padding: Padding) -> jax.Array:
    return _convolve(x, kernel, (1, 1), padding)


def _convolve(
    x: jax.Array, kernel: jax.Array, strides: Sequence[int], padding: Padding
) -> jax.Array:
    names = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(
        x, kernel, strides, padding, dimension_numbers=names
    )


def _forward(
    x: jax.Array, kernel: jax.Array, padding: Padding
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _convolve(x, kernel, (1, 1), padding), (x, kernel)


def _backward(
    padding: Padding, residuals: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = residuals
    _, vjp = jax.vjp(lambda x: _convolve(x, kernel, (1, 1), padding), x)
    return *vjp(gradient), _kernel_gradient(x, gradient, kernel.shape[:2], padding)


_convolve_stride_1.defvjp(_forward, _backward)


def _kernel_gradient(
    x: jax.Array, gradient: jax.Array, size: tuple[int, int], padding: Padding
) -> jax.Array:
    """Sums the product of patches and gradient over blocks of rows of an image."""
    kh, kw = size
    batch, height, width, features = gradient.shape
    channels = x.shape[-1]
    x = jnp.pad(x, [(0, 0), *padding, (0, 0)])
    numbers = kh * kw * channels
    fitting = _BLOCK_BYTES // (width * numbers * x.dtype.itemsize)
    rows = max(
        r for r in range(1, height + 1) if height % r == 0 and r <= max(fitting, 1)
    )
    blocks = height // rows

    def add(block: jax.Array, total: jax.Array) -> jax.Array:
        image, row = block // blocks, block % blocks * rows
        pixels = jax.lax.dynamic_slice(
            x, (image, row, 0, 0), (1, rows + kh - 1, *x.shape[2:])
        )[0]
        patches = [
            pixels[i : i + rows, j : j + width] for i in range(kh) for j in range(kw)
        ]
        patches = jnp.concatenate(patches, -1).reshape(rows * width, numbers)
        some = jax.lax.dynamic_slice(
            gradient, (image, row, 0, 0), (1, rows, width, features)
        ).reshape(rows * width, features)
        product = jnp.matmul(patches.T, some, preferred_element_type=jnp.float32)
        return total + product

    total = jnp.zeros((numbers, features), jnp.float32)
    total = jax.lax.fori_loop(0, batch * blocks, add, total)
    return total.reshape(kh, kw, channels, features).astype(x.dtype)


def max_pool(x: jax.Array) -> jax.Array:
    """The maximum of each 2 x 2 window; an odd last row or column is dropped.

    `nn.max_pool` does the same; its gradient takes several times as long on CPUs.
    """
    batch, height, width, channels = x.shape
    x = x[:, : height // 2 * 2, : width // 2 * 2]
    x = x.reshape(batch, height // 2, 2, width // 2 * 2, channels)
    x = jnp.maximum(x[:, :, 0], x[:, :, 1])
    x = x.reshape(batch, height // 2, width // 2, 2, channels)
    return jnp.maximum(x[:, :, :, 0], x[:, :, :, 1])


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


class BatchNorm(nn.Module):
    """Batch normalization with PyTorch's momentum of 0.1 for the new.

    As `nn.BatchNorm`, of the same names, but it scales and shifts in one step: nothing
    of the size of its input is kept for the gradient, except for the input.

    Attributes:
      moves: whether to normalize by the batch, or by what was learned of all.
      dtype: of what comes out; statistics are float32.
      epsilon: added to the variance.
      sync: whether the batch is that of all devices.
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
                mean, square = jax.lax.pmean((mean, square), parallel.AXIS)
            variance = jnp.maximum(square - mean * mean, 0)
            if not self.is_initializing():
                means.value = 0.9 * means.value + 0.1 * mean
                variances.value = 0.9 * variances.value + 0.1 * variance
        else:
            mean, variance = means.value, variances.value
        factor = scale * jax.lax.rsqrt(variance + self.epsilon)
        return (x * factor + (bias - mean * factor)).astype(self.dtype)


def check_sides(name: str, images: jax.Array, least: int) -> None:
    """Raises a ValueError for images that a net's strides leave nothing of."""
    if min(images.shape[1:3]) < least:
        raise ValueError(
            f"{name} needs images of {least} pixels a side, not {images.shape[1:3]}"
        )
