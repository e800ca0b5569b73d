"""Notice rows whose order tells something: series, and series that take turns."""

from collections.abc import Iterator

import numpy as np
import scipy.sparse
from scipy import stats

from mi_classifier.data.containers import Rows

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
_FEWEST_ROWS = 20


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
