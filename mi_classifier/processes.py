"""Spread work that holds the interpreter over processes, one for each core."""

import collections
import functools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import loky
import numpy as np

from mi_classifier.errors import UserError

_LEAST = 200_000  # below this cost, starting the processes takes longer than the work
_IDLE = 60  # seconds after which idle processes end
_PARTS = 4  # for each process, so that all end at about the same time
_AHEAD = 2  # calls that wait, for each process
_pool: list[Any] = []  # the executor, if there is one
_owner = os.getpid()  # a forked child inherits the executor, but not its threads


def spread(
    function: Callable[..., np.ndarray], rows: np.ndarray, *args: Any, cost: float
) -> np.ndarray:
    """Return `function(rows, *args)`, computed on all cores if that pays.

    Args:
      function: maps rows to as many rows, each by itself. Other processes import its
        file, so it should be one that imports little.
      rows: `[N, ...]`.
      *args: further arguments.
      cost: work for a row; 1 is tracing a 64 x 64 map at one threshold.

    Examples:
      >>> spread(np.square, np.arange(3), cost=1).tolist()
      [0, 1, 4]
    """
    if count() == 1 or cost * len(rows) < _LEAST:
        return function(rows, *args)
    parts = np.array_split(rows, min(_PARTS * count(), len(rows)))
    calls = [submit(function, part, *args) for part in parts]
    return np.concatenate([result(call) for call in calls])


def count() -> int:
    """Return how many processes may be used: one for each core, or this one alone."""
    if os.getpid() != _owner or multiprocessing.current_process().daemon:
        return 1
    return _cores()


@functools.cache
def _cores() -> int:
    return loky.cpu_count()


def submit(function: Callable[..., Any], *args: Any) -> Future:
    """Call a function in another process; those leave Ctrl-C to this one."""
    pool = loky.get_reusable_executor(
        count(),
        timeout=_IDLE,
        initializer=signal.signal,
        initargs=(signal.SIGINT, signal.SIG_IGN),
    )
    _pool[:] = [pool]
    # Processes that start inherit this mask. Making the pool would have unblocked it.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return pool.submit(function, *args)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def result(call: Future) -> Any:
    """Wait for a call, and return its result.

    Raises:
      UserError: its process was killed.
    """
    try:
        return call.result()
    except BrokenProcessPool as error:
        raise UserError(
            "a process was killed, perhaps because memory ran out; free memory, or set "
            "LOKY_MAX_CPU_COUNT=1 in the environment"
        ) from error


def in_order(function: Callable[..., Any], arguments: Iterable[tuple]) -> Iterator[Any]:
    """Yield a function's results in order, computed by the processes.

    Arguments are taken as they are needed, so that few of them are in memory.
    """
    waiting: collections.deque[Future] = collections.deque()
    try:
        for some in arguments:
            waiting.append(submit(function, *some))
            if len(waiting) > _AHEAD * count():
                yield result(waiting.popleft())
        while waiting:
            yield result(waiting.popleft())
    finally:
        for call in waiting:
            call.cancel()


def end() -> None:
    """End the processes at once, even from a signal handler that came in `submit`."""
    for pool in _pool:
        # In another thread, because `submit` may hold the pool's lock below us.
        ender = threading.Thread(
            target=pool.shutdown, kwargs={"kill_workers": True}, daemon=True
        )
        ender.start()
        ender.join(1)
    _pool.clear()
