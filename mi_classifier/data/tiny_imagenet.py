"""Tiny-ImageNet from its official archive, in the paper's splits (Tables 4, 7, 8)."""

import re
from collections import Counter
from collections.abc import Sequence

from mi_classifier.data import boxed_sets
from mi_classifier.data.dataset import Dataset
from mi_classifier.data.tfds_store import BoxedImages, Contents

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
) -> Dataset:
    """Load Tiny-ImageNet.

    The training images are the official ones; they are mirrored with probability 1/2,
    but not cropped. The official validation images, 50 per class, are split evenly into
    validation and test. The official test images have no labels and are not read.

    Args:
      side: side in pixels to which images are resized; they are stored with 64.
      normalization: a name in `images.NORMALIZATIONS`.
      archive_path: `tiny-imagenet-200.zip`; otherwise as in `cub200.load`, like all
        arguments that follow.
      data_dir: folder of TFDS's data sets.
      lists_dir: folder of two lists of names, such as "val/images/val_0.JPEG".
      broken: what to do with an image that cannot be decoded, "stop" or "skip".
      seed: selects the even split.

    Raises:
      UserError: as `cub200.load`.
    """
    paths = archive_path, data_dir, lists_dir
    options = boxed_sets.Options(side, side, normalization, True, *paths, broken, seed)
    return boxed_sets.load(OFFICIAL, options)


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
