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
    """Check inputs and labels; return x `[N, D]` or images `[N, H, W, C]`, and y `[N]`.

    The values of a memory map are not read.
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
    """Return the M different labels, sorted, and each row's index among them, `[N]`."""
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
    """Raise a UserError that names the first input that is NaN or infinite."""
    if x.dtype.kind != "f":
        return
    for start, block in _blocks(x):
        finite = np.isfinite(block)
        if not finite.all():
            row, *column = np.argwhere(~finite)[0]
            where = f"row {start + row}, column {', '.join(map(str, column))}"
            value = block[(row, *column)]
            raise UserError(f"x: {value} in {where}; drop such rows, or fill them in")


def _blocks(x: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield blocks of rows, some tens of megabytes each, and where each starts."""
    step = max((BLOCK_BYTES >> 3) // max(8 * x[0].size, 1), 1)
    for start in range(0, len(x), step):
        yield start, np.asarray(x[start : start + step])


@dataclasses.dataclass(frozen=True)
class Inputs:
    """Inputs, and their scales as a net sees them.

    The scales depend on all rows, the scored ones too, but on no label. The bound still
    holds: a net is then a function of all inputs and of other rows' labels, and given
    its x, a row's label is independent of those.
    """

    x: np.ndarray  # [N, D] or images [N, H, W, C]
    columns: np.ndarray  # indices of the flattened columns that vary
    center: np.ndarray  # of those columns, or of the channels of images
    scale: np.ndarray
    mean: np.ndarray  # of the columns after arcsinh; unused for images
    deviation: np.ndarray

    @property
    def images(self) -> bool:
        """Whether the inputs are images, which go through a convolutional net."""
        return self.x.ndim == 4

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """Scale rows for a net; float32 `[B, columns]` or `[B, H, W, C]`."""
        if self.images:
            return ((self.x[rows] - self.center) / self.scale).astype(np.float32)
        z = np.asarray(self.x[rows][:, self.columns], np.float64)
        z = np.arcsinh((z - self.center) / self.scale)
        z = (z - self.mean) / self.deviation
        return z.clip(-_FARTHEST, _FARTHEST).astype(np.float32)


def make_inputs(x: np.ndarray) -> Inputs:
    """Find the columns that vary, and the scales of finite inputs."""
    low, high = x[0], x[0]
    for _, block in _blocks(x):
        low, high = np.minimum(low, block.min(0)), np.maximum(high, block.max(0))
    columns = np.flatnonzero(low < high)
    some = x[:: -(-len(x) // _SCALE_ROWS)]
    if x.ndim == 4:
        center = some.mean((0, 1, 2), dtype=np.float64)
        scale = some.std((0, 1, 2), dtype=np.float64)
        return Inputs(x, columns, center, np.where(scale > 0, scale, 1), *2 * [center])
    some = np.asarray(some[:, columns], np.float64)
    # Divide first, so that the square of a huge value does not overflow.
    size = np.maximum(np.abs(low), np.abs(high))[columns].astype(np.float64)
    lower, center, upper = np.quantile(some, (0.25, 0.5, 0.75), axis=0)
    scale, deviation = upper / 1.349 - lower / 1.349, (some / size).std(0) * size
    # The quartiles agree if half of the rows do, the sample if a value is rare.
    scale = np.where(scale > 0, scale, np.where(deviation > 0, deviation, size))
    z = np.arcsinh((some - center) / scale)
    deviation = np.where((deviation := z.std(0)) > 0, deviation, 1)
    return Inputs(x, columns, center, scale, z.mean(0), deviation)


def copies(inputs: Inputs) -> np.ndarray:
    """Give copies of a row one number, `[N]` from 0 on; a frequent value has many."""
    odd = np.random.default_rng(0).integers(2**63, size=(2, len(inputs.columns)))
    odd = odd.astype(np.uint64) * np.uint64(2) + np.uint64(1)
    hashes = []
    for _, block in _blocks(inputs.x):
        values = block.reshape(len(block), -1)[:, inputs.columns].astype(np.float64)
        # Multilinear hashing modulo 2^64, after mixing the upper bits into the lower.
        mixed = (values + 0.0).view(np.uint64) * odd[0]
        hashes.append(((mixed ^ (mixed >> np.uint64(31))) * odd[1]).sum(1))
    _, group, counts = np.unique(
        np.concatenate(hashes), return_inverse=True, return_counts=True
    )
    often = counts[group] > _MOST_COPIES
    group[often] = len(counts) + np.arange(often.sum())
    return np.unique(group, return_inverse=True)[1]


def deal(
    group: np.ndarray, label: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """Split the rows into folds `[N]`, label by label; no group is in two folds.

    The label of a group's last row decides for the group.
    """
    label_of = np.zeros(group.max() + 1, np.int32)
    label_of[group] = label
    order = np.lexsort((generator.random(len(label_of)), label_of))
    fold = np.empty(len(label_of), np.int64)
    fold[order] = np.arange(len(order)) % FOLDS
    return fold[group]
