"""The loaded form of every data set: splits held as arrays."""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from mi_classifier import information

# A split maps names to arrays of one length N. It has at least "image" [N, ...] and
# "label", [N] classes or multi-hot [N, M]. If its rows are not independent, "group" [N]
# holds one number per group of rows. If boxes are known, it has "boxes" [N, G, 4] and
# "num_boxes" [N], and with multi-hot labels "box_label" [N, G].
Split = Mapping[str, np.ndarray]
Augment = Callable[[jax.Array, Split, jax.Array], dict[str, jax.Array]]
_ROWS = 1_024  # hashed at once, because arrays may be mapped from disk


def stored_example(
    key: jax.Array, split: Split, index: jax.Array
) -> dict[str, jax.Array]:
    """Return the example at an index as it is stored, without augmentation."""
    del key
    return {name: array[index] for name, array in split.items()}


@dataclasses.dataclass(frozen=True, repr=False)
class Dataset:
    """A data set to train and evaluate on.

    Attributes:
      name: its title in tables.
      splits: "train", "validation", "test" and any others, as stored (uint8 images stay
        uint8), in memory or mapped from disk.
      class_names: M names, in the order of the labels.
      preprocess: a pure function from a batch of stored images to the net's input,
        compiled into the step.
      augment: a pure function from a key, the training split and an index to one
        training example; by default the stored one.
      view: maps stored training images `[N, ...]` to what the other splits hold of an
        image, such as its middle; by default all of it.
      training_prior: log P(y) `[M]` of the examples that `augment` returns, if it
        differs from that of the stored labels.
      log_density: maps a batch to log p(x|y) `[B, M]`, up to a term of x alone; None if
        the true density is unknown.
      mutual_information: the true I(X; Y) in nats; None if it is unknown.
      image_names: N names of images, by split; empty if images have no names.
      read_image: maps the content of an image file to an image as stored; raises a
        ValueError if it cannot be decoded. None if inputs are not images.
      visible: the part of an image file that the net sees, `(x0, y0, x1, y1)` as
        fractions of its width and height.
      input: the array of a split that `preprocess` takes, and with it the net.
      description: what a config keeps of a data set from memory, so that the net can be
        asked without it; see `data.memory.blank`.
      digests: for each split, a hash of everything that decides its arrays; None to
        hash the arrays themselves. A copy with other splits needs new digests.
    """

    name: str
    splits: Mapping[str, Split]
    class_names: tuple[str, ...]
    preprocess: Callable[[jax.Array], jax.Array]
    augment: Augment = stored_example
    view: Callable[[np.ndarray], np.ndarray] = lambda images: images
    training_prior: np.ndarray | None = None
    log_density: Callable[[Split], jax.Array] | None = None
    mutual_information: float | None = None
    image_names: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    read_image: Callable[[bytes], np.ndarray] | None = None
    visible: tuple[float, float, float, float] = (0, 0, 1, 1)
    input: str = "image"
    description: Mapping[str, object] = dataclasses.field(default_factory=dict)
    digests: Mapping[str, str] | None = None

    def __repr__(self) -> str:
        counts = ", ".join(f"{k} {len(s['label']):,}" for k, s in self.splits.items())
        return f"<Dataset {self.name!r}, {self.num_classes:,} classes: {counts}>"

    @property
    def num_classes(self) -> int:
        """Return the number of classes M."""
        return len(self.class_names)

    @property
    def multi_label(self) -> bool:
        """Return whether an example may have several labels, or none."""
        return self.splits["test"]["label"].ndim > 1

    def log_prior(self, split: str = "train") -> np.ndarray:
        """Return log P(y) `[M]` of a split's labels, from their counts.

        For multi-hot labels, this is the log share of the examples with each label.
        """
        if split == "train" and self.training_prior is not None:
            return self.training_prior
        labels = self.splits[split]["label"]
        if self.multi_label:
            with np.errstate(divide="ignore"):
                return np.log(labels.mean(0, dtype=np.float64)).astype(np.float32)
        return information.log_label_prior(labels, self.num_classes)

    def fingerprints(self) -> dict[str, str]:
        """Return a hash of each split: `digests`, or else `hash_arrays()`."""
        return self.hash_arrays() if self.digests is None else dict(self.digests)

    def hash_arrays(self) -> dict[str, str]:
        """Return a hash of each split's arrays, computed at most once."""
        return dict(self._array_hashes)

    @functools.cached_property
    def _array_hashes(self) -> dict[str, str]:
        return {name: _hash(split) for name, split in self.splits.items()}

    def example_input(self) -> jax.Array:
        """Return a preprocessed image of zeros, `[1, ...]`."""
        image = self.splits["test"][self.input]
        shape = jax.eval_shape(self.preprocess, image[:1])
        return jnp.zeros(shape.shape, shape.dtype)


def _hash(split: Split) -> str:
    digest = hashlib.sha256()
    for name, array in sorted(split.items()):
        digest.update(f"{name}{array.shape}{array.dtype}".encode())
        for start in range(0, len(array), _ROWS):
            digest.update(np.ascontiguousarray(array[start : start + _ROWS]))
    return digest.hexdigest()


def shift(key: jax.Array, image: jax.Array, most: int) -> jax.Array:
    """Move an image `[H, W, C]` at random along both axes, by at most `most` pixels.

    Pixels that come in are 0.
    """
    start = jax.random.randint(key, (2,), 0, 2 * most + 1)
    padded = jnp.pad(image, [(most, most), (most, most), (0, 0)])
    return jax.lax.dynamic_slice(padded, (*start, 0), image.shape)


def normalize(images: jax.Array, mean: ArrayLike, deviation: ArrayLike) -> jax.Array:
    """Scale uint8 images `[..., C]` to [0, 1], then to zero mean and unit deviation.

    `mean` and `deviation` are of the pixels in [0, 1]; of all, or one per channel.
    """
    scaled = images.astype(jnp.float32) / 255
    return (scaled - jnp.asarray(mean)) / jnp.asarray(deviation)
