"""CUB-200-2011 from its official archive, in the paper's splits (Tables 3, 4, 6, 8)."""

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path

from mi_classifier.data import archive, boxed_sets
from mi_classifier.data.boxed_sets import Official
from mi_classifier.data.dataset import Dataset
from mi_classifier.data.tfds_store import BoxedImage, BoxedImages
from mi_classifier.errors import UserError

ROOT = "CUB_200_2011"
_TEXTS = (
    "classes.txt",
    "images.txt",
    "image_class_labels.txt",
    "train_test_split.txt",
    "bounding_boxes.txt",
)


class Cub200(BoxedImages):
    """CUB-200-2011, 11,788 images of 200 species of birds, with boxes."""


def load(
    stored_side: int,
    side: int,
    normalization: str,
    balanced: bool = True,
    archive_path: str = "",
    data_dir: str = "",
    lists_dir: str = "",
    broken: str = "stop",
    seed: int = 0,
) -> Dataset:
    """Loads CUB-200-2011.

    Training images are the official ones; the official test images are split evenly,
    class by class, into validation and test.

    Args:
      stored_side: to which images are resized, whatever their aspect, in pixels.
      side: of the random crops of training, flipped or not, and of the middle of the
        image that is evaluated.
      normalization: a name among `images.NORMALIZATIONS`.
      balanced: whether training has all images, or half of those of half of the
        classes were dropped (Table 3).
      archive_path: `CUB_200_2011.tgz`, or the folder that it unpacks to; "" for a set
        that is prepared in `data_dir`, by us or by TFDS, else a download.
      data_dir: where TFDS keeps its data sets; "" for its default.
      lists_dir: a folder with `validation.txt` and `test.txt`, a name a line, such as
        "001.Black_footed_Albatross/Black_Footed_Albatross_0046_18.jpg", instead of the
        even split; "" for none.
      broken: what to do about images that cannot be decoded, "stop" or "skip".
      seed: of the even split and of what is dropped.

    Raises:
      UserError: an archive that is missing, damaged or not CUB-200-2011's, or a field
        that cannot be.
    """
    official = Official(
        title="CUB-200-2011",
        builder=Cub200,
        elsewhere="caltech_birds2011",
        test_split="test",
        file="CUB_200_2011.tgz",
        urls=(
            "https://data.caltech.edu/records/65de6-vp158/files/",
            "https://s3.amazonaws.com/fast-ai-imageclas/",
        ),
        digest="sha256:"
        "0c685df5597a8b24909f6a7c9db6d11e008733779a671760afef78feb49bf081",
        read=read,
    )
    return boxed_sets.load(
        official,
        stored_side,
        side,
        normalization,
        balanced=balanced,
        archive_path=archive_path,
        data_dir=data_dir,
        lists_dir=lists_dir,
        broken=broken,
        seed=seed,
    )


def read(path: Path) -> boxed_sets.Contents:
    """Reads the texts of an archive; its images are streamed when they are asked for.

    Raises:
      UserError: an archive that lacks a text, or whose texts disagree.
    """
    texts = {
        name: content.decode("utf-8", "replace")
        for name, content in archive.read_members(path, ROOT, _TEXTS.__contains__)
    }
    if missing := [name for name in _TEXTS if name not in texts]:
        raise UserError(f"{path}: not CUB-200-2011, it lacks {ROOT}/{missing[0]}")
    table = functools.partial(_table, path, texts)
    classes = table("classes.txt", 1)
    images = table("images.txt", 1)
    labels = table("image_class_labels.txt", 1, images)
    is_training = table("train_test_split.txt", 1, images)
    corners = table("bounding_boxes.txt", 4, images)
    number = {key: i for i, key in enumerate(classes)}
    splits: dict[str, dict[str, tuple]] = {"train": {}, "test": {}}
    for key, (name,) in images.items():
        (label,), (training,) = labels[key], is_training[key]
        if label not in number:
            raise UserError(
                f"{path}: image_class_labels.txt: no class {label} ({name})"
            )
        if training not in ("0", "1"):
            raise UserError(f"{path}: train_test_split.txt: {training!r} for {name}")
        try:
            x, y, width, height = map(float, corners[key])
        except ValueError:
            raise UserError(f"{path}: bounding_boxes.txt: no box for {name}") from None
        if name.split("/")[0] != (class_name := classes[label][0]):
            raise UserError(
                f"{path}: image_class_labels.txt: {name} is of class {class_name}"
            )
        if any(name in split for split in splits.values()):
            raise UserError(f"{path}: images.txt: {name} is there twice")
        split = splits["train" if training == "1" else "test"]
        split[name] = (number[label], (x, y, x + width, y + height))
    names = [name for (name,) in classes.values()]
    return boxed_sets.Contents(names, splits, functools.partial(_stream, path))


def _table(
    path: Path,
    texts: Mapping[str, str],
    name: str,
    columns: int,
    keys: Mapping[str, object] | None = None,
) -> dict[str, list[str]]:
    """Reads lines of a key and some columns, which have just the keys given."""
    rows = {}
    for line_number, line in enumerate(texts[name].splitlines(), start=1):
        if not line.strip():
            continue
        key, *values = line.split()
        if len(values) != columns or key in rows:
            raise UserError(f"{path}: {name}, line {line_number}: {line!r}")
        rows[key] = values
    if keys is not None and (odd := sorted(rows.keys() ^ keys.keys(), key=str)):
        where = "is not in images.txt" if odd[0] in rows else "is missing"
        raise UserError(f"{path}: {name}: image {odd[0]} {where}")
    return rows


def _stream(path: Path, rows: Mapping[str, tuple]) -> Iterator[BoxedImage]:
    wanted = {f"images/{name}" for name in rows}
    for member, content in archive.read_members(path, ROOT, wanted.__contains__):
        name = member.removeprefix("images/")
        label, box = rows[name]
        yield BoxedImage(name, content, label, box)
