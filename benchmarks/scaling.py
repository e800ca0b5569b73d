"""Measure how time and memory grow with classes, map size, images and devices.

    python benchmarks/scaling.py [--rounds=5] [--only=classes]

The benchmark times what this package adds to a net's forward pass: maps, boxes with
their accuracies, and the head with its loss. The head's kernel is the same for every
batch of maps. The exponents are b in c x^b through the last two points, for time and
for memory: 0 does not grow, 1 grows like x. Memory is that of XLA's analysis of the
compiled program, or that of NumPy's arrays on the host.
"""

import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import common
import jax
import jax.numpy as jnp
import numpy as np

from mi_classifier import activation_maps, losses
from mi_classifier.evaluation.evaluators import Priors, Subject
from mi_classifier.evaluation.evaluators.localization import Setting, create
from mi_classifier.progress import tracked

CLASSES = (10, 200, 1_000, 5_000, 20_000)
SIDES = (7, 14, 28, 56)
IMAGES = (250, 1_000, 4_000)
DEVICES = (1, 2, 8)
BATCH, SIDE, CHANNELS, REGION = 16, 14, 1_024, 5
HOST = "boxes and accuracies"
Point = tuple[float, float]  # seconds, bytes


def program(function: Callable, *arguments: jax.Array, rounds: int) -> Point:
    """Returns the seconds and bytes of a compiled function of arrays."""
    memory = jax.jit(function).lower(*arguments).compile().memory_analysis()

    def call() -> None:
        for _ in range(10):  # like batches one after another
            jax.block_until_ready(function(*arguments))

    seconds = statistics.median(common.seconds_of(call, rounds)) / 10
    return seconds, memory.temp_size_in_bytes + memory.output_size_in_bytes


def of_classes(classes: int, rounds: int) -> dict[str, Point]:
    keys = jax.random.split(jax.random.key(0), 3)
    features = jax.random.uniform(keys[0], (BATCH, SIDE, SIDE, CHANNELS))
    kernel = jax.random.normal(keys[1], (CHANNELS, classes)) / 32
    labels = jax.random.randint(keys[2], (BATCH,), 0, classes)
    prior = jnp.full(classes, -np.log(classes))

    @jax.jit
    def head(features: jax.Array, kernel: jax.Array) -> jax.Array:
        def loss(kernel: jax.Array) -> jax.Array:
            logits = features.mean((1, 2)) @ kernel
            return losses.pc_softmax_cross_entropy(logits, labels, prior).mean()

        return jax.grad(loss)(kernel)

    points = {
        "head, PC-softmax, gradient": program(head, features, kernel, rounds=rounds)
    }
    return points | of_maps(features, kernel, labels, rounds)


def of_maps(
    features: jax.Array, kernel: jax.Array, labels: jax.Array, rounds: int
) -> dict[str, Point]:
    return {
        each.title: program(
            functools.partial(each.function, **each.options({"region": REGION})),
            features,
            kernel,
            labels,
            rounds=rounds,
        )
        for each in activation_maps.MAPS.values()
    }


def of_sides(side: int, rounds: int) -> dict[str, Point]:
    keys = jax.random.split(jax.random.key(0), 3)
    features = jax.random.uniform(keys[0], (BATCH, side, side, CHANNELS))
    kernel = jax.random.normal(keys[1], (CHANNELS, 200))
    labels = jax.random.randint(keys[2], (BATCH,), 0, 200)
    points = of_maps(features, kernel, labels, rounds)
    return points | {HOST: of_host(BATCH, side)}


def of_images(count: int, rounds: int) -> dict[str, Point]:
    del rounds
    return {HOST: of_host(count, SIDE)}


def of_host(count: int, side: int) -> Point:
    """Returns the cost of the localization evaluator on the host, one map an image."""
    generator = np.random.default_rng(0)
    size = side + REGION - 1
    measurements = {
        "top1": np.ones((count, 1), bool),
        "maps": {"info_cam": generator.random((count, 1, size, size), np.float32)},
    }
    pixels = 16 * side
    corners = np.sort(generator.integers(0, pixels, (count, 1, 2, 2)), 2)
    split = {
        # Only the shape of the images counts.
        "image": np.broadcast_to(np.uint8(0), (count, pixels, pixels, 3)),
        "label": np.zeros(count, np.int32),
        "boxes": corners.reshape(count, 1, 4).astype(np.float32),
        "num_boxes": np.ones(count, np.int32),
    }
    settings = {"info_cam": Setting("info_cam", {"region": REGION})}
    subject = Subject(None, losses.LOSSES["softmax"], {"threshold": 0.2})
    evaluator = create(subject, settings)
    summarize = functools.partial(
        evaluator.summarize, measurements, split, Priors(None, None)
    )
    seconds = min(common.seconds_of(summarize, 1))
    tracemalloc.start()
    summarize()
    memory = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return seconds, memory


def of_devices(count: int, rounds: int) -> dict[str, Point]:
    """Returns the time of a step of configs/gmm.py; virtual devices share the cores."""
    del rounds
    with tempfile.TemporaryDirectory() as folder:
        command = ("train.py", "--config=configs/gmm.py", "--config.num_epochs=12")
        subprocess.run(
            [sys.executable, *command, f"--workdir={folder}/run"],
            env=os.environ
            | {"JAX_NUM_CPU_DEVICES": str(count), "JAX_PLATFORMS": "cpu"},
            cwd=common.REPOSITORY,
            stdout=subprocess.DEVNULL,
            check=True,
        )
        text = (Path(folder) / "run" / "metrics.jsonl").read_text()
    epochs = [json.loads(row) for row in text.splitlines()]
    steps = epochs[0]["step"]
    seconds = statistics.median(row["seconds"] for row in epochs[1:])  # 1 compiles
    return {"a step": (seconds / steps, 0)}


AXES: Mapping[str, tuple[Sequence[int], Callable[[int, int], dict[str, Point]]]] = {
    "classes": (CLASSES, of_classes),
    "cells a side": (SIDES, of_sides),
    "images": (IMAGES, of_images),
    "virtual devices": (DEVICES, of_devices),
}


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help=f"one of {', '.join(AXES)}")
    arguments = parser.parse_args()
    rows, results = [], {}
    for axis, (values, measure) in AXES.items():
        if arguments.only not in axis:
            continue
        found = {x: measure(x, arguments.rounds) for x in tracked(values, axis)}
        for name in found[values[0]]:
            points = [found[x][name] for x in values]
            results[f"{name}, {axis}"] = dict(
                zip(map(str, values), points, strict=True)
            )
            for x, (seconds, size) in zip(values, points, strict=True):
                last = x == values[-1]
                cells = [name if x == values[0] else "", axis, f"{x:,}"]
                cells += [f"{1e3 * seconds:.2f}", f"{size / 2**20:.1f}" if size else ""]
                cells += [exponents(values, points) if last else ""]
                rows.append(cells)
    columns = ["scaling", "of", "x", "ms", "MiB", "exponents"]
    note = (
        f"{BATCH} images of {SIDE} x {SIDE} x {CHANNELS}, region {REGION}, unless said"
    )
    title = f"on {jax.devices()[0].device_kind}"
    common.report(title, columns, rows, results, arguments.json, [note])


def exponents(values: Sequence[int], points: Sequence[Point]) -> str:
    """Returns the growth of time and of memory over the last two points."""
    run = np.log(values[-1] / values[-2])
    return ", ".join(
        f"{np.log(last / before) / run:.2f}"
        for before, last in zip(points[-2], points[-1], strict=True)
        if before
    )


if __name__ == "__main__":
    main()
