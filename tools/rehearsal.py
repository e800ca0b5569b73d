"""Generate data sets in the official layouts, to rehearse on.

    python tools/rehearsal.py cub200 --out=rehearsal.tgz

Each image shows one ellipse on blurred noise. The ellipse's color and the direction of
its stripes tell the class, so that nets can learn it; its bounding box is known. Where
the official archives cannot be downloaded, every step from the archive to the table
runs on these.
"""

import contextlib
import csv
import functools
import io
import itertools
import multiprocessing
import os
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import flags
from PIL import Image

from mi_classifier import cli
from mi_classifier.errors import UserError, choose
from mi_classifier.progress import tracked

_DIRECTIONS = 10
_JPEG_QUALITY = 90  # of 100: artifacts are hardly visible, files stay small
Box = tuple[int, int, int, int]


class Rendered(NamedTuple):
    """An image and the box of its ellipse.

    Attributes:
      image: uint8 `[height, width, 3]`.
      box: `(x0, y0, x1, y1)`, half-open pixels.
    """

    image: np.ndarray
    box: Box


def render(
    label: int, num_classes: int, size: tuple[int, int], generator: np.random.Generator
) -> Rendered:
    """Render an image of a class.

    Args:
      label: in [0, num_classes).
      num_classes: each color serves ten classes, one for each direction of the stripes.
      size: (height, width) in pixels, at least 8.
      generator: gives the noise, and the ellipse's place, size and phase.
    """
    height, width = size
    grains = generator.integers(40, 216, (-(-height // 12), -(-width // 12), 3))
    noise = Image.fromarray(grains.astype(np.uint8))
    image = np.array(noise.resize((width, height), Image.Resampling.BICUBIC))
    center = generator.uniform(0.35, 0.65, 2) * size
    radius = generator.uniform(0.15, 0.3, 2) * size
    y0, x0 = np.maximum(np.ceil(center - radius), 0).astype(int)
    y1, x1 = np.minimum(np.floor(center + radius) + 1, size).astype(int)
    rows, columns = np.mgrid[y0:y1, x0:x1]
    inside = ((rows - center[0]) / radius[0]) ** 2 + (
        (columns - center[1]) / radius[1]
    ) ** 2 < 1
    angle = np.pi * (label % _DIRECTIONS) / _DIRECTIONS
    along = (rows * np.sin(angle) + columns * np.cos(angle)) / min(size)
    stripes = np.sin(2 * np.pi * (12 * along + generator.random()))
    hue = 2 * np.pi * (label // _DIRECTIONS) / -(-num_classes // _DIRECTIONS)
    color = np.cos(hue + 2 * np.pi * np.arange(3) / 3)
    texture = (128 + 60 * color + 50 * stripes[..., None]).clip(0, 255).astype(np.uint8)
    image[y0:y1, x0:x1][inside] = texture[inside]
    # The pixels inside may be fewer than the ellipse's limits allow.
    inside_rows, inside_columns = inside.any(1).nonzero()[0], inside.any(0).nonzero()[0]
    left, right = inside_columns[[0, -1]] + x0
    top, bottom = inside_rows[[0, -1]] + y0
    return Rendered(image, (int(left), int(top), int(right) + 1, int(bottom) + 1))


class _Encoded(NamedTuple):
    content: bytes  # of a JPEG file
    box: Box


def _encode(
    index: int, label: int, num_classes: int, side: int | None, seed: int
) -> _Encoded:
    """Render image number `index` and encode it.

    Args:
      index: together with `seed`, it seeds the image's generator.
      label: as in `render`.
      num_classes: as in `render`.
      side: of a square image; None for sizes like those of CUB-200-2011.
      seed: of the whole set.
    """
    generator = np.random.default_rng([seed, index])
    if side:
        size = (side, side)
    else:  # the longer side of CUB-200-2011's images has 500 pixels
        shorter = int(generator.integers(300, 501))
        size = (shorter, 500) if generator.random() < 0.7 else (500, shorter)
    image, box = render(label, num_classes, size, generator)
    file = io.BytesIO()
    Image.fromarray(image).save(file, "jpeg", quality=_JPEG_QUALITY)
    return _Encoded(file.getvalue(), box)


def _encode_all(
    labels: Sequence[int], num_classes: int, side: int | None, seed: int
) -> Iterator[_Encoded]:
    """Render and encode one image a label in parallel; yield them in order."""
    encode = functools.partial(_encode, num_classes=num_classes, side=side, seed=seed)
    # If a worker is killed, multiprocessing.Pool waits forever; this executor raises.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(os.cpu_count() or 1, 8), spawn) as pool:
        images = pool.map(encode, itertools.count(), labels, chunksize=32)
        yield from tracked(images, "generating images", total=len(labels))


def write_cub200(path: Path, num_classes: int, num_images: int, seed: int) -> None:
    """Write a `CUB_200_2011.tgz`; half of each class is for training."""
    labels = np.arange(num_images) * num_classes // num_images
    number = np.arange(num_images) - np.searchsorted(labels, labels)
    classes = [f"{c + 1:03d}.Rehearsal_{c + 1:03d}" for c in range(num_classes)]
    names = [
        f"{classes[c]}/Rehearsal_{c + 1:03d}_{n + 1:04d}_{i + 1:06d}.jpg"
        for i, (c, n) in enumerate(zip(labels, number, strict=True))
    ]
    root = "CUB_200_2011"
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:

        def add(name: str, content: bytes) -> None:
            member = tarfile.TarInfo(f"{root}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))

        def table(name: str, rows: Iterator[str]) -> None:
            lines = (f"{i} {row}\n" for i, row in enumerate(rows, start=1))
            add(name, "".join(lines).encode())

        table("classes.txt", iter(classes))
        table("images.txt", iter(names))
        table("image_class_labels.txt", (str(c + 1) for c in labels))
        table("train_test_split.txt", (str(int(n % 2 == 0)) for n in number))
        boxes = []
        images = _encode_all(labels.tolist(), num_classes, None, seed)
        for name, (content, (x0, y0, x1, y1)) in zip(names, images, strict=True):
            add(f"images/{name}", content)
            boxes.append(f"{x0:.1f} {y0:.1f} {x1 - x0:.1f} {y1 - y0:.1f}")
        table("bounding_boxes.txt", iter(boxes))


def write_tiny_imagenet(
    path: Path, num_classes: int, num_images: int, seed: int
) -> None:
    """Write a `tiny-imagenet-200.zip`; a tenth of the images is for validation."""
    labels = np.arange(num_images) % num_classes
    training = num_images - num_images // 10
    ids = [f"n{c + 1:08d}" for c in range(num_classes)]
    root = "tiny-imagenet-200"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{root}/wnids.txt", "\n".join(ids) + "\n")
        words = "".join(f"{wnid}\trehearsal {wnid[-3:]}, made up\n" for wnid in ids)
        archive.writestr(f"{root}/words.txt", words)
        boxes: list[list[str]] = [[] for _ in ids]
        annotations = []
        images = _encode_all(labels.tolist(), num_classes, 64, seed)
        for i, (content, (x0, y0, x1, y1)) in enumerate(images):
            wnid, corners = ids[labels[i]], f"{x0}\t{y0}\t{x1 - 1}\t{y1 - 1}"
            if i < training:
                file = f"{wnid}_{len(boxes[labels[i]])}.JPEG"
                boxes[labels[i]].append(f"{file}\t{corners}\n")
                archive.writestr(f"{root}/train/{wnid}/images/{file}", content)
            else:
                file = f"val_{i - training}.JPEG"
                annotations.append(f"{file}\t{wnid}\t{corners}\n")
                archive.writestr(f"{root}/val/images/{file}", content)
        for wnid, lines in zip(ids, boxes, strict=True):
            archive.writestr(f"{root}/train/{wnid}/{wnid}_boxes.txt", "".join(lines))
        archive.writestr(f"{root}/val/val_annotations.txt", "".join(annotations))


def write_image_folder(
    path: Path, num_classes: int, num_images: int, seed: int
) -> None:
    """Write a folder of `train/`, `val/`, `boxes.csv`; a fifth is for validation."""
    labels = np.arange(num_images) % num_classes
    training = num_images - num_images // 5
    path.mkdir()
    with (path / "boxes.csv").open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("path", "x0", "y0", "x1", "y1"))
        images = _encode_all(labels.tolist(), num_classes, 96, seed)
        for i, (content, box) in enumerate(images):
            split = "train" if i < training else "val"
            name = f"{split}/class_{labels[i] + 1:03d}/{i + 1:06d}.jpg"
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(content)
            rows.writerow((name, *box))


LAYOUTS: dict[str, Callable[[Path, int, int, int], None]] = {
    "cub200": write_cub200,
    "tiny_imagenet": write_tiny_imagenet,
    "image_folder": write_image_folder,
}


def write(
    layout: str, path: Path, num_classes: int, num_images: int, seed: int
) -> None:
    """Write a generated data set; if it fails, leave nothing behind.

    Args:
      layout: a name among `LAYOUTS`.
      path: the archive or folder to make.
      num_classes: at least 2.
      num_images: of all splits together, at least 20 times `num_classes`.
      seed: at least 0; the same seed gives the same images.

    Raises:
      UserError: an argument is out of range, `path` exists, or its folder does not.
    """
    choose(layout, LAYOUTS, "layout")
    if num_classes < 2:
        raise UserError(f"--num_classes: must be at least 2, not {num_classes}")
    if num_images < 20 * num_classes:
        raise UserError(
            f"--num_images: must be at least {20 * num_classes}, 20 for each class, "
            f"not {num_images}"
        )
    if seed < 0:
        raise UserError(f"--seed: must be at least 0, not {seed}")
    if path.exists():
        raise UserError(f"--out: {path} exists; remove it, or give another path")
    if not path.parent.is_dir():
        raise UserError(f"--out: the folder {path.parent} is missing; create it")
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        LAYOUTS[layout](temporary, num_classes, num_images, seed)
        temporary.rename(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            _remove(temporary)


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def main(arguments: Sequence[str]) -> None:
    """Write the layout that the command line names."""
    if len(arguments) != 1:
        raise UserError(
            f"give exactly one layout ({', '.join(LAYOUTS)}) and --out=PATH, "
            f"not {len(arguments)} layouts"
        )
    out = Path(cli.required(_OUT))
    write(arguments[0], out, _CLASSES.value, _IMAGES.value, _SEED.value)
    print(f"{out}: {_IMAGES.value:,} images of {_CLASSES.value} classes")


if __name__ == "__main__":
    _OUT = flags.DEFINE_string("out", None, "where to write the archive or folder.")
    _CLASSES = flags.DEFINE_integer("num_classes", 20, "number of classes.")
    _IMAGES = flags.DEFINE_integer("num_images", 2_000, "number of images in all.")
    _SEED = flags.DEFINE_integer("seed", 0, "seed of all images.")
    cli.run(main, positional=True)
