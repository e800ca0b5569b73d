"""Spread work that holds the interpreter over processes, one for each core.

Pools of the standard library and of others share semaphores, and their processes get
Ctrl-C too, so an interrupted command may hang or print tracebacks. Ours know a pipe
alone: they live in a session of their own, and end when the pipe does, however the
command ends. They start anew, without a fork, so that JAX's threads do no harm.
"""

import collections
import functools
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from mi_classifier.errors import UserError

_LEAST = 200_000  # below this cost, starting the processes takes longer than the work
_PARTS = 4  # for each process, so that all end at about the same time
_AHEAD = 2  # calls that wait, for each process
_owner = os.getpid()  # a forked child inherits the pipes, which are its parent's
_of_thread = threading.local()  # the process that a thread of the pool talks to
_all: list[subprocess.Popen] = []


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
    return np.concatenate([call.result() for call in calls])


def count() -> int:
    """Return how many processes may be used: one for each core, or this one alone."""
    if os.getpid() != _owner:
        return 1
    if hasattr(os, "sched_getaffinity"):  # the cores that this process may use
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def submit(function: Callable[..., Any], *args: Any) -> Future:
    """Call a function in another process.

    The result raises what the function raises, or a `UserError` if the process was
    killed.
    """
    return _threads().submit(_call, function, args)


def in_order(function: Callable[..., Any], arguments: Iterable[tuple]) -> Iterator[Any]:
    """Yield a function's results in order, computed by the processes.

    Arguments are taken as they are needed, so that few of them are in memory.
    """
    waiting: collections.deque[Future] = collections.deque()
    try:
        for some in arguments:
            waiting.append(submit(function, *some))
            if len(waiting) > _AHEAD * count():
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for call in waiting:
            call.cancel()


def end() -> None:
    """End the processes at once."""
    for process in _all:
        process.kill()


@functools.cache
def _threads() -> ThreadPoolExecutor:
    """Return threads that each wait for a process of their own."""
    return ThreadPoolExecutor(count(), thread_name_prefix="mi_classifier")


def _call(function: Callable[..., Any], args: tuple) -> Any:
    process = getattr(_of_thread, "process", None) or _start()
    try:
        pickle.dump((function, args), process.stdin, pickle.HIGHEST_PROTOCOL)
        process.stdin.flush()
        done, answer = pickle.load(process.stdout)
    except (OSError, EOFError, pickle.UnpicklingError) as error:
        process.kill()
        _of_thread.process = None
        raise UserError(
            "a process was killed, perhaps because memory ran out; free memory"
        ) from error
    if done:
        return answer
    raise answer


def _start() -> subprocess.Popen:
    program = f"import sys; sys.path[:] = {sys.path!r}; "
    program += f"from {__name__} import _serve; _serve()"
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    _of_thread.process = process
    _all.append(process)
    return process


def _serve() -> None:
    """Answer calls, in such a process, until standard input ends."""
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a function prints is no answer
    while True:
        try:
            function, args = pickle.load(source)
        except EOFError:
            return
        try:
            answer = True, function(*args)
        except Exception as error:  # noqa: BLE001, raised where the call was made
            answer = False, error
        try:
            pickle.dump(answer, sink, pickle.HIGHEST_PROTOCOL)
            sink.flush()
        except OSError:  # nobody waits any more
            os._exit(0)
