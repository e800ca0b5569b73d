"""Tiny-ImageNet from its official archive, in the paper's splits (Tables 4, 7, 8)."""

import functools
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from mi_classifier.data import archive, boxed_sets
from mi_classifier.data.boxed_sets import Official
from mi_classifier.data.dataset import Dataset
from mi_classifier.data.tfds_store import BoxedImage, BoxedImages
from mi_classifier.errors import UserError

ROOT = "tiny-imagenet-200"
_VALIDATION = "val/val_annotations.txt"
_TEXTS = rf"wnids\.txt|words\.txt|{_VALIDATION}|train/(\w+)/\1_boxes\.txt"


class TinyImagenet(BoxedImages):
    """Tiny-ImageNet, 110,000 images of 64 pixels and 200 classes, with boxes."""


def load(
    side: int,
    normalization: str,
    archive_path: str = "",
    data_dir: str = "",
    lists_dir: str = "",
    broken: str = "stop",
    seed: int = 0,
) -> Dataset:
    """Loads Tiny-ImageNet.

    Training images are the official ones, not cropped but mirrored in half of the
    draws; the official validation images, 50 a class, are split evenly, class by class,
    into validation and test. The official test images have no labels, and are not read.

    Args:
      side: to which images are resized, in pixels; as stored they have 64.
      normalization: a name among `images.NORMALIZATIONS`.
      archive_path: `tiny-imagenet-200.zip`, or the folder that it unpacks to; "" for a
        set that is prepared in `data_dir`, else a download.
      data_dir: where TFDS keeps its data sets; "" for its default.
      lists_dir: a folder with `validation.txt` and `test.txt`, a name a line, such as
        "val/images/val_0.JPEG", instead of the even split; "" for none.
      broken: what to do about images that cannot be decoded, "stop" or "skip".
      seed: of the even split.

    Raises:
      UserError: an archive that is missing, damaged or not Tiny-ImageNet's, or a field
        that cannot be.
    """
    official = Official(
        title="Tiny-ImageNet",
        builder=TinyImagenet,
        elsewhere="",
        test_split="validation",
        file="tiny-imagenet-200.zip",
        urls=("http://cs231n.stanford.edu/",),
        digest="md5:90528d7ca1a48142e341f4ef8d21d0de",
        read=read,
    )
    return boxed_sets.load(
        official,
        side,
        side,
        normalization,
        balanced=True,
        archive_path=archive_path,
        data_dir=data_dir,
        lists_dir=lists_dir,
        broken=broken,
        seed=seed,
    )


def read(path: Path) -> boxed_sets.Contents:
    """Reads the texts of an archive; its images are streamed when they are asked for.

    Boxes name their last pixel there (0 to 63), and end after it here.

    Raises:
      UserError: an archive that lacks a text, or whose texts disagree.
    """
    texts = {
        name: content.decode("utf-8", "replace")
        for name, content in archive.read_members(
            path, ROOT, re.compile(_TEXTS).fullmatch
        )
    }
    for name in ("wnids.txt", "words.txt", _VALIDATION):
        if name not in texts:
            raise UserError(f"{path}: not Tiny-ImageNet, it lacks {ROOT}/{name}")
    ids = texts["wnids.txt"].split()
    number = {wnid: i for i, wnid in enumerate(ids)}
    if len(number) != len(ids) or len(ids) < 2:
        raise UserError(f"{path}: wnids.txt: {len(ids)} names, not all different")
    splits: dict[str, dict[str, tuple]] = {"train": {}, "validation": {}}
    for wnid in ids:
        text = f"train/{wnid}/{wnid}_boxes.txt"
        if text not in texts:
            raise UserError(f"{path}: lacks {ROOT}/{text}, of a class in wnids.txt")
        for file, *box in _rows(path, texts, text, 5):
            name = f"train/{wnid}/images/{file}"
            if name in splits["train"]:
                raise UserError(f"{path}: {text}: {file} is there twice")
            splits["train"][name] = (number[wnid], _box(path, text, name, box))
    for file, wnid, *box in _rows(path, texts, _VALIDATION, 6):
        if wnid not in number:
            raise UserError(f"{path}: {_VALIDATION}: no class {wnid} ({file})")
        name = f"val/images/{file}"
        if name in splits["validation"]:
            raise UserError(f"{path}: {_VALIDATION}: {file} is there twice")
        splits["validation"][name] = (number[wnid], _box(path, _VALIDATION, name, box))
    return boxed_sets.Contents(
        _class_names(texts["words.txt"], ids), splits, functools.partial(_stream, path)
    )


def _rows(
    path: Path, texts: Mapping[str, str], name: str, columns: int
) -> Iterator[list[str]]:
    for number, line in enumerate(texts[name].splitlines(), start=1):
        if not line.strip():
            continue
        row = line.split("\t")
        if len(row) != columns:
            raise UserError(f"{path}: {name}, line {number}: {line!r}")
        yield row


def _box(
    path: Path, text: str, name: str, box: list[str]
) -> tuple[float, float, float, float]:
    try:
        x0, y0, x1, y1 = map(float, box)
    except ValueError:
        raise UserError(f"{path}: {text}: no box for {name}") from None
    return x0, y0, x1 + 1, y1 + 1


def _class_names(words: str, ids: list[str]) -> list[str]:
    """The first word for each class, and its id where two classes share the word."""
    table = dict(line.split("\t", 1) for line in words.splitlines() if "\t" in line)
    firsts = [table.get(wnid, wnid).split(",")[0].strip() for wnid in ids]
    count = Counter(firsts)
    return [
        first if count[first] == 1 else f"{first} ({wnid})"
        for first, wnid in zip(firsts, ids, strict=True)
    ]


def _stream(path: Path, rows: Mapping[str, tuple]) -> Iterator[BoxedImage]:
    for name, content in archive.read_members(path, ROOT, rows.__contains__):
        label, box = rows[name]
        yield BoxedImage(name, content, label, box)
