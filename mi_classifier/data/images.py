"""What happens to images on the device: crop, flip, normalization; boxes follow."""

import jax
import jax.numpy as jnp
import numpy as np

# Of ImageNet's pixels in [0, 1], by channel.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)


def random_crop_and_flip(key: jax.Array, image: jax.Array, side: int) -> jax.Array:
    """A random square of an image, mirrored in half of the draws.

    Args:
      key: of the draw.
      image: `[H, W, C]`, sides at least `side`.
      side: of the square, in pixels.
    """
    top_key, left_key, flip_key = jax.random.split(key, 3)
    top = jax.random.randint(top_key, (), 0, image.shape[0] - side + 1)
    left = jax.random.randint(left_key, (), 0, image.shape[1] - side + 1)
    image = jax.lax.dynamic_slice(image, (top, left, 0), (side, side, image.shape[2]))
    return jnp.where(jax.random.bernoulli(flip_key), image[:, ::-1], image)


def center_crop(images: jax.Array, side: int) -> jax.Array:
    """The middle square of images `[..., H, W, C]`; an odd rest is below and right."""
    top, left = ((size - side) // 2 for size in images.shape[-3:-1])
    return images[..., top : top + side, left : left + side, :]


def center_crop_boxes(
    boxes: np.ndarray, size: tuple[int, int], side: int
) -> np.ndarray:
    """Moves boxes as `center_crop` moves images, and clips them to the square.

    Args:
      boxes: `[..., 4]`.
      size: (height, width) of the images.
      side: of the square.
    """
    top, left = ((length - side) // 2 for length in size)
    return np.clip(boxes - np.array([left, top, left, top]), 0, side)
