"""A progress bar on a terminal, and silence elsewhere."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import track

T = TypeVar("T")


def tracked(items: Iterable[T], what: str) -> Iterator[T]:
    """Yields items, with a bar on standard error that vanishes at the end.

    Args:
      items: of known length.
      what: is done with them, for the bar.
    """
    console = Console(stderr=True)
    yield from track(
        items,
        what,
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
