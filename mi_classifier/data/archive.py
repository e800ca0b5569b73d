"""Archives of images, streamed member by member; nothing is unpacked to disk."""

import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from mi_classifier.errors import UserError

_MOST_BYTES = 1 << 28  # of one member: more is no image


def read_members(
    path: Path, root: str, wanted: Callable[[str], bool]
) -> Iterator[tuple[str, bytes]]:
    """Yields the files of an archive, or of the folder that it unpacks to.

    Args:
      path: a tar archive, compressed or not, a zip archive, or a folder.
      root: the archive's topmost folder, which is left off the names; a folder may be
        that one or hold it.
      wanted: of a file's name below `root`, whether to read it.

    Yields:
      The name below `root` and the content, in the order of the archive; of a folder,
      sorted by name.

    Raises:
      UserError: no such archive, one that is damaged or truncated, or a wanted member
        that is a link, leads out of the archive, or is too large.
    """
    if path.is_dir():
        yield from _read_folder(path / root if (path / root).is_dir() else path, wanted)
        return
    if not path.is_file():
        raise UserError(f"{path}: no such archive or folder")
    try:
        if zipfile.is_zipfile(path):
            yield from _read_zip(path, root, wanted)
        else:
            yield from _read_tar(path, root, wanted)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"{path}: truncated, damaged or no archive: {reason}"
        ) from error
    except OSError as error:  # gzip's own errors, and those of the disk
        raise UserError(f"{path}: cannot be read: {error}") from error


def _read_folder(
    folder: Path, wanted: Callable[[str], bool]
) -> Iterator[tuple[str, bytes]]:
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder).as_posix()
        if wanted(name) and file.is_file():
            try:
                yield name, file.read_bytes()
            except OSError as error:
                raise UserError(f"{file}: cannot be read: {error.strerror}") from error


def _read_tar(
    path: Path, root: str, wanted: Callable[[str], bool]
) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(path, "r|*") as archive:
        for member in archive:
            name = _below(member.name, root)
            if not wanted(name) or member.isdir():
                continue
            _check(path, member.name, member.size, is_file=member.isfile())
            with archive.extractfile(member) as file:
                content = file.read()
            if len(content) != member.size:
                raise UserError(f"{path}: truncated in {member.name}")
            yield name, content


def _read_zip(
    path: Path, root: str, wanted: Callable[[str], bool]
) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            name = _below(member.filename, root)
            if not wanted(name) or member.is_dir():
                continue
            link = (member.external_attr >> 16) & 0o170000 == 0o120000
            _check(path, member.filename, member.file_size, is_file=not link)
            try:
                yield name, archive.read(member)
            except (RuntimeError, NotImplementedError) as error:  # encrypted, unknown
                raise UserError(f"{path}: {member.filename}: {error}") from error


def _below(name: str, root: str) -> str:
    parts = PurePosixPath(name).parts
    return "/".join(parts[1:] if parts[:1] == (root,) else parts)


def _check(path: Path, name: str, size: int, is_file: bool) -> None:
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts:
        raise UserError(f"{path}: refused, for {name!r} leads out of it")
    if not is_file:
        raise UserError(f"{path}: refused, for {name!r} is a link or no file")
    if size > _MOST_BYTES:
        raise UserError(f"{path}: refused, for {name!r} has {size} bytes")
