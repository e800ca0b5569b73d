"""From encoded images of all kinds to uint8 RGB of one size."""

import io
import warnings

import numpy as np
from PIL import Image, ImageOps


def decode(content: bytes, side: int) -> np.ndarray:
    """Decodes an image and resizes it to a square, whatever its aspect.

    It is turned as its EXIF orientation says. Gray levels become RGB, 16-bit values are
    divided by 257, and what is transparent lies on white.

    Args:
      content: of a file in any format that Pillow reads.
      side: of the square, in pixels; bilinear, with every pixel counted.

    Returns:
      uint8 `[side, side, 3]`.

    Raises:
      ValueError: not an image, a broken one, or one of more than 2 ** 28 bytes of
        RGB.
    """
    return _decode(content, (side, side), "RGB")


def decode_gray(content: bytes, height: int, width: int) -> np.ndarray:
    """Decodes an image as `decode` does, into gray levels.

    Returns:
      uint8 `[height, width, 1]`.

    Raises:
      ValueError: as `decode`.
    """
    return _decode(content, (width, height), "L")[..., None]


def _decode(content: bytes, size: tuple[int, int], mode: str) -> np.ndarray:
    """Decodes to (width, height) and one of Pillow's modes."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content)) as image:
                decoded = _to_rgb(ImageOps.exif_transpose(image)).convert(mode)
        if decoded.size != size:
            decoded = decoded.resize(size, Image.Resampling.BILINEAR)
        return np.asarray(decoded)
    # Pillow's plugins raise whatever their format's code raises.
    except Exception as error:
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        if isinstance(error, Image.UnidentifiedImageError):
            reason = "not an image"
        raise ValueError(reason) from error


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits, in Pillow's several modes
        values = np.asarray(image).astype(np.float64)
        return Image.fromarray(
            (values / 257).round().clip(0, 255).astype("u1")
        ).convert("RGB")
    if image.mode == "F":
        raise ValueError("floating-point pixels have no agreed range; store integers")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")
