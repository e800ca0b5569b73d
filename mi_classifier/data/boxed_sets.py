"""What CUB-200-2011 and Tiny-ImageNet share: the way from an archive to a `Dataset`."""

import dataclasses
import functools
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from mi_classifier.data import archive, download, image_cache, splits, tfds_store
from mi_classifier.data.dataset import Dataset
from mi_classifier.data.images import check_sides, image_dataset
from mi_classifier.data.tfds_store import BoxedImage, BoxedImages
from mi_classifier.errors import UserError
from mi_classifier.storage.files import hash_file

# Label and box of each image, by name.
Rows = Mapping[str, tuple[int, tuple[float, float, float, float]]]
Contents = tuple[Sequence[str], Mapping[str, Rows]]  # class names, and rows by split


@dataclasses.dataclass(frozen=True)
class Texts:
    """The texts of an archive.

    Attributes:
      path: the archive.
      contents: by the texts' names.
    """

    path: Path
    contents: Mapping[str, str]

    def rows(
        self, name: str, columns: int, separator: str | None = None
    ) -> Iterator[list[str]]:
        """Yields the columns of each line; raises a `UserError` if there are others."""
        for number, line in enumerate(self.contents[name].splitlines(), start=1):
            if line.strip():
                if len(row := line.split(separator)) != columns:
                    raise self.error(f"{name}, line {number}: {line!r}")
                yield row

    def box(self, name: str, image: str, columns: Sequence[str]) -> list[float]:
        """Returns columns as numbers; raises a `UserError` if they are none."""
        try:
            return list(map(float, columns))
        except ValueError:
            raise self.error(f"{name}: no box for {image}") from None

    def error(self, message: str) -> UserError:
        """Returns an error that names the archive."""
        return UserError(f"{self.path}: {message}")


@dataclasses.dataclass(frozen=True)
class Official:
    """A data set as it was published.

    Attributes:
      title: its name in tables and messages.
      builder: its subclass of `BoxedImages`.
      elsewhere: the name of TFDS's own builder for it; "" if there is none.
      test_split: the official split to validate and test on.
      file: the archive's name.
      urls: URLs of folders that hold the archive, ending in "/", tried in turn.
      digest: hash of the archive, such as "sha256:0c68...".
      root: the topmost folder in the archive.
      folder: the folder below `root` that images' names start from; "" for the root.
      texts: the texts that every such archive has.
      is_text: whether a name below `root` is that of a text to read.
      parse: makes the class names, and label and box of each image by official split
        and name; raises a `UserError` if the texts disagree.
    """

    title: str
    builder: type[BoxedImages]
    elsewhere: str
    test_split: str
    file: str
    urls: Sequence[str]
    digest: str
    root: str
    folder: str
    texts: Sequence[str]
    is_text: Callable[[str], bool]
    parse: Callable[[Texts], Contents]


@dataclasses.dataclass(frozen=True)
class Options:
    """The options that official sets share; see `cub200.load`."""

    archive_path: str
    data_dir: str
    lists_dir: str
    broken: str
    seed: int


def load(
    official: Official,
    options: Options,
    stored_side: int,
    side: int,
    normalization: str,
    balanced: bool = True,
) -> Dataset:
    """Loads an official set; see `cub200.load` for the arguments."""
    check_sides(stored_side, side)
    root = tfds_store.root(options.data_dir)
    builder = _find_or_prepare(official, options.archive_path, root)
    seed, lists_dir = options.seed, Path(options.lists_dir)
    lists = [lists_dir / n for n in splits.LISTS] if options.lists_dir else []

    def make() -> image_cache.Encoded:
        train, test = (
            tfds_store.read_boxed_images(builder, name, official.title).by_name()
            for name in ("train", official.test_split)
        )
        class_names = builder.info.features["label"].names
        if not balanced:
            train = train.take(splits.drop_half(train.names, train.labels, seed))
        if lists:
            parts = splits.by_lists(lists_dir, test.names)
        else:
            halves = splits.halve(test.names, test.labels, class_names, seed)
            parts = dict(zip(("validation", "test"), halves, strict=True))
        made = {name: test.take(rows) for name, rows in parts.items()}
        return {"train": train, **made}, class_names

    identity = {
        "set": f"{builder.name} {builder.data_path.name}",
        "info": hash_file(Path(builder.data_dir) / "dataset_info.json"),
        "balanced": balanced,
        "lists": " ".join(map(hash_file, lists)),
        "seed": seed,
    }
    images = image_cache.load(
        root / "decoded", identity, stored_side, options.broken, make
    )
    title = official.title
    if options.archive_path and Path(builder.data_dir).parent.name != "official":
        title += f" as in {Path(options.archive_path).name}"
    name = f"{title}{'' if balanced else ', unbalanced'}, {side} px"
    return image_dataset(name, images, side, normalization)


def read_texts(official: Official, path: Path) -> Contents:
    """Reads the texts of an archive, or of the folder that it unpacks to.

    Raises:
      UserError: the archive cannot be read or lacks a text, or its texts disagree.
    """
    members = archive.read_members(path, official.root, official.is_text)
    texts = Texts(
        path, {name: text.decode("utf-8", "replace") for name, text in members}
    )
    for name in official.texts:
        if name not in texts.contents:
            raise texts.error(f"not {official.title}, it lacks {official.root}/{name}")
    class_names, contents = official.parse(texts)
    for split, rows in contents.items():
        if not rows:
            raise texts.error(f"holds no image for the {split} split")
    return class_names, contents


def _find_or_prepare(official: Official, archive_path: str, root: Path) -> BoxedImages:
    name = official.builder.name
    path = Path(archive_path or root / "downloads" / name / official.file)
    config = ""
    if not archive_path:
        folders = tfds_store.versions(root / name / "official")
        if official.elsewhere:
            folders += tfds_store.versions(root / official.elsewhere)
        if found := tfds_store.find(folders, official.title):
            return found
        if not path.exists():
            _download(official, path)
            config = "official"
    config = config or _config_name(official, path)
    if path.is_file() and config != "official":
        if not archive_path:
            raise UserError(f"{path}: damaged since its download; remove it")
        print(f"{path}: not the official archive of {official.title}; used as it is")

    def make_options() -> dict[str, object]:
        class_names, contents = read_texts(official, path)
        examples = {
            split: functools.partial(_images, official, path, rows)
            for split, rows in contents.items()
        }
        counts = {split: len(rows) for split, rows in contents.items()}
        return {"class_names": class_names, "examples": examples, "counts": counts}

    return tfds_store.prepare(
        official.builder, config, root, official.title, make_options
    )


def _images(official: Official, path: Path, rows: Rows) -> Iterator[BoxedImage]:
    """Yields the images of a split in the order of the archive; all must be there."""
    wanted = {official.folder + name for name in rows}
    missing = set(rows)
    members = archive.read_members(path, official.root, wanted.__contains__)
    for member, content in members:
        name = member.removeprefix(official.folder)
        missing.discard(name)
        yield BoxedImage(name, content, *rows[name])
    if missing:
        raise UserError(
            f"{path}: lacks {len(missing):,} of the {len(rows):,} images that its "
            f"texts name, such as {min(missing)}"
        )


def _download(official: Official, path: Path) -> None:
    algorithm, digest = official.digest.split(":")

    def check(path: Path, name: str) -> None:
        if hash_file(path, algorithm) != digest:
            raise UserError(f"{name}: its content is not {official.title}'s")

    download.fetch(
        [official.file],
        official.urls,
        path.parent,
        check,
        f"{official.title}: give {official.file}, or the folder it unpacks to, by "
        "--config.data.archive_path=PATH",
    )


def _config_name(official: Official, path: Path) -> str:
    """Returns a name for the content of an archive; each content has its own folder."""
    if path.is_dir():
        whole = hashlib.sha256()
        for name, file in archive.walk(path):
            whole.update(os.fsencode(name))
            if file.suffix == ".txt":
                whole.update(hash_file(file).encode())
            else:
                status = file.stat()
                whole.update(f"{status.st_size} {status.st_mtime_ns}".encode())
        return whole.hexdigest()[:12]
    if not path.is_file():
        raise UserError(f"data.archive_path: no such archive or folder: {path}")
    algorithm, digest = official.digest.split(":")
    found = hash_file(path, algorithm)
    return "official" if found == digest else found[:12]
