"""Refuse files whose content needs more memory than there is.

A file of a few KiB may stand for terabytes. Without a look at what it states, the
system ends the program before Python can tell why.
"""

import contextlib
import math
import os
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from mi_classifier.errors import UserError

_CGROUPS = Path("/sys/fs/cgroup")


def check(path: Path | str, needed: float, remedy: str) -> None:
    """Raise a `UserError` if a file's content needs more bytes than there is memory.

    Examples:
      >>> check("table.csv", 1_000, "use fewer rows")
    """
    if needed > (limit := memory()):
        raise UserError(
            f"{path}: takes {needed / 2**30:,.1f} GiB of memory, and the machine has "
            f"{limit / 2**30:,.1f} GiB; {remedy}"
        )


def memory() -> int:
    """Return the bytes of memory that this process may have, as far as is known."""
    known = [1 << 62]
    with contextlib.suppress(AttributeError, ValueError, OSError):  # not on Windows
        known.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    # Of containers: version 2, and version 1.
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        for folder in _own_cgroups():
            with contextlib.suppress(OSError, ValueError):  # no limit, or called "max"
                known.append(int((folder / name).read_text()))
    with contextlib.suppress(ImportError):
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        known.append(limit if limit != resource.RLIM_INFINITY else known[0])
    return min(known)


def _own_cgroups() -> list[Path]:
    """Return the folders that tell the limits of this process."""
    names = []
    with contextlib.suppress(OSError):
        lines = Path("/proc/self/cgroup").read_text().splitlines()
        names = [line.rpartition(":")[2].strip("/") for line in lines]
    return [_CGROUPS, *(_CGROUPS / name for name in names if name)]


def check_members(
    path: Path | str, archive: zipfile.ZipFile, names: Iterable[str]
) -> None:
    """Raise a `UserError` if arrays of an .npz file need more memory than there is."""
    members = {each for name in names for each in (name, f"{name}.npy")}
    needed = 0
    for member in archive.infolist():
        if member.filename in members:
            needed += max(member.file_size, _size_of(archive, member))
    check(path, needed, "use fewer rows")


def _size_of(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> int:
    """Return the bytes that an array takes by its header."""
    with archive.open(member) as file:
        try:
            version = np.lib.format.read_magic(file)
        except ValueError:  # no array
            return 0
        read = np.lib.format.read_array_header_1_0
        if version != (1, 0):
            read = np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
    if not dtype.itemsize and math.prod(shape):
        raise ValueError(f"{member.filename} holds {math.prod(shape):,} empty words")
    return math.prod(shape) * dtype.itemsize
