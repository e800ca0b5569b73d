"""Inference, by the blocks of images that the hardware likes."""

from typing import Any

import flax.linen as nn
import jax

from mi_classifier.models.output import ModelOutput

_PIXELS = 2**16  # of a block of images: their activations stay in a CPU's cache


def infer(model: nn.Module, variables: Any, images: jax.Array) -> ModelOutput:
    """Evaluates a model; on CPUs, a few large images at a time.

    Args:
      model: a module by the contract of `create_model`.
      variables: of the model.
      images: a batch of inputs, `[B, ...]`.
    """

    def apply(images: jax.Array) -> ModelOutput:
        return model.apply(variables, images, train=False)

    batch = len(images)
    if images.ndim != 4 or jax.default_backend() != "cpu":
        return apply(images)
    pixels = images.shape[1] * images.shape[2]
    size = max(
        n
        for n in range(1, batch + 1)
        if batch % n == 0 and n <= max(_PIXELS // pixels, 1)
    )
    if size == batch:
        return apply(images)
    blocks = images.reshape(batch // size, size, *images.shape[1:])
    output = jax.lax.map(apply, blocks)
    return jax.tree.map(lambda x: x.reshape(batch, *x.shape[2:]), output)
