"""Progress of long work, with the time that is left: a bar on a terminal, else lines.

Without a terminal, as in a notebook or a log, the first line comes after three seconds
and another one every ten, so that short work prints nothing. Of work inside of other
work, a terminal shows both, and lines tell about the outer one.
"""

import collections
import contextlib
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Self, TypeVar

from rich import progress as rich_progress
from rich.console import Console
from rich.text import Text

from mi_classifier.text import printable

T = TypeVar("T")
_FIRST = 3.0  # seconds before the first line where there is no terminal
_SECONDS = 10.0  # between two lines
quiet = False  # whether to show nothing, as in all processes of a run but the first
_open: list["Progress"] = []  # those that are shown, the outermost first


class Progress:
    """Show on standard error how far some work has come, inside of a `with` block.

    Args:
      what: describes the work.
      total: its size, in any unit; None if unknown.
      completed: how much of it is done already.
      keep: whether the bar stays on the terminal after the end.
      at_most: whether `total` is an upper bound, because the work may end early.

    Examples:
      >>> with Progress("counting", total=3) as progress:
      ...     for _ in range(3):
      ...         progress.advance()
    """

    def __init__(
        self,
        what: str,
        total: float | None,
        completed: float = 0,
        keep: bool = False,
        at_most: bool = False,
    ) -> None:
        self._what = self._text = what
        self._total, self._done = total, completed
        self._keep, self._at_most = keep, at_most
        self._started = time.monotonic()
        self._pace = Pace(completed, self._started)
        self._bar: rich_progress.Progress | None = None  # none without a terminal
        self._thread: threading.Thread | None = None  # prints lines
        self._ended, self._printed = threading.Event(), False

    def __enter__(self) -> Self:
        self._started = time.monotonic()
        self._pace = Pace(self._done, self._started)
        self._outer = _open[0] if _open else None
        _open.append(self)
        if self._outer:
            self._bar = self._outer._bar
        elif _has_terminal() and not quiet:
            self._bar = rich_progress.Progress(
                rich_progress.TextColumn("{task.description}", markup=False),
                rich_progress.BarColumn(),
                _State(),
                console=_console(),
                transient=not self._keep,
            )
            self._bar.start()
        if self._bar:
            fields = {"total": self._total, "completed": self._done, "of": self}
            self._task = self._bar.add_task(self._text, **fields)
        elif not self._outer and not quiet:
            self._thread = threading.Thread(target=self._print_lines, daemon=True)
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self._ended.set()
        _open.remove(self)
        if self._bar:
            if not self._outer:
                self._bar.stop()
            elif not self._keep:
                self._bar.remove_task(self._task)
        elif self._thread:
            self._thread.join()
            if self._printed and kind is None:
                spent = duration(time.monotonic() - self._started)
                _print(f"{self._what}: done in {spent}")

    def advance(self, amount: float = 1) -> None:
        """Add to what is done."""
        self._done += amount
        self._pace.note(self._done, time.monotonic())
        if self._bar:
            self._bar.advance(self._task, amount)

    def begin(self) -> None:
        """Forget the time so far, such as that of compiling, for what is left."""
        self._pace = Pace(self._done, time.monotonic(), is_warm=True)

    def finish(self) -> None:
        """Say that nothing is left to do, where the total was an upper bound."""
        self._total = self._done
        if self._bar:
            self._bar.update(self._task, total=self._total)

    def describe(self, text: str) -> None:
        """Show a new description; without a terminal, it comes with the next line."""
        self._text = text
        if self._bar:
            self._bar.update(self._task, description=text)
        elif self._total is not None and self._done >= self._total and not quiet:
            _print(text)

    def warn(self, text: str) -> None:
        """Print a warning above the bar."""
        if self._bar:
            self._bar.console.print(
                Text(f"warning: {text}"), highlight=False, soft_wrap=True
            )
        else:
            say(f"warning: {text}")

    def state(self) -> str:
        """Return such as "35%, about 12 s left"."""
        now = time.monotonic()
        if self._total is None:
            return f"{duration(now - self._started)} so far"
        if self._done >= self._total:
            return f"100%, {duration(now - self._started)}"
        left, is_bound = self._pace.left(self._total, now)
        share = f"{int(100 * self._done / self._total)}%"
        if left is None:
            return f"{share}, {duration(now - self._started)} so far"
        if self._at_most:
            return f"at least {share}, at most {duration(left)} left"
        return f"{share}, {'at most' if is_bound else 'about'} {duration(left)} left"

    def _print_lines(self) -> None:
        wait = _FIRST
        while not self._ended.wait(wait):
            mark = ":" if self._text == self._what else ";"
            _print(f"{self._text}{mark} {self.state()}")
            self._printed, wait = True, _SECONDS


def tracked(
    items: Iterable[T], what: str, total: int | None = None, at_most: bool = False
) -> Iterator[T]:
    """Yield items, and show how many are done.

    Args:
      items: any iterable.
      what: describes the work.
      total: number of items; by default their length.
      at_most: whether there may be fewer items than `total`.

    Examples:
      >>> list(tracked("ab", "reading letters"))
      ['a', 'b']
    """
    total = len(items) if total is None else total
    with Progress(what, total, at_most=at_most) as progress:
        for item in items:
            yield item
            progress.advance()
        progress.finish()


class Pace:
    """How fast work goes: by the later half of the time so far.

    What came before, such as compiling or finding parts done already, is forgotten.

    Args:
      done: how much is done when the work starts.
      now: when it starts, in seconds of any clock.
      is_warm: whether the first step takes no longer than others.

    Examples:
      >>> pace = Pace(0, now=0.0)
      >>> for second in range(30, 36):  # the first step took half a minute
      ...     pace.note(second - 29, now=float(second))
      >>> pace.left(total=10, now=35.0)
      (4.0, False)
    """

    def __init__(self, done: float, now: float, is_warm: bool = False) -> None:
        self._start, self._is_warm = now, is_warm
        # The first point is the last one of the earlier half, or the start.
        self._points = collections.deque([(now, done)])

    def note(self, done: float, now: float) -> None:
        """Record how much is done."""
        points = self._points
        if len(points) > 2 and now - points[-2][0] < 0.01 * (now - self._start):
            points.pop()  # 50 points to the later half are enough
        points.append((now, done))
        while len(points) > 2 and points[1][0] <= (self._start + now) / 2:
            points.popleft()

    def left(self, total: float, now: float) -> tuple[float | None, bool]:
        """Estimate the seconds that are left, None if nothing was done yet.

        The second value says whether this is a bound, because only the first step is
        known, which often takes longer than others.
        """
        points = self._points
        first_time, first = points[1] if len(points) > 2 else points[0]
        last_time, last = points[-1]
        if last <= first:
            return None, False
        ahead = (total - last) * (last_time - first_time) / (last - first)
        # Expect work that is late to need as much longer as it is late.
        left = abs(ahead - (now - last_time))
        only_first = len(points) == 2 and first_time == self._start
        return left, only_first and not self._is_warm


def duration(seconds: float) -> str:
    """Return seconds as people say them, rounded up.

    Examples:
      >>> duration(0.2), duration(119), duration(3_700), duration(90_000)
      ('1 s', '2 min', '1 h 2 min', '25 h')
    """
    whole = int(-(-seconds // 1))
    if whole < 100:
        return f"{whole} s"
    minutes = -(-whole // 60)
    if minutes < 100:
        return f"{minutes} min" if minutes < 60 else f"1 h {minutes - 60} min"
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest} min" if rest and hours < 10 else f"{hours} h"


class _State(rich_progress.ProgressColumn):
    """What `Progress.state` says, beside the bar."""

    def render(self, task: rich_progress.Task) -> Text:
        return Text(task.fields["of"].state())


def _console() -> Console:
    return Console(stderr=True)


def _has_terminal() -> bool:
    """Return whether a bar can be drawn, which FORCE_COLOR alone does not say."""
    if sys.stderr is None or sys.stderr.closed or not sys.stderr.isatty():
        return False
    console = _console()
    return console.is_terminal and not console.is_dumb_terminal


def say(text: str) -> None:
    """Print to standard error, in the first of the processes that share a run.

    Examples:
      >>> say("the file is not UTF-8; it is read as cp1252")
    """
    if not quiet:
        _print(text)


def _print(text: str) -> None:
    """Print a line at once and whole, even beside another thread's."""
    with contextlib.suppress(AttributeError, OSError, ValueError):  # closed, or none
        # Names of others may hold codes of terminals.
        lines = "\n".join(map(printable, text.split("\n")))
        sys.stderr.write(f"{lines}\n")
        sys.stderr.flush()
