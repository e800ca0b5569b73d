"""Downloads: several mirrors, checked before they take their name."""

import contextlib
import hashlib
import http.client
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import wrap_file

from mi_classifier.errors import DISK_ERRORS, UserError
from mi_classifier.storage.files import hold

_TIMEOUT = 20  # seconds without an answer
_ATTEMPTS = 5  # at one mirror, each going on where the one before broke off


def fetch(
    names: Sequence[str],
    mirrors: Sequence[str],
    directory: Path,
    check: Callable[[Path, str], None],
) -> None:
    """Downloads what is missing of several files, trying each mirror in turn.

    A file appears under its name only once it is complete and has passed the check.
    What broke off is kept beside it, and the next attempt goes on from there.

    Args:
      names: file names, the same on every mirror.
      mirrors: URLs of folders, ending in "/".
      directory: where the files go; made if need be.
      check: called with a downloaded file and its name; raises `UserError` if its
        content is not what it should be.

    Raises:
      UserError: no mirror had them all; says what each one answered.
    """
    failures = []
    for mirror in mirrors:
        try:
            for name in names:
                path = directory / name
                if path.exists():
                    continue
                waiting = f"waiting for another process that downloads {name}"
                with hold(directory / f".{name}.lock", waiting=waiting):
                    if not path.exists():
                        _fetch_one(mirror + name, path, check)
            return
        # URLError is an OSError, UserError a ValueError.
        except (OSError, ValueError, http.client.HTTPException) as error:
            if getattr(error, "errno", None) in DISK_ERRORS:
                message = f"{directory}: cannot be written: {error.strerror}"
                raise UserError(message) from error
            reason = " ".join(str(getattr(error, "reason", error)).split())
            failures.append(f"{mirror}: {reason or type(error).__name__}")
    raise UserError("; ".join(failures))


def _fetch_one(url: str, path: Path, check: Callable[[Path, str], None]) -> None:
    """Downloads a file, from where an earlier attempt at this URL broke off."""
    mark = hashlib.sha256(url.encode()).hexdigest()[:8]
    part = path.with_name(f".{path.name}.{mark}.part")
    for _ in range(_ATTEMPTS):
        start = part.stat().st_size if part.exists() else 0
        length = _append(url, part, start, path.name)
        size = part.stat().st_size
        if not length or size == length:
            break
        if size <= start:
            raise OSError(f"{path.name} broke off after {size} of {length} bytes")
    else:
        raise OSError(f"{path.name} broke off after {size} of {length} bytes")
    try:
        check(part, path.name)
    except ValueError:
        part.unlink()  # nothing to go on from
        raise
    part.replace(path)
    for other in path.parent.glob(f".{path.name}.*.part"):  # of other mirrors
        other.unlink()


def _append(url: str, part: Path, start: int, name: str) -> int:
    """Appends what a server sends after `start`; returns the whole file's length.

    A server that cannot go on from there sends the whole file anew. A connection that
    breaks is no error: the length tells.
    """
    headers = {"Range": f"bytes={start}-"} if start else {}
    request = urllib.request.Request(url, headers=headers)
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # it has no more than what is here
            raise
        part.unlink()
        return _append(url, part, 0, name)
    with response:
        start = start if response.status == 206 else 0
        length = int(response.headers.get("Content-Length", 0))
        console = Console(stderr=True)
        with (
            part.open("ab" if start else "wb") as file,
            wrap_file(response, length, description=name, console=console) as body,
            contextlib.suppress(
                http.client.IncompleteRead, TimeoutError, ConnectionError, ssl.SSLError
            ),
        ):
            while chunk := body.read(1 << 20):
                file.write(chunk)
        return start + length if length else 0
