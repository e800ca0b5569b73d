"""Ctrl-C, SIGTERM and a closed terminal: save what is there, and leave."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator


class Terminated(BaseException):
    """A signal came while something had to be saved first; `signal` says which."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signal = signum


_asked = 0  # the signal, if any
_postponed = False


def install(leave: Callable[[int], object]) -> None:
    """Has SIGINT, SIGTERM and SIGHUP end the process, unless they are ignored.

    Args:
      leave: called with the signal, at once, from whatever was going on, and ends the
        process without unwinding: what a kill leaves behind can be gone on with, while
        an exception in the middle of a library may hang or be lost there.
    """

    def handle(signum: int, frame: object) -> None:
        global _asked
        del frame
        impatient = _asked == signum == signal.SIGINT
        _asked = signum
        if impatient or not _postponed:
            leave(signum)
        elif signum == signal.SIGINT:  # printing here might meet printing there
            os.write(2, b"\nsaving the last epoch; once more to leave at once\n")

    for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # Windows has no SIGHUP
        signum = getattr(signal, name, None)
        if signum and signal.getsignal(signum) is not signal.SIG_IGN:  # as by nohup
            signal.signal(signum, handle)


@contextlib.contextmanager
def postponed() -> Iterator[None]:
    """Has signals wait until `check` is called, or this context is left."""
    global _postponed
    _postponed = True
    try:
        yield
    finally:
        _postponed = False
    check()


def check() -> None:
    """Raises what was postponed.

    Raises:
      Terminated: a signal came in the meantime.
    """
    if _asked:
        raise Terminated(_asked)
