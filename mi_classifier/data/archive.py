"""Read archives member by member, without unpacking them to disk."""

import bz2
import contextlib
import gzip
import lzma
import os
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from mi_classifier.errors import UserError, disk_errors_told, reason_of

Members = Iterator[tuple[str, bytes]]  # names and contents of files
MOST_BYTES = 1 << 26  # in one wanted member; no image is that large
MOST_IN_FILE = 1 << 29  # in a file of a folder
MOST_IN_ALL = 1 << 35  # bytes in all members; more means that the archive is a bomb
_MOST_HEADER = 1 << 20  # bytes in a tar member's own description
_MOST_GLOBAL = 1 << 16  # in one that counts for all members; `tarfile` keeps it
_HEADERS = (b"x", b"g", b"X", b"L", b"K")  # tar's types of such descriptions
_COMPRESSIONS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}


def read_members(path: Path, root: str, wanted: Callable[[str], bool]) -> Members:
    """Yield the files of an archive, or of the folder that it unpacks to.

    Args:
      path: a tar archive, compressed or not, a zip archive, or a folder.
      root: the archive's topmost folder, which is left off the names. If `path` is a
        folder, it may be the root or hold it.
      wanted: whether to read a file, given its name below `root`.

    Yields:
      The name below `root` and the content, in the order of the archive, or of the
      names if `path` is a folder.

    Raises:
      UserError: the archive is missing, damaged or truncated, a member is a link or
        leads out of the archive, or a wanted member is too large.
    """
    if path.is_dir():
        folder = path / root if (path / root).is_dir() else path
        for name, file in walk(folder, wanted):
            yield name, read_file(file)
        return
    if not path.is_file():
        raise UserError(f"{path}: no such archive or folder")
    try:
        if zipfile.is_zipfile(path):
            yield from _read_zip(path, root, wanted)
        else:
            yield from _read_tar(path, root, wanted)
    except UserError:
        raise
    except Exception as error:  # the readers raise ValueError, OverflowError, ...
        message = f"{path}: truncated, damaged or no archive: {reason_of(error)}"
        raise UserError(message) from error


def walk(
    folder: Path, wanted: Callable[[str], bool] = lambda name: True
) -> list[tuple[str, Path]]:
    """Return names and paths of the wanted files in a folder, sorted; follow links."""
    with disk_errors_told(folder, "read"):
        return [
            (name, folder / name)
            for name, entry, _ in _scan(folder)
            if wanted(name) and entry.is_file()
        ]


def entries(folder: Path) -> list[tuple[str, Path, bool]]:
    """Return name, path and whether a link leads to it, for all but folders, sorted.

    Links to folders are followed. A link to a folder that holds it is not: it is
    returned, as are links to nothing.
    """
    with disk_errors_told(folder, "read"):
        return [(name, folder / name, linked) for name, _, linked in _scan(folder)]


def _scan(folder: Path) -> list[tuple[str, os.DirEntry, bool]]:
    found = []
    # The way to a folder: real paths of all folders from `folder` on.
    todo = [("", [folder.resolve()], False)]
    while todo:
        start, way, linked = todo.pop()
        with os.scandir(folder / start) as scanned:
            inside = list(scanned)
        for entry in inside:
            name, is_link = start + entry.name, entry.is_symlink()
            # A link to itself makes `entry.is_dir` raise an error.
            if os.path.isdir(entry) if is_link else entry.is_dir():
                real = Path(entry).resolve() if is_link else way[-1] / entry.name
                if not any(each.is_relative_to(real) for each in way):
                    todo.append((f"{name}/", [*way, real], linked or is_link))
                    continue
            found.append((name, entry, linked or is_link))
    return sorted(found, key=lambda each: each[0])


def read_file(path: Path) -> bytes:
    """Return the content of a file, if it is no larger than an image can be."""
    with disk_errors_told(path, "read"):
        _check_size(path, path.stat().st_size, MOST_IN_FILE, "it")
        return path.read_bytes()


def _read_tar(path: Path, root: str, wanted: Callable[[str], bool]) -> Members:
    with (
        _decompressed(path) as file,
        tarfile.open(
            fileobj=(stream := _Bounded(path, file)), mode="r|", tarinfo=_TarInfo
        ) as archive,
    ):
        for member in archive:
            archive.members = []  # keep no list of all members
            name = _below(member.name, root)
            _check_name(path, member.name, member.isfile() or member.isdir())
            if not wanted(name) or member.isdir():
                continue
            _check_size(path, member.size, MOST_BYTES, member.name)
            content = archive.extractfile(member).read()
            if len(content) != member.size:
                raise UserError(f"{path}: truncated in {member.name}")
            yield name, content
        while stream.read(_MOST_HEADER):  # the checksum comes last
            pass


class _Bounded:
    """Reads an archive's bytes, up to `MOST_IN_ALL` of them."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path, self._file, self._total = path, file, 0

    def read(self, size: int) -> bytes:
        content = self._file.read(size)
        self._total += len(content)
        _check_size(self._path, self._total, MOST_IN_ALL)
        return content


def _decompressed(path: Path) -> BinaryIO:
    """Open a file with a reader that checks the checksum; those of `tarfile` do not."""
    with path.open("rb") as file:
        start = file.read(6)
    for magic, opened in _COMPRESSIONS.items():
        if start.startswith(magic):
            return opened(path, "rb")
    return path.open("rb")


class _TarInfo(tarfile.TarInfo):
    """A tar member that refuses to read a large description into memory."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in _HEADERS and self.size > _MOST_HEADER:
            raise tarfile.ReadError(f"a header of {self.size} bytes")
        if self.type == tarfile.XGLTYPE and self.size > _MOST_GLOBAL:
            raise tarfile.ReadError(f"a global header of {self.size} bytes")
        if self.type == tarfile.GNUTYPE_SPARSE:
            raise tarfile.ReadError("a sparse file")
        return super()._proc_member(archive)

    def _refuse_sparse(self, *_: object) -> None:
        raise tarfile.ReadError("a sparse file")

    _proc_gnusparse_00 = _proc_gnusparse_01 = _proc_gnusparse_10 = _refuse_sparse


def _read_zip(path: Path, root: str, wanted: Callable[[str], bool]) -> Members:
    with zipfile.ZipFile(path) as archive:
        _check_count(archive)
        total = 0
        for member in archive.infolist():
            name = _below(member.filename, root)
            link = (member.external_attr >> 16) & 0o170000 == 0o120000
            _check_name(path, member.filename, not link)
            if member.is_dir():
                continue
            if not wanted(name):
                # Opening compares its name with the second copy at its start.
                with contextlib.suppress(RuntimeError):  # if it is encrypted
                    archive.open(member).close()
                continue
            _check_size(path, member.file_size, MOST_BYTES, member.filename)
            total += member.file_size
            _check_size(path, total, MOST_IN_ALL)
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise UserError(f"{path}: {member.filename}: not stored or deflated")
            with archive.open(member) as file:
                # Read no more than announced, even if it would inflate to more.
                content = file.read(member.file_size)
                if file.read(1) or len(content) != member.file_size:
                    raise UserError(f"{path}: {member.filename}: damaged")
            yield name, content


def _check_count(archive: zipfile.ZipFile) -> None:
    """Check the number of members: a damaged length hides the members behind it."""
    size = archive.fp.seek(0, os.SEEK_END)
    archive.fp.seek(max(size - 2**16 - 22, 0))  # a comment may follow
    end = archive.fp.read()
    start = end.rfind(b"PK\5\6") + 10
    announced = int.from_bytes(end[start : start + 2], "little")
    # 65,535 stands for any larger number.
    if announced not in (len(archive.infolist()) % 2**16, 2**16 - 1):
        raise zipfile.BadZipFile(f"{len(archive.infolist())} of {announced} files")


def _below(name: str, root: str) -> str:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    return "/".join(parts[1:] if parts[:1] == [root] else parts)


def _check_name(path: Path, name: str, is_file: bool) -> None:
    if name.startswith("/") or ".." in name.split("/"):
        raise UserError(f"{path}: refused, because {name!r} leads out of it")
    if not is_file:
        raise UserError(f"{path}: refused, because {name!r} is a link or no file")


def _check_size(path: Path, size: int, most: int, name: str = "the archive") -> None:
    if size > most:
        raise UserError(f"{path}: refused, because {name} has {size} bytes or more")
