"""Attention-based dropout (Choe & Shim 2019), as the paper's program has it."""

import flax.linen as nn
import jax
import jax.numpy as jnp


def attention_branches(
    features: jax.Array, threshold: float
) -> tuple[jax.Array, jax.Array]:
    """The two maps that attention-based dropout chooses from, times the features.

    Args:
      features: `[B, h, w, C]`.
      threshold: gamma, share of an image's largest attention, in [0, 1].

    Returns:
      `[B, h, w, C]` each: the features but for the cells that get the most attention,
      and all of them weighted by importance, the sigmoid of their attention. Attention
      is the mean over channels.
    """
    attention = features.mean(-1, keepdims=True, dtype=jnp.float32)
    largest = attention.max((1, 2), keepdims=True)
    keep = (attention < threshold * largest).astype(features.dtype)
    importance = nn.sigmoid(attention).astype(features.dtype)
    return features * keep, features * importance


class AttentionDropout(nn.Module):
    """Hides the most attended cells in some training steps, weights all in the others.

    One draw of the "dropout" key decides for the whole batch, and so for every part of
    it that is given the same key. In evaluation it is the identity.

    Attributes:
      threshold: gamma, share of an image's largest attention.
      drop_rate: probability of hiding.
    """

    threshold: float
    drop_rate: float = 0.75

    @nn.compact
    def __call__(self, features: jax.Array, train: bool) -> jax.Array:
        """Maps features `[B, h, w, C]` to the same shape."""
        if not train:
            return features
        dropped, weighted = attention_branches(features, self.threshold)
        hide = jax.random.bernoulli(self.make_rng("dropout"), self.drop_rate)
        return jnp.where(hide, dropped, weighted)
