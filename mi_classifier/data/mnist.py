"""MNIST from its four idx files, and the paper's balanced and unbalanced subsets."""

import functools
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image
from rich.console import Console
from rich.progress import track

from mi_classifier.data import mnist_archive, tfds_store
from mi_classifier.data.dataset import Dataset, Split, normalize
from mi_classifier.data.decoding import decode_gray
from mi_classifier.data.mnist_archive import SIDE
from mi_classifier.errors import UserError

MEAN, DEVIATION = 0.1307, 0.3081
EVEN = (0, 2, 4, 6, 8)


class MnistIdx(tfds.core.GeneratorBasedBuilder):
    """MNIST in TFDS's own `mnist` features, built without TensorFlow, in file order.

    TFDS's stock builder imports TensorFlow and shuffles; the paper's subsets are the
    first images of each digit, so the order of the files is kept.
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
        images = track(
            arrays["image"],
            description=f"preparing MNIST, {split}",
            console=Console(stderr=True),
        )
        for index, image in enumerate(images):
            png = io.BytesIO()
            Image.fromarray(image[..., 0]).save(png, "png", compress_level=1)
            yield (
                index,
                {"image": png.getvalue(), "label": int(arrays["label"][index])},
            )


def load(balanced: bool, archive_dir: str = "", data_dir: str = "") -> Dataset:
    """Loads the training set of Table 3 and the sets it is tested on.

    The training images are the first 3,000 of each digit among the first 40,000, or
    only the first 300 of the even digits (unbalanced). Validation, images 50,000 to
    59,999, and the authors' test set, 40,000 to 49,999, are thinned by the same rule;
    "test" is the standard one, whole. Of a training file with other than 60,000
    images these are the same fractions.

    Args:
      balanced: whether the even digits stay.
      archive_dir: a folder with the four idx files, gzipped or not; "" for a set that
        is already prepared in `data_dir`, else a download.
      data_dir: where TFDS keeps its data sets; "" for its default.

    Returns:
      Splits "train", "validation", "test" and "authors_test".

    Raises:
      UserError: files that are missing or damaged, or no way to get them.
    """
    train, test = read(archive_dir, data_dir)
    count = len(train["label"])
    blocks = np.split(np.arange(count), [count * 4 // 6, count * 5 // 6])
    names = ("train", "authors_test", "validation")
    splits = {"test": test}
    for name, block in zip(names, blocks, strict=True):
        keep = block[thin(train["label"][block], count // 20, balanced)]
        splits[name] = {key: array[keep] for key, array in train.items()}
    for name, split in splits.items():
        if not len(split["label"]):
            raise UserError(f"MNIST: too few images for the {name} split ({count})")
    return Dataset(
        name=f"MNIST, {'' if balanced else 'un'}balanced",
        splits=splits,
        class_names=tuple("0123456789"),
        read_image=functools.partial(decode_gray, height=SIDE, width=SIDE),
        preprocess=functools.partial(normalize, mean=MEAN, deviation=DEVIATION),
    )


def read(archive_dir: str = "", data_dir: str = "") -> tuple[Split, Split]:
    """Reads the whole of MNIST, as `load` does: its training and its test images.

    Raises:
      UserError: files that are missing or damaged, or no way to get them.
    """
    builder = _find_or_prepare(archive_dir, tfds_store.root(data_dir))
    train, test = _read_split(builder, "train"), _read_split(builder, "test")
    if (
        not archive_dir
        and mnist_archive.checksum(train["image"][..., 0])
        not in mnist_archive.SHA256.values()
    ):
        print(f"{builder.data_dir}: not MNIST in the order of its files; used as it is")
    return train, test


def thin(labels: np.ndarray, most: int, balanced: bool) -> np.ndarray:
    """Returns the mask of the first `most` examples of each digit, in order.

    Args:
      labels: digits, shape [N].
      most: how many of a digit to keep.
      balanced: if false, keep only a tenth as many of the even digits.
    """
    keep = np.zeros(len(labels), bool)
    for digit in range(10):
        limit = most if balanced or digit not in EVEN else most // 10
        keep[np.flatnonzero(labels == digit)[:limit]] = True
    return keep


def _find_or_prepare(archive_dir: str, root: Path) -> tfds.core.DatasetBuilder:
    if not archive_dir:
        folders = [root / "mnist_idx" / "standard" / str(MnistIdx.VERSION)]
        folders += tfds_store.versions(root / "mnist")  # prepared elsewhere by TFDS
        if prepared := tfds_store.find(folders, "MNIST"):
            return prepared
        archive_dir = str(root / "downloads" / "mnist")
        mnist_archive.fetch(Path(archive_dir), mnist_archive.MIRRORS)
    archive, name = mnist_archive.read(Path(archive_dir).expanduser())
    if name != "standard":
        print(f"{archive_dir}: not the standard MNIST; used as it is")
    return tfds_store.prepare(
        lambda: MnistIdx(
            archive=archive,
            config=tfds_store.config(name, MnistIdx.VERSION),
            data_dir=root,
            file_format="array_record",
        ),
        root / "mnist_idx" / name / str(MnistIdx.VERSION),
        "MNIST",
    )


def _read_split(builder: tfds.core.DatasetBuilder, name: str) -> Split:
    with tfds_store.damage_told(Path(builder.data_dir), "MNIST"):
        source = builder.as_data_source(
            split=name, decoders={"image": tfds.decode.SkipDecoding()}
        )
        records = source.__getitems__(range(len(source)))
        images = [np.asarray(Image.open(io.BytesIO(r["image"]))) for r in records]
        labels = np.array([record["label"] for record in records], np.int32)
        return {"image": np.stack(images)[..., None], "label": labels}
