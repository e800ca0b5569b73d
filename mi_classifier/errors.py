"""Mistakes that the user can fix, told in one line."""

import collections
import contextlib
import difflib
import inspect
import math
import numbers
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from errno import EACCES, EDQUOT, EFBIG, EIO, ENAMETOOLONG, ENOSPC, EPERM, EROFS
from pathlib import Path
from typing import Any

from mi_classifier.text import printable

# The disk is full, over quota, read-only, not ours or broken, or a name is too long for
# it. A traceback explains none of these.
DISK_ERRORS = (ENOSPC, EDQUOT, EFBIG, EIO, EROFS, EACCES, EPERM, ENAMETOOLONG)


class UserError(ValueError):
    """A mistake in a flag, a config field or a file, told in one line.

    The message says where it is, what is wrong, and what to do. The entry points print
    it and exit with status 2. Any other exception is a bug of ours.
    """

    def __init__(self, message: str) -> None:
        # A value in the message may have several lines, or codes of terminals.
        lines = map(str.strip, message.strip().splitlines())
        super().__init__(printable(" ".join(lines)))


def reason_of(error: BaseException) -> str:
    """Return the message of an exception in one line, or else the name of its type."""
    return " ".join(str(error).split()) or type(error).__name__


@contextlib.contextmanager
def disk_errors_told(path: Path | str, action: str) -> Iterator[None]:
    """Turn an `OSError` into a `UserError`; `action` is "read" or "written"."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or reason_of(error)
        raise UserError(f"{path}: cannot be {action}: {reason}") from error


def as_path(value: Any, what: str) -> Path:
    """Return a path; `what` is the argument that it is for."""
    try:
        return Path(value)
    except TypeError:
        raise UserError(f"{what}: must be a path, not {value!r}") from None


def choose(name: str, choices: Iterable[str], what: str) -> str:
    """Return `name` if it is a choice; `what` is the field or flag that it is for."""
    choices = list(choices)
    if isinstance(name, str) and name in choices:
        return name
    hint = nearest(name, choices)
    known = f"choose from {', '.join(choices)}" if choices else "there are none"
    raise UserError(f"{what}: unknown value {name!r}{hint}; {known}")


def choose_nearest(name: str, choices: Sequence[str], what: str) -> int:
    """Return the index of a class; the error for an unknown one names similar ones."""
    if name in choices:
        return choices.index(name)
    folded = {choice.casefold(): choice for choice in choices}
    word = name.casefold()
    similar = [key for key in folded if word in key][:5]
    similar = similar or difflib.get_close_matches(word, folded, n=5, cutoff=0.4)
    hint = f"; the nearest: {', '.join(folded[key] for key in similar)}"
    if not similar:
        hint = f" among {len(choices)}, such as {', '.join(choices[:5])}"
    raise UserError(f"{what}: no class {name!r}{hint}")


def nearest(name: str, choices: Iterable[str]) -> str:
    """Return ", did you mean 'x'?" for the nearest choice, or nothing."""
    matches = difflib.get_close_matches(str(name), list(choices), n=1, cutoff=0.5)
    return f", did you mean {matches[0]!r}?" if matches else ""


def check_options(
    function: Callable[..., Any], options: Mapping[str, Any], where: str
) -> None:
    """Check that `function(**options)` is a valid call: all names, and simple types.

    `where` is the config group of the options, such as "data". Simple types are bool,
    int, str and float.
    """
    parameters = dict(inspect.signature(function).parameters)
    rest = [n for n, p in parameters.items() if p.kind is p.VAR_KEYWORD]
    for name in rest:  # takes any option
        del parameters[name]
    for name, value in options.items():
        if name not in parameters:
            if rest:
                continue
            known = (
                f"there are {', '.join(parameters)}" if parameters else "it has none"
            )
            hint = nearest(name, parameters) or f"; {known}"
            raise UserError(f"{where}.{name}: no such option here{hint}")
        wanted = parameters[name].annotation
        if wanted is float:
            check_number(value, f"{where}.{name}")
        elif wanted in (bool, int, str) and type(value) is not wanted:
            raise UserError(f"{where}.{name}: must be {wanted.__name__}, not {value!r}")
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and name not in options:
            raise UserError(f"{where}.{name}: missing")


def options_of(function: Callable[..., Any] | None, given: int = 0) -> dict[str, Any]:
    """Return the parameters after the first `given`, with their defaults or None."""
    parameters = inspect.signature(function).parameters.values() if function else ()
    return {
        p.name: None if p.default is p.empty else p.default
        for p in list(parameters)[given:]
        if p.kind is not p.VAR_KEYWORD
    }


def check_number(value: object, what: str) -> None:
    """Check that a value is a finite number."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not math.isfinite(value):
        raise UserError(f"{what}: must be a number, not {value!r}")


def check_whole(value: object, what: str, least: int = 0) -> int:
    """Return a whole number as an int, or raise a UserError.

    Examples:
      >>> check_whole(3, "seed")
      3
    """
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not whole or value < least:
        raise UserError(f"{what}: must be a whole number >= {least}, not {value!r}")
    return int(value)


def check_different(names: Sequence[str], what: str) -> None:
    """Refuse names that occur twice."""
    for name, count in collections.Counter(names).items():
        if count > 1:
            raise UserError(f"{what}: {name!r} is there {count} times; names differ")
