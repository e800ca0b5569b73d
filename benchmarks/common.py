"""What the benchmarks share: configs, the machine, timing, tables and JSON."""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from mi_classifier import config as configs
from mi_classifier.reporting.table import Table, print_table

REPOSITORY = Path(__file__).parents[1]
sys.path.append(str(REPOSITORY))  # `tools` is not part of the installed package

# The paper's experiments on large images: a file in configs/ by backbone and data.
LOCALIZATION_CONFIGS = {
    ("vgg16_gap", "cub200"): "cub_vgg",
    ("resnet50", "cub200"): "cub_resnet",
    ("vgg16_gap", "tiny_imagenet"): "tiny_imagenet_vgg",
    ("resnet50", "tiny_imagenet"): "tiny_imagenet_resnet",
}
# FLOP/s of dense matrix products by the makers' data sheets. XLA computes products of
# float32 in TF32 on these cards.
PEAKS = {
    "A100": {"float32": 156e12, "bfloat16": 312e12},
    "H100": {"float32": 495e12, "bfloat16": 990e12},
    "H200": {"float32": 495e12, "bfloat16": 990e12},
}


def parser(doc: str) -> argparse.ArgumentParser:
    """Returns a parser to which each benchmark adds its options."""
    made = argparse.ArgumentParser(description=doc.splitlines()[0])
    made.add_argument("--json", help="where to write the results")
    return made


def localization_config(backbone: str, data: str) -> ConfigDict:
    """Loads the config of an experiment on large images, without ADL."""
    name = LOCALIZATION_CONFIGS[backbone, data]
    return configs.load(str(REPOSITORY / "configs" / f"{name}.py"))


def cores() -> int:
    """Returns the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def machine() -> str:
    """Describes the machine."""
    return f"{cores()} cores, {platform.machine()}"


def report(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    results: Mapping[str, Any] | Sequence[Any],
    json_path: str | None,
    notes: Sequence[str] = (),
) -> None:
    """Prints a table, and writes the results as JSON if a path is given."""
    print_table(Table(f"{title}; {machine()}", columns, rows, notes))
    if json_path:
        content = {"machine": machine(), "cases": results}
        Path(json_path).write_text(json.dumps(content, indent=2) + "\n")


def seconds_of(function: Callable[[], object], rounds: int) -> list[float]:
    """Returns the seconds of each of some calls, after one that is not timed."""
    function()
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return times


def peak(dtype: str) -> tuple[str, float]:
    """Returns the device's name and its highest speed in FLOP/s.

    The speed is the maker's where `PEAKS` has it. Otherwise it is that of the fastest
    of some matrix products.
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
