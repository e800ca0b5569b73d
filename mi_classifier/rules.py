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


@contextlib.contextmanager
def usual_results() -> Iterator[None]:
    """Compute with 32 bits and with JAX's default random numbers, by `usual_rules`.

    So a seed decides everything. This is for whole computations, such as a training. A
    function that may be a part of the user's own program follows its switches.

    Examples:
      >>> with jax.enable_x64(True), usual_results():
      ...     jax.numpy.zeros(1).dtype
      dtype('float32')
    """
    with (
        usual_rules(),
        jax.enable_x64(False),
        jax.default_prng_impl("threefry2x32"),
        jax.threefry_partitionable(True),
    ):
        yield


def by_usual_rules(function: F) -> F:
    """Decorate a function that computes under `usual_rules`.

    In a forked worker it raises a `UserError`, see `forks.check`.
    """
    return _decorated(function, usual_rules)


def with_usual_results(function: F) -> F:
    """Decorate a whole computation under `usual_results`; else as `by_usual_rules`."""
    return _decorated(function, usual_results)


def _decorated(
    function: F, rules: Callable[[], contextlib.AbstractContextManager]
) -> F:

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        forks.check()
        with rules():
            return function(*args, **kwargs)

    return call
