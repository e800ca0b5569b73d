"""The user's arrays: check them, scale them for a net, and split them into folds."""

import dataclasses
from collections.abc import Iterator

import numpy as np
from jax.typing import ArrayLike

from mi_classifier.errors import UserError

FOLDS = 5
BLOCK_BYTES = 1 << 28  # of inputs on the device at a time, at most
_MOST_COPIES = 10  # more equal rows are a value that x often takes
_FARTHEST = 5.0  # deviations from the mean, after arcsinh; inputs are clipped there
_SCALE_ROWS = 200_000  # medians and quartiles come from so many rows, at most


def as_arrays(x: ArrayLike, y: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Convert inputs and labels to arrays, and check their shapes and the inputs' kind.

    Returns:
      x, numbers `[N, D]` or images `[N, H, W, C]`, and y `[N]`.

    Raises:
      UserError: inputs that are no numbers, or shapes that do not fit.
    """
    try:
        x = x if isinstance(x, np.memmap) else np.asarray(x)
        y = np.asarray(y)
    except (TypeError, ValueError) as error:  # rows of different lengths
        raise UserError(f"x and y: must be arrays ({error})") from None
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
    """Number the labels.

    Returns:
      The M different labels, sorted, and the index of each row's label, int32 `[N]`.

    Raises:
      UserError: labels that are missing, of several kinds, or continuous.
    """
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        row = int(np.flatnonzero(~np.isfinite(y))[0])
        raise UserError(
            f"y: {y[row]} in row {row}; drop such rows, or give them a label"
        )
    try:
        labels, label = np.unique(y, return_inverse=True)
    except TypeError as error:
        raise UserError(
            f"y: labels must be of one kind ({error}); for instance, make all strings"
        ) from None
    if 2 * len(labels) > len(y) > 2:
        raise UserError(
            f"y: {len(labels)} different labels in {len(y)} rows; y is continuous, or "
            "names each row. Give classes, for instance quantiles of y"
        )
    return labels, label.astype(np.int32)


def check_finite(x: np.ndarray) -> None:
    """Raise a `UserError` that says where, if an input is NaN or infinite."""
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
    """Inputs, and their scales as a net sees them.

    The scales depend on all rows, the scored ones too, but on no label. The bound still
    holds: a net is then a function of all inputs and of other rows' labels, and given
    its x, a row's label is independent of those.

    Attributes:
      x: `[N, D]` or images `[N, H, W, C]`.
      columns: indices of the columns that vary, of `[N, D]`.
      center, scale: of those columns, or of the channels of images.
      mean, deviation: of the columns after arcsinh; images do not use them.
    """

    x: np.ndarray
    columns: np.ndarray
    center: np.ndarray
    scale: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray

    @property
    def images(self) -> bool:
        """Whether the inputs are images, which go through a convolutional net."""
        return self.x.ndim == 4

    @property
    def varies(self) -> bool:
        """Whether any column varies."""
        return len(self.columns) > 0

    @property
    def row_bytes(self) -> int:
        """Size of a row on the device."""
        return 4 * (self.x[0].size if self.images else len(self.columns))

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """Scale rows for a net; float32 `[B, columns]` or `[B, H, W, C]`."""
        if self.images:
            return ((self.x[rows] - self.center) / self.scale).astype(np.float32)
        z = np.asarray(self.x[rows][:, self.columns], np.float64)
        z = np.arcsinh((z - self.center) / self.scale)
        z = (z - self.mean) / self.deviation
        return z.clip(-_FARTHEST, _FARTHEST).astype(np.float32)


def make_inputs(x: np.ndarray) -> Inputs:
    """Find the columns that vary, and their scales.

    Args:
      x: finite numbers `[N, D]` or `[N, H, W, C]`.
    """
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
    # Divide first, so that the square of a huge value does not overflow.
    size = np.maximum(np.abs(low), np.abs(high)).reshape(-1)[columns].astype(np.float64)
    lower, center, upper = np.quantile(some, (0.25, 0.5, 0.75), axis=0)
    scale = (upper / 1.349 - lower / 1.349) if len(columns) else size
    deviation = (some / size).std(0) * size
    # The quartiles agree if half of the rows do, the sample if a value is rare.
    scale = np.where(scale > 0, scale, np.where(deviation > 0, deviation, size))
    z = np.arcsinh((some - center) / scale)
    deviation = z.std(0)
    return Inputs(
        x, columns, center, scale, z.mean(0), np.where(deviation > 0, deviation, 1)
    )


def copies(inputs: Inputs) -> np.ndarray:
    """Number the groups of rows: a few equal rows are copies, and share a number.

    Returns:
      `[N]`, in [0, number of groups).
    """
    odd = np.random.default_rng(0).integers(2**63, size=(2, len(inputs.columns)))
    odd = odd.astype(np.uint64) * np.uint64(2) + np.uint64(1)
    hashes = []
    for rows in _slices(inputs.x):
        part = np.asarray(inputs.x[rows]).reshape(rows.stop - rows.start, -1)
        bits = (part[:, inputs.columns].astype(np.float64) + 0.0).view(np.uint64)
        # Multilinear hashing modulo 2^64, after mixing the upper bits into the lower.
        stirred = bits * odd[0]
        hashes.append(((stirred ^ (stirred >> np.uint64(31))) * odd[1]).sum(1))
    _, group, counts = np.unique(
        np.concatenate(hashes), return_inverse=True, return_counts=True
    )
    often = counts[group] > _MOST_COPIES
    group[often] = len(counts) + np.arange(often.sum())
    return np.unique(group, return_inverse=True)[1]


def deal(
    group: np.ndarray, label: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """Split the rows into folds, label by label, and no group between two folds.

    Args:
      group: `[N]`, as of `copies`.
      label: `[N]`; the last row of a group says where the group goes.
      generator: shuffles the groups.

    Returns:
      The fold of each row, `[N]` in [0, FOLDS).
    """
    label_of = np.zeros(group.max() + 1, np.int32)
    label_of[group] = label
    order = np.lexsort((generator.random(len(label_of)), label_of))
    fold = np.empty(len(label_of), np.int64)
    fold[order] = np.arange(len(order)) % FOLDS
    return fold[group]
