"""How training examples reach the devices: all at once, or call by call."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple, Protocol

import jax
import numpy as np

from mi_classifier import parallel
from mi_classifier.data.dataset import Split
from mi_classifier.errors import choose

FEEDS = ("auto", "device", "stream")


class Call(NamedTuple):
    """What one call of the training steps takes.

    Attributes:
      split: arrays that hold the examples, on every device, or on each its own.
      rows: where they are in it, `[devices, S, B / devices]`.
      indices: which of the training split they are, of the same shape; a feed does not
        change them, nor anything that is drawn by them.
    """

    split: Mapping[str, jax.Array | np.ndarray]
    rows: np.ndarray
    indices: np.ndarray


class Feed(Protocol):
    """Brings batches to the devices.

    Attributes:
      axis: of `Call.split` that is divided over devices; None if each has all.
    """

    axis: int | None

    def calls(self, batches: np.ndarray, steps_per_call: int) -> Iterator[Call]:
        """Yields the calls of batches of indices `[steps, B]`."""


def make_feed(name: str, split: Split) -> Feed:
    """Makes a feed of a training split.

    Args:
      name: "device" keeps it in device memory; "stream" reads what a call needs while
        the call before it runs; "auto" is the former if the split takes at most half of
        the memory that is free.
      split: the training split.

    Raises:
      UserError: another name.
    """
    choose(name, FEEDS, "feed")
    size = sum(array.nbytes for array in split.values())
    fits = parallel.all_agree(size <= parallel.free_bytes() / 2)
    if name == "device" or (name == "auto" and fits):
        return DeviceFeed(split)
    return StreamFeed(split)


class DeviceFeed:
    """The whole split in the memory of every device; calls name rows of it."""

    axis = None

    def __init__(self, split: Split) -> None:
        self._split = parallel.replicate(dict(split))

    def calls(self, batches: np.ndarray, steps_per_call: int) -> Iterator[Call]:
        """See `Feed`."""
        for start in range(0, len(batches), steps_per_call):
            rows = parallel.split_indices(batches[start : start + steps_per_call])
            yield Call(self._split, rows, rows)


class StreamFeed:
    """Examples gathered on the host, each device its own, a few calls ahead."""

    axis = 0

    def __init__(self, split: Split) -> None:
        self._split = split

    def calls(self, batches: np.ndarray, steps_per_call: int) -> Iterator[Call]:
        """See `Feed`."""
        import grain  # takes a second, and is not needed otherwise

        def gather(call: int) -> Call:
            start = call * steps_per_call
            indices = parallel.split_indices(batches[start : start + steps_per_call])
            flat = indices.reshape(len(indices), -1)  # [devices, examples of a call]
            arrays = {name: array[flat] for name, array in self._split.items()}
            own = np.arange(flat.shape[1], dtype=np.int32).reshape(indices.shape[1:])
            return Call(arrays, np.broadcast_to(own, indices.shape).copy(), indices)

        calls = -(-len(batches) // steps_per_call)
        options = grain.ReadOptions(num_threads=2, prefetch_buffer_size=4)
        yield from grain.MapDataset.range(calls).map(gather).to_iter_dataset(options)
