"""What maps cost in classes: CAM, infoCAM and infoCAM+ for 10 to 20,000 of them.

    python benchmarks/classes.py [--rounds=7]

Features of 16 images, 14 x 14 x 1,024, float32, region 5; the forward pass is aside.
Rounds of all numbers of classes alternate; the median is printed, and the ratio to 200.
"""

import argparse
import os
import platform
import statistics
import time

import jax
import jax.numpy as jnp
from rich.console import Console
from rich.table import Table

from mi_classifier import activation_maps

CLASSES = (10, 200, 1_000, 5_000, 20_000)
IMAGES, SIDE, CHANNELS, REGION = 16, 14, 1_024, 5


def main(rounds: int) -> None:
    keys = jax.random.split(jax.random.key(0), 2 + len(CLASSES))
    features = jax.random.uniform(keys[0], (IMAGES, SIDE, SIDE, CHANNELS))
    cases = {}
    for key, classes in zip(keys[2:], CLASSES, strict=True):
        kernel = jax.random.normal(key, (CHANNELS, classes))
        labels = jax.random.randint(keys[1], (IMAGES,), 0, classes)
        for name, make in activation_maps.MAPS.items():
            cases[name, classes] = (make, kernel, labels)
    seconds = {case: [] for case in cases}
    for number in range(rounds + 1):
        for case, (make, kernel, labels) in cases.items():
            started = time.perf_counter()
            jnp.asarray(make(features, kernel, labels, REGION)).block_until_ready()
            if number:  # the first compiles
                seconds[case].append(time.perf_counter() - started)
    device = jax.devices()[0].device_kind
    title = f"ms for {IMAGES} images; {os.cpu_count()} cores, {platform.machine()}, "
    table = Table(title=title + device)
    for column in ("classes", *activation_maps.TITLES.values()):
        table.add_column(column, justify="right")
    median = {case: 1_000 * statistics.median(s) for case, s in seconds.items()}
    names = list(activation_maps.MAPS)
    for classes in CLASSES:
        ratios = {name: median[name, classes] / median[name, 200] for name in names}
        cells = [f"{median[name, classes]:.2f} ({ratios[name]:.2f})" for name in names]
        table.add_row(f"{classes:,}", *cells)
    Console().print(table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    main(**vars(parser.parse_args()))
