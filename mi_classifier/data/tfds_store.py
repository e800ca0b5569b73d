"""Prepare and read data sets in TFDS's folders without TensorFlow."""

import contextlib
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from mi_classifier.data.image_cache import EncodedSplit
from mi_classifier.errors import DISK_ERRORS, UserError, reason_of
from mi_classifier.progress import tracked
from mi_classifier.storage.files import TEMPORARY, hash_file, hold

_HASHES = "hashes.json"
_INCOMPLETE = tfds.core.constants.INCOMPLETE_PREFIX


def root(data_dir: str) -> Path:
    """Returns the folder of all data sets; TFDS's default if `data_dir` is ""."""
    return Path(data_dir or tfds.core.constants.DATA_DIR).expanduser()


def prepare(
    builder_class: type[tfds.core.DatasetBuilder],
    config: str,
    root: Path,
    what: str,
    make_options: Callable[[], dict[str, object]],
) -> tfds.core.DatasetBuilder:
    """Finds a prepared data set, or prepares it as array_record.

    Args:
      builder_class: its builder.
      config: a name for its content; each config has its own folder.
      root: the folder of all data sets.
      what: the data set's name, for messages.
      make_options: returns further arguments of the builder, if it has to be prepared.

    Raises:
      UserError: the folder cannot be written to, or is damaged.
    """
    version = builder_class.VERSION
    folder = root / builder_class.name / config / str(version)
    if found := find([folder], what):
        if not (folder / _HASHES).is_file():  # a kill came in between
            with contextlib.suppress(OSError):
                _note_texts(folder)
        return found
    tfds.disable_progress_bar()
    try:
        with (
            hold(
                folder.parent / f".{folder.name}.lock",
                waiting=f"waiting for another process that prepares {what}",
                leftovers=[f"{_INCOMPLETE}*_{folder.name}"],
            ),
            # TFDS prints that it downloads a file of unknown size.
            contextlib.redirect_stdout(io.StringIO()),
            damage_told(folder, what),
        ):
            if found := find([folder], what):
                return found
            builder = builder_class(
                config=tfds.core.BuilderConfig(name=config, version=version),
                data_dir=root,
                file_format="array_record",
                **make_options(),
            )
            builder.download_and_prepare()
            _note_texts(folder)
    except UserError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno in DISK_ERRORS:
            message = f"data.data_dir: cannot write to {folder}: {cause}"
            raise UserError(message) from error
        raise
    return builder


def find(folders: Sequence[Path], what: str) -> tfds.core.DatasetBuilder | None:
    """Returns the data set in the first folder that holds one as array_record."""
    for folder in folders:
        if (folder / "dataset_info.json").is_file():
            with damage_told(folder, what):
                _check_texts(folder)
                builder = tfds.builder_from_directory(folder)
            if builder.info.file_format is tfds.core.FileFormat.ARRAY_RECORD:
                return builder
    return None


def _hash_texts(folder: Path) -> dict[str, str]:
    """Hashes the files that describe the records; the records have checksums."""
    return {
        path.name: hash_file(path)
        for path in sorted(folder.glob("*"))
        if path.suffix in (".json", ".txt") and path.name != _HASHES
    }


def _note_texts(folder: Path) -> None:
    temporary = folder / f".{_HASHES}{TEMPORARY}"
    temporary.write_text(json.dumps(_hash_texts(folder), indent=2))
    temporary.replace(folder / _HASHES)


def _check_texts(folder: Path) -> None:
    """Compares with the hashes that we noted; sets prepared by others have none."""
    if (folder / _HASHES).is_file():
        noted, found = json.loads((folder / _HASHES).read_text()), _hash_texts(folder)
        for name in noted:
            if noted[name] != found.get(name):
                raise ValueError(f"{name} is not what was written")


def versions(folder: Path) -> list[Path]:
    """Returns the folders of a data set's versions, newest first."""
    found = [
        (tfds.core.Version(path.name), path)
        for path in folder.glob("*")
        if tfds.core.Version.is_valid(path.name)
    ]
    return [path for _, path in sorted(found, reverse=True)]


@contextlib.contextmanager
def damage_told(folder: Path, what: str) -> Iterator[None]:
    """Turns any exception of TFDS, its record reader or Pillow into a `UserError`."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {reason_of(error)}"[:200]
        raise UserError(
            f"{folder}: damaged, or not {what}; remove this folder and run the command "
            f"again ({reason})"
        ) from error


class BoxedImage(NamedTuple):
    """An image file, its label, and the box of its object.

    Attributes:
      name: name of the file, unique in its split.
      content: content of the file.
      label: an integer.
      box: `(x0, y0, x1, y1)`, half-open pixels.
    """

    name: str
    content: bytes
    label: int
    box: tuple[float, float, float, float]


class BoxedImages(tfds.core.GeneratorBasedBuilder):
    """Images with a label and a box each, in the features of TFDS's CUB-200-2011.

    We do not use TFDS's own builder because it imports TensorFlow. Examples are sorted
    by TFDS's hashes of their names.
    """

    VERSION = tfds.core.Version("1.0.0")

    def __init__(
        self,
        *,
        class_names: Sequence[str] = (),
        examples: Mapping[str, Callable[[], Iterator[BoxedImage]]] | None = None,
        counts: Mapping[str, int] | None = None,
        **options: object,
    ) -> None:
        """Makes a builder.

        Args:
          class_names: M names.
          examples: for each split, a function that yields its examples.
          counts: for each split, the number of examples.
          **options: arguments of `tfds.core.GeneratorBasedBuilder`.
        """
        self._class_names, self._examples = class_names, examples or {}
        self._counts = counts or {}
        super().__init__(**options)

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "image": tfds.features.Image(encoding_format="jpeg"),
            "image/filename": tfds.features.Text(),
            "bbox": tfds.features.BBoxFeature(),
            "label": tfds.features.ClassLabel(names=self._class_names),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=(type(self).__doc__ or "").splitlines()[0],
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label"),
        )

    def _split_generators(self, dl_manager: object) -> dict[str, Iterator]:
        del dl_manager
        return {name: self._generate_examples(name) for name in self._examples}

    def _generate_examples(self, split: str) -> Iterator[tuple[str, dict]]:
        what = f"preparing {self.name}, {split}"
        examples = tracked(self._examples[split](), what, self._counts[split])
        for name, content, label, box in examples:
            x0, y0, x1, y1 = 0.0, 0.0, 1.0, 1.0
            if size := size_of(content):  # else decoding stops at it or skips it
                x0, y0, x1, y1 = fractions(box, size, name)
            example = {"image": content, "image/filename": name, "label": label}
            yield name, example | {"bbox": tfds.features.BBox(y0, x0, y1, x1)}


def size_of(content: bytes) -> tuple[int, int] | None:
    """Returns width and height of an image turned upright, or None if it is none."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
            if image.format == "TIFF":  # Pillow swaps the size of TIFFs itself
                turned = False
            return image.size[::-1] if turned else image.size
    except Exception:  # noqa: BLE001 (Pillow's plugins may raise anything)
        return None


def fractions(
    box: Sequence[float], size: tuple[int, int], name: str
) -> tuple[float, float, float, float]:
    """Returns a box as fractions of its image, clipped to it.

    Raises:
      UserError: the box is empty, or less than half of it is in its image.
    """
    width, height = size
    x0, y0, x1, y1 = box
    xs, ys = np.clip([x0, x1], 0, width), np.clip([y0, y1], 0, height)
    left = (xs[1] - xs[0]) * (ys[1] - ys[0])
    inside = x0 < x1 and y0 < y1 and 2 * left >= (x1 - x0) * (y1 - y0)
    if not inside:  # or a coordinate is NaN
        raise UserError(
            f"{name}: its box ({x0:g}, {y0:g}, {x1:g}, {y1:g}) is empty or outside of "
            f"the image of {width} x {height} pixels"
        )
    xs, ys = xs / width, ys / height
    return float(xs[0]), float(ys[0]), float(xs[1]), float(ys[1])


def read_boxed_images(
    builder: tfds.core.DatasetBuilder, split: str, what: str
) -> EncodedSplit:
    """Reads a split of `BoxedImages`, or of TFDS's own set of the same features.

    Raises:
      UserError: the folder is damaged, or holds other features.
    """
    folder = Path(builder.data_dir)
    with damage_told(folder, what):
        encoded = ("image", "segmentation_mask")  # TFDS's own set has both
        skip = {
            n: tfds.decode.SkipDecoding() for n in encoded if n in builder.info.features
        }
        source = builder.as_data_source(split=split, decoders=skip)
        names, labels, boxes = [], [], []
        for start in range(0, len(source), 256):
            chunk = range(start, min(start + 256, len(source)))
            for record in source.__getitems__(chunk):
                names.append(record["image/filename"].decode())
                labels.append(record["label"])
                y0, x0, y1, x1 = record["bbox"]
                boxes.append([[x0, y0, x1, y1]])

    def read(indices: Sequence[int]) -> list[bytes]:
        with damage_told(folder, what):
            return [record["image"] for record in source.__getitems__(indices)]

    counts = np.ones(len(labels), np.int32)
    boxes = {"boxes": np.array(boxes, np.float32), "num_boxes": counts}
    return EncodedSplit(names, np.array(labels, np.int32), read, boxes)
