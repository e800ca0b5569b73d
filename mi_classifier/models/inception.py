"""Inception-V3 as torchvision has it, without its auxiliary head (Table 3)."""

import functools
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from mi_classifier.models.kernels import max_pool_of_three
from mi_classifier.models.layers import BatchNorm, Conv, ConvNorm, GAPHead, check_sides
from mi_classifier.models.output import ModelOutput

_ROW, _COLUMN = (1, 7), (7, 1)  # sizes of kernels
_INIT = nn.initializers.truncated_normal(0.1)


class InceptionV3(nn.Module):
    """Inception-V3 under a global-average-pooled head, for images of 299 px.

    Parameters have torchvision's names. The net does not rescale its input: published
    weights expect pixels in [-1, 1] (`data.images.NORMALIZATIONS["inception"]`).

    Attributes:
      dropout: share of pooled features that training drops.
      dtype: of activations, "float32" or "bfloat16"; all else is float32.
      sync_batch_norm: whether training normalizes over the examples of all devices.
      frozen: whether to train the head alone, on the backbone's evaluation features.
      moving_statistics: whether a frozen backbone normalizes training images by their
        own batch and updates its running statistics, as the authors' program does.
    """

    num_classes: int
    dropout: float = 0.5
    dtype: str = "float32"
    sync_batch_norm: bool = False
    frozen: bool = False
    moving_statistics: bool = False

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> ModelOutput:
        """Map images `[B, H, W, 3]`, sides 75 or more, to `ModelOutput`."""
        check_sides("inception_v3", images, 75)
        dtype = jnp.dtype(self.dtype)
        moves = train and (not self.frozen or self.moving_statistics)
        norm = functools.partial(BatchNorm, moves, dtype, 1e-3, self.sync_batch_norm)
        bare = functools.partial(Conv, use_bias=False, dtype=dtype, kernel_init=_INIT)

        def conv(
            x: jax.Array,
            name: str,
            channels: int,
            size: int | tuple[int, int],
            stride: int = 1,
            padding: str = "SAME",
        ) -> jax.Array:
            size = (size, size) if isinstance(size, int) else size
            padding = "VALID" if stride > 1 else padding
            make = functools.partial(bare, channels, size, stride, padding)
            return nn.relu(ConvNorm(make, norm, ("conv", "bn"), name=name)(x))

        x = conv(images.astype(dtype), "Conv2d_1a_3x3", 32, 3, 2)
        x = conv(x, "Conv2d_2a_3x3", 32, 3, 1, "VALID")
        x = conv(x, "Conv2d_2b_3x3", 64, 3)
        x = max_pool_of_three(x)
        x = conv(x, "Conv2d_3b_1x1", 80, 1)
        x = conv(x, "Conv2d_4a_3x3", 192, 3, 1, "VALID")
        x = max_pool_of_three(x)
        for letter, branches in BRANCHES.items():
            x = _Mixed(branches, conv, name=f"Mixed_{letter}")(x)
        if self.frozen:
            x = jax.lax.stop_gradient(x)
        logits = GAPHead(self.num_classes, _INIT, self.dropout, name="head")(x, train)
        return ModelOutput(logits, x)


class _Mixed(nn.Module):
    """Parallel branches, each a sequence of convolutions and pools.

    A step of a branch is "average", "maximum", a convolution (name, channels, size,
    stride), whose stride is 1 by default, or several convolutions in parallel.
    """

    branches: Sequence
    conv: Callable[..., jax.Array]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return jnp.concatenate([self._branch(x, b) for b in self.branches], -1)

    def _branch(self, x: jax.Array, branch: Sequence) -> jax.Array:
        for step in branch:
            if step == "average":
                x = nn.avg_pool(x, (3, 3), (1, 1), "SAME")
            elif step == "maximum":
                x = max_pool_of_three(x)
            elif isinstance(step[0], str):
                x = self.conv(x, *step)
            else:
                x = jnp.concatenate([self._branch(x, (inner,)) for inner in step], -1)
        return x


def _chain(name: str, *convs: Sequence) -> Sequence:
    """Return a branch of (channels, size, stride), named `name`_1, `name`_2 ..."""
    return tuple((f"{name}_{number}", *conv) for number, conv in enumerate(convs, 1))


def _pooled(channels: int) -> Sequence:
    return ("average", ("branch_pool", channels, 1))


def _five(pooled: int) -> Sequence:
    return (
        (("branch1x1", 64, 1),),
        _chain("branch5x5", (48, 1), (64, 5)),
        _chain("branch3x3dbl", (64, 1), (96, 3), (96, 3)),
        _pooled(pooled),
    )


def _six(n: int) -> Sequence:
    double = ((n, 1), (n, _COLUMN), (n, _ROW), (n, _COLUMN), (192, _ROW))
    return (
        (("branch1x1", 192, 1),),
        _chain("branch7x7", (n, 1), (n, _ROW), (192, _COLUMN)),
        _chain("branch7x7dbl", *double),
        _pooled(192),
    )


def _fork(name: str) -> Sequence:
    return ((f"{name}a", 384, (1, 3)), (f"{name}b", 384, (3, 1)))


_SEVEN = (
    (("branch1x1", 320, 1),),
    (*_chain("branch3x3", (384, 1)), _fork("branch3x3_2")),
    (*_chain("branch3x3dbl", (448, 1), (384, 3)), _fork("branch3x3dbl_3")),
    _pooled(192),
)
# The parallel branches of each mixed block, by the letter in its name.
BRANCHES = {
    "5b": _five(32),
    "5c": _five(64),
    "5d": _five(64),
    "6a": (
        (("branch3x3", 384, 3, 2),),
        _chain("branch3x3dbl", (64, 1), (96, 3), (96, 3, 2)),
        ("maximum",),
    ),
    "6b": _six(128),
    "6c": _six(160),
    "6d": _six(160),
    "6e": _six(192),
    "7a": (
        _chain("branch3x3", (192, 1), (320, 3, 2)),
        _chain("branch7x7x3", (192, 1), (192, _ROW), (192, _COLUMN), (192, 3, 2)),
        ("maximum",),
    ),
    "7b": _SEVEN,
    "7c": _SEVEN,
}
