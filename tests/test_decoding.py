"""Images of all formats are decoded to the RGB pixels that a person would see."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from mi_classifier.decoding import decode, size_of

RED, GREEN, GRAY = (200, 30, 40), (20, 180, 60), (90, 90, 90)


def encode(image, form="png", **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def halves(left=RED, right=GREEN, size=(16, 12)):
    image = Image.new("RGB", size, left)
    image.paste(right, (size[0] // 2, 0, size[0], size[1]))
    return image


def seen(content, side=16):
    """Returns the colors of the left and the right half."""
    decoded = decode(content, side)
    assert decoded.shape == (side, side, 3) and decoded.dtype == np.uint8
    return decoded[side // 2, 2], decoded[side // 2, -3]


def near(colors, expected, tolerance=0):
    for color, wanted in zip(colors, expected, strict=True):
        np.testing.assert_allclose(color.astype(int), wanted, atol=tolerance)


@pytest.mark.parametrize(
    ("form", "tolerance"), [("png", 0), ("bmp", 0), ("jpeg", 12), ("gif", 4)]
)
def test_formats_keep_their_colors(form, tolerance):
    near(seen(encode(halves(), form)), (RED, GREEN), tolerance)


def test_gray_levels_of_1_8_and_16_bits_become_rgb():
    near(seen(encode(halves().convert("L"))), [[s] * 3 for s in (82, 118)], 1)
    deep = np.full((12, 16), 90 * 257, np.uint16)
    deep[:, 8:] = 200 * 257
    for form in ("png", "tiff"):
        near(seen(encode(Image.fromarray(deep), form)), (GRAY, (200,) * 3))
    bits = Image.fromarray(deep > 30_000)
    near(seen(encode(bits)), ((0,) * 3, (255,) * 3))


def test_palette_cmyk_and_alpha_become_rgb():
    near(seen(encode(halves().quantize(4))), (RED, GREEN), 4)
    near(seen(encode(halves().convert("CMYK"), "jpeg")), (RED, GREEN), 12)
    opaque = halves().convert("RGBA")
    near(seen(encode(opaque)), (RED, GREEN))
    opaque.putalpha(
        Image.fromarray(np.repeat([[255] * 8 + [0] * 8], 12, 0).astype("u1"))
    )
    near(seen(encode(opaque)), (RED, (255,) * 3))


def test_exif_orientation_is_followed():
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down: left is right
    near(seen(encode(halves(), "jpeg", exif=exif)), (GREEN, RED), 12)
    exif[0x0112] = 6  # a quarter turn: left is up
    decoded = decode(encode(halves(), "jpeg", exif=exif), 16)
    near((decoded[2, 8], decoded[-3, 8]), (RED, GREEN), 12)


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (255, 257)])
def test_odd_sizes_are_resized(size):
    assert (decode(encode(Image.new("RGB", size, RED)), 16) == RED).all()


def test_resizing_counts_every_pixel():
    """Fine stripes become gray; nearest-neighbour resizing would keep them."""
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    decoded = decode(encode(Image.fromarray(stripes)), 16)
    np.testing.assert_allclose(decoded[4:-4, 4:-4].astype(int), 127.5, atol=2)


def bomb(kind, side=100_000):
    """Returns a few bytes that announce an image of 30 GB."""
    if kind == "ppm":
        return b"P6 %d %d 255\n" % (side, side) + bytes(99)
    if kind == "bmp":
        header = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 24, *[0] * 6)
        return b"BM" + struct.pack("<IHHI", 100, 0, 0, 54) + header
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))]
    chunks += [(b"IDAT", zlib.compress(bytes(10**6))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content))
        + name
        + content
        + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks
    )


def test_broken_and_huge_images_are_refused_with_a_reason(monkeypatch):
    whole = encode(halves(size=(200, 200)), "jpeg")
    for content, reason in (
        (b"", "not an image"),
        (b"text", "not an image"),
        (whole[: len(whole) // 2], "truncated"),
        (encode(Image.new("F", (4, 4)), "tiff"), "floating-point"),
    ):
        with pytest.raises(ValueError, match=reason):
            decode(content, 16)
    for kind in ("png", "bmp", "ppm"):
        with pytest.raises(ValueError, match=r"10000000000 pixels.*decompression bomb"):
            decode(bomb(kind), 16)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    with pytest.raises(ValueError, match="decompression bomb"):
        decode(whole, 16)


def test_postscript_is_no_image_whatever_its_name(monkeypatch):
    """Pillow would start Ghostscript, with a program that comes with the photo."""

    def refuse(*arguments, **options):
        raise AssertionError("Ghostscript was started")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", refuse)
    content = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n%%EndComments\n"
    with pytest.raises(ValueError, match="not an image"):
        decode(content, 16)
    assert size_of(content) is None
