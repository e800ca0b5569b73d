"""Compute by JAX's usual rules, whatever stricter ones the user has set.

In a worker that was forked after JAX had started, refuse to.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax
import numpy as np

from mi_classifier import forks

_NUMBERS = "fiubV"  # kinds of dtypes; narrow floats of other libraries are "V"
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
        jax.debug_infs(False),  # log 0 is meant
    ):
        yield


def by_usual_rules(function: F) -> F:
    """Decorate a function of arrays that computes under `usual_rules`.

    NumPy's arrays are those that JAX reads right: it would take the bytes of big-endian
    numbers for others, forget masks, and cut integers to 32 bits. In a forked worker it
    raises a `UserError`, see `forks.check`.
    """
    whole = _decorated(function, usual_rules)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        args = [_as_jax_reads(x) for x in args]
        return whole(*args, **{name: _as_jax_reads(x) for name, x in kwargs.items()})

    return call


def _as_jax_reads(value: Any) -> Any:
    """Return an array in a form that JAX reads right; all else is returned as it is."""
    if not isinstance(value, np.ndarray):
        return value
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError("masked arrays have no agreed meaning here; fill the gaps")
    if value.dtype.kind not in _NUMBERS:
        raise TypeError(f"arrays must be of real numbers, not {value.dtype}")
    if value.dtype.kind == "f" and value.dtype.itemsize > 8:
        return value.astype(np.float64)
    is_long = value.dtype.kind in "iu" and value.dtype.itemsize == 8
    if is_long and not jax.config.jax_enable_x64 and value.size:
        least, most = int(value.min()), int(value.max())
        kept = np.iinfo(np.int32 if value.dtype.kind == "i" else np.uint32)
        if least < kept.min or most > kept.max:
            raise ValueError(f"integers from {least} to {most} do not fit into 32 bits")
    return value.astype(value.dtype.newbyteorder("="), copy=False)


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
