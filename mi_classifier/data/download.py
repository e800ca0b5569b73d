"""Downloads: several mirrors, checked before they take their name."""

import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import wrap_file

from mi_classifier.errors import UserError

_TIMEOUT = 20  # seconds without an answer


def fetch(
    names: Sequence[str],
    mirrors: Sequence[str],
    directory: Path,
    check: Callable[[Path, str], None],
) -> None:
    """Downloads what is missing of several files, trying each mirror in turn.

    A file appears under its name only once it is complete and has passed the check.

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
            directory.mkdir(parents=True, exist_ok=True)
            for name in names:
                if not (directory / name).exists():
                    _fetch_one(mirror + name, directory / name, check)
            return
        # URLError is an OSError, UserError a ValueError.
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = " ".join(str(getattr(error, "reason", error)).split())
            failures.append(f"{mirror}: {reason or type(error).__name__}")
    raise UserError("; ".join(failures))


def _fetch_one(url: str, path: Path, check: Callable[[Path, str], None]) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with (
            temporary.open("wb") as file,
            urllib.request.urlopen(url, timeout=_TIMEOUT) as response,
        ):
            length = int(response.headers.get("Content-Length", 0))
            console = Console(stderr=True)
            with wrap_file(
                response, length, description=path.name, console=console
            ) as body:
                while chunk := body.read(1 << 20):
                    file.write(chunk)
        size = temporary.stat().st_size
        if length and size != length:
            raise OSError(f"{path.name} broke off after {size} of {length} bytes")
        check(temporary, path.name)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
