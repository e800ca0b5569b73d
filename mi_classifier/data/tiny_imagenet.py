"""Tiny-ImageNet from its official archive, in the paper's splits (Tables 4, 7, 8)."""

import dataclasses
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from mi_classifier.data import boxed_sets
from mi_classifier.data.dataset import Dataset
from mi_classifier.data.tfds_store import BoxedImages, Contents
from mi_classifier.errors import choose
from mi_classifier.storage.files import hash_text

BOXES = ("true", "published")
_SIDE = 64  # of the images in pixels

_VALIDATION = "val/val_annotations.txt"
_TEXTS = rf"wnids\.txt|words\.txt|{_VALIDATION}|train/(\w+)/\1_boxes\.txt"


class TinyImagenet(BoxedImages):
    """Tiny-ImageNet, 110,000 images of 64 x 64 pixels and 200 classes, with boxes."""


def load(
    side: int,
    normalization: str,
    archive_path: str = "",
    data_dir: str = "",
    lists_dir: str = "",
    broken: str = "stop",
    seed: int = 0,
    boxes: str = "true",
    pad: int = 0,
) -> Dataset:
    """Load Tiny-ImageNet.

    The training images are the official ones; they are mirrored with probability 1/2,
    and with `pad` they are also moved. The official validation images, 50 per class,
    are split evenly into validation and test. The official test images have no labels
    and are not read.

    Args:
      side: side in pixels to which images are resized; they are stored with 64.
      normalization: a name in `images.NORMALIZATIONS`.
      archive_path: `tiny-imagenet-200.zip`; otherwise as in `cub200.load`, like all
        arguments that follow.
      data_dir: folder of TFDS's data sets.
      lists_dir: folder of two lists of names, such as "val/images/val_0.JPEG", or the
        authors' lists.
      broken: what to do with an image that cannot be decoded, "stop" or "skip".
      seed: selects the even split.
      boxes: "true", or "published" for those that the paper's results are measured on
        (see `misread`).
      pad: pixels by which training images grow before the crop; see
        `images.random_crop_and_flip`.

    Raises:
      UserError: as `cub200.load`.
    """
    choose(boxes, BOXES, "data.boxes")
    paths = archive_path, data_dir, lists_dir
    options = boxed_sets.Options(side, side, normalization, True, *paths, broken, seed)
    dataset = boxed_sets.load(OFFICIAL, options._replace(pad=pad))
    return dataset if boxes == "true" else _with_published_boxes(dataset, side)


def misread(boxes: np.ndarray) -> np.ndarray:
    """Return what the authors' program makes of true boxes of Tiny-ImageNet.

    Their file of boxes holds the corners x0, y0, x1, y1 with the last pixel included.
    Their program takes them for x, y, width and height, and moves an edge e of an image
    of 64 pixels to 63 / 64 e + 1.

    Args:
      boxes: `[..., 4]`, half-open, in pixels of images with sides of 64.

    Returns:
      Boxes `[..., 4]`, of which two thirds leave the image.

    Examples:
      >>> misread(np.array([0, 0, 32, 64]))  # the file has 0, 0, 31, 63
      array([ 1.      ,  1.      , 31.515625, 63.015625])
    """
    x, y, width, height = np.moveaxis(boxes - np.array([0, 0, 1, 1]), -1, 0)
    edges = np.stack([x, y, x + width, y + height], -1)
    return edges * (_SIDE - 1) / _SIDE + 1


def _with_published_boxes(dataset: Dataset, side: int) -> Dataset:
    """Replace the boxes of validation and test; those of training are not used."""
    splits, digests = dict(dataset.splits), dict(dataset.digests)
    for name in ("validation", "test"):
        split = splits[name]
        boxes = misread(split["boxes"] * (_SIDE / side)) * (side / _SIDE)
        splits[name] = {**split, "boxes": boxes.astype(np.float32)}
        digests[name] = hash_text(f"published boxes {digests[name]}")
    title, sides = dataset.name.rsplit(", ", 1)
    name = f"{title}, published boxes, {sides}"
    return dataclasses.replace(dataset, name=name, splits=splits, digests=digests)


def parse(texts: boxed_sets.Texts) -> Contents:
    """Make the contents of an archive from its texts.

    Boxes include their last pixel (0 to 63) in the texts, and are half-open here.
    """
    ids = texts.contents["wnids.txt"].split()
    number = {wnid: i for i, wnid in enumerate(ids)}
    if len(number) != len(ids) or len(ids) < 2:
        raise texts.error(f"wnids.txt: {len(ids)} names, not all different")
    splits: dict[str, dict[str, tuple]] = {"train": {}, "validation": {}}

    def add(split: str, text: str, name: str, wnid: str, box: Sequence[str]) -> None:
        if wnid not in number:
            raise texts.error(f"{text}: no class {wnid} ({name})")
        if name in splits[split]:
            raise texts.error(f"{text}: {name} is listed twice")
        x0, y0, x1, y1 = texts.box(text, name, box)
        splits[split][name] = (number[wnid], (x0, y0, x1 + 1, y1 + 1))

    for wnid in ids:
        text = f"train/{wnid}/{wnid}_boxes.txt"
        if text not in texts.contents:
            raise texts.error(f"lacks {OFFICIAL.root}/{text}, of a class in wnids.txt")
        for file, *box in texts.rows(text, 5, "\t"):
            add("train", text, f"train/{wnid}/images/{file}", wnid, box)
    for file, wnid, *box in texts.rows(_VALIDATION, 6, "\t"):
        add("validation", _VALIDATION, f"val/images/{file}", wnid, box)
    return class_names(texts.contents["words.txt"], ids), splits


def class_names(words: str, ids: list[str]) -> list[str]:
    """Return the first word for each class, with the id if classes share that word.

    A line of `words` is an id, a tab, and words separated by commas.
    """
    table = dict(line.split("\t", 1) for line in words.splitlines() if "\t" in line)
    firsts = [table.get(wnid, wnid).split(",")[0].strip() for wnid in ids]
    count = Counter(firsts)
    return [
        first if count[first] == 1 else f"{first} ({wnid})"
        for first, wnid in zip(firsts, ids, strict=True)
    ]


OFFICIAL = boxed_sets.Official(
    title="Tiny-ImageNet",
    builder=TinyImagenet,
    test_split="validation",
    file="tiny-imagenet-200.zip",
    urls=("http://cs231n.stanford.edu/",),
    digest="md5:90528d7ca1a48142e341f4ef8d21d0de",
    root="tiny-imagenet-200",
    texts=("wnids.txt", "words.txt", _VALIDATION),
    is_text=lambda name: re.fullmatch(_TEXTS, name) is not None,
    parse=parse,
)
