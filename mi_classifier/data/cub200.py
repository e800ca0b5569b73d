"""CUB-200-2011 from its official archive, in the paper's splits (Tables 3, 4, 6, 8)."""

from collections.abc import Collection

from mi_classifier.data import boxed_sets
from mi_classifier.data.dataset import Dataset
from mi_classifier.data.tfds_store import BoxedImages, Contents

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
    dropped: str = "half",
    pad: int = 0,
) -> Dataset:
    """Load CUB-200-2011.

    The training images are the official ones. The official test images of each class
    are split evenly into validation and test.

    Args:
      stored_side: side in pixels to which images are resized; the aspect is not kept.
      side: side of the crops in pixels; see `images.image_dataset`.
      normalization: a name in `images.NORMALIZATIONS`.
      balanced: if false, drop images of half of the classes (Table 3).
      archive_path: `CUB_200_2011.tgz`, or the folder that it unpacks to; "" for the set
        that we or TFDS prepared in `data_dir`, or else a download.
      data_dir: folder of TFDS's data sets; "" for TFDS's default.
      lists_dir: a folder with `validation.txt` and `test.txt`, used instead of the even
        split. Each line is a name, such as
        "001.Black_footed_Albatross/Black_Footed_Albatross_0046_18.jpg", or has another
        form that `splits.by_lists` takes. "" for none.
      broken: what to do with an image that cannot be decoded, "stop" or "skip".
      seed: selects the even split and the dropped images.
      dropped: if not balanced: "half" drops half of the training images of half of the
        classes, as the paper's text says; "authors" keeps 10 training and 5 test images
        of every other class, and 15 test images of the classes between, as the authors'
        program does. The test images are thinned before they are split.
      pad: pixels by which training images grow before the crop; see
        `images.random_crop_and_flip`.

    Raises:
      UserError: the archive is missing, damaged or not CUB-200-2011's, or a field has a
        wrong value.
    """
    paths = archive_path, data_dir, lists_dir
    options = (stored_side, side, normalization, balanced, *paths, broken, seed)
    return boxed_sets.load(OFFICIAL, boxed_sets.Options(*options, dropped, pad))


def parse(texts: boxed_sets.Texts) -> Contents:
    """Make the contents of an archive from its texts."""
    classes = _table(texts, "classes.txt", 1)
    images = _table(texts, "images.txt", 1)
    labels = _table(texts, "image_class_labels.txt", 1, images)
    is_training = _table(texts, "train_test_split.txt", 1, images)
    corners = _table(texts, "bounding_boxes.txt", 4, images)
    number = {key: i for i, key in enumerate(classes)}
    splits: dict[str, dict[str, tuple]] = {"train": {}, "test": {}}
    for key, (name,) in images.items():
        (label,), (training,) = labels[key], is_training[key]
        if label not in number:
            raise texts.error(f"image_class_labels.txt: no class {label} ({name})")
        if training not in ("0", "1"):
            raise texts.error(f"train_test_split.txt: {training!r} for {name}")
        if name.split("/")[0] != (own := classes[label][0]):
            raise texts.error(f"image_class_labels.txt: {name} is of class {own}")
        if any(name in split for split in splits.values()):
            raise texts.error(f"images.txt: {name} is listed twice")
        x, y, width, height = texts.box("bounding_boxes.txt", name, corners[key])
        split = splits["train" if training == "1" else "test"]
        split[name] = (number[label], (x, y, x + width, y + height))
    return [name for (name,) in classes.values()], splits


def _table(
    texts: boxed_sets.Texts, name: str, columns: int, keys: Collection[str] = ()
) -> dict[str, list[str]]:
    """Read lines of a key and some columns; their keys must be `keys`, if given."""
    rows = {}
    for key, *values in texts.rows(name, 1 + columns):
        if key in rows:
            raise texts.error(f"{name}: {key} is listed twice")
        rows[key] = values
    if keys and (odd := sorted(rows.keys() ^ keys)):
        where = "is not in images.txt" if odd[0] in rows else "is missing"
        raise texts.error(f"{name}: image {odd[0]} {where}")
    return rows


OFFICIAL = boxed_sets.Official(
    title="CUB-200-2011",
    builder=Cub200,
    test_split="test",
    file="CUB_200_2011.tgz",
    urls=(
        "https://data.caltech.edu/records/65de6-vp158/files/",
        "https://s3.amazonaws.com/fast-ai-imageclas/",
    ),
    digest="sha256:0c685df5597a8b24909f6a7c9db6d11e008733779a671760afef78feb49bf081",
    root="CUB_200_2011",
    texts=_TEXTS,
    is_text=_TEXTS.__contains__,
    parse=parse,
    elsewhere=("caltech_birds2011",),
    folder="images/",
)
