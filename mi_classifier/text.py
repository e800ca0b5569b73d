"""Text of others, made safe for a terminal, a table and a spreadsheet."""

import contextlib
import re
import string

_LONGEST = 40  # characters of a name or a value
_JOINERS = "\u200c\u200d"  # invisible, but letters and emoji need them
_SEPARATORS = re.compile(r"([;|\t\r\n])")  # of cells, in one country or another
_INVISIBLE = string.whitespace + "\0\u00a0\u200b\ufeff"
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def printable(text: object) -> str:
    r"""Return text with control characters escaped, so that it stays on one line.

    Examples:
      >>> printable("a\n\x1b[31mb")
      'a\\n\\x1b[31mb'
    """
    return "".join(
        c if c.isprintable() or c in _JOINERS else c.encode("unicode_escape").decode()
        for c in str(text).encode("utf-8", "replace").decode()
    )


def shown(value: object) -> str:
    """Return a name or a value as a short printable text.

    Examples:
      >>> shown("bee"), len(shown("long" * 100))
      ('bee', 40)
    """
    text = printable(str(value)[: 2 * _LONGEST])
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def guarded(value: object) -> str:
    """Return text as a cell of a .csv file, which a spreadsheet may open.

    A spreadsheet runs text that starts with =, +, - or @ as a formula, unless it is a
    number; such text gets an apostrophe in front. Where cells are separated by
    semicolons, bars or tabs, it would also run what follows one, or a new line.

    Examples:
      >>> guarded("=1+1"), guarded("-1"), guarded("bee"), guarded("a;=1")
      ("'=1+1", '-1', 'bee', "a;'=1")
    """
    parts = _SEPARATORS.split(str(value))  # each second one is a separator
    parts[::2] = map(_without_formula, parts[::2])
    return "".join(parts)


def _without_formula(text: str) -> str:
    with contextlib.suppress(ValueError):
        float(text)
        return text
    return f"'{text}" if text.lstrip(_INVISIBLE).startswith(_FORMULA) else text


def tell(text: object) -> None:
    r"""Print a line to standard output; names of others in it may hold codes.

    Examples:
      >>> tell("photos: 2 classes, cat and \x1b[31mdog")
      photos: 2 classes, cat and \x1b[31mdog
    """
    print(printable(text))
