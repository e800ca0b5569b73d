"""End the process on Ctrl-C, SIGTERM or a closed terminal, after saving if need be.

A thread answers signals. The main thread could not: Python lets it handle them between
two of its own instructions only, and compiling a large net takes XLA a minute.
"""

import contextlib
import os
import signal
import socket
import threading
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
    answered = []
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # Windows has no SIGHUP
        signum = getattr(signal, name, None)
        # nohup ignores SIGHUP.
        if signum and signal.getsignal(signum) is not signal.SIG_IGN:
            signal.signal(signum, lambda signum, frame: None)
            answered.append(signum)
    ours, pythons = socket.socketpair()
    pythons.setblocking(False)
    # Python writes the number of each signal to it, until the process ends.
    signal.set_wakeup_fd(pythons.detach(), warn_on_full_buffer=False)
    arguments = (ours, answered, leave)
    threading.Thread(target=_answer, args=arguments, daemon=True).start()


def _answer(
    ours: socket.socket, answered: list[int], leave: Callable[[int], object]
) -> None:
    global asked
    while number := ours.recv(1):
        signum = number[0]
        if signum not in answered:
            continue
        impatient = asked == signum == signal.SIGINT
        asked = signum
        if impatient or not _postponed:
            leave(signum)
        elif signum == signal.SIGINT:  # print() may wait for a print() elsewhere
            with contextlib.suppress(OSError):  # nobody reads it, or the disk is full
                os.write(2, b"\nsaving the work so far; once more to leave at once\n")


@contextlib.contextmanager
def postponed() -> Iterator[None]:
    """Make signals wait until the next call of `check`, or the end of the context."""
    with _set_postponed(True):
        yield
    check()


@contextlib.contextmanager
def at_once() -> Iterator[None]:
    """Let signals end the process at once for a while, inside of `postponed`."""
    with _set_postponed(False):
        check()
        yield


@contextlib.contextmanager
def _set_postponed(value: bool) -> Iterator[None]:
    global _postponed
    before, _postponed = _postponed, value
    try:
        yield
    finally:
        _postponed = before


def check() -> None:
    """Raise `Terminated` if a signal has come in the meantime."""
    if asked:
        raise Terminated(asked)
