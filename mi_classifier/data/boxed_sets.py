"""Load CUB-200-2011 and Tiny-ImageNet from their archives into a `Dataset`."""

import functools
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from mi_classifier.data import archive, download, image_cache, splits, tfds_store
from mi_classifier.data.ahead import Ahead
from mi_classifier.data.dataset import Dataset
from mi_classifier.data.image_cache import EncodedSplit
from mi_classifier.data.images import check_sides, image_dataset
from mi_classifier.data.tfds_store import BoxedImages, Contents, Rows
from mi_classifier.errors import UserError, choose
from mi_classifier.storage.files import hash_file
from mi_classifier.text import tell


class Texts(NamedTuple):
    """The texts of an archive."""

    path: Path  # of the archive
    contents: Mapping[str, str]  # by the texts' names

    def rows(
        self, name: str, columns: int, separator: str | None = None
    ) -> Iterator[list[str]]:
        """Yield the columns of each line, and check how many there are."""
        for number, line in enumerate(self.contents[name].splitlines(), start=1):
            if line.strip():
                if len(row := line.split(separator)) != columns:
                    raise self.error(f"{name}, line {number}: {line!r}")
                yield row

    def box(self, name: str, image: str, columns: Sequence[str]) -> list[float]:
        """Return columns as numbers."""
        try:
            return list(map(float, columns))
        except ValueError:
            raise self.error(f"{name}: no box for {image}") from None

    def error(self, message: str) -> UserError:
        """Return an error that names the archive."""
        return UserError(f"{self.path}: {message}")


class Official(NamedTuple):
    """A data set as it was published."""

    title: str  # its name in tables and messages
    builder: type[BoxedImages]
    test_split: str  # the official split to validate and test on
    file: str  # the archive's name
    urls: Sequence[str]  # of folders that hold the archive, ending in "/"
    digest: str  # hash of the archive, such as "sha256:0c68..."
    root: str  # the topmost folder in the archive
    texts: Sequence[str]  # the names below `root` of texts that every such archive has
    is_text: Callable[[str], bool]  # whether a name below `root` is a text to read
    parse: Callable[[Texts], Contents]  # raises a `UserError` if the texts disagree
    elsewhere: Sequence[str] = ()  # names of TFDS's own builders for the set
    folder: str = ""  # the folder below `root` that images' names start from


class Options(NamedTuple):
    """The arguments of `cub200.load`."""

    stored_side: int
    side: int
    normalization: str
    balanced: bool
    archive_path: str
    data_dir: str
    lists_dir: str
    broken: str
    seed: int
    dropped: str = "half"
    pad: int = 0


_MOST_TEXT = 1 << 28  # bytes of all texts together
DROPPED = ("half", "authors")  # which images unbalanced sets lack; see `cub200.load`
_KEPT_TRAIN, _KEPT_TEST = (10, None), (5, 15)  # the authors' arguments of `splits.thin`


def load(official: Official, options: Options) -> Dataset:
    """Load an official set; see `cub200.load` for the options."""
    check_sides(options.stored_side, options.side)
    choose(options.dropped, DROPPED, "data.dropped")
    root = tfds_store.root(options.data_dir)
    side = options.stored_side
    builder = _find_or_prepare(official, options.archive_path, root, side)
    folder = options.lists_dir
    lists = splits.list_files(Path(folder)).values() if folder else ()

    def make() -> image_cache.Encoded:
        train, test = (
            tfds_store.read_boxed_images(builder, name, official.title).by_name()
            for name in ("train", official.test_split)
        )
        class_names = builder.info.features["label"].names
        return _divide(train, test, class_names, options), class_names

    identity = {
        "set": f"{builder.name} {builder.data_path.name}",
        "info": hash_file(Path(builder.data_dir) / "dataset_info.json"),
        "balanced": options.balanced,
        "lists": " ".join(map(hash_file, lists)),
        "seed": options.seed,
    }
    title, dropped = official.title, ""
    if not options.balanced:
        dropped = ", unbalanced"
        if options.dropped == "authors":
            identity |= {"dropped": options.dropped}
            dropped += " as the authors'"
    images = image_cache.load(
        root / "decoded", identity, options.stored_side, options.broken, make
    )
    if options.archive_path and Path(builder.data_dir).parent.name != "official":
        title += f" as in {Path(options.archive_path).name}"
    name = f"{title}{dropped}, {options.side} px"
    normalization = options.normalization
    return image_dataset(name, images, options.side, normalization, options.pad)


def _divide(
    train: EncodedSplit,
    test: EncodedSplit,
    class_names: Sequence[str],
    options: Options,
) -> dict[str, EncodedSplit]:
    """Make the splits of the official ones: drop images, and divide those of test."""
    folder, seed = options.lists_dir, options.seed
    if not options.balanced and options.dropped == "authors":
        train = train.take(splits.thin(train.names, train.labels, *_KEPT_TRAIN, seed))
        if not folder:
            test = test.take(splits.thin(test.names, test.labels, *_KEPT_TEST, seed))
    elif not options.balanced:
        train = train.take(splits.drop_half(train.names, train.labels, seed))
    if folder:
        parts = splits.by_lists(Path(folder), test.names, test.labels, class_names)
    else:
        halves = splits.halve(test.names, test.labels, class_names, seed)
        parts = dict(zip(("validation", "test"), halves, strict=True))
    return {"train": train, **{name: test.take(rows) for name, rows in parts.items()}}


def read_texts(official: Official, path: Path) -> Contents:
    """Read the texts of an archive, or of the folder that it unpacks to."""
    members = archive.read_members(path, official.root, official.is_text)
    contents, size = {}, 0
    for name, text in members:
        size += len(text)
        if size > _MOST_TEXT:
            raise UserError(f"{path}: refused, its texts have more than {size:,} bytes")
        contents[name] = text.decode("utf-8", "replace")
    texts = Texts(path, contents)
    for name in official.texts:
        if name not in texts.contents:
            raise texts.error(f"not {official.title}, it lacks {official.root}/{name}")
    class_names, contents = official.parse(texts)
    for split, rows in contents.items():
        if not rows:
            raise texts.error(f"holds no image for the {split} split")
    return class_names, contents


def _find_or_prepare(
    official: Official, archive_path: str, root: Path, side: int
) -> BoxedImages:
    name = official.builder.name
    path = Path(archive_path or root / "downloads" / name / official.file)
    config = ""
    if not archive_path:
        folders = [root / name / "official", *(root / n for n in official.elsewhere)]
        prepared = [each for f in folders for each in tfds_store.versions(f)]
        if found := tfds_store.find(prepared, official.title):
            return found
        if not path.exists():
            _download(official, path)
            config = "official"
    config = config or _config_name(official, path)
    if path.is_file() and config != "official":
        if not archive_path:
            raise UserError(f"{path}: damaged since its download; remove it")
        tell(f"{path}: not the official archive of {official.title}; used as it is")

    def options() -> dict[str, object]:
        read = functools.partial(_read_images, official, path)
        contents = read_texts(official, path)
        count = sum(map(len, contents[1].values()))
        folder = root / "decoded"
        folder.mkdir(parents=True, exist_ok=True)
        needed = 2 * count * image_cache.bytes_of(side)  # the file, and the cache
        needed += path.stat().st_size if path.is_file() else 0  # the records
        room = shutil.disk_usage(folder).free > needed
        ahead = Ahead(side, count, folder) if room else None
        return {"contents": contents, "read": read, "ahead": ahead}

    return tfds_store.prepare(official.builder, config, root, official.title, options)


def _read_images(official: Official, path: Path, rows: Rows) -> archive.Members:
    """Yield the images of a split in the order of the archive; all must be there."""
    wanted = {official.folder + name for name in rows}
    missing = set(rows)
    members = archive.read_members(path, official.root, wanted.__contains__)
    for member, content in members:
        name = member.removeprefix(official.folder)
        missing.discard(name)
        yield name, content
    if missing:
        raise UserError(
            f"{path}: lacks {len(missing):,} of the {len(rows):,} images that its "
            f"texts name, such as {min(missing)}"
        )


def _download(official: Official, path: Path) -> None:
    def check(part: Path, name: str) -> None:
        if _config_name(official, part) != "official":
            raise UserError(f"{name}: its content is not {official.title}'s")

    remedy = (
        f"{official.title}: give {official.file}, or the folder it unpacks to, by "
        "--config.data.archive_path=PATH"
    )
    download.fetch([official.file], official.urls, path.parent, check, remedy)


def _config_name(official: Official, path: Path) -> str:
    """Return a name for the content of an archive; each content has its own folder."""
    if path.is_dir():
        whole = hashlib.sha256()
        for name, file in archive.walk(path):
            whole.update(os.fsencode(name))
            if name.endswith(".txt"):
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
