"""What every data set is, once loaded: splits held as arrays."""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from mi_classifier import information

# Arrays of one length N by name: "image" [N, ...] and "label" at least, [N] classes or
# multi-hot [N, M]. Where examples are not independent, those of one draw share a number
# in "draw" [N]. Where boxes are known, "boxes" [N, G, 4] and "num_boxes" [N], and for
# multi-hot labels "box_label" [N, G].
Split = Mapping[str, np.ndarray]
_ROWS = 1_024  # hashed at once
Draw = Callable[[jax.Array, Split, jax.Array], dict[str, jax.Array]]


def draw_stored(key: jax.Array, split: Split, index: jax.Array) -> dict[str, jax.Array]:
    """Returns the example that is stored at an index."""
    del key
    return {name: array[index] for name, array in split.items()}


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set, ready to be trained and evaluated on.

    Attributes:
      name: what to call it in a table.
      splits: "train", "validation", "test", and any others; as stored (uint8 images
        stay uint8), in memory or mapped from disk.
      class_names: M names, in the order of the labels.
      preprocess: a pure function from a batch of stored images to the net's input,
        compiled into the step.
      draw: one training example of a key, the training split and an index; by default
        the one stored there.
      training_prior: log P(y) `[M]` of what `draw` makes, where that is not the one of
        the stored labels.
      log_density: where the truth is known, from a batch to log p(x|y) `[B, M]`, up to
        a term of x alone.
      mutual_information: where it is known in closed form, the true I(X; Y) in nats.
      image_names: N names of images, by split, where they have any.
      read_image: where inputs are images, from the content of a file to one as stored;
        a ValueError of what cannot be decoded.
      visible: the part of an image file that an input shows, `(x0, y0, x1, y1)` as
        fractions of its width and height.
    """

    name: str
    splits: Mapping[str, Split]
    class_names: tuple[str, ...]
    preprocess: Callable[[jax.Array], jax.Array]
    draw: Draw = draw_stored
    training_prior: np.ndarray | None = None
    log_density: Callable[[Split], jax.Array] | None = None
    mutual_information: float | None = None
    image_names: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    read_image: Callable[[bytes], np.ndarray] | None = None
    visible: tuple[float, float, float, float] = (0, 0, 1, 1)

    @property
    def num_classes(self) -> int:
        """Number of classes M."""
        return len(self.class_names)

    @property
    def multi_label(self) -> bool:
        """Whether an example has any number of labels, each of them present or not."""
        return self.splits["test"]["label"].ndim > 1

    def log_prior(self, split: str = "train") -> np.ndarray:
        """Returns log P(y) `[M]` of a split's labels, from their counts.

        With several labels an example, the log share of the examples that carry each.
        """
        if split == "train" and self.training_prior is not None:
            return self.training_prior
        labels = self.splits[split]["label"]
        if self.multi_label:
            with np.errstate(divide="ignore"):
                return np.log(labels.mean(0, dtype=np.float64)).astype(np.float32)
        return information.log_label_prior(labels, self.num_classes)

    def fingerprints(self) -> dict[str, str]:
        """Returns a hash of each split's arrays."""
        hashes = {}
        for name, split in self.splits.items():
            digest = hashlib.sha256()
            for key in sorted(split):
                array = split[key]
                digest.update(f"{key}{array.shape}{array.dtype}".encode())
                # A part at a time, for arrays may be mapped from disk.
                for start in range(0, len(array), _ROWS):
                    digest.update(np.ascontiguousarray(array[start : start + _ROWS]))
            hashes[name] = digest.hexdigest()
        return hashes

    def example_input(self) -> jax.Array:
        """Returns one preprocessed image, `[1, ...]`, of zeros."""
        image = self.splits["test"]["image"]
        shape = jax.eval_shape(self.preprocess, image[:1])
        return jnp.zeros(shape.shape, shape.dtype)


def shift(key: jax.Array, image: jax.Array, most: int) -> jax.Array:
    """Moves an image by up to `most` pixels along each axis; what comes in is 0.

    Args:
      key: decides how far, uniformly.
      image: `[H, W, C]`.
      most: pixels.
    """
    start = jax.random.randint(key, (2,), 0, 2 * most + 1)
    padded = jnp.pad(image, [(most, most), (most, most), (0, 0)])
    return jax.lax.dynamic_slice(padded, (*start, 0), image.shape)


def normalize(
    images: jax.Array,
    mean: float | tuple[float, ...],
    deviation: float | tuple[float, ...],
) -> jax.Array:
    """Scales uint8 images to [0, 1], then to zero mean and unit deviation.

    Args:
      images: uint8 `[..., C]`.
      mean: of the pixels, in [0, 1]; one, or one a channel.
      deviation: standard deviation of the pixels, in [0, 1]; one, or one a channel.

    Returns:
      float32, the same shape.
    """
    scaled = images.astype(jnp.float32) / 255
    return (scaled - jnp.asarray(mean)) / jnp.asarray(deviation)
