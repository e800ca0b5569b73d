"""Bring training batches to the devices: all data at once, or a few calls ahead."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple, Protocol

import jax
import numpy as np

from mi_classifier import parallel
from mi_classifier.data.dataset import Split
from mi_classifier.errors import choose

PIPELINES = ("auto", "device", "stream")


class Batches(NamedTuple):
    """The batches of one call of the compiled training steps."""

    split: Mapping[str, jax.Array | np.ndarray]  # the same on every device, or sharded
    rows: np.ndarray  # of `split`, `[devices, S, B / devices]`
    # The same examples as indices into the training split, of the same shape. They do
    # not depend on the pipeline, so random keys are derived from them.
    indices: np.ndarray


class Pipeline(Protocol):
    """Brings batches to the devices."""

    axis: int | None  # of the arrays in `Batches.split`, sharded; None: replicated

    def batches(self, order: np.ndarray, steps_per_call: int) -> Iterator[Batches]:
        """Yield what each call of the training steps takes.

        Args:
          order: indices into the training split, `[steps, B]`.
          steps_per_call: number of steps S in a call; the last call may have fewer.
        """


def make_pipeline(name: str, split: Split) -> Pipeline:
    """Make the pipeline of `PIPELINES` with this name for a training split.

    "auto" means "device" if the split takes at most half of the free device memory,
    else "stream".
    """
    choose(name, PIPELINES, "pipeline")
    size = sum(array.nbytes for array in split.values())
    fits = parallel.all_agree(size <= parallel.free_bytes() / 2)
    if name == "device" or (name == "auto" and fits):
        return DevicePipeline(split)
    return StreamPipeline(split)


class DevicePipeline:
    """Keeps the whole split in the memory of every device, and sends row numbers."""

    axis = None

    def __init__(self, split: Split) -> None:
        self._split = parallel.replicate(dict(split))

    def batches(self, order: np.ndarray, steps_per_call: int) -> Iterator[Batches]:
        """See `Pipeline`."""
        for start in range(0, len(order), steps_per_call):
            rows = parallel.split_indices(order[start : start + steps_per_call])
            yield Batches(self._split, rows, rows)


class StreamPipeline:
    """Gathers each device's examples on the host, a few calls ahead."""

    axis = 0

    def __init__(self, split: Split) -> None:
        self._split = split

    def batches(self, order: np.ndarray, steps_per_call: int) -> Iterator[Batches]:
        """See `Pipeline`."""
        import grain  # the import takes a second, so only this pipeline pays for it

        def gather(start: int) -> Batches:
            indices = parallel.split_indices(order[start : start + steps_per_call])
            flat = indices.reshape(len(indices), -1)  # [devices, examples of a call]
            arrays = {name: array[flat] for name, array in self._split.items()}
            rows = np.arange(flat.shape[1], dtype=np.int32).reshape(indices.shape[1:])
            return Batches(arrays, np.broadcast_to(rows, indices.shape).copy(), indices)

        starts = grain.MapDataset.range(0, len(order), steps_per_call)
        options = grain.ReadOptions(num_threads=2, prefetch_buffer_size=4)
        yield from starts.map(gather).to_iter_dataset(options)
