"""Find rows that are copies of each other, and groups of many rows."""

import dataclasses

import numpy as np
import scipy.sparse

from mi_classifier.cross_fitting.chances import are_copies
from mi_classifier.data.containers import Rows, blocks

_ORDINARY = 0.02  # of the rows may be copies without a warning, and ten in any case
_GIANT = 0.25  # of the rows, in one group
_FEWEST_GROUPS = 10  # with fewer, nothing is trained


@dataclasses.dataclass(frozen=True)
class Copies:
    """Which rows are copies of each other.

    Attributes:
      group: rows of the same number are copies of each other, int64 `[N]` from 0 on.
      warning: what was seen and what to do, or "" if nothing is odd.
    """

    group: np.ndarray
    warning: str = ""


def find_groups(rows: Rows) -> Copies:
    """Find rows that are copies of each other.

    Equal rows are copies if they could hardly be equal by chance. Otherwise x is a
    value that occurs often, and its rows are different draws.

    Examples:
      >>> x = np.random.default_rng(0).standard_normal((100, 2))
      >>> copies = find_groups(Rows(np.repeat(x, 3, axis=0)))
      >>> copies.group.max() + 1, copies.warning[:36]
      (np.int64(100), '200 of 300 rows are copies of others')
    """
    hashes = _hashes(rows.values)
    size = len(hashes)
    order = np.argsort(hashes, kind="stable")
    new = np.r_[True, hashes[order][1:] != hashes[order][:-1]]
    group = np.empty(size, np.int64)
    group[order] = np.cumsum(new) - 1
    first, counts = order[new], np.diff(np.r_[np.flatnonzero(new), size])
    if len(counts) in (1, size):
        return Copies(np.arange(size))
    copied = are_copies(rows, first, counts)
    often = (counts > 1) & ~copied
    alone = often[group]
    group[alone] = len(counts) + np.arange(alone.sum())
    kept = np.zeros(len(counts) + alone.sum(), np.int64)
    kept[group] = 1
    group = (np.cumsum(kept) - 1)[group]
    extra = int((counts - 1)[copied].sum())
    if extra <= least_extra(size):
        return Copies(group)
    return Copies(
        group,
        f"{extra:,} of {size:,} rows are copies of others: equal in columns that could "
        "hardly be equal by chance. Copies share a fold and count once. If they are "
        "different rows that happen to be equal, give each a group of its own, such as "
        "groups=range(N)",
    )


def least_extra(size: int) -> float:
    """Return how many of the rows may be copies without a warning."""
    return max(_ORDINARY * size, 10)


def odd_numbers(size: int) -> np.ndarray:
    """Return random odd numbers, uint64 `[2, size]`."""
    odd = np.random.default_rng(0).integers(2**63, size=(2, size)).astype(np.uint64)
    return odd * np.uint64(2) + np.uint64(1)


def _hashes(values: np.ndarray) -> np.ndarray:
    """Hash each row, uint64 `[N]`: multilinear, modulo 2^64, of mixed bits."""
    sparse = scipy.sparse.issparse(values)
    size = int(np.prod(values.shape[1:]))
    odd = odd_numbers(size)
    if sparse:
        ends = values.indptr.astype(np.int64)
        hashes = np.zeros(values.shape[0], np.uint64)
        for start in range(0, values.shape[0], 1 << 14):
            own = ends[start : start + (1 << 14) + 1]
            part = slice(own[0], own[-1])
            mixed = mixed_bits(values.data[part], odd[:, values.indices[part]])
            sums = np.r_[np.uint64(0), np.cumsum(mixed, dtype=np.uint64)]
            hashes[start : start + len(own) - 1] = np.diff(sums[own - own[0]])
        return hashes
    hashes = [
        mixed_bits(block.reshape(len(block), -1), odd).sum(1, dtype=np.uint64)
        for _, block in blocks(values)
    ]
    return np.concatenate(hashes)


def mixed_bits(values: np.ndarray, odd: np.ndarray) -> np.ndarray:
    """Return a number for each value and column; 0 is always 0."""
    if values.dtype.kind == "f":
        values = values.astype(np.float64) + 0.0  # so that -0 equals 0
        values[np.isnan(values)] = np.nan  # of which there are many
        bits = values.view(np.uint64)
    else:
        bits = values.astype(np.uint64)
    mixed = bits * odd[0]
    mixed ^= mixed >> np.uint64(31)
    mixed *= odd[1]
    return mixed


def giant_group_warning(group: np.ndarray) -> tuple[str, ...]:
    """Return a warning if one group holds a large part of the rows, `[N]`."""
    counts = np.bincount(group)
    share = counts.max() / len(group)
    if share <= _GIANT or len(counts) < _FEWEST_GROUPS:
        return ()
    told = f"one group holds {share:.0%} of the rows, so the estimate and its error"
    return (f"{told} say little about other groups; leave out rows of it",)
