"""Say what may be wrong with the words of a column: odd ones, doubtful ones."""

from collections.abc import Sequence

import numpy as np

from mi_classifier.data.spelled_dates import Dates
from mi_classifier.data.spelled_numbers import FEW, Spelled

_MANY = 10  # different words; fewer are 0/1 inputs that lose nothing


def odd_word(
    spelled: Spelled, dates: Dates, counts: np.ndarray
) -> tuple[int, str] | None:
    """Return the index of a word among numbers or dates, and what the others are."""
    if (odd := spelled.odd_one(counts)) is not None:
        return odd, spelled.called
    if (odd := dates.odd_one(counts, FEW)) is not None:
        return odd, dates.kind.removesuffix("s")
    return None


def same_number(name: str, one: str, other: str) -> str:
    """Return the note for two words of a column that are read as one number."""
    return (
        f"{name}: {one!r} and {other!r} are read as the same number; if they are "
        "names, write a letter before each"
    )


def ends_in_zero(name: str, word: str) -> str:
    """Return the note for a number like 3.10 beside 3.9, which may be a version."""
    return (
        f"{name}: {word!r} is read as the number {float(word):g}; if it is a version "
        "or a name, write a letter before each"
    )


def words_note(name: str, words: Sequence[str], doubt: str) -> str:
    """Return a note if the words of a column have an order that nobody sees.

    Args:
      name: such as "column 'b'".
      words: the different ones.
      doubt: what cannot be told if they are dates, see `Dates`.
    """
    if len(words) <= _MANY:
        return ""
    read = f"{name} is read as {len(words):,} words without an order"
    if doubt:
        return f"{read}, for {words[0]!r} {doubt}"
    measures = [word for word in words if any(map(str.isdecimal, word))]
    if 2 * len(measures) > len(words):
        advice = "numbers must have no units, and dates the form 2020-12-31"
        if measures[0][0].isalpha():
            advice = "if they name subjects, give these as groups="
        return f"{read}, such as {measures[0]!r}; {advice}"
    return ""
