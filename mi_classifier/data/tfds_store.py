"""Prepare and read data sets in TFDS's folders without TensorFlow."""

import contextlib
import io
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from mi_classifier.data.ahead import Ahead
from mi_classifier.data.archive import Members
from mi_classifier.data.image_cache import EncodedSplit
from mi_classifier.decoding import size_of
from mi_classifier.errors import DISK_ERRORS, UserError, reason_of
from mi_classifier.progress import tracked
from mi_classifier.storage.files import hash_file, hold, write_text

Box = tuple[float, float, float, float]  # (x0, y0, x1, y1), half-open pixels
Rows = Mapping[str, tuple[int, Box]]  # label and box of each image, by unique name
Contents = tuple[Sequence[str], Mapping[str, Rows]]  # class names, and rows by split
_HASHES = "hashes.json"


def root(data_dir: str) -> Path:
    """Return the folder of all data sets; TFDS's default if `data_dir` is ""."""
    # `Path.expanduser` refuses the name of no user.
    return Path(os.path.expanduser(data_dir or tfds.core.constants.DATA_DIR))


def prepare(
    builder_class: type[tfds.core.DatasetBuilder],
    config: str,
    root: Path,
    what: str,
    make_options: Callable[[], dict[str, object]],
) -> tfds.core.DatasetBuilder:
    """Find a prepared data set below `root`, or prepare it as array_record.

    Each `config` has its own folder. `make_options` returns further arguments of the
    builder, if it has to be prepared; `what` names the data set in messages.
    """
    version = builder_class.VERSION
    folder = root / builder_class.name / config / str(version)
    if found := find([folder], what):
        if not (folder / _HASHES).is_file():  # a kill came before they were noted
            with contextlib.suppress(OSError):
                _note_texts(folder)
        return found
    tfds.disable_progress_bar()
    try:
        with (
            hold(
                folder.parent / f".{folder.name}.lock",
                waiting=f"waiting for another process that prepares {what}",
                leftovers=[f"{tfds.core.constants.INCOMPLETE_PREFIX}*_{folder.name}"],
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
        if getattr(error.__cause__, "errno", None) in DISK_ERRORS:
            message = f"data.data_dir: cannot write to {folder}: {error.__cause__}"
            raise UserError(message) from error
        raise
    return builder


def find(folders: Sequence[Path], what: str) -> tfds.core.DatasetBuilder | None:
    """Return the data set in the first folder that holds one as array_record."""
    for folder in folders:
        if (folder / "dataset_info.json").is_file():
            with damage_told(folder, what):
                _check_texts(folder)
                _check_features(folder)
                builder = tfds.builder_from_directory(folder)
            if builder.info.file_format is tfds.core.FileFormat.ARRAY_RECORD:
                return builder
    return None


def _hash_texts(folder: Path) -> dict[str, str]:
    """Hash the files that describe the records; the records have checksums."""
    return {
        path.name: hash_file(path)
        for path in sorted(folder.glob("*"))
        if path.suffix in (".json", ".txt") and path.name != _HASHES
    }


def _note_texts(folder: Path) -> None:
    write_text(folder / _HASHES, json.dumps(_hash_texts(folder), indent=2))


def _check_texts(folder: Path) -> None:
    """Compare with the hashes that we noted; sets prepared by others have none."""
    if (folder / _HASHES).is_file():
        found = _hash_texts(folder)
        for name, digest in json.loads((folder / _HASHES).read_text()).items():
            if digest != found.get(name):
                raise ValueError(f"{name} is not what was written")


def _check_features(folder: Path) -> None:
    """Check that TFDS, which imports the classes that a set names, finds its own."""
    names: list[str] = []
    for path in folder.iterdir():  # a pipe could tell TFDS something else than us
        if not path.is_file() and not path.is_dir():
            raise ValueError(f"{path.name} is no ordinary file")

    def note(content: dict[str, Any]) -> dict[str, Any]:
        keys = [k for k in content if k.lower().replace("_", "") == "pythonclassname"]
        names.extend(str(content[key]) for key in keys)
        return content

    json.loads((folder / "features.json").read_text(), object_hook=note)
    for name in names:
        if not name.startswith("tensorflow_datasets.core.features."):
            raise ValueError(f"features.json names {name}, which is no feature of TFDS")


def versions(folder: Path) -> list[Path]:
    """Return the folders of a data set's versions, newest first."""
    found = [p for p in folder.glob("*") if tfds.core.Version.is_valid(p.name)]
    return sorted(found, key=lambda p: tfds.core.Version(p.name), reverse=True)


@contextlib.contextmanager
def damage_told(folder: Path, what: str) -> Iterator[None]:
    """Turn any exception of TFDS, its record reader or Pillow into a `UserError`."""
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


class BoxedImages(tfds.core.GeneratorBasedBuilder):
    """Images with a label and a box each, in the features of TFDS's CUB-200-2011.

    We do not use TFDS's own builder because it imports TensorFlow. Examples are sorted
    by TFDS's hashes of their names.
    """

    VERSION = tfds.core.Version("1.0.0")

    def __init__(
        self,
        *,
        contents: Contents,
        read: Callable[[Rows], Members],
        ahead: Ahead | None = None,
        **options: object,
    ) -> None:
        """Take what the set holds, and a function that reads the images of rows.

        Images are also decoded while they are recorded, if `ahead` is given.
        """
        self._class_names, self._rows = contents
        self._read_images, self._ahead = read, ahead
        # Of each split: names, labels, boxes and numbers of the decoded images.
        self._recorded: dict[str, tuple[list, list, list, list]] = {}
        super().__init__(**options)

    def recorded(self, split: str) -> EncodedSplit | None:
        """Return a split that has just been recorded, with its decoded images."""
        if self._ahead is None or split not in self._recorded:
            return None
        names, labels, boxes, numbers = self._recorded[split]
        of = self._ahead.pixels
        return EncodedSplit(
            names,
            np.array(labels, np.int32),
            lambda some: [],
            _box_arrays(boxes),
            lambda some: of([numbers[i] for i in some]),
        )

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "image": tfds.features.Image(encoding_format="jpeg"),
            "image/filename": tfds.features.Text(),
            "bbox": tfds.features.BBoxFeature(),
            "label": tfds.features.ClassLabel(names=self._class_names),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=type(self).__doc__.splitlines()[0],
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label"),
        )

    def _split_generators(self, dl_manager: object) -> dict[str, Iterator]:
        return {name: self._generate_examples(name) for name in self._rows}

    def _generate_examples(self, split: str) -> Iterator[tuple[str, dict]]:
        rows, recorded = self._rows[split], ([], [], [], [])
        what = f"preparing {self.name}, {split}"
        members = tracked(self._read_images(rows), what, len(rows))
        if self._ahead is None:
            sized = ((name, content, size_of(content), 0) for name, content in members)
        else:
            sized = self._ahead.decoded(members)
        for name, content, size, number in sized:
            label, box = rows[name]
            x0, y0, x1, y1 = 0.0, 0.0, 1.0, 1.0
            if size:  # else decoding stops at it or skips it
                x0, y0, x1, y1 = fractions(box, size, name)
            example = {"image": content, "image/filename": name, "label": label}
            own = (name, label, [[x0, y0, x1, y1]], number)
            for values, value in zip(recorded, own, strict=True):
                values.append(value)
            yield name, example | {"bbox": tfds.features.BBox(y0, x0, y1, x1)}
        self._recorded[split] = recorded


def fractions(box: Box, size: tuple[int, int], name: str) -> Box:
    """Return a box as fractions of its image's (width, height), clipped to [0, 1].

    A box that is empty, or has less than half of its area in the image, is an error.
    """
    x0, y0, x1, y1 = box
    sides = np.array([*size, *size])
    clipped = np.clip(box, 0, sides)
    area = np.prod(clipped[2:] - clipped[:2])
    inside = x0 < x1 and y0 < y1 and 2 * area >= (x1 - x0) * (y1 - y0)
    if not inside:  # or a coordinate is NaN
        raise UserError(
            f"{name}: its box ({x0:g}, {y0:g}, {x1:g}, {y1:g}) is empty or outside of "
            f"the image of {size[0]} x {size[1]} pixels"
        )
    return tuple((clipped / sides).tolist())


def read_boxed_images(
    builder: tfds.core.DatasetBuilder, split: str, what: str
) -> EncodedSplit:
    """Read a split of `BoxedImages`, or of TFDS's own set of the same features."""
    if isinstance(builder, BoxedImages) and (found := builder.recorded(split)):
        return found
    folder = Path(builder.data_dir)
    with damage_told(folder, what):
        # TFDS's own set has both.
        encoded = {"image", "segmentation_mask"} & builder.info.features.keys()
        skip = {name: tfds.decode.SkipDecoding() for name in encoded}
        source = builder.as_data_source(split=split, decoders=skip)
        names, labels, boxes = [], [], []
        for start in range(0, len(source), 256):
            for record in source.__getitems__(range(len(source))[start : start + 256]):
                names.append(record["image/filename"].decode())
                labels.append(record["label"])
                y0, x0, y1, x1 = record["bbox"]
                boxes.append([[x0, y0, x1, y1]])

    def read(indices: Sequence[int]) -> list[bytes]:
        with damage_told(folder, what):
            return [record["image"] for record in source.__getitems__(indices)]

    return EncodedSplit(names, np.array(labels, np.int32), read, _box_arrays(boxes))


def _box_arrays(boxes: Sequence) -> dict[str, np.ndarray]:
    counts = np.ones(len(boxes), np.int32)
    return {"boxes": np.array(boxes, np.float32), "num_boxes": counts}
