"""Decode images of all formats to uint8 pixels of one size."""

import contextlib
import functools
import io
import threading
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from mi_classifier.errors import reason_of

# Pillow knows these formats, but decodes no pixels of them on every machine; for some
# it starts other programs.
NOT_DECODED = {"PDF", "EPS", "WMF", "MPEG", "HDF5", "GRIB", "BUFR"}
_STRIP = 512  # rows
_LARGE = 1 << 24  # pixels; threads decode such images one after the other
_one_at_a_time = threading.Lock()


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
    return _decode(content, (side, side), "RGB")[0]


class Decoded(NamedTuple):
    """Several decoded images."""

    pixels: np.ndarray  # uint8 `[B, side, side, 3]`; 0 if an image cannot be decoded
    broken: dict[int, str]  # why an image cannot be decoded, by its index
    sizes: list[tuple[int, int] | None]  # width and height, turned upright


def decode_all(contents: Sequence[bytes], side: int) -> Decoded:
    """Decode several images, see `decode`."""
    pixels = np.zeros((len(contents), side, side, 3), np.uint8)
    broken, sizes = {}, []
    for index, content in enumerate(contents):
        try:
            pixels[index], size = _decode(content, (side, side), "RGB")
        except ValueError as error:
            broken[index], size = str(error), size_of(content)
        sizes.append(size)
    return Decoded(pixels, broken, sizes)


def size_of(content: bytes | Path) -> tuple[int, int] | None:
    """Return width and height of an image turned upright, or None if it is no image.

    `content` is that of a file, or the file's path.
    """
    try:
        with open_image(content) as image:
            turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
            if image.format == "TIFF":  # Pillow swaps the size of TIFFs itself
                turned = False
            return image.size[::-1] if turned else image.size
    except Exception:  # noqa: BLE001 (Pillow's plugins may raise anything)
        return None


def open_image(content: bytes | Path) -> Image.Image:
    """Open an image by Pillow, if its format is one of pixels.

    Pillow goes by the first bytes of a file, whatever its name says, and would start
    Ghostscript for PostScript.
    """
    file = content if isinstance(content, Path) else io.BytesIO(content)
    return Image.open(file, formats=_formats())


@functools.cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in Image.ID if name not in NOT_DECODED)


def decode_gray(content: bytes, height: int, width: int) -> np.ndarray:
    """Decode an image as `decode` does, to gray levels, uint8 `[height, width, 1]`."""
    return _decode(content, (width, height), "L")[0][..., None]


def _decode(
    content: bytes, size: tuple[int, int], mode: str
) -> tuple[np.ndarray, tuple[int, int]]:
    """Decode to (width, height) and one of Pillow's modes; also return the own size."""
    try:
        with _quiet(), open_image(content) as image:
            pixels = image.width * image.height
            if pixels > Image.MAX_IMAGE_PIXELS:
                raise ValueError("more than 2**28 bytes of RGB")
            with _one_at_a_time if pixels > _LARGE else contextlib.nullcontext():
                decoded = _to_rgb(ImageOps.exif_transpose(image)).convert(mode)
                own = decoded.size
                if own != size:
                    decoded = decoded.resize(size, Image.Resampling.BILINEAR)
        return np.asarray(decoded), own
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
        values = np.asarray(image)
        levels = np.empty(values.shape, "u1")
        for rows in _strips(len(values)):
            levels[rows] = (values[rows] / 257).round().clip(0, 255)
        return Image.fromarray(levels).convert("RGB")
    if image.mode == "F":
        raise ValueError("floating-point pixels have no agreed range; store integers")
    if image.has_transparency_data:
        opaque = Image.new("RGB", image.size)
        for rows in _strips(image.height):
            strip = image.crop((0, rows.start, image.width, rows.stop)).convert("RGBA")
            white = Image.new("RGBA", strip.size, "white")
            strip = Image.alpha_composite(white, strip).convert("RGB")
            opaque.paste(strip, (0, rows.start))
        return opaque
    return image.convert("RGB")


def _strips(height: int) -> Iterator[slice]:
    """Yield slices of rows: a part of a large image at a time needs less memory."""
    for start in range(0, height, _STRIP):
        yield slice(start, min(start + _STRIP, height))
