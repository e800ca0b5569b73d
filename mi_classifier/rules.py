"""Compute by JAX's usual rules, whatever stricter ones the user has set.

In a worker that was forked after JAX had started, refuse to.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax

from mi_classifier import forks

F = TypeVar("F", bound=Callable[..., Any])


@contextlib.contextmanager
def usual_rules() -> Iterator[None]:
    """Promote dtypes and ranks, and move arrays to the device, as JAX does by default.

    Examples:
      >>> with jax.numpy_rank_promotion("raise"), usual_rules():
      ...     (jax.numpy.ones((2, 3)) + jax.numpy.ones(3)).shape
      (2, 3)
    """
    with (
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
        jax.transfer_guard("allow"),
    ):
        yield


def by_usual_rules(function: F) -> F:
    """Decorate a function that computes under `usual_rules`.

    In a forked worker it raises a `UserError`, see `forks.check`.
    """

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        forks.check()
        with usual_rules():
            return function(*args, **kwargs)

    return call
