"""The one exception that means "the user can fix this"."""

import difflib
import errno
import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

# A disk that is full, over quota, read-only, not ours or broken: nothing that a
# traceback explains.
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

    The message says what is wrong, where, and what would be right. The entry
    points print it and exit with status 2; any other exception is a bug of ours.
    """

    def __init__(self, message: str) -> None:
        # A value that is shown may have several lines.
        super().__init__(" ".join(map(str.strip, message.strip().splitlines())))


def choose(name: str, choices: Iterable[str], what: str) -> str:
    """Returns `name` if it is among `choices`.

    Args:
      name: the user's word.
      choices: the words there are.
      what: what the word stands for, for the message: "data.name", "model".

    Raises:
      UserError: naming the nearest choice and all of them.
    """
    choices = list(choices)
    if name in choices:
        return name
    raise UserError(
        f"{what}: unknown value {name!r}{nearest(name, choices)}; "
        f"choose from {', '.join(choices)}"
    )


def choose_nearest(name: str, choices: Sequence[str], what: str) -> int:
    """Returns the index of `name` among many choices.

    Args:
      name: the user's word.
      choices: the words there are.
      what: what the word stands for, for the message: "--label".

    Raises:
      UserError: naming the choices that contain it, or else the nearest.
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
    """Checks that `function(**options)` is a call that the function takes.

    Args:
      function: whose parameters the options are.
      options: values by name.
      where: what the names belong to, for the message: "data", "model".

    Raises:
      UserError: an unknown option, one that is missing, or one of another type than
        the plain type that annotates it.
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
      UserError: anything else.
    """
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not math.isfinite(value):
        raise UserError(f"{what}: must be a number, not {value!r}")
