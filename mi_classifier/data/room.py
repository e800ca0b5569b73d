"""Refuse files whose content needs more memory than there is.

A compressed file of a few MiB may hold terabytes. Without a look at what it states, the
system ends the program before Python can tell why.
"""

import contextlib
import os
import zipfile
from collections.abc import Iterable
from pathlib import Path

from mi_classifier.errors import UserError

_LIMITS = (  # of the memory of a container, in bytes
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
)


def memory() -> int:
    """Return the bytes of memory that this process may have, as far as is known."""
    known = [1 << 62]
    with contextlib.suppress(AttributeError, ValueError, OSError):  # not on Windows
        known.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for limit in _LIMITS:
        with contextlib.suppress(OSError, ValueError):  # no limit, or called "max"
            known.append(int(Path(limit).read_text()))
    with contextlib.suppress(ImportError, ValueError):
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        known.append(limit if limit != resource.RLIM_INFINITY else known[0])
    return min(known)


def check(path: Path | str, needed: int, remedy: str) -> None:
    """Raise a `UserError` if a file's content needs more bytes than there is memory."""
    if needed > (limit := memory()):
        raise UserError(
            f"{path}: takes {needed / 2**30:,.1f} GiB of memory, of which "
            f"{limit / 2**30:,.1f} GiB are there; {remedy}"
        )


def check_members(
    path: Path | str, archive: zipfile.ZipFile, names: Iterable[str]
) -> None:
    """Raise a `UserError` if arrays of an .npz file need more memory than there is."""
    members = {f"{name}.npy" for name in names}
    needed = sum(m.file_size for m in archive.infolist() if m.filename in members)
    check(path, needed, "use fewer rows")
