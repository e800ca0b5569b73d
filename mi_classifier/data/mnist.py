"""MNIST from its four idx files, and the paper's balanced and unbalanced subsets."""

import contextlib
import functools
import gzip
import hashlib
import io
import math
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image
from rich.console import Console
from rich.progress import track

from mi_classifier.data import download
from mi_classifier.data.dataset import Dataset, Split, normalize
from mi_classifier.errors import UserError

MIRRORS = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "http://yann.lecun.com/exdb/mnist/",
)
FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
# Of the uncompressed content: archives are recompressed, their content is not.
SHA256 = {
    "train-images-idx3-ubyte": (
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"
    ),
    "train-labels-idx1-ubyte": (
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"
    ),
    "t10k-images-idx3-ubyte": (
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"
    ),
    "t10k-labels-idx1-ubyte": (
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"
    ),
}
MEAN, DEVIATION = 0.1307, 0.3081
EVEN = (0, 2, 4, 6, 8)
_MAGIC = 2048  # of uint8 data, plus the number of dimensions
_DIMS = {"images": 3, "labels": 1}
_SIDE = 28


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
        image = tfds.features.Image(shape=(_SIDE, _SIDE, 1), encoding_format="png")
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
    root = Path(data_dir or tfds.core.constants.DATA_DIR).expanduser()
    builder = _find_or_prepare(archive_dir, root)
    train, test = _read_split(builder, "train"), _read_split(builder, "test")
    if not archive_dir and _digest(train["image"][..., 0]) not in SHA256.values():
        print(f"{builder.data_dir}: not MNIST in the order of its files; used as it is")
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
        preprocess=functools.partial(normalize, mean=MEAN, deviation=DEVIATION),
    )


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


def read_archive(directory: Path) -> tuple[dict[str, Split], str]:
    """Reads and checks the four idx files.

    Args:
      directory: holds them, each gzipped or not.

    Returns:
      "train" and "test", with "image" uint8 `[N, 28, 28, 1]` and "label" uint8 `[N]`;
      and a name for the content, "standard" for MNIST itself.

    Raises:
      UserError: a file is missing, truncated, damaged, or another than its name says.
    """
    if not directory.is_dir():
        what = "is a file, not a folder" if directory.exists() else "does not exist"
        raise UserError(f"data.archive_dir: {directory} {what}")
    archive, digests = {}, {}
    for split, names in FILES.items():
        paths = [_find(directory, name) for name in names]
        images, labels = (_read_idx(*pair) for pair in zip(paths, names, strict=True))
        digests |= {
            path: _digest(x) for path, x in zip(paths, (images, labels), strict=True)
        }
        archive[split] = {"image": images[..., None], "label": labels}
        if images.shape[1:] != (_SIDE, _SIDE):
            raise UserError(f"{paths[0]}: images of {images.shape[1:]}, not (28, 28)")
        if len(images) != len(labels):
            raise UserError(
                f"{paths[0]} holds {len(images)} images but {paths[1].name} "
                f"{len(labels)} labels: are files of two sets mixed or swapped?"
            )
        if not labels.size:
            raise UserError(f"{paths[0]}: holds no image")
        if labels.max() > 9:
            raise UserError(f"{paths[1]}: label {labels.max()} is not a digit")
    if len(archive["train"]["label"]) < len(archive["test"]["label"]):
        raise UserError(
            f"{directory}: the train files hold fewer images than the t10k files: "
            "are they swapped?"
        )
    strange = [
        path for path, digest in digests.items() if digest not in SHA256.values()
    ]
    if not strange:
        return archive, "standard"
    if len(strange) < len(digests):
        raise UserError(
            f"{strange[0]}: damaged, or of another set: not MNIST's, as the content of "
            f"{len(digests) - len(strange)} files beside it is"
        )
    return archive, hashlib.sha256("".join(digests.values()).encode()).hexdigest()[:12]


def _find(directory: Path, name: str) -> Path:
    # Some mirrors unpack to train-images.idx3-ubyte.
    for stem in (name, name.replace("-idx", ".idx")):
        for path in (directory / stem, directory / f"{stem}.gz"):
            if path.is_file():
                return path
    raise UserError(f"{directory}: {name}.gz (or {name}) is missing")


def _read_idx(path: Path, name: str) -> np.ndarray:
    """Reads one idx file of uint8, http://yann.lecun.com/exdb/mnist/ describes it."""
    kind = "images" if "images" in name else "labels"
    try:
        with path.open("rb") as file:
            zipped = file.read(2) == b"\x1f\x8b"
        with gzip.open(path) if zipped else path.open("rb") as file:
            header = np.frombuffer(file.read(4 + 4 * _DIMS[kind]), ">u4")
            if len(header) < 1 + _DIMS[kind]:
                raise UserError(f"{path}: truncated: no header")
            if header[0] != _MAGIC + _DIMS[kind]:
                held = [k for k, dims in _DIMS.items() if header[0] == _MAGIC + dims]
                hint = f", it holds {held[0]}: swapped?" if held else ""
                raise UserError(f"{path}: not an idx file of {kind}{hint}")
            shape = tuple(map(int, header[1:]))
            size = math.prod(shape)
            if size > 1 << 31 or max(shape) > 1 << 31:
                raise UserError(f"{path}: damaged: the header announces {size} bytes")
            content = file.read(size + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: truncated or damaged: {error}") from error
    if len(content) != size:
        problem = "truncated" if len(content) < size else "damaged, or too long"
        raise UserError(f"{path}: {problem}: its header announces {size} bytes")
    array = np.frombuffer(content, np.uint8).reshape(shape)
    digest = _digest(array)
    for other, known in SHA256.items():
        if other != name and digest == known:
            raise UserError(f"{path}: holds the content of {other}: swapped?")
    return array


def _digest(array: np.ndarray) -> str:
    """Returns the sha256 of the idx file that holds `array`, uncompressed."""
    header = np.array([_MAGIC + array.ndim, *array.shape], ">u4")
    return hashlib.sha256(header.tobytes() + array.tobytes()).hexdigest()


def _find_or_prepare(archive_dir: str, root: Path) -> tfds.core.DatasetBuilder:
    if not archive_dir:
        if prepared := _find_prepared(root):
            return prepared
        archive_dir = str(root / "downloads" / "mnist")
        fetch_archive(Path(archive_dir))
    archive, name = read_archive(Path(archive_dir).expanduser())
    if name != "standard":
        print(f"{archive_dir}: not the standard MNIST; used as it is")
    config = tfds.core.BuilderConfig(name=name, version=MnistIdx.VERSION)
    folder = root / "mnist_idx" / name / str(MnistIdx.VERSION)
    tfds.disable_progress_bar()
    try:
        # TFDS announces a download of unknown size on standard output.
        with contextlib.redirect_stdout(io.StringIO()), _damage_told(folder):
            builder = MnistIdx(
                archive=archive,
                config=config,
                data_dir=root,
                file_format="array_record",
            )
            builder.download_and_prepare()
    except UserError as error:
        if isinstance(error.__cause__, OSError):
            message = f"data.data_dir: cannot write to {root}: {error.__cause__}"
            raise UserError(message) from error
        raise
    return builder


def _find_prepared(root: Path) -> tfds.core.DatasetBuilder | None:
    """Finds MNIST prepared by us, or elsewhere by TFDS in array_record."""
    folders = [root / "mnist_idx" / "standard" / str(MnistIdx.VERSION)]
    versions = [
        (tfds.core.Version(folder.name), folder)
        for folder in (root / "mnist").glob("*")
        if tfds.core.Version.is_valid(folder.name)
    ]
    folders += [folder for _, folder in sorted(versions, reverse=True)]
    for folder in folders:
        if (folder / "dataset_info.json").is_file():
            with _damage_told(folder):
                builder = tfds.builder_from_directory(folder)
            if builder.info.file_format is tfds.core.FileFormat.ARRAY_RECORD:
                return builder
    return None


@contextlib.contextmanager
def _damage_told(folder: Path) -> Iterator[None]:
    """Whatever TFDS, its record reader or Pillow raise means a damaged folder."""
    try:
        yield
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UserError(
            f"{folder}: damaged, or not MNIST; remove this folder, and it is made anew "
            f"({reason})"
        ) from error


def _read_split(builder: tfds.core.DatasetBuilder, name: str) -> Split:
    with _damage_told(Path(builder.data_dir)):
        source = builder.as_data_source(
            split=name, decoders={"image": tfds.decode.SkipDecoding()}
        )
        records = source.__getitems__(range(len(source)))
        images = [np.asarray(Image.open(io.BytesIO(r["image"]))) for r in records]
        labels = np.array([record["label"] for record in records], np.int32)
        return {"image": np.stack(images)[..., None], "label": labels}


def fetch_archive(directory: Path, mirrors: Sequence[str] = MIRRORS) -> None:
    """Downloads the four files, gzipped, and checks their content.

    Args:
      directory: where they go.
      mirrors: URLs of folders that hold them, tried in turn.

    Raises:
      UserError: no mirror has them; says which files to put where instead.
    """
    names = [f"{name}.gz" for pair in FILES.values() for name in pair]
    try:
        download.fetch(names, mirrors, directory, _check_content)
    except UserError as error:
        raise UserError(
            f"MNIST: put {', '.join(names)} into a folder and pass "
            f"--config.data.archive_dir=FOLDER; no mirror had them ({error})"
        ) from error


def _check_content(path: Path, name: str) -> None:
    stem = name.removesuffix(".gz")
    try:
        with gzip.open(path) as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{name}: not a gzip file: {error}") from error
    if digest != SHA256[stem]:
        raise UserError(f"{name}: its content is not MNIST's (sha256 {digest[:12]}...)")
