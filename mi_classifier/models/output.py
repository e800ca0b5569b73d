"""The output that all models share."""

from typing import NamedTuple

import jax


class ModelOutput(NamedTuple):
    """Logits, and the features that the head computes them from.

    Attributes:
      logits: n(x), float32 `[B, M]`.
      features: `[B, K]`, or `[B, h, w, K]` under a global-average-pooled head.
    """

    logits: jax.Array
    features: jax.Array
