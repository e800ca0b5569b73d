"""MNIST from its four idx files, in the paper's balanced and unbalanced subsets."""

import functools
import io
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from mi_classifier.data import mnist_archive, tfds_store
from mi_classifier.data.dataset import Dataset, Split, normalize
from mi_classifier.data.mnist_archive import SIDE
from mi_classifier.decoding import decode_gray, open_image
from mi_classifier.errors import UserError
from mi_classifier.progress import say, tracked
from mi_classifier.text import tell

MEAN, DEVIATION = 0.1307, 0.3081  # of the training pixels, in [0, 1]


class MnistIdx(tfds.core.GeneratorBasedBuilder):
    """MNIST in TFDS's own `mnist` features, in the order of the idx files.

    TFDS's own builder imports TensorFlow and shuffles, but the paper's subsets are the
    first images of each digit.
    """

    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, *, archive: dict[str, Split], **kwargs: object) -> None:
        self._archive = archive
        super().__init__(**kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        image = tfds.features.Image(shape=(SIDE, SIDE, 1), encoding_format="png")
        label = tfds.features.ClassLabel(num_classes=10)
        return tfds.core.DatasetInfo(
            builder=self,
            description="Handwritten digits, from the four idx files.",
            features=tfds.features.FeaturesDict({"image": image, "label": label}),
            supervised_keys=("image", "label"),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: object) -> dict[str, Iterator]:
        del dl_manager
        return {name: self._generate_examples(name) for name in self._archive}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict]]:
        arrays = self._archive[split]
        images = tracked(arrays["image"], f"preparing MNIST, {split}")
        for index, image in enumerate(images):
            png = io.BytesIO()
            Image.fromarray(image[..., 0]).save(png, "png", compress_level=1)
            label = int(arrays["label"][index])
            yield index, {"image": png.getvalue(), "label": label}


def load(balanced: bool, archive_dir: str = "", data_dir: str = "") -> Dataset:
    """Load the training set of Table 3 and the sets it is tested on.

    "train" has the first 3,000 images of each digit among the first 40,000 training
    images; if unbalanced, only the first 300 of each even digit. The same rule selects
    from images 50,000 to 59,999 for "validation", and from 40,000 to 49,999 for
    "authors_test". "test" is the whole official test set. If the training file does not
    have 60,000 images, the fractions are the same.

    Args:
      balanced: whether to keep as many even digits as odd ones.
      archive_dir: a folder with the four idx files, gzipped or not; "" for the set
        prepared in `data_dir`, or else a download.
      data_dir: folder of TFDS's data sets; "" for TFDS's default.

    Returns:
      Splits "train", "validation", "test" and "authors_test".

    Raises:
      UserError: files are missing or damaged, and cannot be downloaded.
    """
    train, test = read(archive_dir, data_dir)
    count = len(train["label"])
    blocks = np.split(np.arange(count), [count * 4 // 6, count * 5 // 6])
    names = ("train", "authors_test", "validation")
    splits = {"test": test}
    for name, block in zip(names, blocks, strict=True):
        keep = block[thin(train["label"][block], count // 20, balanced)]
        splits[name] = {key: array[keep] for key, array in train.items()}
    name = f"MNIST, {'' if balanced else 'un'}balanced"
    return digit_dataset(name, splits)


def digit_dataset(
    name: str, splits: Mapping[str, Split], width: int = SIDE, **fields: object
) -> Dataset:
    """Make a data set of images of digits, uint8 `[N, 28, width, 1]`."""
    _check_not_empty(splits)
    return Dataset(
        name=name,
        splits=splits,
        class_names=tuple("0123456789"),
        preprocess=functools.partial(normalize, mean=MEAN, deviation=DEVIATION),
        read_image=functools.partial(decode_gray, height=SIDE, width=width),
        **fields,
    )


def read(archive_dir: str = "", data_dir: str = "") -> tuple[Split, Split]:
    """Return all training images of MNIST, and all test images."""
    builder = _find_or_prepare(archive_dir, tfds_store.root(data_dir))
    train, test = _read_split(builder, "train"), _read_split(builder, "test")
    folder = Path(builder.data_dir)
    # Sets that others prepared may be shuffled.
    if builder.name == MnistIdx.name and folder.parent.name == "standard":
        _check_standard(folder, train, test)
    elif builder.name != MnistIdx.name:
        digest = mnist_archive.checksum(train["image"][..., 0])
        if digest not in mnist_archive.SHA256.values():
            told = "not MNIST in the order of its files; used as it is"
            tell(f"{folder}: {told}")
    return train, test


def _check_standard(folder: Path, *splits: Split) -> None:
    """Compare with MNIST itself: a folder that is shared may hold anything."""
    for split in splits:
        for array in (split["image"][..., 0], split["label"].astype(np.uint8)):
            if mnist_archive.checksum(array) not in mnist_archive.SHA256.values():
                raise UserError(f"{folder}: is not MNIST; remove this folder")


def read_disjoint(archive_dir: str = "", data_dir: str = "") -> dict[str, Split]:
    """Return "train", "validation" (the last twelfth of the training set), "test"."""
    images, test = read(archive_dir, data_dir)
    cut = len(images["label"]) * 11 // 12
    train = {name: array[:cut] for name, array in images.items()}
    validation = {name: array[cut:] for name, array in images.items()}
    splits = {"train": train, "validation": validation, "test": test}
    _check_not_empty(splits)
    return splits


def thin(labels: np.ndarray, most: int, balanced: bool) -> np.ndarray:
    """Return a mask `[N]` of the first `most` examples of each digit in `labels` `[N]`.

    If not balanced, it keeps only a tenth as many of each even digit.
    """
    keep = np.zeros(len(labels), bool)
    for digit in range(10):
        limit = most if balanced or digit % 2 else most // 10
        keep[np.flatnonzero(labels == digit)[:limit]] = True
    return keep


def _check_not_empty(splits: Mapping[str, Split]) -> None:
    for name, split in splits.items():
        if not len(split["label"]):
            raise UserError(f"MNIST: too few images for the {name} split; add some")


def _find_or_prepare(archive_dir: str, root: Path) -> tfds.core.DatasetBuilder:
    if not archive_dir:
        folders = [root / "mnist_idx" / "standard" / str(MnistIdx.VERSION)]
        folders += tfds_store.versions(root / "mnist")  # prepared by TFDS
        if prepared := tfds_store.find(folders, "MNIST"):
            return prepared
        archive_dir = str(root / "downloads" / "mnist")
        mnist_archive.fetch(Path(archive_dir), mnist_archive.MIRRORS)
    archive, name = mnist_archive.read(Path(archive_dir).expanduser())
    if name != "standard":
        say(f"{archive_dir}: not the standard MNIST; used as it is")
    options = {"archive": archive}
    return tfds_store.prepare(MnistIdx, name, root, "MNIST", lambda: options)


def _read_split(builder: tfds.core.DatasetBuilder, name: str) -> Split:
    with tfds_store.damage_told(Path(builder.data_dir), "MNIST"):
        skip = {"image": tfds.decode.SkipDecoding()}
        source = builder.as_data_source(split=name, decoders=skip)
        records = source.__getitems__(range(len(source)))
        images = [np.asarray(open_image(r["image"])) for r in records]
        labels = np.array([record["label"] for record in records], np.int32)
        return {"image": np.stack(images)[..., None], "label": labels}
