"""The image files that a user names, and where what is found in them is written."""

import contextlib
import itertools
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from mi_classifier.data import image_files
from mi_classifier.errors import UserError, disk_errors_told

_LONGEST = 200  # bytes of a file's name that its picture's name starts with


class ImagePaths(NamedTuple):
    """The image files that a user named."""

    files: Mapping[Path, bool]  # each file, and whether it was named itself
    root: Path  # the folder of all files and folders that were named

    def name(self, path: Path) -> str:
        """Return the path of a file from the root, with "/"."""
        return Path(os.path.relpath(path, self.root)).as_posix()


def find_images(paths: Sequence[str]) -> ImagePaths:
    """Return the files that are named, and the images in folders that are named."""
    files: dict[Path, bool] = {}
    known: dict[str, Path] = {}  # files by absolute path: each is taken once
    folders = []
    for text in paths:
        path = Path(text)
        if not text or not os.path.exists(path):  # False for a name that is too long
            raise UserError(f"--images: no such file or folder: {text!r}")
        folders.append(os.path.abspath(path if path.is_dir() else path.parent))
        if not path.is_dir():
            files[known.setdefault(os.path.abspath(path), path)] = True
            continue
        inside = [file for _, file in image_files.find(path)]
        if not inside:
            raise UserError(f"--images: {path} holds no image")
        for file in inside:
            files.setdefault(known.setdefault(os.path.abspath(file), file), False)
    return ImagePaths(files, Path(os.path.commonpath(folders)))


def new_folder(parent: Path) -> Path:
    """Create the next of the folders 1, 2, and so on: nothing is overwritten."""
    with disk_errors_told(parent, "written"):
        parent.mkdir(parents=True, exist_ok=True)
        numbers = [int(p.name) for p in parent.iterdir() if p.name.isdecimal()]
        for number in itertools.count(max(numbers, default=0) + 1):
            with contextlib.suppress(FileExistsError):  # another process was faster
                (parent / str(number)).mkdir()
                break
    return parent / str(number)


def picture_names(files: Iterable[Path]) -> dict[Path, str]:
    """Return a name for each file's picture, with a number if names are equal.

    Examples:
      >>> paths = map(Path, ("a/x.jpg", "b/x.jpg", "x.jpg_2"))
      >>> list(picture_names(paths).values())
      ['x.jpg.png', 'x.jpg_2.png', 'x.jpg_2_2.png']
    """
    names, counts, taken = {}, Counter(), set()
    for path in files:
        stem = path.name
        if len(encoded := os.fsencode(stem)) > _LONGEST:
            stem = encoded[:_LONGEST].decode(errors="ignore")  # no half of a letter
        name = stem
        while name.casefold() in taken:  # some systems take "A" and "a" for the same
            counts[stem.casefold()] += 1
            name = f"{stem}_{counts[stem.casefold()] + 1}"
        taken.add(name.casefold())
        names[path] = f"{name}.png"
    return names
