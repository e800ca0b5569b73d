"""Encode rows for the nets: one scale for all numbers, 0/1 inputs for categories."""

import dataclasses
from typing import Any

import numpy as np
import scipy.sparse

from mi_classifier.data.containers import Rows, blocks

SCALE_ROWS = 200_000  # medians and quartiles come from so many rows, at most
PADDED = 8  # inputs, and labels, come in multiples of it
MOST_SIDE = 64  # pixels; a larger image is averaged over blocks of pixels
_FARTHEST = 10.0  # deviations from the mean, after arcsinh; inputs are clipped there
_STRAIGHT = 3.0  # deviations up to which arcsinh changes little; it bends waves
_MOST_VALUES = 256  # of a column that are inputs of their own; others share bins
_MOST_INTEGER_INPUTS = 512  # 0/1 inputs for the values of all columns of integers
# On average. With fewer, integers are not seen as categories, and of words, only those
# that come in more rows are inputs.
_ROWS_OF_A_VALUE = 4
_ENOUGH_ROWS = 10
_BINS = 128  # of each of two random assignments of further categories
_SAMPLE_VALUES = 1 << 26  # from which scales are taken, at most


@dataclasses.dataclass(frozen=True)
class Inputs:
    """Rows, and how a net sees them.

    A number is scaled by median and quartiles, and arcsinh shortens its tails. A
    category is a 0/1 input for each of its values; so is an integer with few values,
    beside its number. A value that can be missing has a 0/1 input that says so.

    The scales depend on all rows, the scored ones too, but on no label. The bound still
    holds: a net is then a function of all inputs and of other rows' labels, and given
    its x, a row's label is independent of those.
    """

    values: Any  # [N, D], a CSR matrix, or images [N, H, W, C]
    numbers: np.ndarray  # indices of columns seen as numbers, [Q]
    center: np.ndarray  # [Q], or of the channels of images
    scale: np.ndarray
    mean: np.ndarray  # after arcsinh
    deviation: np.ndarray
    hot: np.ndarray  # (column, value) of each 0/1 input, [H, 2]; NaN for "is missing"
    bins: tuple[tuple[int, np.ndarray], ...]  # a column, and the bin of each code
    hot_mean: np.ndarray  # of the 0/1 inputs and the bins, [H + bins]
    padding: int = 0  # inputs of 0 behind the others, see `padded`

    @property
    def images(self) -> bool:
        """Whether the inputs are images, which go through a convolutional net."""
        return self.values.ndim == 4

    @property
    def varies(self) -> bool:
        """Whether any input differs between rows."""
        return bool(len(self.numbers) + len(self.hot_mean))

    @property
    def width(self) -> int:
        """The number of inputs that may differ; the numbers come first."""
        return len(self.numbers) + len(self.hot_mean)

    @property
    def origin(self) -> np.ndarray:
        """The column that each input of a net comes from, `[width]`."""
        binned = [np.full(_BINS, column) for column, _ in self.bins]
        parts = [self.numbers, self.hot[:, 0], *binned]
        return np.concatenate(parts).astype(np.int64)

    def padded(self) -> "Inputs":
        """Return inputs whose number is a multiple of 8.

        Tables of nearly the same width then share compiled programs.
        """
        if self.images:
            return self
        return dataclasses.replace(self, padding=-self.width % PADDED)

    def __len__(self) -> int:
        return self.values.shape[0]

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """Encode rows for a net; `[B, width + padding]`, or images `[B, h, w, C]`.

        Both are float32.
        """
        if self.images:
            pixels = shrink(np.asarray(self.values[rows]))
            return ((pixels - self.center) / self.scale).astype(np.float32)
        x = dense(self.values, rows)
        z = self.of_numbers(x)
        parts = [z, self._zeros_and_ones(x)] if len(self.hot_mean) else [z]
        parts += [np.zeros((len(z), self.padding))] if self.padding else []
        return np.concatenate(parts, 1).clip(-_FARTHEST, _FARTHEST).astype(np.float32)

    def of_numbers(self, x: np.ndarray) -> np.ndarray:
        """Encode the columns of numbers of dense rows; 0 if missing, `[B, Q]`."""
        with np.errstate(over="ignore"):
            z = np.arcsinh((x[:, self.numbers] - self.center) / self.scale)
        z = np.nan_to_num((z - self.mean) / self.deviation, nan=0.0)
        return z.clip(-_FARTHEST, _FARTHEST)

    def _zeros_and_ones(self, x: np.ndarray) -> np.ndarray:
        deviation = np.sqrt(self.hot_mean * (1 - self.hot_mean))
        return (zeros_and_ones(x, self.hot, self.bins) - self.hot_mean) / deviation


def dense(values: Any, rows: np.ndarray) -> np.ndarray:
    """Return rows as float64 `[B, D]`."""
    block = values[rows]
    block = block.toarray() if scipy.sparse.issparse(block) else block
    return np.asarray(block, np.float64)


def shrink(images: np.ndarray) -> np.ndarray:
    """Average blocks of pixels, so that no side is longer than `MOST_SIDE`."""
    for axis in (1, 2):
        factor = -(-images.shape[axis] // MOST_SIDE)
        if factor > 1:
            starts = np.arange(0, images.shape[axis], factor)
            sizes = np.diff([*starts, images.shape[axis]])
            sums = np.add.reduceat(images.astype(np.float32), starts, axis)
            images = sums / np.expand_dims(sizes, [a for a in range(4) if a != axis])
    return images


def zeros_and_ones(
    x: np.ndarray, hot: np.ndarray, bins: tuple[tuple[int, np.ndarray], ...]
) -> np.ndarray:
    """Return which values and bins each row has; bool `[B, H + bins]`."""
    column, value = hot[:, 0].astype(np.int64), hot[:, 1]
    equal = np.where(np.isnan(value), np.isnan(x[:, column]), x[:, column] == value)
    parts = [equal]
    for column, bin_of in bins:
        code = x[:, column]
        known = np.isfinite(code) & (code >= 0)
        bin_of_row = np.where(known, bin_of[np.where(known, code, 0).astype(int)], -1)
        parts.append(bin_of_row[:, None] == np.arange(_BINS))
    return np.concatenate(parts, 1)


def make_inputs(rows: Rows) -> Inputs:
    """Choose how nets see rows; a column that never varies is left out."""
    values = rows.values
    if values.ndim == 4:
        return _image_inputs(values)
    low, high, missing = _ranges(values)
    every = -(-len_of(values) // min(SCALE_ROWS, _SAMPLE_VALUES // values.shape[1] + 1))
    some = dense(values, np.arange(0, len_of(values), every))
    varying = np.flatnonzero(low < high)
    hot, bins = _hot(some, varying, rows)
    hot += [(column, np.nan) for column in np.flatnonzero(missing & ~np.isnan(low))]
    hot = np.array(hot, np.float64).reshape(-1, 2)
    hot_mean = zeros_and_ones(some, hot, bins).mean(0)
    # A value that the sample has once or never, or in all rows, says nothing.
    size = len(some)
    kept = (hot_mean * size > 1)[: len(hot)] & (hot_mean < 1)[: len(hot)]
    hot_mean = np.concatenate([hot_mean[: len(hot)][kept], hot_mean[len(hot) :]])
    numbers = np.array([c for c in varying if c not in rows.levels], np.int64)
    extremes = np.maximum(np.abs(low), np.abs(high))[numbers].astype(np.float64)
    scales = _scales(some[:, numbers], extremes)
    hot_mean = hot_mean.clip(0.5 / size, 1 - 0.5 / size)
    return Inputs(values, numbers, *scales, hot[kept], bins, hot_mean)


def len_of(values: Any) -> int:
    """Return the number of rows; a sparse matrix has no `len`."""
    return values.shape[0]


def _image_inputs(values: np.ndarray) -> Inputs:
    some = values[:: -(-len(values) // SCALE_ROWS)]
    low, high, _ = _ranges(values)
    varying = np.flatnonzero(low < high)
    center = some.mean((0, 1, 2), dtype=np.float64)
    scale = some.std((0, 1, 2), dtype=np.float64)
    scale = np.where(scale > 0, scale, 1)
    none = np.zeros((0, 2))
    return Inputs(values, varying, center, scale, center, scale, none, (), none[:, 0])


def _ranges(values: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return each column's least and greatest value, and whether any is missing."""
    if scipy.sparse.issparse(values):
        low, high = (
            f(axis=0).toarray().ravel() for f in (values.nanmin, values.nanmax)
        )
        stored = values.tocoo()
        missing = np.zeros(values.shape[1], bool)
        missing[stored.col[np.isnan(stored.data)]] = True
        return low, high, missing
    low = high = None
    missing = np.zeros(values[0].size, bool).reshape(values.shape[1:])
    for _, block in blocks(values):
        if block.dtype.kind == "f":
            missing |= np.isnan(block).any(0)
        least, most = np.fmin.reduce(block), np.fmax.reduce(block)
        low = least if low is None else np.fmin(low, least)
        high = most if high is None else np.fmax(high, most)
    return low.ravel(), high.ravel(), missing.ravel()


def _hot(
    some: np.ndarray, varying: np.ndarray, rows: Rows
) -> tuple[list[tuple[int, float]], tuple[tuple[int, np.ndarray], ...]]:
    """Choose the values and the bins that are 0/1 inputs, from a sample of rows."""
    hot, bins, integers = [], [], []
    generator = np.random.default_rng(0)
    for column in varying:
        x = some[:, column]
        if rows.names_rows(column):
            continue
        if column in rows.levels:
            count = len(rows.levels[column])
            counts = np.bincount(
                x[np.isfinite(x) & (x >= 0)].astype(int), minlength=count
            )
            rare = count * _ROWS_OF_A_VALUE > len(some)
            common = np.argsort(-counts, kind="stable")[:_MOST_VALUES]
            common = common[counts[common] >= (_ENOUGH_ROWS if rare else 1)]
            hot += [(column, float(code)) for code in np.sort(common)]
            if count > _MOST_VALUES and not rare:
                bins += [(column, generator.integers(_BINS, size=count)) for _ in "ab"]
            continue
        x = x[np.isfinite(x)]
        if (x == np.rint(x)).all():
            integers.append((column, np.unique(x)))
    room = _MOST_INTEGER_INPUTS
    for column, found in sorted(integers, key=lambda item: len(item[1])):
        few = 2 < len(found) <= min(_MOST_VALUES, len(some) // _ROWS_OF_A_VALUE)
        if few and len(found) <= room:
            room -= len(found)
            hot += [(column, value) for value in found]
    return hot, tuple(bins)


def _scales(some: np.ndarray, extremes: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return center and scale before arcsinh, mean and deviation after it."""
    if not some.size:
        return (np.zeros(0),) * 4
    # Divide first, so that the square of a huge value does not overflow.
    size = np.where(extremes > 0, extremes, 1)
    lower, center, upper = np.nanquantile(some, (0.25, 0.5, 0.75), axis=0)
    scale, deviation = upper / 1.349 - lower / 1.349, np.nanstd(some / size, 0) * size
    # The quartiles agree if half of the rows do, the sample if a value is rare.
    scale = np.where(scale > 0, scale, np.where(deviation > 0, deviation, size))
    scale = scale * _STRAIGHT
    z = np.arcsinh((some - center) / scale)
    # Half of the distance that holds 95% of the rows, so that one outlier is no matter.
    lower, upper = np.nanquantile(z, (0.025, 0.975), axis=0)
    deviation = np.where(upper > lower, (upper - lower) / 3.92, np.nanstd(z, 0))
    return center, scale, np.nanmean(z, 0), np.where(deviation > 0, deviation, 1)
