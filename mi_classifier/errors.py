"""The one exception that means "the user can fix this"."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake in a flag, a config field or a file, told in one line.

    The message says what is wrong, where, and what would be right. The entry
    points print it and exit with status 2; any other exception is a bug of ours.
    """


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


def nearest(name: str, choices: Iterable[str]) -> str:
    """Returns ", did you mean 'x'?" for the nearest choice, or nothing."""
    matches = difflib.get_close_matches(str(name), list(choices), n=1, cutoff=0.5)
    return f", did you mean {matches[0]!r}?" if matches else ""
