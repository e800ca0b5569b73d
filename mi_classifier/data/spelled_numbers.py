"""Read words as numbers: decimal commas, thousands, percent and currency signs."""

import dataclasses
import decimal
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mi_classifier.errors import UserError

_POWER = r"([eE][+-]?\d+)?"
_GROUP = r"[+-]?[1-9]\d{0,2}"  # no thousands follow a zero, so 0.123 has decimals
# What a word is; the first pattern that fits decides, and 0 is a word.
_WHOLE, _POINT, _COMMA, _POINT_MAYBE, _COMMA_MAYBE, _COMMAS, _POINTS = range(1, 8)
_PATTERNS = (
    (_WHOLE, rf"[+-]?\d+{_POWER}|[+-]?(?i:inf|infinity)"),
    (_POINT_MAYBE, rf"{_GROUP}\.\d{{3}}"),  # 1.234 may be 1234
    (_COMMA_MAYBE, rf"{_GROUP},\d{{3}}"),
    # 01.2000 is a month, or a name: nobody writes numbers with decimals so.
    (_POINT, rf"[+-]?((0|[1-9]\d*)\.\d*|\.\d+){_POWER}"),
    (_COMMA, rf"[+-]?((0|[1-9]\d*),\d*|,\d+){_POWER}"),
    (_POINT, rf"{_GROUP}(,\d{{3}})+\.\d*|[+-]?\d{{1,2}}(,\d{{2}})+,\d{{3}}(\.\d*)?"),
    (_COMMA, rf"{_GROUP}(\.\d{{3}})+,\d*"),
    (_COMMAS, rf"{_GROUP}(,\d{{3}}){{2,}}"),  # thousands, but no decimals
    (_POINTS, rf"{_GROUP}(\.\d{{3}}){{2,}}"),
)
_BLANKS = "[ '\u2019\u00a0\u2009\u202f]"
_SPACED = rf"^{_GROUP}({_BLANKS}\d{{3}})+([.,]\d*)?$"
_BLANK = r"[\s\x{a0}\x{202f}]*"  # spreadsheets write signs after a no-break space
_NEGATIVE = r"^\(([^()]*\d[^()]*)\)$"  # as accountants write a minus
_CURRENCIES = (*(r"\$", "€", "£", "¥"), *("USD", "EUR", "GBP", "CHF", "JPY", "CNY"))
_SIGNS = (
    ("%", rf"{_BLANK}%$", ""),
    *((c, rf"^([+-]?){c}{_BLANK}|{_BLANK}{c}$", r"\1") for c in _CURRENCIES),
)
# A column of numbers with so few words has errors in it, and is no category. Tables
# have fewer errors than one cell in twenty, and a category with words has more of them.
FEW = 0.05
_EXACT = 2.0**53  # a float64 holds every whole number up to here


class Way(NamedTuple):
    """What the numbers of a column are, and in which way words write them."""

    kind: str = "numbers"  # or "percentages", "dates", "times" and "durations"
    mark: str = ""  # the decimal mark, "." or ",", or nothing if there is none
    sign: str = ""  # "%" or a currency that words have
    day_first: bool | None = None  # of dates, if the day or the month comes first


@dataclasses.dataclass(frozen=True)
class Spelled:
    """Different words of a column, and which of them spell numbers."""

    text: pa.Array  # without signs and blanks inside
    kinds: np.ndarray
    sign: str = ""  # "%" or a currency that every word has

    @property
    def called(self) -> str:
        """What an error calls such a number."""
        return f"number with {self.sign}" if self.sign else "number"

    def mark(self, where: str) -> str:
        """Return the decimal mark, "." or ",", or "" if nothing tells it.

        Raises:
          UserError: some words have a decimal comma, and others a decimal point.
        """
        return self._mark({_POINT: ".", _COMMA: ",", _COMMAS: ".", _POINTS: ","}, where)

    def decimal_mark(self, where: str) -> str:
        """Return what `mark` does, but only if a word has decimals."""
        return self._mark({_POINT: ".", _COMMA: ","}, where)

    def _mark(self, marks: Mapping[int, str], where: str) -> str:
        found = {marks[kind]: self._first(kind) for kind in marks if self.has(kind)}
        if len(found) == 2:
            raise UserError(
                f"{where}: {found['.']!r} has a decimal point, and {found[',']!r} a "
                "decimal comma; write all numbers in one way"
            )
        return next(iter(found), "")

    def way(self, where: str, known: Way | None = None) -> Way:
        """Return in which way the words are written: the known one, if they can be.

        Raises:
          UserError: the words have another mark or sign than the known way.
        """
        kind = "percentages" if self.sign == "%" else "numbers"
        own = Way(kind, self.mark(where), self.sign)
        if known is None or known.kind != kind:
            return own
        if own.sign != known.sign or {own.mark, known.mark} == {".", ","}:
            raise UserError(
                f"{where}: numbers are written in another way than in the fit, such as "
                f"{self.text[0].as_py() + own.sign!r}; write them in the same way"
            )
        return own._replace(mark=known.mark or own.mark)

    def has(self, *kinds: int) -> bool:
        """Return whether a word is of one of the kinds."""
        return bool(np.isin(self.kinds, kinds).any())

    def numbers(self, mark: str, where: str) -> np.ndarray:
        """Return float64 `[N]` numbers with this decimal mark.

        Raises:
          UserError: the mark is unknown, and decides between 1234 and 1.234.
        """
        text = self._with_points(mark, where)
        values = pc.cast(text, pa.float64()).to_numpy(zero_copy_only=False)
        return values / 100 if self.sign == "%" else values

    def same(
        self, mark: str, where: str, exact: bool = False
    ) -> tuple[int, int] | None:
        """Return the indices of two words for the same number, or None.

        Args:
          mark: as in `numbers`.
          where: the words are, for errors.
          exact: whether 1, +1 and 1.0 count, too, and numbers may be of any size.
            Otherwise they do not, for programs write all three.

        Raises:
          UserError: numbers are different, but too large to be told apart as floats.
        """
        text = self._with_points(mark, where)
        values = pc.cast(text, pa.float64()).to_numpy(zero_copy_only=False)
        order = np.argsort(values, kind="stable")
        equal = np.flatnonzero(values[order[1:]] == values[order[:-1]])
        for i in equal:
            one, other = int(order[i]), int(order[i + 1])
            words = text[one].as_py(), text[other].as_py()
            if decimal.Decimal(words[0]) != decimal.Decimal(words[1]):
                if abs(values[one]) > _EXACT and not exact:
                    raise UserError(
                        f"{where}: {words[0]} and {words[1]} are equal as floats, "
                        "which hold whole numbers up to 2**53; if they are names, "
                        "write a letter before each, else leave the column out"
                    )
            elif exact or _plainly(words[0]) != _plainly(words[1]):
                return min(one, other), max(one, other)
        return None

    def _with_points(self, mark: str, where: str) -> pa.Array:
        """Return the words with decimal points, and nothing between thousands."""
        if not mark and self.has(_COMMA_MAYBE):
            word = self._first(_COMMA_MAYBE)
            raise UserError(
                f"{where}: {word!r} may be {word.replace(',', '')} or "
                f"{word.replace(',', '.')}; write it without a comma"
            )
        if not mark and self.may_be_thousands(_POINT_MAYBE):
            word = self._first(_POINT_MAYBE)
            raise UserError(
                f"{where}: {word!r} may be {word.replace('.', '')} or {word}; all "
                "decimals are three, beside whole numbers. Write it without a point, "
                "or all numbers with decimals"
            )
        return self._in_points(mark)

    def check_clear(self, where: str) -> None:
        """Raise a UserError if a word can be read in two ways, as 1.234 can."""
        for kind in (_POINT_MAYBE, _COMMA_MAYBE):
            if self.has(kind):
                word = self._first(kind)
                raise UserError(
                    f"{where}: {word!r}, which is a string, can be read in two ways; "
                    "turn the strings of the column into numbers"
                )

    def doubtful_comma(self) -> str:
        """Return a word whose comma may stand before thousands as before decimals."""
        doubtful = not self.has(_COMMA) and self.may_be_thousands(_COMMA_MAYBE)
        return self._first(_COMMA_MAYBE) if doubtful else ""

    def unequal_zero(self) -> str:
        """Return a word whose last decimal is a 0 that other words leave out, or ""."""
        if not self.has(_POINT, _POINT_MAYBE):
            return ""
        ends = pc.extract_regex(self.text, r"\.(?P<end>\d+)$")
        ends = ["" if end is None else end["end"] for end in ends.to_pylist()]
        shortest = min((len(end) for end in ends if end), default=0)
        long = (i for i, e in enumerate(ends) if e.endswith("0") and len(e) > shortest)
        index = next(long, None)
        return "" if index is None else self.text[index].as_py()

    def may_be_thousands(self, kind: int) -> bool:
        """Return whether all points, or all commas, may stand before thousands.

        Whole numbers of three digits come beside thousands, and so do zeros at the end,
        which programs leave out of decimals.
        """
        if not (self.has(_WHOLE) and self.has(kind)):
            return False
        words = np.array(self.text.to_pylist(), object)
        whole = [word.lstrip("+-") for word in words[self.kinds == _WHOLE]]
        if any(len(word) > 3 for word in whole):
            return False
        zeros = any(word.endswith("0") for word in words[self.kinds == kind])
        return zeros or any(len(word) == 3 for word in whole)

    def _in_points(self, mark: str) -> pa.Array:
        text, other = self.text, "." if mark == "," else ","
        if self.has(_COMMA, _COMMA_MAYBE) or mark == ",":
            text = pc.replace_substring(text, other, "")
            text = pc.replace_substring(text, ",", ".")
        elif self.has(_POINT) or mark:
            text = pc.replace_substring(text, ",", "")
        return text

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
        if words <= max(FEW * total, 1) or (decimals and 2 * words <= total):
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
        text, sign, without = _without_signs(text)
        kinds = np.where(without, 0, _kinds(text))
    return Spelled(text, kinds, sign)


def _plainly(word: str) -> str:
    """Return a word without a sign of plus, or zeros alone after the point."""
    whole, point, rest = word.removeprefix("+").partition(".")
    word = whole if point and not rest.strip("0") else whole + point + rest
    return "0" if word == "-0" else word


def _kinds(text: pa.Array) -> np.ndarray:
    kinds = np.zeros(len(text), np.int8)
    for kind, pattern in _PATTERNS:
        if kinds.all():
            break
        fits = pc.match_substring_regex(text, f"^({pattern})$")
        kinds[(kinds == 0) & fits.to_numpy(zero_copy_only=False).astype(bool)] = kind
    return kinds


def _without_signs(text: pa.Array) -> tuple[pa.Array, str, np.ndarray]:
    """Leave out blanks between thousands, and a sign that at least half of words have.

    Returns:
      The words, the sign, and which words are numbers that lack it.
    """
    found, without = "", np.zeros(len(text), bool)
    text = pc.replace_substring(text, "\u2212", "-")  # the minus sign of typography
    text = pc.replace_substring_regex(text, _NEGATIVE, r"-\1")
    for sign, pattern, rest in _SIGNS:
        signed = pc.match_substring_regex(text, pattern)
        signed = signed.to_numpy(zero_copy_only=False).astype(bool)
        if 2 * signed.sum() >= max(len(text), 1):
            text = pc.replace_substring_regex(text, pattern, rest)
            found, without = sign.removeprefix("\\"), ~signed
            break
    spaced = pc.match_substring_regex(text, _SPACED)
    joined = pc.replace_substring_regex(text, _BLANKS, "")
    return pc.if_else(spaced, joined, text), found, without
