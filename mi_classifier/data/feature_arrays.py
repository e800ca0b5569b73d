"""Open features that may be larger than memory: mapped, or collected from batches."""

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from mi_classifier.errors import UserError, disk_errors_told, reason_of

_AT_ONCE = 64  # rows that are looked at


def opened(features: Any, labels: Any) -> Any:
    """Return an array: mapped from an .npy file, or collected from batches on disk."""
    if isinstance(features, str | Path):
        if str(features).endswith(".npz"):
            raise UserError(
                f"features: {features} holds several arrays; give it to "
                f"`mi-classifier evaluate --features={features}`"
            )
        try:
            return np.load(Path(features).expanduser(), mmap_mode="r")
        except (OSError, ValueError) as error:
            reason = reason_of(error)
            raise UserError(f"features: {features}: cannot be read: {reason}") from None
    return _collected(features(), len(labels)) if callable(features) else features


def _collected(batches: Iterable[Any], count: int) -> np.ndarray:
    """Write batches into a file without a name, and map it, `[count, ...]`."""
    shape, start = None, 0
    # Written, not mapped: writing to a mapped file on a full disk is a SIGBUS.
    with (
        disk_errors_told(tempfile.gettempdir(), "written"),
        tempfile.TemporaryFile() as file,
    ):
        if not isinstance(batches, Iterable):
            raise UserError(
                f"features: the function returns {batches!r}; it must yield batches"
            )
        for batch in map(np.asarray, batches):
            shape = shape or (count, *batch.shape[1:])
            end = start + len(batch)
            if batch.shape[1:] != shape[1:] or end > count:
                raise UserError(
                    f"features: after {start} rows, a batch is {list(batch.shape)}; "
                    f"{list(shape)} are needed in all, one row for each label"
                )
            file.write(np.ascontiguousarray(batch, np.float32))
            start = end
        if start < count:
            raise UserError(
                f"features: the batches hold {start} rows, and labels {count}"
            )
        file.flush()
        return np.memmap(file, np.float32, "r", shape=shape)  # which keeps the file


def as_floats(values: Any, name: str) -> np.ndarray:
    """Return floats, without reading a memory map."""
    try:
        array = values if isinstance(values, np.ndarray) else np.asarray(values)
    except ValueError:
        raise UserError(
            f"{name}: must be one array; join batches by np.concatenate, or give a "
            "function that yields them"
        ) from None
    if array.dtype.kind == "O" and hasattr(values, "__next__"):
        raise UserError(
            f"{name}: give the function that yields batches, not what it returns"
        )
    if array.dtype.kind not in "fiu":
        raise UserError(f"{name}: must be floats, not {array.dtype}")
    if not array.ndim or not array.size:
        what = "is empty" if array.ndim else "must be an array, not one number"
        raise UserError(f"{name}: {what}, {list(array.shape)}")
    for start in range(0, len(array), _AT_ONCE):
        if not np.isfinite(array[start : start + _AT_ONCE]).all():
            raise UserError(
                f"{name}: a value in row {start} or soon after is not finite"
            )
    return array
