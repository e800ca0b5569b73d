"""Progress of long work: a bar on a terminal, an occasional line elsewhere."""

import time
from collections.abc import Iterable, Iterator
from typing import Self, TypeVar

from rich import progress as rich_progress
from rich.console import Console

T = TypeVar("T")
_SECONDS = 10  # between two lines where there is no terminal


class Progress:
    """Show on standard error how far some work has come, inside of a `with` block.

    Args:
      what: describes the work.
      total: its size, in any unit; None if unknown.
      completed: how much of it is done already.
      keep: whether the bar stays on the terminal after the end.

    Examples:
      >>> with Progress("counting", total=3) as progress:
      ...     for _ in range(3):
      ...         progress.advance()
    """

    def __init__(
        self, what: str, total: float | None, completed: float = 0, keep: bool = False
    ) -> None:
        self._console = Console(stderr=True)
        self._bar = rich_progress.Progress(
            console=self._console,
            transient=not keep,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task(what, total=total, completed=completed)
        self._printed = time.monotonic()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.stop()

    def advance(self, amount: float = 1) -> None:
        """Add to what is done."""
        self._bar.advance(self._task, amount)

    def describe(self, text: str) -> None:
        """Show a new description; without a terminal, print one every ten seconds."""
        self._bar.update(self._task, description=text)
        due = time.monotonic() - self._printed >= _SECONDS
        if not self._console.is_terminal and (self._bar.finished or due):
            self._console.print(text, highlight=False, soft_wrap=True)
            self._printed = time.monotonic()

    def warn(self, text: str) -> None:
        """Print a warning above the bar."""
        self._console.print(f"warning: {text}", highlight=False, soft_wrap=True)


def tracked(items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
    """Yield items, and show on a terminal how many are done.

    Args:
      items: any iterable.
      what: describes the work.
      total: number of items; by default their length.

    Examples:
      >>> list(tracked("ab", "reading letters"))
      ['a', 'b']
    """
    with Progress(what, len(items) if total is None else total) as progress:
        for item in items:
            yield item
            progress.advance()
