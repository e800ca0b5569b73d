"""Attention-based dropout (Choe & Shim 2019), as in the paper's program."""

import flax.linen as nn
import jax
import jax.numpy as jnp


def attention_branches(
    features: jax.Array, threshold: float
) -> tuple[jax.Array, jax.Array]:
    """Return the features `[B, h, w, C]` without the most attended cells, and weighted.

    Attention is the mean over channels. The first drops cells of at least the share
    `threshold` of an image's largest attention; the second multiplies by its sigmoid.
    """
    attention = features.mean(-1, keepdims=True, dtype=jnp.float32)
    largest = attention.max((1, 2), keepdims=True)
    keep = (attention < threshold * largest).astype(features.dtype)
    importance = nn.sigmoid(attention).astype(features.dtype)
    return features * keep, features * importance


class AttentionDropout(nn.Module):
    """Hide the most attended cells in some training steps, weight all in the others.

    One random number of the "dropout" key decides for the whole batch, and for every
    part of it that is given the same key. In evaluation the layer is the identity.
    """

    threshold: float  # gamma, share of an image's largest attention
    drop_rate: float = 0.75  # probability of hiding

    @nn.compact
    def __call__(self, features: jax.Array, train: bool) -> jax.Array:
        """Map features `[B, h, w, C]` to the same shape."""
        if not train:
            return features
        dropped, weighted = attention_branches(features, self.threshold)
        hide = jax.random.bernoulli(self.make_rng("dropout"), self.drop_rate)
        return jnp.where(hide, dropped, weighted)
