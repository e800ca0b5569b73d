"""End the process on Ctrl-C, SIGTERM or a closed terminal, after saving if need be."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator


class Terminated(BaseException):
    """A signal asked the process to end while it was postponed; `signal` is its number.

    A `BaseException`, so that `except Exception` does not swallow it.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signal = signum


asked = 0  # the signal that came, or 0
_postponed = False


def install(leave: Callable[[int], object]) -> None:
    """Makes SIGINT, SIGTERM and SIGHUP end the process, unless they are ignored.

    Args:
      leave: ends the process without unwinding the stack; gets the signal number. A
        killed run can always be resumed, but an exception raised in the middle of a
        library may hang or be swallowed there.
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
        if (
            signum and signal.getsignal(signum) is not signal.SIG_IGN
        ):  # nohup ignores it
            signal.signal(signum, handle)


@contextlib.contextmanager
def postponed() -> Iterator[None]:
    """Makes signals wait until the next call of `check`, or the end of the context."""
    global _postponed
    _postponed = True
    try:
        yield
    finally:
        _postponed = False
    check()


def check() -> None:
    """Raises `Terminated` if a signal has come in the meantime."""
    if asked:
        raise Terminated(asked)
