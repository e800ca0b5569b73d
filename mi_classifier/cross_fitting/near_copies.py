"""Notice rows that come in small tight clusters: near copies, or repeated measures."""

import numpy as np
import scipy.sparse

from mi_classifier.data.containers import Rows

_MOST_ROWS = 100_000  # in larger tables nobody looks
_QUERIES = 200
_NEIGHBORS = 60  # so many rows of a cluster can be noticed, at most
_MOST_COLUMNS = 64
_DIFFERENT = 0.9  # of the values of a column that is measured to full precision
# Independent rows have at most 4.8 (one column), iris has 2.7;
# 10 copies of rows of three columns, with noise of 1% of a deviation, have 19.
_GAP = 9.0


def cluster_warning(rows: Rows) -> str:
    """Say if most rows are in small clusters that are far from each other.

    If the density of rows is smooth, the distances d_1 < d_2 < ... to a row's neighbors
    grow smoothly: k log(d_(k+1) / d_k) has an exponential law with mean 1 over the
    number of dimensions. Where a cluster of k + 1 rows ends, it is large. Only columns
    of numbers of full precision are used, so that categories make no clusters.

    Returns:
      A sentence that says what was seen and what to do; "" if nothing is odd.
    """
    values = rows.values
    size = values.shape[0]
    if scipy.sparse.issparse(values) or values.ndim != 2 or values.dtype.kind != "f":
        return ""
    if not 2 * _NEIGHBORS < size <= _MOST_ROWS:
        return ""
    columns = [c for c in range(values.shape[1]) if c not in rows.levels]
    spread = np.linspace(0, len(columns) - 1, min(len(columns), _MOST_COLUMNS))
    x = [np.asarray(values[:, columns[int(c)]], np.float64) for c in spread]
    x = [column for column in x if len(np.unique(column)) >= _DIFFERENT * size]
    x = [column for column in x if np.isfinite(column).all()]
    if not x:
        return ""
    ranks = np.stack([_scaled(column) for column in x], 1)
    queries = np.random.default_rng(0).choice(size, min(size, _QUERIES), replace=False)
    logs = _log_distances(ranks, queries)
    gaps = np.arange(1, _NEIGHBORS + 1) * np.diff(logs, axis=1)
    if np.median(gaps.max(1)) < _GAP:
        return ""
    count = int(np.median(gaps.argmax(1))) + 2
    return (
        f"rows come in tight clusters of about {count} rows, far from each other; if "
        "these are repeated measures or near copies, give groups="
    )


def _scaled(x: np.ndarray) -> np.ndarray:
    low, center, high = np.quantile(x, (0.25, 0.5, 0.75))
    return (x / (high - low) - center / (high - low)) if high > low else 0 * x


def _log_distances(x: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Return the logarithms of the distances to the nearest rows, `[Q, K + 1]`."""
    nearest = []
    for query in queries:
        with np.errstate(over="ignore"):
            squares = ((x - x[query]) ** 2).sum(1)
        squares[query] = np.inf
        nearest.append(np.sort(np.partition(squares, _NEIGHBORS)[: _NEIGHBORS + 1]))
    return 0.5 * np.log(np.maximum(nearest, 1e-300))
