"""What CUB-200-2011 and Tiny-ImageNet share: from an official archive to splits."""

import dataclasses
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from mi_classifier.data import archive, download, image_cache, splits, tfds_store
from mi_classifier.data.dataset import Dataset
from mi_classifier.data.images import check_sides, image_dataset
from mi_classifier.data.tfds_store import BoxedImage, BoxedImages
from mi_classifier.errors import UserError


@dataclasses.dataclass(frozen=True)
class Contents:
    """What is in an archive.

    Attributes:
      class_names: M names.
      splits: for each official split, the label and the box of each image, by name.
      stream: from such a split to its images, in the order of the archive; images that
        the archive lacks are left out.
    """

    class_names: Sequence[str]
    splits: Mapping[str, Mapping[str, tuple]]
    stream: Callable[[Mapping[str, tuple]], Iterator[BoxedImage]]


@dataclasses.dataclass(frozen=True)
class Official:
    """A data set as it was published.

    Attributes:
      title: what to call it.
      builder: its class of `BoxedImages`.
      elsewhere: the name that TFDS's own builder has, "" if there is none.
      test_split: the official split to validate and test on.
      file: the archive's name.
      urls: of folders that hold it, ending in "/", tried in turn.
      digest: of the archive, such as "sha256:0c68...".
      read: from an archive's path to its contents.
    """

    title: str
    builder: type[BoxedImages]
    elsewhere: str
    test_split: str
    file: str
    urls: Sequence[str]
    digest: str
    read: Callable[[Path], Contents]


def load(
    official: Official,
    stored_side: int,
    side: int,
    normalization: str,
    *,
    balanced: bool,
    archive_path: str,
    data_dir: str,
    lists_dir: str,
    broken: str,
    seed: int,
) -> Dataset:
    """Loads an official set; `cub200.load` says what the arguments are."""
    check_sides(stored_side, side)
    root = tfds_store.root(data_dir)
    builder = _find_or_prepare(official, archive_path, root)

    def make() -> image_cache.Made:
        train, test = (
            tfds_store.read_boxed_images(builder, name, official.title).by_name()
            for name in ("train", official.test_split)
        )
        class_names = builder.info.features["label"].names
        if not balanced:
            train = train.take(splits.drop_half(train.names, train.labels, seed))
        if lists_dir:
            parts = splits.by_lists(Path(lists_dir), test.names)
        else:
            halves = splits.halve(test.names, test.labels, class_names, seed)
            parts = dict(zip(("validation", "test"), halves, strict=True))
        made = {name: test.take(rows) for name, rows in parts.items()}
        return {"train": train, **made}, class_names

    identity = {
        "set": f"{builder.name} {builder.data_path.name}",
        "info": _digest(Path(builder.data_dir) / "dataset_info.json", "sha256"),
        "balanced": balanced,
        "lists": _digest_lists(lists_dir),
        "seed": seed,
    }
    cached = image_cache.load(root / "decoded", identity, stored_side, broken, make)
    title = official.title
    if archive_path and Path(builder.data_dir).parent.name != "official":
        title += f" as in {Path(archive_path).name}"
    name = f"{title}{'' if balanced else ', unbalanced'}, {side} px"
    return image_dataset(
        name, cached.splits, cached.class_names, side, normalization, cached.names
    )


def _find_or_prepare(official: Official, archive_path: str, root: Path) -> BoxedImages:
    name = official.builder.name
    if archive_path:
        path = Path(archive_path)
    else:
        folders = tfds_store.versions(root / name / "official")
        if official.elsewhere:
            folders += tfds_store.versions(root / official.elsewhere)
        if found := tfds_store.find(folders, official.title):
            return found
        path = _download(official, root / "downloads" / name)
    config = _config_name(official, path)
    if path.is_file() and config != "official":
        if not archive_path:
            raise UserError(f"{path}: damaged since its download; remove it")
        print(f"{path}: not the official archive of {official.title}; used as it is")
    folder = root / name / config / str(official.builder.VERSION)

    def make() -> BoxedImages:
        contents = official.read(path)
        for split, rows in contents.splits.items():
            if not rows:
                raise UserError(f"{path}: holds no image for the {split} split")
        return official.builder(
            class_names=contents.class_names,
            examples={
                split: lambda rows=rows: _complete(path, contents.stream(rows), rows)
                for split, rows in contents.splits.items()
            },
            counts={split: len(rows) for split, rows in contents.splits.items()},
            config=tfds_store.config(config, official.builder.VERSION),
            data_dir=root,
            file_format="array_record",
        )

    return tfds_store.prepare(make, folder, official.title)


def _complete(
    path: Path, images: Iterator[BoxedImage], rows: Mapping[str, tuple]
) -> Iterator[BoxedImage]:
    """Passes images on, and complains about those that do not come."""
    missing = set(rows)
    for image in images:
        missing.discard(image.name)
        yield image
    if missing:
        raise UserError(
            f"{path}: lacks {len(missing):,} of the {len(rows):,} images that its "
            f"texts name, {min(missing)} among them"
        )


def _download(official: Official, folder: Path) -> Path:
    algorithm, digest = official.digest.split(":")

    def check(path: Path, name: str) -> None:
        if _digest(path, algorithm) != digest:
            raise UserError(f"{name}: its content is not {official.title}'s")

    try:
        download.fetch([official.file], official.urls, folder, check)
    except UserError as error:
        raise UserError(
            f"{official.title}: give {official.file}, or the folder it unpacks to, "
            f"by --config.data.archive_path=PATH; no mirror had it ({error})"
        ) from error
    return folder / official.file


def _config_name(official: Official, path: Path) -> str:
    """A name for what an archive holds, so that another one is prepared apart."""
    if path.is_dir():
        whole = hashlib.sha256()
        for name, file in archive.walk(path):
            whole.update(os.fsencode(name))
            if file.suffix == ".txt":
                whole.update(_digest(file, "sha256").encode())
            else:
                status = file.stat()
                whole.update(f"{status.st_size} {status.st_mtime_ns}".encode())
        return whole.hexdigest()[:12]
    if not path.is_file():
        raise UserError(f"data.archive_path: no such archive or folder: {path}")
    algorithm, digest = official.digest.split(":")
    found = _digest(path, algorithm)
    return "official" if found == digest else found[:12]


def _digest(path: Path, algorithm: str) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, algorithm).hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error


def _digest_lists(lists_dir: str) -> str:
    if not lists_dir:
        return ""
    lists = [Path(lists_dir) / name for name in ("validation.txt", "test.txt")]
    for path in lists:
        if not path.is_file():
            raise UserError(f"data.lists_dir: {path} is missing")
    return " ".join(_digest(path, "sha256") for path in lists)
