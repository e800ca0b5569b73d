"""From an archive to the device: time, images a second and peak memory of each stage.

    python -m mi_classifier.rehearsal cub200 --out=cub.tgz --num_classes=200 \\
        --num_images=11788
    python benchmarks/data_pipeline.py cub200 cub.tgz

"prepare" streams the archive into TFDS's records and decodes them into the cache; the
other stages start from there. Each stage has a process of its own, for its memory; what
is mapped from disk counts as long as the system keeps it, so "anonymous" is the memory
that the process itself holds, at the end of the stage.
"""

import argparse
import json
import multiprocessing
import os
import platform
import resource
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from mi_classifier import recipes
from mi_classifier.data import Dataset, load_dataset

BATCH = 128


def prepare(config: dict) -> int:
    return count(load_dataset(config))


def open_again(config: dict) -> int:
    return count(load_dataset(config))


def hash_all(config: dict) -> int:
    dataset = load_dataset(config)
    dataset.fingerprints()
    return count(dataset)


def stream(config: dict) -> int:
    from mi_classifier.data.feed import StreamFeed

    return feed(StreamFeed, load_dataset(config))


def keep_on_device(config: dict) -> int:
    from mi_classifier.data.feed import DeviceFeed

    return feed(DeviceFeed, load_dataset(config))


def feed(make: Callable, dataset: Dataset) -> int:
    """Brings an epoch of shuffled batches to the device, where each is gathered."""
    import jax
    import jax.numpy as jnp

    split = dataset.splits["train"]
    order = np.random.default_rng(0).permutation(len(split["label"])).astype(np.int32)
    batches = order[: len(order) // BATCH * BATCH].reshape(-1, BATCH)
    source = make(split)
    take = jax.jit(lambda images, rows: images[rows].astype(jnp.uint8))
    for call in source.calls(batches, 1):
        images, rows = call.split["image"], call.rows[0, 0]
        if source.axis is not None:
            images = images[0]
        jax.block_until_ready(take(images, rows))
    return batches.size


def evaluate(config: dict) -> int:
    """Sends validation and test through evaluation's batches, without a model."""
    import jax

    from mi_classifier import parallel

    dataset = load_dataset(config)
    total = 0
    for name in ("validation", "test"):
        for batch in parallel.evaluation_batches(dataset.splits[name], BATCH):
            jax.block_until_ready(jax.device_put(batch["image"]))
            total += int(batch["mask"].sum())
    return total


STAGES = {
    "prepare": prepare,
    "open again": open_again,
    "hash": hash_all,
    "stream an epoch": stream,
    "copy to the device, an epoch": keep_on_device,
    "evaluation batches": evaluate,
}


def count(dataset: Dataset) -> int:
    return sum(len(split["label"]) for split in dataset.splits.values())


def worker(stage: str, config: dict, pipe: Connection) -> None:
    started = time.perf_counter()
    images = STAGES[stage](config)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    status = Path("/proc/self/status").read_text()
    anonymous = int(status.split("RssAnon:")[1].split()[0]) / 2**20
    pipe.send({"s": seconds, "images": images, "peak": peak, "anonymous": anonymous})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", choices=("cub200", "tiny_imagenet"))
    parser.add_argument("archive")
    parser.add_argument("--data_dir", help="where to prepare; a temporary folder")
    parser.add_argument("--json", help="where to write the figures")
    arguments = parser.parse_args()
    config = recipes.localization("vgg16_gap", arguments.data, False).data.to_dict()
    config["archive_path"] = os.path.abspath(arguments.archive)
    machine = f"{len(os.sched_getaffinity(0))} cores, {platform.machine()}"
    table = Table(title=f"{arguments.data}, {machine}")
    for column in ("", "images", "s", "images a second", "peak GiB", "anonymous"):
        table.add_column(column, justify="right" if column else "left")
    context = multiprocessing.get_context("spawn")
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        config["data_dir"] = arguments.data_dir or folder
        for stage in STAGES:
            pipe, child = context.Pipe()
            process = context.Process(target=worker, args=(stage, config, child))
            process.start()
            child.close()
            f = figures[stage] = pipe.recv()
            process.join()
            speed = f"{f['images'] / f['s']:,.0f}"
            memory = (f"{f['peak']:.2f}", f"{f['anonymous']:.2f}")
            table.add_row(stage, f"{f['images']:,}", f"{f['s']:.1f}", speed, *memory)
    Console().print(table)
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
