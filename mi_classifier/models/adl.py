"""Attention-based dropout (Choe & Shim 2019), as in the paper's program."""

import flax.linen as nn
import jax
import jax.numpy as jnp


def attention_branches(
    features: jax.Array, threshold: float
) -> tuple[jax.Array, jax.Array]:
    """Multiplies features by the two maps that attention-based dropout chooses from.

    Args:
      features: `[B, h, w, C]`.
      threshold: gamma, share of an image's largest attention, in [0, 1].

    Returns:
      `[B, h, w, C]` each: the features without the cells of most attention, and the
      features weighted by importance, the sigmoid of their attention. Attention is the
      mean over channels.
    """
    attention = features.mean(-1, keepdims=True, dtype=jnp.float32)
    largest = attention.max((1, 2), keepdims=True)
    keep = (attention < threshold * largest).astype(features.dtype)
    importance = nn.sigmoid(attention).astype(features.dtype)
    return features * keep, features * importance


class AttentionDropout(nn.Module):
    """Hides the most attended cells in some training steps, weights all in the others.

    One random number of the "dropout" key decides for the whole batch, and for every
    part of it that is given the same key. In evaluation the layer is the identity.

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
