"""Read words as dates, instants and times of day."""

import re
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

_CLOCK = r"([T ]+\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?( ?[AaPp][Mm])?( ?UTC| ?GMT)?)?"
_DAY = r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*,? "
_YEAR = r"(1[5-9]|2[01])\d{2}"  # where no day tells that it is a year
_MONTH = r"(?i:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[A-Za-z]*\.?"
_ISO = re.compile(
    rf"{_YEAR}-\d{{2}}|\d{{4}}-\d{{2}}-\d{{2}}"
    r"([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?)?"
)
_YEAR_FIRST = re.compile(rf"\d{{4}}([./-])\d{{1,2}}\1\d{{1,2}}{_CLOCK}")
_YEAR_LAST = re.compile(rf"\d{{1,2}}([./-])\d{{1,2}}\1\d{{4}}{_CLOCK}")
_NAMED = re.compile(
    rf"{_MONTH}[ -]{_YEAR}|\d{{1,2}}[ -][A-Za-z]{{3}}[ -]\d{{2}}"
    rf"|({_DAY})?(\d{{1,2}}[. -]+{_MONTH}|{_MONTH} \d{{1,2}},?)[ -]\d{{4}}{_CLOCK}"
)
_TIME = re.compile(r"\d{1,3}:[0-5]\d(:[0-5]\d(\.\d+)?)?( ?[AaPp][Mm])?")
_SAMPLE = 100  # words that tell what most of a column are


class Dates(NamedTuple):
    """What different words of a column say as dates.

    Attributes:
      seconds: since 1970, or of the day; NaN for a word that is no date, `[W]`.
      kind: "dates" or "times".
      doubt: what cannot be told, such as days from months, and what to write instead;
        `seconds` are NaN then.
      day_first: whether the day comes before the month, if one of them comes first.
    """

    seconds: np.ndarray
    kind: str = "dates"
    doubt: str = ""
    day_first: bool | None = None

    def odd_one(self, counts: np.ndarray, few: float) -> int | None:
        """Return the index of a word among dates, or None.

        Args:
          counts: how often each word occurs, `[W]`.
          few: the share of cells, at most, that are words by mistake.
        """
        words = np.isnan(self.seconds)
        if not words.any() or counts[words].sum() > max(few * counts.sum(), 1):
            return None
        return int(np.flatnonzero(words)[0]) if not words.all() else None


def look(words: Sequence[str], day_first: bool | None = None) -> Dates:
    """Look which words are dates, in the one way that most of them are written.

    A date is written as 2020-12-31, 2020/12/31, 31.12.2020, 12/31/2020 or 31 Dec 2020,
    with a time of day or without; a time as 23:59 or 23:59:59. If the numbers of days
    and months do not tell which is which, points say that the day is first. A year of
    two digits is one from 1930 to 2029, as in spreadsheets.

    Args:
      words: the different ones, without blanks around them.
      day_first: of a date that begins with the day or the month; by default, the words
        decide.

    Examples:
      >>> look(["31/12/2020", "01/02/2021"]).seconds.tolist()
      [1609372800.0, 1612137600.0]
      >>> look(["12:30", "bee", "00:10"]).seconds.tolist()
      [45000.0, nan, 600.0]
      >>> look(["01/02/2021", "03/02/2021"]).doubt
      'may begin with the day or the month; write 2020-12-31'
    """
    seconds = np.full(len(words), np.nan)
    spread = np.linspace(0, len(words) - 1, min(len(words), _SAMPLE)).astype(int)
    sample = [words[i] for i in spread]
    for pattern, read in _WAYS:
        if 2 * sum(bool(pattern.fullmatch(w)) for w in sample) >= max(len(sample), 1):
            fits = np.array([bool(pattern.fullmatch(word)) for word in words])
            found = read(pd.Series(words, dtype=object)[fits].astype(str), day_first)
            seconds[fits] = found.seconds
            return found._replace(seconds=seconds)
    return Dates(seconds)


def is_date(word: str) -> bool:
    """Return whether a word alone is a date or a time, in one order or another."""
    found = look([word])
    return bool(found.doubt) or not np.isnan(found.seconds).any()


def _iso(words: pd.Series, day_first: bool | None) -> Dates:
    parts = words.str.extract(r"^(\d{4})-(\d{2})$")
    if not parts.isna().any(axis=None):
        year, second = parts[0].astype(int), parts[1].astype(int)
        if len(words) > 1 and ((year + 1) % 100 == second).all():
            doubt = "may be a month or a season of two years; write 2020-12-31 or 2020"
            return Dates(np.full(len(words), np.nan), doubt=doubt)
    return Dates(_parsed(words, "ISO8601"))


def _year_first(words: pd.Series, day_first: bool | None) -> Dates:
    parts = words.str.extract(r"^(\d+)[./-](\d+)[./-](\d+)(.*)$")
    return Dates(_of_parts(parts[0], parts[1], parts[2], parts[3]))


def _year_last(words: pd.Series, day_first: bool | None) -> Dates:
    """Read day and month in the order that most words allow."""
    parts = words.str.extract(r"^(\d+)([./-])(\d+)[./-](\d{4})(.*)$")
    if day_first is None:
        over = [(parts[i].astype(int) > 12).sum() for i in (0, 2)]
        if not any(over) and parts[1].iloc[0] != ".":
            doubt = "may begin with the day or the month; write 2020-12-31"
            return Dates(np.full(len(words), np.nan), doubt=doubt)
        day_first = bool(over[0] >= over[1])
    month, day = (2, 0) if day_first else (0, 2)
    seconds = _of_parts(parts[3], parts[month], parts[day], parts[4])
    return Dates(seconds, day_first=day_first)


def _named(words: pd.Series, day_first: bool | None) -> Dates:
    words = words.str.replace(rf"^{_DAY}", "", regex=True)
    words = words.str.replace(r"(?<=[ -])([3-9]\d)$", r"19\1", regex=True)
    words = words.str.replace(r"(?<=[A-Za-z][ -])([0-2]\d)$", r"20\1", regex=True)
    return Dates(_parsed(words, "mixed"))


def _time(words: pd.Series, day_first: bool | None) -> Dates:
    half = words.str.extract(r"([AaPp])[Mm]$")[0].str.lower()
    parts = words.str.replace(r" ?[AaPp][Mm]$", "", regex=True).str.split(":")
    short = (parts.str.len() == 2) & half.isna()
    if short.any() and not short.all():
        doubt = "may have hours and minutes or minutes and seconds; write 0:59:30"
        return Dates(np.full(len(words), np.nan), "times", doubt)
    seconds = [
        sum(float(part) * unit for part, unit in zip(own, (3600, 60, 1), strict=False))
        for own in parts
    ]
    noon = np.where(half == "p", 43_200, 0)
    seconds = np.where(half.isna(), seconds, np.mod(seconds, 43_200) + noon)
    return Dates(seconds, "times")


def _of_parts(
    year: pd.Series, month: pd.Series, day: pd.Series, rest: pd.Series
) -> np.ndarray:
    joined = year + "-" + month.str.zfill(2) + "-" + day.str.zfill(2)
    return _parsed(joined + rest, "mixed")


def _parsed(words: pd.Series, how: str) -> np.ndarray:
    """Return seconds since 1970, NaN where there is no such day."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names of months in other languages
        instants = pd.to_datetime(words, format=how, utc=True, errors="coerce")
    micros = instants.dt.tz_localize(None).to_numpy("datetime64[us]")
    return np.where(np.isnat(micros), np.nan, micros.astype(np.int64) / 1e6)


_WAYS = (
    (_ISO, _iso),
    (_YEAR_FIRST, _year_first),
    (_YEAR_LAST, _year_last),
    (_NAMED, _named),
    (_TIME, _time),
)
