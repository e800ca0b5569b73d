"""Download files from several mirrors, and check them before they get their names."""

import contextlib
import hashlib
import http.client
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from mi_classifier.errors import DISK_ERRORS, UserError, reason_of
from mi_classifier.progress import Progress
from mi_classifier.storage.files import hold

_MOST = 1 << 33  # bytes of a file; no set that we know is that large
_TIMEOUT = 20  # seconds without an answer
ATTEMPTS = 5  # per mirror; each one resumes where the one before broke off


def fetch(
    names: Sequence[str],
    mirrors: Sequence[str],
    directory: Path,
    check: Callable[[Path, str], None],
    remedy: str,
) -> None:
    """Download the missing ones of several files, trying each mirror in turn.

    A file appears under its name only when it is complete and has passed the check. If
    a download breaks off, its part is kept, and the next attempt resumes from there.
    Mirrors are URLs of folders, ending in "/". `check` gets a downloaded file and its
    name, and raises a `UserError` if the content is wrong. `remedy` starts the message
    if no mirror has all files.
    """
    failures = []
    for mirror in mirrors:
        try:
            for name in (n for n in names if not (directory / n).exists()):
                path = directory / name
                waiting = f"waiting for another process that downloads {name}"
                with hold(directory / f".{name}.lock", waiting=waiting):
                    if not path.exists():
                        _fetch_one(mirror + name, path, check)
            return
        # URLError is an OSError, and UserError is a ValueError.
        except (OSError, ValueError, http.client.HTTPException) as error:
            if getattr(error, "errno", None) in DISK_ERRORS:
                message = f"{directory}: cannot be written: {error.strerror}"
                raise UserError(message) from error
            failures.append(f"{mirror}: {reason_of(getattr(error, 'reason', error))}")
    raise UserError(f"{remedy}; no mirror has all files ({'; '.join(failures)})")


def _fetch_one(url: str, path: Path, check: Callable[[Path, str], None]) -> None:
    """Download a file, resuming an earlier attempt at the same URL."""
    mark = hashlib.sha256(url.encode()).hexdigest()[:8]
    part = path.with_name(f".{path.name}.{mark}.part")
    for attempt in range(1, ATTEMPTS + 1):
        start = part.stat().st_size if part.exists() else 0
        length = _append(url, part, start, path.name)
        size = part.stat().st_size
        if not length or size == length:
            break
        if size <= start or attempt == ATTEMPTS:
            raise OSError(f"{path.name} broke off after {size} of {length} bytes")
    try:
        check(part, path.name)
    except ValueError:
        part.unlink()  # resuming would not help
        raise
    part.replace(path)
    for other in path.parent.glob(f".{path.name}.*.part"):  # from other mirrors
        other.unlink()


def _append(url: str, part: Path, start: int, name: str) -> int:
    """Append what a server sends after byte `start`; return the whole file's length.

    A broken connection is no error here, because the caller compares the length.
    """
    if part.is_dir() and not part.is_symlink():
        raise UserError(f"{part}: is a folder; remove it")
    if part.is_symlink() or (part.exists() and not part.is_file()):
        part.unlink()  # the folder may be shared
        start = 0
    headers = {"Range": f"bytes={start}-"} if start else {}
    request = urllib.request.Request(url, headers=headers)
    try:
        response = urllib.request.build_opener(_WebOnly).open(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # the file is no longer than `start`
            raise
        part.unlink()
        return _append(url, part, 0, name)
    with response:
        if response.status != 206:  # it cannot resume, and sends the whole file
            start = 0
        length = int(response.headers.get("Content-Length", 0))
        total = start + length if length else 0
        with (
            part.open("ab" if start else "wb") as file,
            Progress(name, total or None, completed=start, keep=True) as progress,
            contextlib.suppress(
                http.client.IncompleteRead, TimeoutError, ConnectionError, ssl.SSLError
            ),
        ):
            while chunk := response.read(1 << 20):
                file.write(chunk)
                if file.tell() > _MOST:
                    raise UserError(f"{url}: sends more than {_MOST >> 30} GiB")
                progress.advance(len(chunk))
        return total


class _WebOnly(urllib.request.HTTPRedirectHandler):
    """Follows a server to other web addresses, and not to FTP."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if not newurl.lower().startswith(("http://", "https://")):
            raise UserError(f"leads to {newurl}, which is no web address")
        return super().redirect_request(req, fp, code, msg, headers, newurl)
