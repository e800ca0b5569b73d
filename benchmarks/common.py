"""What the benchmarks share: the machine's name, tables, JSON."""

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mi_classifier.reporting.table import Table, print_table

# The makers' figures for dense products, FLOP/s; float32 by way of TF32, as XLA has it.
PEAKS = {
    "A100": {"float32": 156e12, "bfloat16": 312e12},
    "H100": {"float32": 495e12, "bfloat16": 990e12},
    "H200": {"float32": 495e12, "bfloat16": 990e12},
}


def parser(doc: str) -> argparse.ArgumentParser:
    """Returns a parser that every benchmark's options are added to."""
    made = argparse.ArgumentParser(description=doc.splitlines()[0])
    made.add_argument("--json", help="where to write the figures")
    return made


def cores() -> int:
    """Returns the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def machine() -> str:
    """Names the machine by what it is."""
    return f"{cores()} cores, {platform.machine()}"


def report(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    figures: Mapping[str, Any] | Sequence[Any],
    json_path: str | None,
    notes: Sequence[str] = (),
) -> None:
    """Prints a table, and writes its figures as JSON if a path is given."""
    print_table(Table(f"{title}; {machine()}", columns, rows, notes))
    if json_path:
        content = {"machine": machine(), "cases": figures}
        Path(json_path).write_text(json.dumps(content, indent=2) + "\n")


def seconds_of(function: Callable[[], object], rounds: int) -> list[float]:
    """Times some calls, after one that is not timed."""
    function()
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return times


def peak(dtype: str) -> tuple[str, float]:
    """Returns what a device can do at most, and in FLOP/s how much that is.

    The maker's figure where it is known, else what the fastest of some matrix products
    reaches.
    """
    import jax
    import jax.numpy as jnp

    device = jax.local_devices()[0]
    for name, peaks in PEAKS.items():
        if name in device.device_kind and dtype in peaks:
            return device.device_kind, peaks[dtype]
    product = jax.jit(jnp.matmul)
    best = 0.0
    for size in (512, 1_024, 2_048, 4_096):
        x = jnp.ones((size, size), dtype)
        fastest = min(seconds_of(lambda x=x: product(x, x).block_until_ready(), 10))
        best = max(best, 2 * size**3 / fastest)
    return device.device_kind, best
