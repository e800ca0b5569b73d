"""Find rows that depend on each other: copies, neighbors in order, counters."""

import dataclasses
from collections.abc import Iterator

import numpy as np
import scipy.sparse
from scipy import stats

from mi_classifier.cross_fitting.chances import are_copies
from mi_classifier.data.containers import Rows, blocks

_ORDINARY = 0.02  # of the rows may be copies without a warning, and ten in any case
_SERIAL_ROWS = 20_000  # rows that follow each other, and as many spread over all
_SERIAL_COLUMNS = 64
_MOST_LAG = 2_000  # series that take turns
_MOST_LABELS = 50  # that are looked at for such series
_BLOCKS = 20  # of rows, whose means show a slow drift
_FALSE_ALARMS = 1e-4  # for inputs, and the same for labels: both must depend on order
# Dependence of labels times that of inputs, for a warning: between neighbors, and
# between blocks, where 0.017 feigns about 0.008 nats a column. The order of
# scikit-learn's breast cancer has 0.015; its first rows are mostly malignant.
_SERIAL_EFFECTS = (0.04, 0.017)
_SORTED_EFFECT = 0.6  # of inputs, if somebody has sorted the rows by label
_FEWEST_ROWS = 20  # in which a column can be seen to count
_MOST_COUNTING = 10_000  # columns; in wider tables nobody looks
_MOST_GAPS = 5  # in a column that counts
_FEWEST_SUBJECTS = 10  # fewer values may well tell the label
_MOST_SUBJECT_COLUMNS = 256
_LABEL_ROWS = 500  # in which a column can be seen to be the label
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


def label_columns(rows: Rows, label: np.ndarray) -> tuple[str, ...]:
    """Return a warning for each column that is the label `[N]` under other names."""
    values, size = rows.values, len(label)
    table = not scipy.sparse.issparse(values) and values.ndim == 2
    if not table or values.shape[1] > _MOST_COUNTING or not label.max():
        return ()
    some = np.linspace(0, size - 1, min(size, _LABEL_ROWS)).astype(int)
    block, count = np.asarray(values[some], np.float64), label.max() + 1
    one_each = np.ones(block.shape[1], bool)
    for k in np.unique(label[some]):
        own = block[label[some] == k]
        one_each &= (own == own[0]).all(0)
    found = list(_of_one_label(rows, label, some, block))
    for c in np.flatnonzero(one_each):
        x = np.asarray(values[:, c], np.float64)
        pairs = np.unique(np.stack([x, label]), axis=1)
        if pairs.shape[1] == count and len(np.unique(x)) == count:
            found.append(
                f"{rows.column(int(c))} has one value for each label, and tells it; if "
                "it is the label itself, leave it out of x"
            )
    return tuple(found)


def _of_one_label(
    rows: Rows, label: np.ndarray, some: np.ndarray, block: np.ndarray
) -> Iterator[str]:
    """Yield a warning for columns each of whose many values comes with one label.

    `block` holds some rows. Along the order of numbers, labels must change about as
    often as by chance: otherwise the column tells the label, as a number may.
    """
    for c in range(min(block.shape[1], _MOST_SUBJECT_COLUMNS)):
        if not _are_pure(block[:, c], label[some]) or rows.names_rows(c):
            continue
        x = np.asarray(rows.values[:, c], np.float64)
        values, first = np.unique(x, return_index=True)
        many = _FEWEST_SUBJECTS <= len(values) <= len(x) / 2
        if not many or not _are_pure(x, label):
            continue
        of_value = label[first]
        share = np.bincount(of_value) / len(values)
        changes = (of_value[1:] != of_value[:-1]).mean()
        if c in rows.levels or changes > 0.5 * (1 - (share**2).sum()):
            yield (
                f"each of the {len(values)} values of {rows.column(c)} has one label "
                "only; if they name subjects, give them as groups=, and leave the "
                "column out"
            )


def _are_pure(x: np.ndarray, label: np.ndarray) -> bool:
    """Return whether each value comes with one label."""
    values, code = np.unique(x, return_inverse=True)
    both = code * (label.max() + 1) + label
    return len(np.unique(both)) == len(values)


def serial_warning(rows: Rows, label: np.ndarray) -> str:
    """Say if inputs and labels both depend on their neighbors in row order.

    A net can then tell when a row was taken, and what the labels were at that time.
    Inputs are looked at given their label, so that rows that are sorted by label, and
    otherwise independent, are fine.

    Args:
      rows: `N` rows, in their order.
      label: int `[N]`.

    Returns:
      A sentence that says what was seen and what to do; "" if nothing is odd.
    """
    columns = _spread_columns(rows)
    for chosen, apart in _orders(label):
        own = label[chosen]
        of_labels = _dependence_of_labels(own) if len(own) >= _FEWEST_ROWS else (0, 0)
        if not any(of_labels):
            continue
        block = rows.values[chosen]
        if scipy.sparse.issparse(block):
            block = block[:, columns].toarray()
        else:
            block = np.asarray(block).reshape(len(own), -1)[:, columns]
        if _sorted_by_column_too(block, own):
            continue
        of_inputs = _dependence_of_inputs(block, own)
        excess = np.array(of_inputs) * np.array(of_labels)[:, None]
        excess /= np.array(_SERIAL_EFFECTS)[:, None]
        kind, worst = np.unravel_index(np.argmax(excess), excess.shape)
        effect = of_inputs[kind][worst]
        if excess[kind, worst] > 1 and (effect > _SORTED_EFFECT or not _is_sorted(own)):
            index = int(columns[worst])
            if rows.values.ndim == 4:
                where = np.unravel_index(index, rows.values.shape[1:])
                index = tuple(map(int, where))
            which = f"are {apart} rows apart" if apart > 1 else "follow each other"
            return (
                f"rows that {which} are alike, in their labels and in their "
                f"inputs (most in {rows.column(index)}: correlation "
                f"{effect:.2f} among rows of one label). Such rows look as if x "
                "told about y, even if it does not. Give groups= (subjects, sites, or "
                "blocks of a series that are much longer than its memory); if the rows "
                "are independent and only sorted, shuffle them"
            )
    return ""


def _orders(label: np.ndarray) -> Iterator[tuple[np.ndarray, int]]:
    """Yield rows in an order in which neighbors may be alike.

    Rows that follow each other, rows that are spread over all, and series that take
    turns, such as stations in the order of their hours.

    Yields:
      The rows, and how far apart in the table neighbors are.
    """
    size = len(label)
    first = np.arange(min(size, _SERIAL_ROWS))
    yield first, 1
    if size > _SERIAL_ROWS:
        yield np.linspace(0, size - 1, _SERIAL_ROWS).astype(int), 1
    if (lag := _lag(label[first])) > 1:
        yield np.argsort(first % lag, kind="stable"), lag


def _lag(label: np.ndarray) -> int:
    """Return at which distance labels agree most often, if beyond chance, else 1."""
    size, most = len(label), min(len(label) // 4, _MOST_LAG)
    if size < _FEWEST_ROWS or most < 2 or not np.ptp(label):
        return 1
    counts = np.bincount(label)
    frequent = np.argsort(-counts, kind="stable")[:_MOST_LABELS]
    agreements = np.zeros(most + 1)
    for k in frequent:
        wave = np.fft.rfft(label == k, 2 * size)
        agreements += np.fft.irfft(np.abs(wave) ** 2)[: most + 1]
    pairs = size - np.arange(most + 1)
    chance = ((counts[frequent] / size) ** 2).sum()
    beyond = (agreements - chance * pairs) / np.sqrt(pairs * chance * (1 - chance))
    lag = int(np.argmax(beyond[1:])) + 1
    return lag if beyond[lag] > stats.norm.isf(_FALSE_ALARMS / most) else 1


def _spread_columns(rows: Rows) -> np.ndarray:
    size = int(np.prod(rows.values.shape[1:]))
    return np.linspace(0, size - 1, min(size, _SERIAL_COLUMNS)).astype(int)


def _block_of(size: int) -> np.ndarray:
    return np.arange(size) * min(_BLOCKS, size // 10) // size


def _is_sorted(label: np.ndarray) -> bool:
    """Return whether the rows of each label are together."""
    return np.sum(label[1:] != label[:-1]) + 1 == len(np.unique(label))


def _sorted_by_column_too(x: np.ndarray, label: np.ndarray) -> bool:
    """Return whether rows are sorted by label, and within a label by a column."""
    if not _is_sorted(label):
        return False
    gaps = np.diff(x.astype(np.float64), axis=0)[label[1:] == label[:-1]]
    monotone = (gaps >= 0).all(0) | (gaps <= 0).all(0)
    return bool((monotone & (gaps != 0).any(0)).any())


def _dependence_of_labels(label: np.ndarray) -> tuple[float, float]:
    """Return how much labels depend on row order, from 0 (not beyond chance) to 1.

    Returns:
      How much more often neighbors agree than by chance, and how much the shares of the
      labels differ between long blocks of rows.
    """
    _, label, counts = np.unique(label, return_inverse=True, return_counts=True)
    size, share = len(label), counts / len(label)
    if len(counts) < 2:
        return 0.0, 0.0
    same, chance = (label[1:] == label[:-1]).mean(), (share**2).sum()
    # The variance of the number of agreements in a shuffled sequence.
    variance = (chance + chance**2 - 2 * (share**3).sum()) / size
    beyond = stats.norm.isf(_FALSE_ALARMS) * np.sqrt(variance)
    neighbors = (same - chance) / (1 - chance) if same - chance > beyond else 0.0
    block = _block_of(size)
    seen = np.zeros((block.max() + 1, len(counts)))
    np.add.at(seen, (block, label), 1)
    often = counts >= 5 * len(seen)
    seen = np.c_[seen[:, often], seen[:, ~often].sum(1)]
    seen = seen[:, seen.sum(0) >= 5 * len(seen)]
    seen = seen[seen.sum(1) > 0]
    if min(seen.shape) < 2:
        return neighbors, 0.0
    expected = seen.sum(1, keepdims=True) * seen.sum(0) / seen.sum()
    statistic = ((seen - expected) ** 2 / expected).sum()
    columns = seen.shape[1] - 1
    freedom = (len(seen) - 1) * columns
    if stats.chi2.sf(statistic, freedom) >= _FALSE_ALARMS:
        return neighbors, 0.0
    return neighbors, (statistic - freedom) / (seen.sum() * columns)


def _dependence_of_inputs(
    x: np.ndarray, label: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return how much each column depends on row order given the label.

    Returns:
      Two values of each column's ranks within a label, `[D]` each: the correlation of
      neighbors, and the share of the variance that is between long blocks of rows. A
      value is 0 if it is not beyond chance.
    """
    z, allowed = _standardized_ranks(x, label), _FALSE_ALARMS / (2 * x.shape[1])
    same = np.flatnonzero(label[1:] == label[:-1])
    pairs = max(len(same), 1)
    neighbors = (z[same] * z[same + 1]).sum(0) / pairs
    neighbors[neighbors * np.sqrt(pairs) < stats.norm.isf(allowed)] = 0
    starts, sizes = np.unique(
        _block_of(len(label)), return_index=True, return_counts=True
    )[1:]
    between = (np.add.reduceat(z, starts) ** 2 / sizes[:, None]).sum(0)
    freedom = len(starts) - 1
    blocks_differ = stats.chi2.sf(between, freedom) < allowed
    share = np.where(blocks_differ, (between - freedom) / len(label), 0)
    return neighbors, share


def _standardized_ranks(x: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Return ranks within each label, of mean 0 and variance 1; 0 where missing."""
    z = np.zeros(x.shape)
    for y in np.unique(label):
        own = np.flatnonzero(label == y)
        ranks = stats.rankdata(x[own], axis=0, nan_policy="omit")
        seen = np.maximum((~np.isnan(ranks)).sum(0), 1)
        centered = np.nan_to_num(ranks - np.nansum(ranks, 0) / seen)
        deviation = centered.std(0)
        z[own] = centered / np.where(deviation > 0, deviation, 1)
    return z


def counting_columns(rows: Rows) -> tuple[str, ...]:
    """Return a sentence for each column that counts the rows, or names each row."""
    values = rows.values
    size = values.shape[0]
    table = values.ndim == 2 and not scipy.sparse.issparse(values)
    if not table or size < _FEWEST_ROWS or values.shape[1] > _MOST_COUNTING:
        return ()
    counting = [c for c in range(values.shape[1]) if c not in rows.levels]
    counting = np.array(counting, int)
    breaks, steps, last = 0, None, None
    rising, falling = np.ones((2, len(counting)), bool)
    for _, block in blocks(values):
        x = np.asarray(block[:, counting], np.float64)
        x = x if last is None else np.concatenate([last, x])
        last = x[-1:]
        gaps = np.diff(x, axis=0)
        steps = np.median(gaps, 0) if steps is None else steps
        whole = (x == np.rint(x)).all(0)
        rising &= whole & (gaps > 0).all(0)
        falling &= whole & (gaps < 0).all(0)
        breaks = breaks + np.where(whole & (steps != 0), (gaps != steps).sum(0), size)
        kept = rising | falling | (breaks <= _MOST_GAPS)
        if not kept.all():
            counting, last, steps = counting[kept], last[:, kept], steps[kept]
            rising, falling, breaks = rising[kept], falling[kept], breaks[kept]
        if not len(counting):
            break
    sentences = [
        f"{rows.column(int(c))} counts the rows; leave it out, for a row's place in "
        "the table says nothing about a new row"
        if even
        else f"rows are sorted by {rows.column(int(c))}, whose values all differ; if "
        "it is a number of the row, leave it out"
        for c, even in zip(counting, breaks <= _MOST_GAPS, strict=True)
    ]
    sentences += [
        f"{rows.column(column)} differs in nearly every row and cannot say anything "
        "about another row; it was ignored"
        for column in rows.levels
        if rows.names_rows(column)
    ]
    return tuple(sentences)
