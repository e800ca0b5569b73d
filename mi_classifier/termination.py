"""SIGTERM, as before a machine is taken away: save what is there, and leave."""

import contextlib
import signal
from collections.abc import Callable, Iterator


class Terminated(BaseException):
    """SIGTERM came while something had to be saved first."""


_asked = False
_postponed = False


def install(leave: Callable[[], object]) -> None:
    """Has SIGTERM end the process.

    Args:
      leave: called at once, from whatever was going on, and ends the process without
        unwinding: what a kill leaves behind can be gone on with, while an exception in
        the middle of a library may hang.
    """

    def handle(signum: int, frame: object) -> None:
        global _asked
        del signum, frame
        _asked = True
        if not _postponed:
            leave()

    signal.signal(signal.SIGTERM, handle)


@contextlib.contextmanager
def postponed() -> Iterator[None]:
    """Has SIGTERM wait until `check` is called, or this context is left."""
    global _postponed
    _postponed = True
    try:
        yield
        check()
    finally:
        _postponed = False


def check() -> None:
    """Raises what was postponed.

    Raises:
      Terminated: SIGTERM came in the meantime.
    """
    if _asked:
        raise Terminated
