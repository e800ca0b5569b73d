"""How time and memory grow with images, classes, map size and devices.

    python benchmarks/scaling.py [--rounds=5]

What is timed is what this package adds to a net's forward pass: maps, boxes and
figures, and the head with its loss. Maps are of one kernel, batch after batch. The
exponents are those of c x^b through the last two points, of time and of memory: 0 does
not grow, 1 grows as x does. Memory is XLA's own analysis of the compiled program, or
NumPy's allocations on the host.
"""

import functools
import os
import statistics
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import common
import jax
import jax.numpy as jnp
import numpy as np
from rich.progress import track

from mi_classifier import activation_maps, losses
from mi_classifier.evaluation import evaluators, localizing

CLASSES = (10, 200, 1_000, 5_000, 20_000)
SIDES = (7, 14, 28, 56)
IMAGES = (250, 1_000, 4_000)
DEVICES = (1, 2, 8)
BATCH, SIDE, CHANNELS, REGION = 16, 14, 1_024, 5
Point = tuple[float, float]  # seconds, bytes

DEVICES_SCRIPT = """
import sys, tempfile
from mi_classifier import config as configs
from mi_classifier.training import train
import json
config = configs.load("configs/gmm.py")
config.num_epochs = 12
with tempfile.TemporaryDirectory() as folder:
    state = train(config, folder)
    rows = [json.loads(row) for row in open(folder + "/metrics.jsonl")]
    steps = rows[1]["step"] - rows[0]["step"]
    print(sorted(row["seconds"] / steps for row in rows[1:])[5])
"""


def program(function: Callable, *arguments: jax.Array, rounds: int) -> Point:
    """Seconds and bytes of a function of arrays, compiled."""
    memory = jax.jit(function).lower(*arguments).compile().memory_analysis()

    def call() -> None:
        for _ in range(10):  # as batch follows batch
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
        activation_maps.TITLES[name]: program(
            functools.partial(make, region=REGION),
            features,
            kernel,
            labels,
            rounds=rounds,
        )
        for name, make in activation_maps.MAPS.items()
    }


def of_sides(side: int, rounds: int) -> dict[str, Point]:
    keys = jax.random.split(jax.random.key(0), 3)
    features = jax.random.uniform(keys[0], (BATCH, side, side, CHANNELS))
    kernel = jax.random.normal(keys[1], (CHANNELS, 200))
    labels = jax.random.randint(keys[2], (BATCH,), 0, 200)
    points = of_maps(features, kernel, labels, rounds)
    return points | {"boxes and figures": of_host(BATCH, side)}


def of_images(count: int, rounds: int) -> dict[str, Point]:
    del rounds
    return {"boxes and figures": of_host(count, SIDE)}


def of_host(count: int, side: int) -> Point:
    """What the evaluator of maps does on the host, of one map an image."""
    generator = np.random.default_rng(0)
    size = side + REGION - 1
    measures = {
        "top1": np.ones((count, 1), bool),
        "maps": {"info_cam": generator.random((count, 1, size, size), np.float32)},
    }
    pixels = 16 * side
    corners = np.sort(generator.integers(0, pixels, (count, 1, 2, 2)), 2)
    split = {
        # Only the shape is asked for.
        "image": np.broadcast_to(np.uint8(0), (count, pixels, pixels, 3)),
        "label": np.zeros(count, np.int32),
        "boxes": corners.reshape(count, 1, 4).astype(np.float32),
        "num_boxes": np.ones(count, np.int32),
    }
    setting = localizing.Setting("info_cam", REGION)
    evaluator = localizing.Localization("softmax", {"info_cam": setting}, 0.2)
    priors = evaluators.Priors(None, None)
    summarize = functools.partial(evaluator.summarize, measures, split, priors)
    seconds = min(common.seconds_of(summarize, 1))
    tracemalloc.start()
    summarize()
    memory = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return seconds, memory


def of_devices(count: int, rounds: int) -> dict[str, Point]:
    """A step of configs/gmm.py on so many virtual devices of the same cores."""
    del rounds
    done = subprocess.run(
        [sys.executable, "-c", DEVICES_SCRIPT],
        env=os.environ | {"JAX_NUM_CPU_DEVICES": str(count), "JAX_PLATFORMS": "cpu"},
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    return {"a step": (float(done.stdout.split()[-1]), 0)}


AXES: Mapping[str, tuple[Sequence[int], Callable[[int, int], dict[str, Point]]]] = {
    "classes": (CLASSES, of_classes),
    "cells a side": (SIDES, of_sides),
    "images": (IMAGES, of_images),
    "virtual devices": (DEVICES, of_devices),
}


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    rows, figures = [], {}
    for axis, (values, measure) in AXES.items():
        found = {x: measure(x, arguments.rounds) for x in track(values, axis)}
        for name in found[values[0]]:
            points = [found[x][name] for x in values]
            figures[f"{name}, {axis}"] = dict(
                zip(map(str, values), points, strict=True)
            )
            for x, (seconds, size) in zip(values, points, strict=True):
                last = x == values[-1]
                cells = [name if x == values[0] else "", axis, f"{x:,}"]
                cells += [f"{1e3 * seconds:.2f}", f"{size / 2**20:.1f}" if size else ""]
                cells += [_exponent(values, points) if last else ""]
                rows.append(cells)
    columns = ["scaling", "of", "x", "ms", "MiB", "exponents"]
    note = (
        f"{BATCH} images of {SIDE} x {SIDE} x {CHANNELS}, region {REGION}, unless said"
    )
    title = f"on {jax.devices()[0].device_kind}"
    common.report(title, columns, rows, figures, arguments.json, [note])


def _exponent(values: Sequence[int], points: Sequence[Point]) -> str:
    """The growth of time and of memory over the last two points."""
    run = np.log(values[-1] / values[-2])
    return ", ".join(
        f"{np.log(last / before) / run:.2f}"
        for before, last in zip(points[-2], points[-1], strict=True)
        if before
    )


if __name__ == "__main__":
    main()
