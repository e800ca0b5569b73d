"""Spread work that holds the interpreter over processes, one for each core."""

import collections
import functools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import Any

import loky
import numpy as np

# Cost from which processes pay: starting them takes as long as tracing a map at so many
# thresholds.
_LEAST = 200_000
_IDLE = 60  # seconds after which idle processes end
_pool: list[Any] = []  # the executor, if there is one
_AHEAD = 2  # calls that wait, for each process
_PARTS = 4  # for each process, so that all end at about the same time


def spread(
    function: Callable[..., np.ndarray], rows: np.ndarray, *args: Any, cost: float
) -> np.ndarray:
    """Return `function(rows, *args)`, computed on all cores if that pays.

    Args:
      function: maps rows to as many rows, each by itself. Other processes import its
        file, so it should be one that imports little.
      rows: `[N, ...]`.
      *args: further arguments.
      cost: of a row, in thresholds of a traced map of 64 x 64.

    Examples:
      >>> spread(np.square, np.arange(3), cost=1).tolist()
      [0, 1, 4]
    """
    if count() == 1 or cost * len(rows) < _LEAST:
        return function(rows, *args)
    parts = np.array_split(rows, min(_PARTS * count(), len(rows)))
    calls = [submit(function, part, *args) for part in parts]
    return np.concatenate([call.result() for call in calls])


@functools.cache
def count() -> int:
    """Return how many processes there are: one for each core."""
    return loky.cpu_count()


def submit(function: Callable[..., Any], *args: Any) -> Future:
    """Call a function in another process."""
    _pool[:] = [loky.get_reusable_executor(count(), timeout=_IDLE)]
    return _pool[0].submit(function, *args)


def in_order(function: Callable[..., Any], arguments: Iterable[tuple]) -> Iterator[Any]:
    """Yield a function's results in order, computed by the processes.

    Arguments are taken as they are needed, so that few of them are in memory.
    """
    waiting: collections.deque[Future] = collections.deque()
    for some in arguments:
        waiting.append(submit(function, *some))
        if len(waiting) > _AHEAD * count():
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def end() -> None:
    """End the processes at once, before the interpreter is left."""
    for pool in _pool:
        pool.shutdown(kill_workers=True)
    _pool.clear()
