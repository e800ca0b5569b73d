"""Read words as numbers: decimal commas, thousands, percent and currency signs."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mi_classifier.errors import UserError

_POWER = r"([eE][+-]?\d+)?"
_GROUP = r"[+-]?[1-9]\d{0,2}"  # no thousands follow a zero, so 0.123 has decimals
# What a word is; the first pattern that fits decides, and 0 is a word.
_WHOLE, _POINT, _COMMA, _POINT_MAYBE, _COMMA_MAYBE = 1, 2, 3, 4, 5
_PATTERNS = (
    (_WHOLE, rf"[+-]?\d+{_POWER}|[+-]?(?i:inf|infinity)"),
    (_POINT_MAYBE, rf"{_GROUP}\.\d{{3}}"),  # 1.234 may be 1234
    (_COMMA_MAYBE, rf"{_GROUP},\d{{3}}"),
    (_POINT, rf"[+-]?(\d+\.\d*|\.\d+){_POWER}"),
    (_COMMA, rf"[+-]?(\d+,\d*|,\d+){_POWER}"),
    (_POINT, rf"{_GROUP}(,\d{{3}})+\.\d*|{_GROUP}(,\d{{3}}){{2,}}"),
    (_COMMA, rf"{_GROUP}(\.\d{{3}})+,\d*|{_GROUP}(\.\d{{3}}){{2,}}"),
)
_BLANKS = "[ '\u2019\u00a0\u2009\u202f]"
_SPACED = rf"^{_GROUP}({_BLANKS}\d{{3}})+([.,]\d*)?$"
_BLANK = r"[\s\x{a0}\x{202f}]*"  # spreadsheets write signs after a no-break space
_SIGNS = (
    ("%", rf"{_BLANK}%$"),
    *((c, rf"^[{c}]{_BLANK}|{_BLANK}[{c}]$") for c in "$€£¥"),
)
# A column of numbers with so few words has errors in it, and is no category. Tables
# have fewer errors than one cell in twenty, and a category with words has more of them.
_FEW = 0.05


@dataclasses.dataclass(frozen=True)
class Spelled:
    """Different words of a column, and which of them spell numbers."""

    text: pa.Array  # without signs and blanks inside
    kinds: np.ndarray
    sign: str = ""  # "%" or a currency that every word has

    def mark(self, where: str) -> str:
        """Return the decimal mark, "." or ",", or "" if nothing tells it.

        Raises:
          UserError: some words have a decimal comma, and others a decimal point.
        """
        marks = {_POINT: ".", _COMMA: ","}
        found = {marks[kind]: self._first(kind) for kind in marks if self.has(kind)}
        if len(found) == 2:
            raise UserError(
                f"{where}: {found['.']!r} has a decimal point, and {found[',']!r} a "
                "decimal comma; write all numbers in one way"
            )
        return next(iter(found), "")

    def has(self, *kinds: int) -> bool:
        """Return whether a word is of one of the kinds."""
        return bool(np.isin(self.kinds, kinds).any())

    def numbers(self, mark: str, where: str) -> np.ndarray:
        """Return float64 `[N]` numbers with this decimal mark.

        Raises:
          UserError: the mark is unknown, and decides between 1234 and 1.234.
        """
        if not mark and self.has(_COMMA_MAYBE):
            word = self._first(_COMMA_MAYBE)
            raise UserError(
                f"{where}: {word!r} may be {word.replace(',', '')} or "
                f"{word.replace(',', '.')}; write it without a comma"
            )
        text, other = self.text, "." if mark == "," else ","
        if self.has(_COMMA, _COMMA_MAYBE) or mark == ",":
            text = pc.replace_substring(text, other, "")
            text = pc.replace_substring(text, ",", ".")
        elif self.has(_POINT) or mark:
            text = pc.replace_substring(text, ",", "")
        values = pc.cast(text, pa.float64()).to_numpy(zero_copy_only=False)
        return values / 100 if self.sign == "%" else values

    def are_numbers(self, counts: np.ndarray) -> bool:
        """Return whether the column holds numbers, given how often each word occurs."""
        return not self.odd_one(counts) and bool(self.kinds.all())

    def odd_one(self, counts: np.ndarray) -> int | None:
        """Return the index of a word that is an error among numbers, or None.

        Words among numbers are an error if they are few, or if numbers with decimals
        are half of the cells. Otherwise all are words, such as the sizes 38, 40 and XL.
        """
        number = self.kinds > 0
        if number.all() or not number.any():
            return None
        words, total = counts[~number].sum(), counts.sum()
        decimals = self.has(_POINT, _COMMA, _POINT_MAYBE, _COMMA_MAYBE)
        if words <= max(_FEW * total, 1) or (decimals and 2 * words <= total):
            return int(np.flatnonzero(~number)[0])
        return None

    def _first(self, kind: int) -> str:
        return self.text[int(np.argmax(self.kinds == kind))].as_py()


def look(words: pa.Array | Sequence[str]) -> Spelled:
    """Look which words spell numbers.

    Args:
      words: without blanks around them, and none missing.

    Examples:
      >>> spelled = look(["1.234,5", "7", "-0,25"])
      >>> spelled.mark("column 'a'")
      ','
      >>> spelled.numbers(",", "column 'a'").tolist()
      [1234.5, 7.0, -0.25]
    """
    text = pa.array(words, pa.string()) if not isinstance(words, pa.Array) else words
    kinds, sign = _kinds(text), ""
    if not kinds.all():
        text, sign = _without_signs(text)
        kinds = _kinds(text)
    return Spelled(text, kinds, sign)


def _kinds(text: pa.Array) -> np.ndarray:
    kinds = np.zeros(len(text), np.int8)
    for kind, pattern in _PATTERNS:
        if kinds.all():
            break
        fits = pc.match_substring_regex(text, f"^({pattern})$")
        kinds[(kinds == 0) & fits.to_numpy(zero_copy_only=False).astype(bool)] = kind
    return kinds


def _without_signs(text: pa.Array) -> tuple[pa.Array, str]:
    """Leave out blanks between thousands, and a sign that all words have."""
    found = ""
    text = pc.replace_substring(text, "\u2212", "-")  # the minus sign of typography
    for sign, pattern in _SIGNS:
        if pc.all(pc.match_substring(text, sign)).as_py():
            text, found = pc.replace_substring_regex(text, pattern, ""), sign
    spaced = pc.match_substring_regex(text, _SPACED)
    joined = pc.replace_substring_regex(text, _BLANKS, "")
    return pc.if_else(spaced, joined, text), found
