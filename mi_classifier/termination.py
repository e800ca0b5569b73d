"""End the process on Ctrl-C, SIGTERM or a closed terminal, after saving if need be."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator


class Terminated(BaseException):
    """A signal came while signals were postponed; `except Exception` lets it pass."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signal = signum


asked = 0  # the signal that came, or 0
_postponed = False


def install(leave: Callable[[int], object]) -> None:
    """Make SIGINT, SIGTERM and SIGHUP call `leave`, unless they are ignored.

    `leave` gets the signal number and ends the process without an exception: raised in
    the middle of a library, an exception may hang or be swallowed there.
    """

    def handle(signum: int, frame: object) -> None:
        global asked
        del frame
        impatient = asked == signum == signal.SIGINT
        asked = signum
        if impatient or not _postponed:
            leave(signum)
        elif signum == signal.SIGINT:  # print() here could interrupt another print()
            os.write(2, b"\nsaving the last epoch; once more to leave at once\n")

    for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # Windows has no SIGHUP
        signum = getattr(signal, name, None)
        # nohup ignores SIGHUP.
        if signum and signal.getsignal(signum) is not signal.SIG_IGN:
            signal.signal(signum, handle)


@contextlib.contextmanager
def postponed() -> Iterator[None]:
    """Make signals wait until the next call of `check`, or the end of the context."""
    global _postponed
    _postponed = True
    try:
        yield
    finally:
        _postponed = False
    check()


def check() -> None:
    """Raise `Terminated` if a signal has come in the meantime."""
    if asked:
        raise Terminated(asked)
