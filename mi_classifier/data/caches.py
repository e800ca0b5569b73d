"""List what is kept in the folder of data sets, and remove what nobody uses.

python -m mi_classifier.data.caches [--data_dir=FOLDER] [--remove=unused|all|NAME]

Decoded images and features of nets are kept so that they are made only once. An entry
is unused if its photos are gone or changed, or if no command read it for 30 days. What
is removed is made again when a command needs it.
"""

import argparse
import contextlib
import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mi_classifier.data import folder_layout, image_folder, tfds_store
from mi_classifier.data.image_cache import size_of
from mi_classifier.data.image_files import count_of
from mi_classifier.errors import UserError, disk_errors_told, nearest
from mi_classifier.storage.files import hold
from mi_classifier.text import printable, tell

FOLDERS = ("decoded", "features")  # below the folder of data sets
NOTE = "done.json"  # of an entry; its time of change is that of the last use
_DAYS = 30  # without use, after which an entry is unused: longer than most holidays


class Entry(NamedTuple):
    """Something that is kept."""

    path: Path
    title: str  # what it holds
    bytes: int
    days: float  # since the last use
    unused: str  # why it is not used, or ""


def find(root: Path) -> list[Entry]:
    """Return everything that is kept below a folder of data sets, largest first."""
    with disk_errors_told(root, "read"):
        inside = [path for name in FOLDERS for path in root.glob(f"{name}/[!.]*")]
        found = [_read(path) for path in inside if path.is_dir()]
        return sorted(found, key=lambda entry: -entry.bytes)


def choose(entries: Sequence[Entry], what: str) -> list[Entry]:
    """Return the entries that `--remove` names: "unused", "all", or one of them.

    Raises:
      UserError: no entry has this name.
    """
    if what == "all":
        return list(entries)
    if what == "unused":
        return [entry for entry in entries if entry.unused]
    found = [entry for entry in entries if entry.path.name == what]
    if not found:
        hint = nearest(what, [entry.path.name for entry in entries])
        raise UserError(f"--remove: no entry {what!r}{hint}; or give unused or all")
    return found


def remove(entry: Entry) -> None:
    """Remove an entry.

    Raises:
      UserError: another process is making it, or it cannot be removed.
    """
    lock = entry.path.with_name(f".{entry.path.name}.lock")
    with (
        hold(lock, refusal=f"{entry.path}: another process is writing to it"),
        disk_errors_told(entry.path, "removed"),
    ):
        # Without its note, an entry counts as incomplete, even if we are killed here.
        (entry.path / NOTE).unlink(missing_ok=True)
        shutil.rmtree(entry.path)


def main(arguments: Sequence[str] | None = None) -> None:
    """List the entries, or remove some of them."""
    parser = argparse.ArgumentParser(
        prog="python -m mi_classifier.data.caches", description=__doc__.split("\n\n")[0]
    )
    parser.add_argument("--data_dir", default="", help="of the config; default: TFDS's")
    parser.add_argument("--remove", default="", help="unused, all, or a name listed")
    options = parser.parse_args(arguments)
    root = tfds_store.root(options.data_dir)
    if options.data_dir and not os.path.isdir(root):
        raise UserError(f"--data_dir: no such folder: {root}")
    entries = find(root)
    if not options.remove:
        _print(root, entries)
        return
    chosen = choose(entries, options.remove)
    for entry in chosen:
        remove(entry)
        tell(f"removed {entry.path}, {size_of(entry.bytes)}: {entry.title}")
    total = size_of(sum(entry.bytes for entry in chosen))
    tell(f"removed {count_of(len(chosen), 'entry')}, {total}")


def _print(root: Path, entries: Sequence[Entry]) -> None:
    for entry in entries:
        used = f"used {entry.days:.0f} days ago" if entry.days >= 1 else "used today"
        unused = f"; unused: {entry.unused}" if entry.unused else ""
        name = entry.path.relative_to(root).as_posix()
        tell(f"{name}  {size_of(entry.bytes)}, {used}: {entry.title}{unused}")
    total = sum(entry.bytes for entry in entries)
    free = sum(entry.bytes for entry in entries if entry.unused)
    tell(
        f"{root}: {count_of(len(entries), 'entry')}, {size_of(total)}, of which "
        f"{size_of(free)} unused; --remove=unused|all|NAME removes them"
    )


def _read(entry: Path) -> Entry:
    note, done = entry / NOTE, {}
    if is_whole := note.is_file():
        with contextlib.suppress(ValueError, RecursionError):  # damaged; it is listed
            done = json.loads(note.read_text("utf-8", "replace"))
    else:
        done = {"title": "incomplete, of a command that was stopped or still runs"}
    done = done if isinstance(done, dict) else {}
    size = sum(p.stat().st_size for p in entry.rglob("*") if p.is_file())
    used = (note if is_whole else entry).stat().st_mtime
    days = max(time.time() - used, 0) / 86_400
    identity = done.get("identity")
    identity = identity if isinstance(identity, dict) else {}
    source = done.get("source") or identity.get("root") or ""
    title = str(done.get("title") or source or "of unknown content")
    if side := done.get("side"):
        title += f" at {side} px"
    if source:
        title += f", from {source}"
    unused = _why_unused(str(source), identity)
    if not unused and days > _DAYS:
        unused = f"not read for {_DAYS} days"
    return Entry(entry, printable(title), size, days, unused)


def _why_unused(source: str, identity: dict[str, Any]) -> str:
    """Return whether the photos of an entry are gone or changed, in words, or ""."""
    if not source:
        return ""
    if not Path(source).exists():
        return "its source is gone"
    if "files" not in identity:
        return ""
    try:
        now = image_folder.identity_of(Path(source), folder_layout.find(source))
    except (UserError, OSError):
        return "its source has another layout"
    same = all(identity.get(name) == value for name, value in now.items())
    return "" if same else "its source has changed"


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
