"""Spread work that holds the interpreter over processes, one for each core."""

import functools
from collections.abc import Callable
from typing import Any

import loky
import numpy as np

# Cost from which processes pay: starting them takes as long as tracing a map at so many
# thresholds.
_LEAST = 200_000
_IDLE = 60  # seconds after which idle processes end
_pool: list[Any] = []  # the executor, if there is one
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
    count = loky.cpu_count()
    if count == 1 or cost * len(rows) < _LEAST:
        return function(rows, *args)
    parts = np.array_split(rows, min(_PARTS * count, len(rows)))
    _pool[:] = [loky.get_reusable_executor(count, timeout=_IDLE)]
    call = functools.partial(_swapped, function, args)
    return np.concatenate(list(_pool[0].map(call, parts)))


def end() -> None:
    """End the processes at once, before the interpreter is left."""
    for pool in _pool:
        pool.shutdown(kill_workers=True)
    _pool.clear()


def _swapped(
    function: Callable[..., np.ndarray], args: tuple, rows: np.ndarray
) -> np.ndarray:
    return function(rows, *args)
