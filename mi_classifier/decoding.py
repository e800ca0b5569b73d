"""Decode images of all formats to uint8 pixels of one size."""

import contextlib
import io
import threading
import warnings
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image, ImageOps

from mi_classifier.errors import reason_of


def decode(content: bytes, side: int) -> np.ndarray:
    """Decode an image to RGB, and resize it to a square; its aspect is not kept.

    The image is turned as its EXIF orientation says. Gray levels become RGB, 16-bit
    values are divided by 257, and transparent parts get a white background.

    Args:
      content: content of a file in any format that Pillow reads.
      side: side of the square in pixels. Resizing is bilinear with anti-aliasing.

    Returns:
      uint8 `[side, side, 3]`.

    Raises:
      ValueError: the content is not an image, is broken, or has more than 2 ** 28
        bytes of RGB.
    """
    return _decode(content, (side, side), "RGB")


def decode_all(
    contents: Sequence[bytes], side: int
) -> tuple[np.ndarray, dict[int, str]]:
    """Decode several images.

    Returns:
      uint8 `[B, side, side, 3]`, and why an image cannot be decoded, by its index; its
      pixels are 0.
    """
    pixels, broken = np.zeros((len(contents), side, side, 3), np.uint8), {}
    for index, content in enumerate(contents):
        try:
            pixels[index] = decode(content, side)
        except ValueError as error:
            broken[index] = str(error)
    return pixels, broken


def decode_gray(content: bytes, height: int, width: int) -> np.ndarray:
    """Decode an image as `decode` does, to gray levels, uint8 `[height, width, 1]`."""
    return _decode(content, (width, height), "L")[..., None]


def _decode(content: bytes, size: tuple[int, int], mode: str) -> np.ndarray:
    """Decode to (width, height) and one of Pillow's modes."""
    try:
        with _quiet(), Image.open(io.BytesIO(content)) as image:
            if image.width * image.height > Image.MAX_IMAGE_PIXELS:
                raise ValueError("more than 2**28 bytes of RGB")
            decoded = _to_rgb(ImageOps.exif_transpose(image)).convert(mode)
        if decoded.size != size:
            decoded = decoded.resize(size, Image.Resampling.BILINEAR)
        return np.asarray(decoded)
    except MemoryError:
        raise
    except Exception as error:  # Pillow's plugins may raise anything
        reason = reason_of(error).rstrip(".")
        if isinstance(error, Image.UnidentifiedImageError):
            reason = "not an image"
        raise ValueError(reason) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Ignore Pillow's warning of large images, which are refused.

    Filters belong to all threads, so only the main one may change them.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits, in Pillow's several modes
        values = np.asarray(image).astype(np.float64) / 257
        levels = values.round().clip(0, 255).astype("u1")
        return Image.fromarray(levels).convert("RGB")
    if image.mode == "F":
        raise ValueError("floating-point pixels have no agreed range; store integers")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")
