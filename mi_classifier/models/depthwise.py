"""Convolutions of each channel by itself, which XLA runs slowly on CPUs."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from mi_classifier.models.kernels import NAMES, pads_of

_Pair = tuple[jax.Array, jax.Array]


def convolve_depthwise(
    x: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    **options: object,
) -> jax.Array:
    """Convolve each channel by itself for `nn.Conv`, by shifted products on CPUs.

    XLA's CPU convolutions of many groups take ten times as long (as of JAX 0.10). A
    sum over the kernel's cells of shifted pixels times a weight becomes one loop.
    """
    if jax.default_backend() != "cpu":
        options = {"dimension_numbers": NAMES} | options
        return jax.lax.conv_general_dilated(x, kernel, strides, padding, **options)
    padding = pads_of(x, kernel, strides, padding)
    kh, kw = kernel.shape[:2]
    cells = [(i, j) for i in range(kh) for j in range(kw)]

    def run(x: jax.Array, kernel: jax.Array) -> jax.Array:
        x = jnp.pad(x, [(0, 0), *padding, (0, 0)])
        sides = _spans(x, kernel, strides)
        total = sum(_weigh(_window(x, c, sides, strides), kernel, c) for c in cells)
        return total.astype(x.dtype)

    def gradients(arguments: _Pair, gradient: jax.Array) -> _Pair:
        x, kernel = arguments
        x_gradient = _input_gradient(gradient, kernel, strides, padding, x.shape)
        x = jnp.pad(x, [(0, 0), *padding, (0, 0)])
        return x_gradient, _depthwise_kernel_gradient(x, gradient, kernel, strides)

    faster = jax.custom_vjp(run)
    faster.defvjp(lambda *arguments: (run(*arguments), arguments), gradients)
    return faster(x, kernel)


def _spans(x: jax.Array, kernel: jax.Array, strides: Sequence[int]) -> list[int]:
    """Return the numbers of pixels from the first to the last that a cell meets."""
    sizes = zip(x.shape[1:3], kernel.shape[:2], strides, strict=True)
    return [(side - size) // stride * stride + 1 for side, size, stride in sizes]


def _window(
    x: jax.Array, start: Sequence[int], sides: Sequence[int], strides: Sequence[int]
) -> jax.Array:
    """Return every `strides`-th pixel of a rectangle of images `[B, H, W, C]`."""
    (i, j), (height, width) = start, sides
    return x[:, i : i + height : strides[0], j : j + width : strides[1]]


def _weigh(x: jax.Array, kernel: jax.Array, cell: tuple[int, int]) -> jax.Array:
    """Multiply by the weights of a cell, in float32 so that sums are not rounded."""
    return x.astype(jnp.float32) * kernel[*cell, 0].astype(jnp.float32)


def _input_gradient(
    gradient: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    shape: Sequence[int],
) -> jax.Array:
    """Compute the pixels of each phase of the strides by itself, without zeros."""
    (kh, kw), (sh, sw) = kernel.shape[:2], strides
    sides = [
        -(-side // stride) for side, stride in zip(shape[1:3], strides, strict=True)
    ]
    padded = jnp.pad(gradient, [(0, 0), (kh, kh), (kw, kw), (0, 0)])

    def phase(row: int, column: int) -> jax.Array:
        total = jnp.zeros((shape[0], *sides, shape[3]), jnp.float32)
        for i in range(kh):
            for j in range(kw):
                down, down_rest = divmod(row + padding[0][0] - i, sh)
                right, right_rest = divmod(column + padding[1][0] - j, sw)
                if down_rest == right_rest == 0:
                    some = _window(padded, (kh + down, kw + right), sides, (1, 1))
                    total += _weigh(some, kernel, (i, j))
        return total.astype(gradient.dtype)

    rows = [jnp.stack([phase(a, b) for b in range(sw)], 3) for a in range(sh)]
    whole = jnp.stack(rows, 2)  # [B, rows, phases, columns, phases, C]
    whole = whole.reshape(shape[0], sides[0] * sh, sides[1] * sw, shape[3])
    return whole[:, : shape[1], : shape[2]]


def _depthwise_kernel_gradient(
    x: jax.Array, gradient: jax.Array, kernel: jax.Array, strides: Sequence[int]
) -> jax.Array:
    """Sum products of shifted pixels and gradient, image by image, cell by cell.

    One image stays in the cache. The sum over its pixels is a product with ones,
    because XLA's CPU sums of products do not use vector instructions.
    """
    kh, kw, _, channels = kernel.shape
    size = (1, *_spans(x, kernel, strides), channels)
    ones = jnp.ones((1, gradient.shape[1] * gradient.shape[2]))

    def add(step: jax.Array, total: jax.Array) -> jax.Array:
        image, cell = step // (kh * kw), step % (kh * kw)
        start = (image, cell // kw, cell % kw, 0)
        some = jax.lax.dynamic_slice(x, start, size)[0, :: strides[0], :: strides[1]]
        product = some.astype(jnp.float32) * gradient[image].astype(jnp.float32)
        return total.at[cell].add((ones @ product.reshape(-1, channels))[0])

    total = jnp.zeros((kh * kw, channels), jnp.float32)
    total = jax.lax.fori_loop(0, len(x) * kh * kw, add, total)
    return total.reshape(kernel.shape).astype(kernel.dtype)
