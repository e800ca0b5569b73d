"""Find the images in folders as people have them, and say what is left out and why."""

import errno
import functools
import stat
import warnings
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from mi_classifier.data import archive
from mi_classifier.decoding import NOT_DECODED
from mi_classifier.errors import disk_errors_told
from mi_classifier.text import printable, tell

# Programs and systems keep copies or notes in these folders, in lower case.
_SYSTEM_FOLDERS = {
    "@eadir",
    "__macosx",
    ".thumbnails",
    "#recycle",
    "@recycle",
    "$recycle.bin",
    "lost+found",
}
_THUMBNAILS = {"thumbs", "thumbnails", "_thumbs", "_thumbnails"}  # or names of classes
_SYSTEM_FILES = {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"}
# Formats whose first bytes are certain. Pillow takes any bytes for some of the others.
_CERTAIN = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "JPEG2000", "AVIF")
# Most begin as TIFF files do; Pillow would decode a small preview.
_RAW = {
    *(".arw", ".cr2", ".cr3", ".crw", ".dng", ".nef", ".nrw", ".orf", ".pef", ".raf"),
    *(".raw", ".rw2", ".srw"),
}
_HEIC = (b"ftypheic", b"ftypheix", b"ftyphevc", b"ftypmif1", b"ftypmsf1")


class Found(NamedTuple):
    """What `search` finds in a folder; names start below it."""

    images: list[tuple[str, Path]]  # names and paths, sorted
    left_out: Mapping[str, list[str]]  # names of other files, by the reason
    links: list[str]  # names of images that links bring in from other places


def search(folder: Path) -> Found:
    """Find the images in a folder and all folders below it.

    A file is an image if Pillow decodes files with its suffix, in upper or lower case,
    or if its first bytes are those of an image. Links are followed.

    Args:
      folder: the folder.

    Returns:
      The images, and each other file with the reason why it is none of them.

    Raises:
      UserError: a folder or file cannot be read.
    """
    images, left_out, links = [], defaultdict(list), []
    real = folder.resolve()
    with disk_errors_told(folder, "read"):
        for name, path, is_linked in archive.entries(folder):
            if reason := _reason(name, path):
                left_out[reason].append(name)
                continue
            images.append((name, path))
            if is_linked and not path.resolve().is_relative_to(real):
                links.append(name)
    return Found(images, left_out, links)


def describe(found: Found) -> list[str]:
    """Return a sentence each about files that are left out and links that are used.

    Examples:
      >>> describe(Found([], {"no image": ["a/readme.pdf", "b/x.txt"]}, []))
      ['left out 2 files (no image: 2, such as a/readme.pdf)']
    """
    sentences = []
    if count := sum(map(len, found.left_out.values())):
        reasons = "; ".join(
            f"{reason}: {len(names):,}, such as {printable(names[0])}"
            for reason, names in found.left_out.items()
        )
        sentences.append(f"left out {count_of(count, 'file')} ({reasons})")
    if found.links:
        sentences.append(
            f"{count_of(len(found.links), 'image')} used by links that point out of "
            f"the folder, such as {printable(found.links[0])}"
        )
    return sentences


def find(folder: Path) -> list[tuple[str, Path]]:
    """Return the images of `search`, and print what is left out."""
    found = search(folder)
    for sentence in describe(found):
        tell(f"{folder}: {sentence}")
    return found.images


def folders(path: Path) -> list[str]:
    """Return the sorted names of the folders in a folder, without those of a system."""
    with disk_errors_told(path, "read"):
        names = [each.name for each in path.iterdir() if each.is_dir()]
    return sorted(
        n for n in names if not n.startswith(".") and n.lower() not in _SYSTEM_FOLDERS
    )


def count_of(count: int, what: str) -> str:
    """Return such as "1 image" or "2,000 images"."""
    plural = what[:-1] + {"y": "ies", "x": "xes", "s": "ses"}.get(
        what[-1], f"{what[-1]}s"
    )
    return f"{count:,} {what if count == 1 else plural}"


def _reason(name: str, path: Path) -> str:
    """Return why a file is left out, or "" for an image."""
    *parents, own = name.lower().split("/")
    if _SYSTEM_FOLDERS & {*parents} or _THUMBNAILS & {*parents[1:]}:
        return "in a folder of thumbnails or of the system"
    if own in _SYSTEM_FILES or any(part.startswith(".") for part in (*parents, own)):
        return "hidden or of the system"
    try:
        status = path.stat()
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return "dangling link"
        raise
    if stat.S_ISDIR(status.st_mode):
        return "link to a folder that holds it"
    if not stat.S_ISREG(status.st_mode):
        return "no regular file"
    if not status.st_size:
        return "empty"
    suffix = path.suffix.lower()
    if suffix in _RAW:
        return "camera raw, convert it to JPEG"
    if suffix in _suffixes():
        return ""
    return _reason_of_content(path)


@functools.cache
def _suffixes() -> frozenset[str]:
    formats = Image.registered_extensions()
    decoded = Image.OPEN.keys() - NOT_DECODED
    return frozenset(suffix for suffix, name in formats.items() if name in decoded)


def _reason_of_content(path: Path) -> str:
    with path.open("rb") as file:
        if file.read(12)[4:] in _HEIC:
            return "HEIC, convert it to JPEG"
        file.seek(0)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # decoding refuses what is too large
                Image.open(file, formats=_known(_CERTAIN)).close()
        except Exception:  # noqa: BLE001 (Pillow's plugins may raise anything)
            return "no image"
    return ""


def _known(formats: Iterable[str]) -> list[str]:
    Image.init()
    return [name for name in formats if name in Image.OPEN]
