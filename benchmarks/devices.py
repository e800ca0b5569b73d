"""Time a training step of ResNet50 on several devices, and count what it sends.

    python benchmarks/devices.py [--side=64] [--batch_size=32] [--width=16]

Batch normalization takes its statistics over all devices. On CPUs, devices are virtual
and share the cores, so the times show what dividing a batch costs, not what it gains;
the bytes are those of any machine. The last row divides the devices over two processes,
which send by the network of this machine.
"""

import argparse
import collections
import json
import os
import re
import socket
import subprocess
import sys
import time

import common

DEVICES = (1, 2, 4, 8)
PROCESSES = 2
STEPS, CLASSES = 8, 200
COLLECTIVE = re.compile(
    r"= (.*?) (all-reduce|all-gather|all-to-all|collective-permute)(?:-start)?\("
)


def measure(arguments: argparse.Namespace) -> dict[str, object]:
    """Returns the milliseconds of a step, and bytes and number of its collectives."""
    import compiled
    import jax
    import jax.numpy as jnp
    import numpy as np

    from mi_classifier import parallel
    from mi_classifier.data import Dataset
    from mi_classifier.data.pipeline import DevicePipeline
    from mi_classifier.losses import LOSSES
    from mi_classifier.models import create_model
    from mi_classifier.training.optimizer import Span, create_optimizer
    from mi_classifier.training.state import create_state
    from mi_classifier.training.step import Task, make_train_steps

    if arguments.cluster:
        parallel.join(arguments.cluster)
    size, side = arguments.batch_size, arguments.side
    generator = np.random.default_rng(0)
    split = {
        "image": generator.standard_normal((size, side, side, 3), np.float32),
        "label": generator.integers(0, CLASSES, size).astype(np.int32),
    }
    options = {"width": arguments.width, "sync_batch_norm": True}
    model = create_model("resnet50", CLASSES, **options)
    sgd = {"name": "sgd", "learning_rate": 1e-3, "momentum": 0.9}
    optimizer = create_optimizer(sgd | {"schedule": "constant"}, Span(100))
    names = tuple(map(str, range(CLASSES)))
    task = Task(
        model, Dataset("random", {}, names, preprocess=lambda x: x), LOSSES["softmax"]
    )
    steps = make_train_steps(task, optimizer.transformation, jax.random.key(0))
    prior = np.full(CLASSES, -np.log(CLASSES), np.float32)
    example, key = jnp.zeros((1, side, side, 3)), jax.random.key(1)
    state = create_state(model, optimizer.transformation, example, prior, key)
    numbers = sum(x.size for x in jax.tree.leaves(state.params))
    order = np.arange(size, dtype=np.int32)[None]
    (batches,) = DevicePipeline(split).batches(order, 1)
    text = steps.func.lower(*steps.args, state, batches).compile().as_text()
    moved, count = collections.Counter(), collections.Counter()
    for kind, name in COLLECTIVE.findall(text):
        moved[name] += compiled.bytes_of(kind)
        count[name] += 1
    times = []
    for _ in range(STEPS):
        started = time.perf_counter()
        state, values = steps(state, batches)
        values.block_until_ready()
        times.append(time.perf_counter() - started)
    return {
        "ms": 1e3 * sorted(times[1:])[len(times) // 2],
        "numbers": numbers,
        "collectives": sum(count.values()),
        "of": {name: [count[name], moved[name]] for name in count},
        "loss": float(np.asarray(values)[0, 0]),
    }


def start(devices: int, cluster: str) -> subprocess.Popen:
    """Starts this script as one process with some virtual devices."""
    environment = {"JAX_NUM_CPU_DEVICES": str(devices), "JAX_PLATFORMS": "cpu"}
    command = [
        sys.executable,
        __file__,
        *sys.argv[1:],
        "--alone",
        f"--cluster={cluster}",
    ]
    return subprocess.Popen(
        command, env=os.environ | environment, stdout=subprocess.PIPE, text=True
    )


def result_of(devices: int, processes: int) -> dict[str, object]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
    clusters = [f"127.0.0.1:{port},{processes},{i}" for i in range(processes)]
    if processes == 1:
        clusters = [""]
    running = [start(devices // processes, cluster) for cluster in clusters]
    outputs = [process.communicate()[0] for process in running]
    return json.loads(outputs[0].splitlines()[-1])


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--width", type=int, default=16, help="64 is ResNet50's")
    parser.add_argument("--alone", action="store_true", help="measure in this process")
    parser.add_argument("--cluster", default="", help="as --distributed of train.py")
    arguments = parser.parse_args()
    if arguments.alone:
        print(json.dumps(measure(arguments)))
        return
    rows, results = [], {}
    for devices, processes in [*((d, 1) for d in DEVICES), (2, PROCESSES)]:
        found = results[f"{devices} in {processes}"] = result_of(devices, processes)
        sent = ", ".join(
            f"{count} {name} {size / 2**20:.2f}"
            for name, (count, size) in found["of"].items()
        )
        cells = [str(devices), str(processes), f"{found['ms']:.0f}"]
        rows.append([*cells, sent, f"{found['loss']:.6f}"])
    columns = ["devices", "processes", "ms a step", "collectives, MiB", "loss"]
    title = f"ResNet50, width {arguments.width}, {found['numbers']:,} parameters, "
    title += f"batch {arguments.batch_size}, {arguments.side} px"
    common.report(title, columns, rows, results, arguments.json)


if __name__ == "__main__":
    main()
