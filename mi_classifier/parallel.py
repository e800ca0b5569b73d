"""Devices and hosts: the one file that names `pmap`.

A step runs on every device of every process at once. State is replicated and has no
device axis; batches are split along their device axis. Means over examples are means
over devices too, so two devices compute what one would. All processes run the same
program on the host, each with the rows of its own devices; only the first process
writes and prints.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mi_classifier import forks
from mi_classifier.errors import UserError, reason_of

T = TypeVar("T")
AXIS = "batch"


def join(cluster: str) -> None:
    """Make this process one of several that share every batch, before JAX is used.

    `cluster` is "auto" where JAX finds the processes by itself, as under SLURM, Open
    MPI, Kubernetes or on TPUs; else "HOST:PORT,PROCESSES,INDEX": the first process's
    address, the number of processes, and the index of this one, from 0.
    """
    arguments: tuple[Any, ...] = ()
    if cluster != "auto":
        try:
            address, *numbers = cluster.split(",")
            count, index = map(int, numbers)
        except ValueError:
            raise UserError(
                f"--distributed: must be auto or HOST:PORT,PROCESSES,INDEX, not "
                f"{cluster!r}"
            ) from None
        if not 0 <= index < count:
            raise UserError(
                f"--distributed: no process {index} of {count}; INDEX goes from 0 to "
                "PROCESSES - 1"
            )
        arguments = (address, count, index)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    # JAX's preemption service would catch SIGTERM, which asks us to save and stop.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(*arguments)
    except (RuntimeError, ValueError) as error:
        reason = reason_of(error)[:200]
        raise UserError(f"--distributed: cannot join the others: {reason}") from error


def is_first() -> bool:
    """Return whether this process is the one that writes and prints."""
    forks.check()
    return jax.process_index() == 0


@contextlib.contextmanager
def first_process_first() -> Iterator[None]:
    """Run the body in the first process, then in the others, which find its cache."""
    if not is_first():
        wait_for_all()
    yield
    if is_first():
        wait_for_all()


def wait_for_all() -> None:
    """Wait until every process has called this function."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices("wait_for_all")


def all_agree(answer: bool) -> bool:
    """Return whether `answer` is true in every process."""
    return bool(multihost_utils.process_allgather(answer).all())


def all_equal(number: int) -> bool:
    """Return whether every process has the same number."""
    return bool((multihost_utils.process_allgather(number) == number).all())


def num_devices() -> int:
    """Return the number of devices that share a batch, in all processes together."""
    forks.check()
    try:
        return jax.device_count()
    except (RuntimeError, AssertionError) as error:
        reason = " ".join(str(error).split()) or "check JAX_PLATFORMS"
        raise UserError(f"JAX finds no device: {reason}") from error


def num_local_devices() -> int:
    """Return the number of this process's devices."""
    return jax.local_device_count()


def free_bytes() -> int:
    """Return the free memory of a device, or of the machine where CPUs compute."""
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):  # some systems lack these names
        return 1 << 32


def replicated() -> NamedSharding:
    """Return the sharding of state: a copy on each local device, no device axis."""
    forks.check()
    return NamedSharding(Mesh(np.array(jax.local_devices()), (AXIS,)), PartitionSpec())


def replicate(tree: T) -> T:
    """Copy a tree of arrays to every device of this process."""
    return jax.device_put(tree, replicated())


def on_devices(
    function: Callable[..., Any],
    in_axes: Sequence[Any],
    out_axes: Any,
    donate_argnums: Sequence[int] = (),
) -> Callable[..., Any]:
    """Compile a pure function of one device's share to run on every device.

    `in_axes` holds for each argument None if it is replicated, else the axis that is
    split over devices, or a tree prefix of these; `out_axes` is such a prefix for the
    results, which may take the memory of the arguments in `donate_argnums`.
    """
    return jax.pmap(
        function,
        axis_name=AXIS,
        in_axes=tuple(in_axes),
        out_axes=out_axes,
        donate_argnums=tuple(donate_argnums),
    )


def mean_over_devices(tree: T) -> T:
    """Average a tree over devices, inside a function of `on_devices`."""
    return jax.lax.pmean(tree, AXIS)


def mean(parts: Sequence[T]) -> T:
    """Average trees over parts and devices, inside a function of `on_devices`.

    Each part is a mean over equally many examples. The sum is in pairs, over the parts
    and then over devices: for powers of two this fixes the order of every addition, and
    the last bit is the same on any number of devices.
    """
    devices = num_devices()
    if len(parts) == 1 and devices == 1:
        return parts[0]
    total = _sum_in_pairs(list(parts))
    if devices > 1:
        total = _sum_over_devices(total, devices)
    return jax.tree.map(lambda x: x / (len(parts) * devices), total)


def _sum_over_devices(tree: T, devices: int) -> T:
    """Add a tree over devices in pairs; this sends what an all-reduce would send.

    Each device adds its own share of the numbers of all devices, and sends the sums.
    """
    vector, restore = ravel_pytree(tree)
    padded = jnp.pad(vector, (0, -len(vector) % devices)).reshape(devices, -1)
    own = jax.lax.all_to_all(padded, AXIS, split_axis=0, concat_axis=0)
    sums = jax.lax.all_gather(_sum_in_pairs(list(own)), AXIS, tiled=True)
    return restore(sums[: len(vector)])


def _sum_in_pairs(trees: list[T]) -> T:
    while len(trees) > 1:
        pairs = zip(trees[::2], trees[1::2], strict=False)
        rest = trees[-1:] if len(trees) % 2 else []
        trees = [jax.tree.map(jnp.add, a, b) for a, b in pairs] + rest
    return trees[0]


def check_batch_size(batch_size: int, parts: int) -> None:
    """Check that a training batch splits evenly over devices and their `parts`."""
    devices = num_devices()
    if batch_size < 1:
        raise UserError(f"batch_size: must be at least 1, not {batch_size}")
    unit = devices * parts_per_device(parts)
    if batch_size % unit:
        below = batch_size // unit * unit
        each = f" in {unit // devices} microbatches each" if unit > devices else ""
        raise UserError(
            f"batch_size: {batch_size} cannot be split evenly over {devices} "
            f"device{'s' if devices > 1 else ''}{each}; "
            f"use {f'{below} or ' if below else ''}{below + unit}"
        )


def parts_per_device(parts: int) -> int:
    """Return how many parts of a batch each device computes, at least one."""
    return max(parts // num_devices(), 1)


def split_indices(indices: np.ndarray) -> np.ndarray:
    """Split the last axis over this process's devices: `[local, S, B / devices]`."""
    return _own(np.stack(np.split(indices, num_devices(), axis=1)))


def _own(shares: np.ndarray) -> np.ndarray:
    count = num_local_devices()
    start = jax.process_index() * count
    return shares[start : start + count]


def evaluation_batches(
    split: Mapping[str, np.ndarray], batch_size: int
) -> Iterator[dict[str, np.ndarray]]:
    """Yield batches that together hold every example of a split exactly once.

    A batch holds the split's arrays for this process's devices, `[local, B / devices,
    ...]`, and a float32 `mask`, 1 for a real example and 0 for padding. `batch_size` is
    rounded up to a multiple of the number of devices.
    """
    devices = num_devices()
    length = len(split["label"])
    size = -(-min(batch_size, length) // devices) * devices
    split = {**split, "mask": np.ones(length, np.float32)}
    for start in range(0, length, size):
        batch = {}
        for name, array in split.items():
            rows = array[start : start + size]
            padding = [(0, size - len(rows))] + [(0, 0)] * (rows.ndim - 1)
            batch[name] = _own(np.stack(np.split(np.pad(rows, padding), devices)))
        yield batch


def merge(outputs: Any) -> Any:
    """Join the outputs `[local, B / devices, ...]` of all processes to `[B, ...]`."""
    outputs = jax.tree.map(np.asarray, outputs)
    outputs = multihost_utils.process_allgather(outputs, tiled=True)
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), outputs)
