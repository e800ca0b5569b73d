"""What a single column says: labels of the rows whose value is near, by rank.

In one dimension, the rows nearby are counted in windows of the sorted column, from a
few rows to half of all. A wave of many periods needs narrow windows, a trend wide ones.
Each width is one learner; normal densities of the labels are one more. Rows that are
neither counted nor scored weigh the learners, as in `mixture`.
"""

import dataclasses

import numpy as np
from scipy import special, stats

from mi_classifier.cross_fitting.folds import FOLDS
from mi_classifier.cross_fitting.mixture import Weights, weigh

_NARROWEST = 2  # rows on each side of a window's center
_WIDER = 3  # times, from a window to the next; with 2, weights cost as much as is won
_COUNTED_VALUES = 1 << 25  # rows times labels; of more rows, some are left out
_WEIGHED_VALUES = 1 << 22  # learners times rows times labels at a time
_DOUBTS = (1.0, 10.0)  # rows of P(y) that are added to the rows of one value
_LEAST_OF_LABEL = 3  # rows, to fit a normal density
_TIED = 0.5  # of the rows, if so many share their value, rows of a value are counted


@dataclasses.dataclass(frozen=True)
class Split:
    """Which rows are for what, and their labels.

    Attributes:
      label: integers in [0, M), `[N]`.
      fold: in [0, 5), `[N]`.
      stops: whether a row weighs the learners of other folds; it is not counted, `[N]`.
      log_prior: log P(y) of all rows, `[M]`.
      evidence: independent groups per row.
    """

    label: np.ndarray
    fold: np.ndarray
    stops: np.ndarray
    log_prior: np.ndarray
    evidence: float = 1.0

    def counted(self, fold: int, all_rows: bool) -> np.ndarray:
        """Return rows that are counted for a fold; `all_rows` adds stopping rows."""
        rows = np.flatnonzero((self.fold != fold) & (all_rows | ~self.stops))
        most = max(_COUNTED_VALUES // len(self.log_prior), 1_000)
        if len(rows) > most:
            rows = np.random.default_rng(0).permutation(rows)[:most]
        return rows

    def stopping(self, fold: int) -> np.ndarray:
        """Return the rows that weigh the learners of a fold; 20,000 are enough."""
        rows = np.flatnonzero((self.fold != fold) & self.stops)
        most = int(np.clip((1 << 19) // len(self.log_prior), 1_000, 20_000))
        return rows[:: -(-len(rows) // most) or 1]


@dataclasses.dataclass(frozen=True)
class _Counted:
    """Rows of one column in the order of their values; missing ones come last."""

    value: np.ndarray  # [n]
    present: int  # rows with a value
    sums: np.ndarray  # labels of the first i rows, [n + 1, M]
    mean: np.ndarray  # of the normal scores of each label, [M]
    deviation: np.ndarray

    def log_ratios(
        self, x: np.ndarray, halves: np.ndarray, like: "Column"
    ) -> np.ndarray:
        """Compute log P(y|x) / P(y) by each learner, `[E, B, M]`."""
        left = np.searchsorted(self.value, x, "left")
        right = np.searchsorted(self.value, x, "right")
        center, missing = (left + right) // 2, np.isnan(x)
        windows = []
        if like.tied:
            windows = [(left, right, doubt) for doubt in _DOUBTS]
        for half in halves:
            low = np.where(missing, left, np.clip(center - half, 0, left))
            high = np.clip(center + half, right, max(self.present, 1))
            windows.append((low, np.where(missing, right, high), 1.0))
        parts = [self._of_window(*window, like.split.log_prior) for window in windows]
        parts.append(np.zeros_like(parts[0]))
        if not like.category:
            parts.append(self._of_densities(center, missing, like.split.log_prior))
        doubt = 1 / len(like.x)  # as in `nets.log_ratio`
        return np.logaddexp(np.stack(parts) + np.log1p(-doubt), np.log(doubt))

    def _of_window(
        self, low: np.ndarray, high: np.ndarray, doubt: float, log_prior: np.ndarray
    ) -> np.ndarray:
        counts = self.sums[high] - self.sums[low] + doubt * np.exp(log_prior)
        return np.log(counts / ((high - low)[:, None] + doubt)) - log_prior

    def _of_densities(
        self, center: np.ndarray, missing: np.ndarray, log_prior: np.ndarray
    ) -> np.ndarray:
        score = _normal_scores(center, self.present)[:, None]
        density = stats.norm.logpdf(score, self.mean, self.deviation)
        ratio = density - special.logsumexp(density + log_prior, 1, keepdims=True)
        return np.where(missing[:, None], 0, ratio)


@dataclasses.dataclass(frozen=True)
class Column:
    """A column, and the learners of each fold.

    Attributes:
      x: `[N]`; NaN where a value is missing.
      category: whether the values are codes, which have no order.
      tied: whether the rows of one value are counted apart from those nearby.
      split: the labels, and which rows are for what.
      weights: of the learners of each fold.
    """

    x: np.ndarray
    category: bool
    tied: bool
    split: Split
    weights: tuple[Weights, ...] = ()

    def log_ratios(self, fold: int, rows: np.ndarray, scored: bool) -> np.ndarray:
        """Compute log P(y|x) / P(y) of rows by a fold, `[B, M]`.

        Args:
          fold: whose learners are asked.
          rows: indices `[B]`.
          scored: whether stopping rows are counted too; not if they are the rows.
        """
        counted = self._counted(fold, scored)
        mixed, halves = [], self._halves(fold)
        learners = len(self.weights[fold].powers) * len(self.split.log_prior)
        size = max(_WEIGHED_VALUES // learners, 1)
        for start in range(0, len(rows), size):
            part = counted.log_ratios(self.x[rows[start : start + size]], halves, self)
            mixed.append(self.weights[fold].mix(part, self.split.log_prior))
        return np.concatenate(mixed)

    def pmi(self) -> np.ndarray:
        """Score each row and its label by the learners of its fold, `[N]` nats."""
        result = np.zeros(len(self.x))
        for fold in range(FOLDS):
            rows = np.flatnonzero(self.split.fold == fold)
            ratios = self.log_ratios(fold, rows, scored=True)
            result[rows] = ratios[np.arange(len(rows)), self.split.label[rows]]
        return result

    def _halves(self, fold: int) -> np.ndarray:
        if self.category:
            return np.zeros(0, int)
        counted = (self.split.fold != fold) & ~self.split.stops
        size = (counted & np.isfinite(self.x)).sum()
        count = int(np.log(max(size / 4 / _NARROWEST, 1)) / np.log(_WIDER))
        return _NARROWEST * _WIDER ** np.arange(count + 1)

    def _counted(self, fold: int, all_rows: bool) -> _Counted:
        """Sort and count rows; over equal values, labels are spread evenly."""
        rows = self.split.counted(fold, all_rows)
        num_classes = len(self.split.log_prior)
        rows = rows[np.argsort(self.x[rows], kind="stable")]
        value, label, size = self.x[rows], self.split.label[rows], len(rows)
        present = int(np.isfinite(value).sum())
        sums = np.zeros((size + 1, num_classes))
        sums[np.arange(1, size + 1), label] = 1
        np.cumsum(sums, 0, out=sums)
        left = np.searchsorted(value, value, "left")
        right = np.searchsorted(value, value, "right")
        if self.tied:
            part = ((np.arange(size) - left) / (right - left))[:, None]
            sums[:-1] = sums[left] + part * (sums[right] - sums[left])
        score = _normal_scores((left + right)[:present] // 2, present)
        own = label[:present]
        count = np.bincount(own, minlength=num_classes).clip(1)
        mean = np.bincount(own, score, num_classes) / count
        variance = np.bincount(own, score**2, num_classes) / count - mean**2
        enough = count >= _LEAST_OF_LABEL
        deviation = np.sqrt(np.where(enough, variance, 1.0).clip(1e-6))
        return _Counted(value, present, sums, np.where(enough, mean, 0), deviation)


def _normal_scores(rank: np.ndarray, size: int) -> np.ndarray:
    return special.ndtri((rank.clip(0, size) + 0.5) / (size + 1))


def fit(x: np.ndarray, category: bool, split: Split) -> Column:
    """Weigh the learners of each fold on its stopping rows.

    Args:
      x: a column, `[N]`; NaN where a value is missing.
      category: whether the values are codes, which have no order.
      split: the labels, and which rows are for what.
    """
    tied = category or len(np.unique(x)) < (1 - _TIED) * len(x)
    column, weights = Column(x, category, tied, split), []
    for fold in range(FOLDS):
        rows = split.stopping(fold)
        counted = column._counted(fold, all_rows=False)
        ratios = counted.log_ratios(x[rows], column._halves(fold), column)
        label = split.label[rows]
        weights.append(weigh(ratios, label, split.log_prior, split.evidence))
    return dataclasses.replace(column, weights=tuple(weights))
