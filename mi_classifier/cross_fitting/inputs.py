"""A user's arrays: checked, scaled for a net, and dealt to folds."""

import dataclasses
from collections.abc import Iterator

import numpy as np
from jax.typing import ArrayLike

from mi_classifier.errors import UserError

FOLDS = 5
BLOCK_BYTES = 1 << 28  # of inputs on the device at a time
_MOST_COPIES = 10  # rows alike, beyond which they are a value that x often takes
_FARTHEST = 5.0  # that an input can be from the mean, in deviations, after arcsinh
_SCALE_ROWS = 200_000  # that medians and quartiles are taken from


def as_arrays(x: ArrayLike, y: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    try:
        x = x if isinstance(x, np.memmap) else np.asarray(x)
        y = np.asarray(y)
    except (TypeError, ValueError) as error:  # rows of different lengths
        raise UserError(f"x and y: are no arrays ({error})") from None
    if x.ndim == 0 or y.ndim != 1 or len(x) != len(y) or 0 in x.shape[1:]:
        hint = "; y.ravel() makes it so" if y.ndim == 2 and 1 in y.shape else ""
        raise UserError(
            f"x and y: must have shapes [N, ...] and [N], not {x.shape} and {y.shape}"
            f"{hint}"
        )
    if not len(x):
        raise UserError("x and y: hold no rows; give at least 50")
    if x.dtype.name == "bfloat16":  # which NumPy does not count among the floats
        x = x.astype(np.float32)
    if x.dtype.kind not in "biuf" or x.dtype.itemsize > 8:
        raise UserError(
            f"x: must be numbers, not {x.dtype}; encode categories as 0/1 columns"
        )
    return x.reshape(len(x), -1) if x.ndim != 4 else x, y


def encode(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        row = int(np.flatnonzero(~np.isfinite(y))[0])
        raise UserError(f"y: {y[row]} in row {row}; a label is needed for every row")
    try:
        labels, label = np.unique(y, return_inverse=True)
    except TypeError as error:
        raise UserError(f"y: labels of one kind are needed ({error})") from None
    if 2 * len(labels) > len(y) > 2:
        raise UserError(
            f"y: {len(labels)} different labels in {len(y)} rows; it is continuous, or "
            "a name of each row. Give classes, for instance quantiles of it"
        )
    return labels, label.astype(np.int32)


def check_finite(x: np.ndarray) -> None:
    if x.dtype.kind != "f":
        return
    for rows in _slices(x):
        finite = np.isfinite(x[rows])
        if not finite.all():
            row, *column = np.argwhere(~finite)[0]
            where = f"row {row + rows.start}, column {', '.join(map(str, column))}"
            value = x[rows][(row, *column)]
            raise UserError(f"x: {value} in {where}; drop such rows, or fill them in")


def _slices(x: np.ndarray) -> Iterator[slice]:
    """Yields consecutive slices of rows of some tens of megabytes."""
    step = max((BLOCK_BYTES >> 3) // max(8 * x[0].size, 1), 1)
    for start in range(0, len(x), step):
        yield slice(start, min(start + step, len(x)))


@dataclasses.dataclass(frozen=True)
class Inputs:
    """Inputs and how a net sees them.

    The scales look at all rows, the scored ones too, but at no label, which leaves the
    bound as it is: the nets are then functions of all inputs and of other rows' labels,
    and given x a label depends on nothing else.

    Attributes:
      x: `[N, D]` or images `[N, H, W, C]`.
      columns: indices of the columns that vary, of `[N, D]`.
      center, scale: of those columns, or of the channels of images.
      mean, deviation: of what the columns are after arcsinh.
    """

    x: np.ndarray
    columns: np.ndarray
    center: np.ndarray
    scale: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray

    @property
    def images(self) -> bool:
        """Whether a convolutional net sees them."""
        return self.x.ndim == 4

    @property
    def varies(self) -> bool:
        """Whether any column varies."""
        return len(self.columns) > 0

    @property
    def row_bytes(self) -> int:
        """Bytes of a row on the device."""
        return 4 * (self.x[0].size if self.images else len(self.columns))

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """Returns rows as the net sees them, float32."""
        if self.images:
            return ((self.x[rows] - self.center) / self.scale).astype(np.float32)
        z = np.asarray(self.x[rows][:, self.columns], np.float64)
        z = np.arcsinh((z - self.center) / self.scale)
        z = (z - self.mean) / self.deviation
        return z.clip(-_FARTHEST, _FARTHEST).astype(np.float32)


def make_inputs(x: np.ndarray) -> Inputs:
    low, high = x[0], x[0]
    for rows in _slices(x):
        low, high = np.minimum(low, x[rows].min(0)), np.maximum(high, x[rows].max(0))
    columns = np.flatnonzero((low < high).reshape(-1))
    some = x[:: -(-len(x) // _SCALE_ROWS)]
    if x.ndim == 4:
        center = some.mean((0, 1, 2), dtype=np.float64)
        scale = some.std((0, 1, 2), dtype=np.float64)
        return Inputs(x, columns, center, np.where(scale > 0, scale, 1), *2 * [center])
    some = np.asarray(some[:, columns], np.float64)
    # Divided first, so that the square of a huge value is no infinity.
    size = np.maximum(np.abs(low), np.abs(high)).reshape(-1)[columns].astype(np.float64)
    lower, center, upper = np.quantile(some, (0.25, 0.5, 0.75), axis=0)
    scale = (upper / 1.349 - lower / 1.349) if len(columns) else size
    deviation = (some / size).std(0) * size
    # Where half of the rows agree, or the sample sees but one value.
    scale = np.where(scale > 0, scale, np.where(deviation > 0, deviation, size))
    z = np.arcsinh((some - center) / scale)
    deviation = z.std(0)
    return Inputs(
        x, columns, center, scale, z.mean(0), np.where(deviation > 0, deviation, 1)
    )


def copies(inputs: Inputs) -> np.ndarray:
    """Numbers the draws, `[N]`: rows that are alike, if few, share a number."""
    odd = np.random.default_rng(0).integers(2**63, size=(2, len(inputs.columns)))
    odd = odd.astype(np.uint64) * np.uint64(2) + np.uint64(1)
    hashes = []
    for rows in _slices(inputs.x):
        part = np.asarray(inputs.x[rows]).reshape(rows.stop - rows.start, -1)
        bits = (part[:, inputs.columns].astype(np.float64) + 0.0).view(np.uint64)
        # Multilinear hashing, modulo 2^64, of bits stirred into the lower half.
        stirred = bits * odd[0]
        hashes.append(((stirred ^ (stirred >> np.uint64(31))) * odd[1]).sum(1))
    _, draw, counts = np.unique(
        np.concatenate(hashes), return_inverse=True, return_counts=True
    )
    often = counts[draw] > _MOST_COPIES
    draw[often] = len(counts) + np.arange(often.sum())
    return np.unique(draw, return_inverse=True)[1]


def deal(
    group: np.ndarray, label: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """Deals the draws to the folds, label by label; returns each row's fold."""
    label_of = np.zeros(group.max() + 1, np.int32)
    label_of[group] = label
    order = np.lexsort((generator.random(len(label_of)), label_of))
    fold = np.empty(len(label_of), np.int64)
    fold[order] = np.arange(len(order)) % FOLDS
    return fold[group]
