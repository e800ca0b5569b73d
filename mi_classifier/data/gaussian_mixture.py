"""The Gaussian mixture of Table 1, whose mutual information is known (Table 2)."""

import jax
import jax.numpy as jnp
import numpy as np

from mi_classifier.data.dataset import Dataset, Split
from mi_classifier.errors import UserError

MEANS = (0.0, 2.0, -2.0, 4.0, -4.0)  # mean of every coordinate, one per class
BALANCED = (12_000,) * 5
UNBALANCED = (6_000, 12_000, 18_000, 24_000, 30_000)
FRESH = 1_000_000
_FRESH_NUMBERS = 20_000_000  # at most 80 MB; fewer examples if D is above 20


def log_density(x: jax.Array) -> jax.Array:
    """Return log p(x|y) `[..., 5]` in nats: Gaussians of mean `MEANS[y]`, deviation 1.

    `x` is `[..., D]`.
    """
    distance = x[..., None, :] - jnp.asarray(MEANS)[:, None]
    return -0.5 * (distance**2 + jnp.log(2 * jnp.pi)).sum(-1)


def sample(labels: np.ndarray, dim: int, generator: np.random.Generator) -> Split:
    """Sample a point `[D]` for each label, an integer in [0, 5)."""
    x = generator.standard_normal((len(labels), dim), np.float32)
    x += np.asarray(MEANS, np.float32)[labels, None]
    return {"image": x, "label": labels.astype(np.int32)}


def load(dim: int, balanced: bool, seed: int, fresh: bool = True) -> Dataset:
    """Sample the paper's data set.

    Args:
      dim: number of coordinates D, at least 1.
      balanced: 12,000 examples per class; if false, 6,000 to 30,000 as in Table 1.
      seed: decides every sample, at least 0.
      fresh: whether to add the split "fresh".

    Returns:
      Splits "train", "validation" and "test", a random 80%, 10% and 10% of the
      examples, and "fresh", a million more (fewer if D is above 20).

    Raises:
      UserError: `dim` or `seed` is out of range.
    """
    if dim < 1:
        raise UserError(f"data.dim: must be at least 1, not {dim}")
    if seed < 0:
        raise UserError(f"data.seed: must be at least 0, not {seed}")
    counts = BALANCED if balanced else UNBALANCED
    generator = np.random.default_rng(seed)
    labels = generator.permutation(np.repeat(np.arange(5), counts))
    tenth = len(labels) // 10
    blocks = np.split(labels, [len(labels) - 2 * tenth, len(labels) - tenth])
    parts = dict(zip(("train", "validation", "test"), blocks, strict=True))
    size = min(FRESH, _FRESH_NUMBERS // dim + 1)
    # Sampled even if not wanted, so that the other splits stay the same.
    fresh_labels = generator.choice(5, size, p=np.divide(counts, sum(counts)))
    if fresh:
        parts["fresh"] = fresh_labels
    return Dataset(
        name=f"Gaussian mixture, D = {dim}, {'' if balanced else 'un'}balanced",
        splits={name: sample(part, dim, generator) for name, part in parts.items()},
        class_names=tuple(f"mean {mean:+g}" for mean in MEANS),
        preprocess=lambda x: x,
        log_density=lambda batch: log_density(batch["image"]),
    )
