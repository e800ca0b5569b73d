"""Mistakes that the user can fix, told in one line."""

import contextlib
import difflib
import errno
import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

# The disk is full, over quota, read-only, not ours or broken. A traceback explains none
# of these.
DISK_ERRORS = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EIO,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
)


class UserError(ValueError):
    """A mistake in a flag, a config field or a file, told in one line.

    The message says where it is, what is wrong, and what to do. The entry points print
    it and exit with status 2. Any other exception is a bug of ours.
    """

    def __init__(self, message: str) -> None:
        # A value in the message may have several lines.
        super().__init__(" ".join(map(str.strip, message.strip().splitlines())))


def reason_of(error: BaseException) -> str:
    """Returns the message of an exception in one line, or else the name of its type."""
    return " ".join(str(error).split()) or type(error).__name__


@contextlib.contextmanager
def disk_errors_told(path: Path | str, action: str) -> Iterator[None]:
    """Turns an `OSError` into a `UserError` of one line.

    Args:
      path: the file or folder in use; it starts the message.
      action: "read" or "written".

    Raises:
      UserError: the body raised an `OSError`.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or reason_of(error)
        raise UserError(f"{path}: cannot be {action}: {reason}") from error


def choose(name: str, choices: Iterable[str], what: str) -> str:
    """Returns `name` if it is among `choices`.

    Args:
      name: the user's word.
      choices: all allowed words.
      what: the field or flag that the word is for, such as "data.name"; it starts the
        message.

    Raises:
      UserError: the word is unknown; the message names the nearest one and all of them.
    """
    choices = list(choices)
    if name in choices:
        return name
    raise UserError(
        f"{what}: unknown value {name!r}{nearest(name, choices)}; "
        f"choose from {', '.join(choices)}"
    )


def choose_nearest(name: str, choices: Sequence[str], what: str) -> int:
    """Returns the index of a class among many class names.

    Args:
      name: the user's word.
      choices: all class names.
      what: the flag that the word is for, such as "--label"; it starts the message.

    Raises:
      UserError: the class is unknown; the message names up to five that contain the
        word, or else the nearest ones.
    """
    if name in choices:
        return list(choices).index(name)
    folded = {choice.casefold(): choice for choice in choices}
    word = name.casefold()
    matches = [choice for key, choice in folded.items() if word in key]
    close = difflib.get_close_matches(word, folded, n=5, cutoff=0.4)
    if matches := matches[:5] or [folded[key] for key in close]:
        raise UserError(f"{what}: no class {name!r}; the nearest: {', '.join(matches)}")
    some = ", ".join(list(choices)[:5])
    raise UserError(f"{what}: no class {name!r} among {len(choices)}, such as {some}")


def nearest(name: str, choices: Iterable[str]) -> str:
    """Returns ", did you mean 'x'?" for the nearest choice, or nothing."""
    matches = difflib.get_close_matches(str(name), list(choices), n=1, cutoff=0.5)
    return f", did you mean {matches[0]!r}?" if matches else ""


def check_options(
    function: Callable[..., Any], options: Mapping[str, Any], where: str
) -> None:
    """Checks that `function(**options)` is a valid call.

    Args:
      function: takes the options.
      options: values by parameter name.
      where: the config group of the options, such as "data"; it starts the message.

    Raises:
      UserError: an option is unknown, missing, or not of the type of its annotation
        (checked for bool, int, str and float).
    """
    parameters = inspect.signature(function).parameters
    for name, value in options.items():
        if name not in parameters:
            known = f"; there are {', '.join(parameters)}"
            hint = nearest(name, parameters) or known
            raise UserError(f"{where}.{name}: no such option here{hint}")
        wanted = parameters[name].annotation
        if wanted in (bool, int, str) and type(value) is not wanted:
            raise UserError(f"{where}.{name}: must be {wanted.__name__}, not {value!r}")
        if wanted is float:
            check_number(value, f"{where}.{name}")
    for name, parameter in parameters.items():
        required = parameter.default is inspect.Parameter.empty
        named = parameter.kind is not inspect.Parameter.VAR_KEYWORD
        if required and named and name not in options:
            raise UserError(f"{where}.{name}: missing")


def check_number(value: object, what: str) -> None:
    """Checks that a value is a finite number.

    Raises:
      UserError: it is not.
    """
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not math.isfinite(value):
        raise UserError(f"{what}: must be a number, not {value!r}")
