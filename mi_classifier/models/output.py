"""The output that all models share, and how inference computes it."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

_PIXELS = 2**16  # of a block of images, so that their activations stay in a CPU's cache


class ModelOutput(NamedTuple):
    """Logits, and the features that the head computes them from.

    Attributes:
      logits: n(x), float32 `[B, M]`.
      features: `[B, K]`, or `[B, h, w, K]` under a global-average-pooled head.
    """

    logits: jax.Array
    features: jax.Array


def infer(model: nn.Module, variables: Any, images: jax.Array) -> ModelOutput:
    """Evaluate a model on a batch `[B, ...]`; on CPUs, a few large images at a time."""

    def apply(images: jax.Array) -> ModelOutput:
        return model.apply(variables, images, train=False)

    batch = len(images)
    if images.ndim != 4 or jax.default_backend() != "cpu":
        return apply(images)
    side = getattr(model, "input_side", 0)  # to which a net resizes its images
    pixels = side * side or images.shape[1] * images.shape[2]
    most = max(_PIXELS // pixels, 1)
    if batch <= most:
        return apply(images)
    count = -(-batch // most)
    size = -(-batch // count)
    padding = [(0, count * size - batch)] + [(0, 0)] * 3
    blocks = jnp.pad(images, padding).reshape(count, size, *images.shape[1:])
    output = jax.lax.map(apply, blocks)
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:batch], output)
