"""How likely another row of a table is equal to a given row by chance."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.sparse

from mi_classifier.data.containers import Rows, blocks

_BY_CHANCE = 0.05  # equal rows that a row may have by chance, if equals are copies
_COPYING = 0.35  # of the different rows that shuffled columns give
_MANY = 50_000  # rows with equals; columns are then left out once a row is decided
_MOST_CODES = 1 << 25  # in which near neighbors are looked for
_MOST_COLUMNS = 256  # that are looked at; fewer columns only make chance look likelier
_SAMPLE_ROWS = 4_000  # from which the columns are chosen
_COLUMNS_AT_A_TIME = 16
_MOST_BASES = 8  # columns of which others may be a function
_SPARSE_CODES = 30  # whole numbers up to 30 times their count may be codes
_FREQUENT = 0.02  # of the rows; such a value is not a draw of a smooth density
_DISTINCT = 0.7  # of the different values that a smooth density would give
_BINS = 30  # of equal probability, of which the density is made
_MOST_DECIMALS = 5  # of numbers that are rounded
_NEVER = 1e-12  # the chance that two numbers of full precision are equal


def are_copies(rows: Rows, distinct: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return whether equal rows are copies, and not a value that x often takes.

    They are copies if fewer than 0.05 other rows are equal by chance. The chance is the
    product over columns of the chance that the column is equal, as if columns were
    independent. A value that most rows have is no evidence, nor is a missing one, nor a
    column that is a function of a column of categories. The chance of a category or a
    whole number is its share of the rows. A number that is not whole has a smooth
    density on the steps to which it is rounded, unless its values repeat as often as
    such a density would make them. If columns depend on each other, so that a row has
    more near neighbors than chance gives, which differ in one column, it is no copy.

    Args:
      rows: `N` rows.
      distinct: an index of each different row, `[U]`.
      counts: how many rows are equal to it, `[U]`.

    Returns:
      bool `[U]`.
    """
    result, repeated = np.zeros(len(counts), bool), np.flatnonzero(counts > 1)
    examples, size = distinct[repeated], rows.values.shape[0]
    if scipy.sparse.issparse(rows.values):
        log_p = _sparse_log_chances(rows.values)[examples]
        result[repeated] = size * np.exp(log_p) < _BY_CHANCE
        return result
    columns = _columns(rows.values)
    spread = np.linspace(0, len(distinct) - 1, min(len(distinct), _SAMPLE_ROWS))
    sample = _codes_of(rows.values, distinct[spread.astype(int)], columns)
    kept, free = _independent(sample, columns, rows)
    evidence = _Evidence.none(
        len(examples), size if len(distinct) < _COPYING * size else 0
    )
    for column, x in _whole_columns(rows.values, columns, kept):
        known = column == free or columns[column][0] in rows.levels
        evidence.add(x, examples, len(distinct), known)
    chance = np.exp(evidence.log_p)
    # If columns that are shuffled give far more different rows, then rows are copied,
    # and there are fewer draws than rows.
    copying = evidence.smooth | (len(distinct) < _COPYING * evidence.num_shuffled())
    by_chance = np.where(copying, len(distinct), size) * chance
    # A smooth density must explain the equal rows that are there, however many.
    unexplained = evidence.smooth & (by_chance < (counts[repeated] - 1) / 3)
    copied = (by_chance < _BY_CHANCE) | unexplained
    doubtful = np.flatnonzero(copied & ~evidence.smooth)
    if len(doubtful) and len(kept) * len(distinct) <= _MOST_CODES:
        codes = _codes_of(rows.values, distinct, [columns[c] for c in kept])
        near = _near_neighbors(codes, repeated[doubtful])
        expected = len(distinct) * (chance * evidence.odds)[doubtful]
        dense = near.mean() > 1.5 + 3 * expected.mean()
        copied[doubtful] = (near <= 2 + 3 * expected) & ~dense
    result[repeated] = copied
    return result


@dataclasses.dataclass
class _Evidence:
    """What the columns say about rows that have equals, column by column."""

    log_p: np.ndarray  # of the chance that another row is equal, [R]
    odds: np.ndarray  # sum over columns of the odds that it is not, [R]
    smooth: np.ndarray  # whether any chance is that of a smooth density, [R]
    shuffled: np.ndarray  # hashes of rows whose columns are shuffled, [N] or empty
    generator: np.random.Generator

    @classmethod
    def none(cls, examples: int, size: int) -> "_Evidence":
        zeros = np.zeros(examples)
        hashes = np.zeros(size, np.uint64)
        generator = np.random.default_rng(0)
        return cls(zeros, zeros.copy(), zeros > 0, hashes, generator)

    def add(
        self, x: np.ndarray, examples: np.ndarray, distinct: int, known: bool
    ) -> None:
        """Add a column, `[N]`; known: whether its values are categories."""
        open_ = slice(None)
        if len(examples) > _MANY:
            open_ = np.flatnonzero(self.log_p > np.log(_BY_CHANCE / len(x)) - 1)
        p, smooth = _chance(x, x[examples[open_]], distinct, known)
        self.log_p[open_] += np.where(p > 0.5, 0, np.log(p))
        self.odds[open_] += (1 - p) / p
        self.smooth[open_] |= smooth
        if len(self.shuffled):
            self.shuffled += _keyed(self.generator.permutation(x), self.generator)

    def num_shuffled(self) -> int:
        """Return how many rows are different if columns are shuffled; 0 if unknown."""
        return len(np.unique(self.shuffled))


def _keyed(x: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Hash a column by a random key."""
    keys = generator.integers(2**63, size=2).astype(np.uint64) * np.uint64(2)
    mixed = (x + 0.0).view(np.uint64) * (keys[0] + np.uint64(1))
    return (mixed ^ (mixed >> np.uint64(31))) * (keys[1] + np.uint64(1))


def _near_neighbors(codes: np.ndarray, some: np.ndarray) -> np.ndarray:
    """Count for some of the rows how many others differ in exactly one column."""
    generator = np.random.default_rng(1)
    terms = [_keyed(code, generator) for code in codes]
    total, near = np.sum(terms, 0, dtype=np.uint64), np.zeros(len(some), np.int64)
    for term in terms:
        rest = total - term
        ordered, own = np.sort(rest), rest[some]
        near += np.searchsorted(ordered, own, "right") - np.searchsorted(ordered, own)
    return near - len(terms)


def _whole_columns(
    values: Any, columns: list[np.ndarray], kept: list[int]
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield columns of all rows, float64 `[N]`."""
    for start in range(0, len(kept), _COLUMNS_AT_A_TIME):
        some = kept[start : start + _COLUMNS_AT_A_TIME]
        whole = np.empty((len(some), values.shape[0]))
        for first, block in blocks(values):
            block = block.reshape(len(block), -1)
            part = _codes(block, [columns[c] for c in some])
            whole[:, first : first + len(block)] = part
        yield from zip(some, whole, strict=True)


def _sparse_log_chances(values: Any) -> np.ndarray:
    """Count the columns in which a row is not 0; a 0 says nothing."""
    unequal = scipy.sparse.csr_array(
        (values.data != 0, values.indices, values.indptr), values.shape
    )
    share = np.asarray(unequal.sum(0)).ravel() / values.shape[0]
    return unequal @ np.where(share > 0.5, 0, np.log(share.clip(1e-300)))


def _take(values: Any, rows: np.ndarray) -> np.ndarray:
    return np.asarray(values[rows]).reshape(len(rows), -1)


def _columns(values: Any) -> list[np.ndarray]:
    """Return which columns to look at; 0/1 columns of one category are one."""
    size = int(np.prod(values.shape[1:]))
    if values.ndim == 2 and size <= 4 * _MOST_COLUMNS:
        columns = _merged(values)
    else:
        few = np.linspace(0, values.shape[0] - 1, 256).astype(int)
        block = _take(values, few)
        columns = [np.array([c]) for c in np.flatnonzero((block != block[0]).any(0))]
    if len(columns) > _MOST_COLUMNS:
        spread = np.linspace(0, len(columns) - 1, _MOST_COLUMNS).astype(int)
        columns = [columns[c] for c in spread]
    return columns


def _merged(values: Any) -> list[np.ndarray]:
    """Join neighboring columns of 0 and 1 of which no row has two ones."""
    flags = np.ones(values.shape[1], bool)
    for _, block in blocks(values):
        flags &= ((block == 0) | (block == 1)).all(0)
    if flags.sum() < 2:
        return [np.array([c]) for c in range(len(flags))]
    place = np.cumsum(flags) - 1
    both = np.zeros((flags.sum(), flags.sum()), np.float32)
    for _, block in blocks(values):
        ones = block[:, flags].astype(np.float32)
        both += ones.T @ ones
    columns: list[list[int]] = []
    for c in range(len(flags)):
        last = columns[-1] if columns else []
        if (
            flags[c]
            and last
            and all(flags[last])
            and not both[place[c], place[last]].any()
        ):
            last.append(c)
        else:
            columns.append([c])
    return [np.array(column) for column in columns]


def _codes(block: np.ndarray, columns: list[np.ndarray]) -> np.ndarray:
    """Return one number a row for each column or joined columns, float64 `[C, B]`."""
    return np.stack(
        [
            block[:, column[0]].astype(np.float64)
            if len(column) == 1
            else block[:, column] @ np.arange(1.0, len(column) + 1)
            for column in columns
        ]
    )


def _codes_of(values: Any, rows: np.ndarray, columns: list[np.ndarray]) -> np.ndarray:
    """Return the codes of some rows, few at a time, `[C, B]`."""
    parts = [rows[start : start + 1024] for start in range(0, len(rows), 1024)]
    return np.concatenate([_codes(_take(values, part), columns) for part in parts], 1)


def _independent(
    sample: np.ndarray, columns: list[np.ndarray], rows: Rows
) -> tuple[list[int], int]:
    """Leave out columns that are functions of others, most different values first.

    Returns:
      The columns to count, and one column of whole numbers that may be identifiers, or
      -1.
    """
    coded = [np.unique(x, return_inverse=True) for x in sample]
    order = np.argsort([-len(values) for values, _ in coded], kind="stable")
    kept, bases, free = [], [], -1
    for column in order:
        values, code = coded[column]
        if len(values) == 1 or any(
            len(np.unique(coded[base][1] * len(values) + code))
            <= 1.01 * len(coded[base][0])
            for base in bases
        ):
            continue
        kept.append(int(column))
        found = values[np.isfinite(values)]
        if not len(found) or (found != np.rint(found)).any():
            continue
        category = columns[column][0] in rows.levels or len(columns[column]) > 1
        if category or np.ptp(found) < _SPARSE_CODES * len(found):
            bases = [*bases, column][:_MOST_BASES]
        if free < 0:
            free = int(column)
    return kept, free


def _chance(
    x: np.ndarray, at: np.ndarray, num_distinct: int, known: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return the chances of a column's values, and whether they are a density's."""
    x = np.sort(x)
    share = (np.searchsorted(x, at, "right") - np.searchsorted(x, at)) / len(x)
    share = np.where(np.isfinite(at), share, 1)
    starts = np.flatnonzero(np.r_[True, x[1:] != x[:-1]])
    counts = np.diff(np.r_[starts, len(x)])[np.isfinite(x[starts])]
    found = x[starts][np.isfinite(x[starts])]
    often = counts[counts >= _FREQUENT * len(x)].sum() > counts.sum() / 2
    repeating = 2 * len(found) <= num_distinct
    if known or often or repeating or len(found) < 2:
        return share, np.zeros(len(at), bool)
    step = _step(found)
    if step:
        edges = np.quantile(x[np.isfinite(x)], np.linspace(0, 1, _BINS + 1))
        bin_of = np.searchsorted(edges[1:-1], found)
        inside = [found[bin_of == b] for b in range(_BINS)]
        coarse = np.array([_coarser(part, step) for part in inside])
        steps = np.maximum(np.diff(edges) / (coarse * step), 1)
        density = 1 / (_BINS * steps[np.searchsorted(edges[1:-1], at)])
        # The median, since the density is far from even in outer bins and across a gap.
        expected = -steps * np.expm1(-counts.sum() / (_BINS * steps))
        inner = np.array([len(part) for part in inside])
        smooth = np.median(inner / expected) < _DISTINCT
    else:
        smooth = not _from_whole_numbers(found, counts)
        density = _NEVER
    smooth = smooth & (share < _FREQUENT)
    return np.where(smooth, density, share), smooth


def _coarser(found: np.ndarray, step: float) -> int:
    """Return how many steps apart values are here: 1, 10, 100, ..., by their digits."""
    gaps, factor = np.rint(np.diff(found) / step), 1
    while len(gaps) > 2 and factor < 1e6 and not (gaps % (10 * factor)).any():
        factor *= 10
    return factor


def _from_whole_numbers(found: np.ndarray, counts: np.ndarray) -> bool:
    """Return whether values are a function, such as the logarithm, of whole numbers."""
    with np.errstate(over="ignore", invalid="ignore"):
        for before in (np.exp(found), np.square(found), 10.0**found, 2.0**found):
            if (np.abs(before - np.rint(before)) <= 1e-6 * np.abs(before)).all():
                return bool(np.isfinite(before).all() and before.max() < 1e5)
    # Otherwise, how often a value occurs varies smoothly with the value.
    if len(counts) < 3 or not (counts[1:].std() and counts[:-1].std()):
        return False
    alike = np.corrcoef(counts[1:], counts[:-1])[0, 1]
    return bool(alike * np.sqrt(len(counts)) > 3.5)


def _step(found: np.ndarray) -> float:
    """Return the step between sorted numbers that are rounded; 0 if they are not."""
    gaps = np.diff(found)
    gaps = gaps[gaps > 1e-9 * np.ptp(found)]
    small = gaps / gaps.min()
    small = small[small < 20]
    if np.abs(small - np.rint(small)).mean() < 0.05 and len(small) > 1:
        return float(gaps.min())
    # A few gaps may have no common step, though all numbers have few decimals.
    for decimals in range(_MOST_DECIMALS + 1):
        scaled = found * 10.0**decimals
        if (np.abs(scaled - np.rint(scaled)) <= 1e-9 * np.abs(scaled).max()).all():
            return 10.0**-decimals
    return 0.0
