"""Operations that XLA runs slowly, written another way.

Most are slow on CPUs alone: on a GPU or TPU they are XLA's own, or cost no more.
"""

import functools
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.experimental.layout import Layout, with_layout_constraint

_Pair = tuple[jax.Array, jax.Array]
NAMES = ("NHWC", "HWIO", "NHWC")
_BLOCK_BYTES = 2**22  # the cache of one CPU core, roughly


def convolve_in_scan(
    x: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int],
    padding: str,
    **options: object,
) -> jax.Array:
    """Convolve with stride 1 for `nn.Conv`, as a matrix product on CPUs.

    Inside a `scan`, the gradients of XLA's CPU convolutions are ten times slower (as of
    JAX 0.10). Matrix products stay fast there.
    """
    if jax.default_backend() != "cpu":
        options = {"dimension_numbers": NAMES} | options
        return jax.lax.conv_general_dilated(x, kernel, strides, padding, **options)
    kh, kw, channels, features = kernel.shape
    if padding == "SAME":
        sides = [((k - 1) // 2, k // 2) for k in (kh, kw)]
        x = jnp.pad(x, [(0, 0), *sides, (0, 0)])
    return _patches(x, kh, kw) @ kernel.reshape(kh * kw * channels, features)


def _patches(x: jax.Array, kh: int, kw: int) -> jax.Array:
    """Return the patches `[..., kh * kw * C]` of images `[..., H, W, C]`."""
    height, width = x.shape[-3] - kh + 1, x.shape[-2] - kw + 1
    corners = [(i, j) for i in range(kh) for j in range(kw)]
    patches = [x[..., i : i + height, j : j + width, :] for i, j in corners]
    return jnp.concatenate(patches, -1)


def convolve(
    x: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    block_bytes: int = _BLOCK_BYTES,
    **options: object,
) -> jax.Array:
    """Convolve for `nn.Conv` in large nets, with kernel gradients that CPUs do fast.

    XLA's CPU gradients with respect to kernels take up to six times as long as
    PyTorch's (as of JAX 0.10). Here they are matrix products: of the pixels themselves
    where the kernel is 1 x 1, of blocks of patches where the stride is 1.
    """
    if jax.default_backend() != "cpu":
        options = {"dimension_numbers": NAMES} | options
        return jax.lax.conv_general_dilated(x, kernel, strides, padding, **options)
    padding = pads_of(x, kernel, strides, padding)
    product = kernel.shape[:2] == (1, 1) and not any(map(any, padding))
    if product:
        x, strides = x[:, :: strides[0], :: strides[1]], (1, 1)

    def run(x: jax.Array, kernel: jax.Array) -> jax.Array:
        if product:
            return x @ kernel[0, 0]
        return jax.lax.conv_general_dilated(
            x, kernel, strides, padding, dimension_numbers=NAMES
        )

    def gradients(arguments: _Pair, gradient: jax.Array) -> _Pair:
        x, kernel = arguments
        if product:
            x_gradient = gradient @ kernel[0, 0].T
        else:
            _, vjp = jax.vjp(lambda x: run(x, kernel), x)
            (x_gradient,) = vjp(gradient)
        x = jnp.pad(x, [(0, 0), *padding, (0, 0)])
        return x_gradient, _kernel_gradient(x, gradient, kernel.shape, block_bytes)

    if tuple(strides) != (1, 1):
        return run(x, kernel)
    faster = jax.custom_vjp(run)
    faster.defvjp(lambda *arguments: (run(*arguments), arguments), gradients)
    return faster(x, kernel)


def pads_of(
    x: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
) -> Sequence[tuple[int, int]]:
    """Return how many rows and columns a padding such as "SAME" adds at each end."""
    if not isinstance(padding, str):
        return padding
    sizes = x.shape[1:3], kernel.shape[:2]
    return jax.lax.padtype_to_pads(*sizes, strides, padding)


def _kernel_gradient(
    x: jax.Array, gradient: jax.Array, shape: tuple[int, ...], block_bytes: int
) -> jax.Array:
    """Sum products of patches and gradient over blocks of rows of an image."""
    kh, kw, channels, features = shape
    batch, height, width, _ = gradient.shape
    numbers = kh * kw * channels
    fitting = max(block_bytes // (width * numbers * x.dtype.itemsize), 1)
    rows = max(r for r in range(1, height + 1) if height % r == 0 and r <= fitting)
    blocks = height // rows

    def add(block: jax.Array, total: jax.Array) -> jax.Array:
        start = (block // blocks, block % blocks * rows, 0, 0)
        sizes = (1, rows + kh - 1, *x.shape[2:]), (1, rows, width, features)
        patches = _patches(jax.lax.dynamic_slice(x, start, sizes[0])[0], kh, kw)
        patches = patches.reshape(rows * width, numbers)
        some = jax.lax.dynamic_slice(gradient, start, sizes[1])
        some = some.reshape(rows * width, features)
        product = jnp.matmul(patches.T, some, preferred_element_type=jnp.float32)
        return total + product

    total = jnp.zeros((numbers, features), jnp.float32)
    total = jax.lax.fori_loop(0, batch * blocks, add, total)
    return total.reshape(shape).astype(x.dtype)


def max_pool(x: jax.Array) -> jax.Array:
    """Return the maximum of each 2 x 2 window; drop an odd last row or column.

    `nn.max_pool` does the same. Its gradient scatters, which takes many times as long.
    Elsewhere than on CPUs ours remembers which pixel was the first maximum: a GPU reads
    and writes less. On CPUs, equal maxima of a window share the gradient.
    """
    batch, height, width, channels = x.shape
    h, w = height // 2, width // 2
    if jax.default_backend() == "cpu":
        x = x[:, : 2 * h, : 2 * w].reshape(batch, h, 2, 2 * w, channels)
        x = jnp.maximum(x[:, :, 0], x[:, :, 1]).reshape(batch, h, w, 2, channels)
        return jnp.maximum(x[:, :, :, 0], x[:, :, :, 1])

    def parts(x: jax.Array) -> list[jax.Array]:
        x = x[:, : 2 * h, : 2 * w].reshape(batch, h, 2, w, 2, channels)
        return [x[:, :, i, :, j] for i in (0, 1) for j in (0, 1)]

    def gradient(index: jax.Array, upper: jax.Array) -> tuple[jax.Array]:
        shares = [jnp.where(index == number, upper, 0) for number in range(4)]
        rows = [jnp.stack(shares[i : i + 2], 3) for i in (0, 2)]
        found = jnp.stack(rows, 2).reshape(batch, 2 * h, 2 * w, channels)
        return (jnp.pad(found, [(0, 0), (0, height % 2), (0, width % 2), (0, 0)]),)

    pool = jax.custom_vjp(lambda x: functools.reduce(jnp.maximum, parts(x)))
    pool.defvjp(lambda x: _first_maximum(parts(x)), gradient)
    return pool(x)


def max_pool_of_three(x: jax.Array, padding: int = 0) -> jax.Array:
    """Return the maximum of each 3 x 3 window, with stride 2.

    `nn.max_pool` does the same. Its gradient scatters, which takes ten times as long on
    CPUs and reads twice as much memory on GPUs; ours sums nine shifted arrays, in
    float32. As there, the first maximum of a window has its gradient.
    """
    sides = [(0, 0), (padding, padding), (padding, padding), (0, 0)]
    corners = [(i, j) for i in range(3) for j in range(3)]

    def run(x: jax.Array) -> jax.Array:
        window, strides = (1, 3, 3, 1), (1, 2, 2, 1)
        least = jnp.array(-jnp.inf, x.dtype)
        return jax.lax.reduce_window(x, least, jax.lax.max, window, strides, sides)

    def forward(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        padded = jnp.pad(x, sides, constant_values=-jnp.inf)
        _, height, width, _ = padded.shape
        return _first_maximum(
            [
                padded[:, i : height - 2 + i : 2, j : width - 2 + j : 2]
                for i, j in corners
            ]
        )

    def gradient(index: jax.Array, upper: jax.Array) -> tuple[jax.Array]:
        total = jnp.zeros(x.shape, jnp.float32)
        for number, corner in enumerate(corners):
            part = jnp.where(index == number, upper, 0).astype(jnp.float32)
            places = [(0, 0, 0)] * 4
            for axis, offset in zip((1, 2), corner, strict=True):
                before = offset - padding
                after = x.shape[axis] - before - 2 * part.shape[axis] + 1
                places[axis] = before, after, 1
            total += jax.lax.pad(part, jnp.float32(0), places)
        return (total.astype(upper.dtype),)

    pool = jax.custom_vjp(run)
    pool.defvjp(forward, gradient)
    return pool(x)


def _first_maximum(parts: Sequence[jax.Array]) -> _Pair:
    """Return the maximum of several arrays, and which of them has it first."""
    best, index = parts[0], jnp.zeros(parts[0].shape, jnp.uint8)
    for number, part in enumerate(parts[1:], 1):
        higher = (part > best) | (jnp.isnan(part) & ~jnp.isnan(best))
        best = jnp.where(higher, part, best)
        index = jnp.where(higher, jnp.uint8(number), index)
    return best, index


def row_major(x: jax.Array) -> jax.Array:
    """Return an array whose last axis lies together in a GPU's memory.

    cuDNN gives the gradient of a convolution's kernel in the order of its own. An
    optimizer that reads one order and writes another cannot update in place, and XLA
    copies each kernel and its momentum.
    """
    if x.ndim < 4 or jax.default_backend() != "gpu":
        return x
    return with_layout_constraint(x, Layout(tuple(range(x.ndim))))


def moments(x: jax.Array) -> _Pair:
    """Return the means of x and of x**2 over all axes but the last, float32 `[C]`.

    On GPUs both are one reduction, which takes one kernel less than two reductions. On
    CPUs, a reduction of two arrays is not vectorized.
    """
    if jax.default_backend() == "cpu":
        wide = x.astype(jnp.float32)
        axes = tuple(range(x.ndim - 1))
        return wide.mean(axes), (wide * wide).mean(axes)
    return _moments_at_once(x)


@jax.custom_vjp
def _moments_at_once(x: jax.Array) -> _Pair:
    wide, zero = x.astype(jnp.float32), jnp.float32(0)
    count, axes = x.size // x.shape[-1], tuple(range(x.ndim - 1))
    sums = jax.lax.reduce((wide, wide * wide), (zero, zero), _add_pairs, axes)
    return sums[0] / count, sums[1] / count


def _add_pairs(one: _Pair, other: _Pair) -> _Pair:
    return one[0] + other[0], one[1] + other[1]


def _moments_gradient(x: jax.Array, gradients: _Pair) -> tuple[jax.Array]:
    of_mean, of_square = (g / (x.size // x.shape[-1]) for g in gradients)
    return ((of_mean + 2 * x.astype(jnp.float32) * of_square).astype(x.dtype),)


_moments_at_once.defvjp(lambda x: (_moments_at_once(x), x), _moments_gradient)


class DenseOfColumns(nn.Module):
    """`nn.Dense` with the same parameters, from columns `[K, B]` to `[units, B]`.

    With the batch last, XLA's CPU matrix products of a few hundred units spread over
    the cores: a training step of 1,000 examples takes three quarters of the time.
    """

    units: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map columns `[K, B]` to `[units, B]`."""
        shape = (len(x), self.units)
        kernel = self.param(
            "kernel", nn.initializers.lecun_normal(), shape, jnp.float32
        )
        bias = self.param("bias", nn.initializers.zeros, (self.units,), jnp.float32)
        return jnp.matmul(kernel.T, x, precision="highest") + bias[:, None]
