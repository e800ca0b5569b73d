"""Time training steps and inference beside PyTorch's, and print ratios.

    pip install torch && python benchmarks/training_step.py [--rounds=7]

Both sides do a whole step on data in memory: they gather a batch by shuffled indices,
compute the loss and its gradients, update the parameters and keep the loss. For
inference, they compute logits and features. Each side runs in a process of its own,
because thread pools and allocators of two frameworks disturb each other. The rounds of
the sides alternate, so that other load on the machine meets both.

The table also shows the FLOPs that XLA counts in our program, their share of the
machine's peak, how much longer the first call takes, and the peak memory of each side.

On CPUs, PyTorch's inference is timed as it is and compiled, and the table shows the
faster; its training is slower compiled. On GPUs all of it is compiled. Options for the
large nets there: --batch_size=128 --dtype=bfloat16.
"""

import argparse
import importlib
import multiprocessing
import os
import resource
import statistics
import time
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import common
import numpy as np

from mi_classifier.progress import tracked

SGD = {"name": "sgd", "learning_rate": 0.01, "momentum": 0.5, "schedule": "constant"}
ADAM = {"name": "adam", "learning_rate": 3e-3, "schedule": "cosine"}
# The learning rate is small, so that random labels do not make the loss infinite.
NESTEROV = SGD | {
    "learning_rate": 1e-4,
    "momentum": 0.9,
    "nesterov": True,
    "weight_decay": 1e-4,
}
IMAGE, LARGE = (224, 224, 3), (299, 299, 3)
LITE = "efficientnet_lite0"


class Case(NamedTuple):
    """A net to time.

    `microbatches` and `steps_per_call` concern our side only. A round has `steps`
    steps. Without an optimizer, a step is inference. `dtype` is the net's default if
    it is "".
    """

    model: str
    input_shape: tuple[int, ...]
    classes: int
    optimizer: dict | None
    batch_size: int
    microbatches: int
    steps: int
    steps_per_call: int
    examples: int
    dtype: str = ""

    @property
    def large(self) -> bool:
        """Whether it is a net for large images."""
        return self.input_shape in (IMAGE, LARGE)


# The first and the fourth are those of configs/mnist.py and configs/gmm.py.
CASES = {
    "MNIST CNN": Case("mnist_cnn", (28, 28, 1), 10, SGD, 64, 2, 60, 60, 30_000),
    "double-digit CNN": Case("gap_cnn", (28, 56, 1), 10, ADAM, 100, 2, 20, 20, 10_000),
    "MLP": Case("mlp", (10,), 5, ADAM, 256, 1, 500, 500, 30_000),
    "MLP, larger batch": Case("mlp", (10,), 5, ADAM, 1_000, 2, 300, 300, 30_000),
    "VGG16-GAP": Case("vgg16_gap", IMAGE, 200, NESTEROV, 4, 1, 4, 1, 512),
    "VGG16-GAP, inference": Case("vgg16_gap", IMAGE, 200, None, 4, 1, 8, 1, 512),
    "ResNet50": Case("resnet50", IMAGE, 200, NESTEROV, 4, 1, 4, 1, 512),
    "ResNet50, inference": Case("resnet50", IMAGE, 200, None, 4, 1, 8, 1, 512),
    "Inception-V3": Case("inception_v3", LARGE, 200, NESTEROV, 4, 1, 4, 1, 256),
    "Inception-V3, inference": Case("inception_v3", LARGE, 200, None, 4, 1, 8, 1, 256),
    "EfficientNet-Lite0": Case(LITE, IMAGE, 200, NESTEROV, 4, 1, 4, 1, 512),
    "EfficientNet-Lite0, inference": Case(LITE, IMAGE, 200, None, 4, 1, 8, 1, 512),
}


# The module that has a side, and the arguments of its `Side`.
SIDES = {
    "ours": ("jax_side", {}),
    "PyTorch": ("torch_side", {"compiles": False}),
    "PyTorch, compiled": ("torch_side", {"compiles": True}),
}


def work(name: str, case: Case, rounds: int, pipe: Connection) -> None:
    """Is one side's process: times one round for each message it gets."""
    generator = np.random.default_rng(0)
    images = generator.standard_normal((case.examples, *case.input_shape), np.float32)
    labels = generator.integers(0, case.classes, case.examples).astype(np.int32)
    module, options = SIDES[name]
    make = importlib.import_module(module).Side  # no other process imports it
    side = make(case, images, labels, case.steps * (rounds + 1), **options)
    pipe.send(side.version)
    for _ in range(rounds + 1):
        indices = generator.integers(0, case.examples, (case.steps, case.batch_size))
        pipe.recv()
        started = time.perf_counter()
        side.run(indices.astype(np.int32))
        pipe.send((time.perf_counter() - started) / case.steps)
    memory = side.device_bytes() / 2**30
    pipe.send(memory or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
    pipe.send(side.count_flops())  # last, because it may compile a program


def measure(case: Case, names: list[str], rounds: int) -> dict[str, Any]:
    """Times a case on all of its sides, round by round; "ours" is the first."""
    context = multiprocessing.get_context("spawn")
    pipes, processes, versions = {}, [], {}
    for name in names:
        pipes[name], child = context.Pipe()
        processes.append(context.Process(target=work, args=(name, case, rounds, child)))
        processes[-1].start()
        child.close()  # so that `recv` raises if the process dies
        versions[name] = pipes[name].recv()
    times: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds + 1):
        for name, pipe in pipes.items():
            pipe.send("go")
            times[name].append(pipe.recv())
    memory = {name: pipe.recv() for name, pipe in pipes.items()}
    flops = {name: pipe.recv() for name, pipe in pipes.items()}["ours"]
    for process in processes:
        process.join()
    first = {name: values.pop(0) for name, values in times.items()}  # compiles
    median = {name: statistics.median(values) for name, values in times.items()}
    theirs = min(names[1:], key=lambda name: median[name])
    pairs = zip(times["ours"], times[theirs], strict=True)
    ratios = [b / a for a, b in pairs]
    return {
        "versions": [versions["ours"], versions[theirs]],
        "batch_size": case.batch_size,
        "ours_ms": 1e3 * median["ours"],
        **{f"{name}_ms": 1e3 * median[name] for name in names[1:]},
        "pytorch_ms": 1e3 * median[theirs],
        "ratio": statistics.median(ratios),
        "ratio_least": min(ratios),
        "ratio_most": max(ratios),
        "flops": flops,
        "flop_rate": flops and flops / median["ours"],
        "pytorch_flop_rate": flops and flops / median[theirs],
        "first_call_s": case.steps * (first["ours"] - median["ours"]),
        "pytorch_first_call_s": case.steps * (first[theirs] - median[theirs]),
        "memory_gib": memory["ours"],
        "pytorch_memory_gib": memory[theirs],
    }


def row_of(name: str, result: dict[str, Any], peak: float) -> list[str]:
    """Returns a row of the table."""
    flops, share = "unknown", "unknown"
    if result["flops"]:
        flops = f"{result['flops'] / 1e9:.3g}"
        rates = (result["flop_rate"], result["pytorch_flop_rate"])
        share = " / ".join(f"{rate / peak:.0%}" for rate in rates)
    least, most = result["ratio_least"], result["ratio_most"]
    return [
        name + (" *" if "compiled" in result["versions"][1] else ""),
        str(result["batch_size"]),
        f"{result['ours_ms']:.3f}",
        f"{result['pytorch_ms']:.3f}",
        f"{result['ratio']:.2f} ({least:.2f}-{most:.2f})",
        flops,
        share,
        f"{result['first_call_s']:.1f} / {result['pytorch_first_call_s']:.1f}",
        f"{result['memory_gib']:.2f} / {result['pytorch_memory_gib']:.2f}",
    ]


def send_peaks(dtypes: set[str], pipe: Connection) -> None:
    pipe.send({dtype: common.peak(dtype) for dtype in dtypes})


def peaks_of(dtypes: set[str]) -> dict[str, tuple[str, float]]:
    """Returns `common.peak` of each dtype, found in a process of its own."""
    context = multiprocessing.get_context("spawn")
    pipe, child = context.Pipe()
    process = context.Process(target=send_peaks, args=(dtypes, child))
    process.start()
    child.close()
    peaks = pipe.recv()
    process.join()
    return peaks


def parse() -> argparse.Namespace:
    parser = common.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--batch_size", type=int, default=4, help="of the large nets")
    parser.add_argument("--dtype", default="float32", help="of the large nets")
    arguments = parser.parse_args()
    if not any(arguments.only in name for name in CASES):
        parser.error(f"--only: no case has this name; choose from {', '.join(CASES)}")
    return arguments


def main() -> None:
    arguments = parse()
    # One card for this process and those that it starts, even if there are several.
    first_card = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    os.environ["CUDA_VISIBLE_DEVICES"] = first_card
    peaks = peaks_of({"float32", arguments.dtype})
    rows, results = [], {"peaks": peaks}
    cases = {name: case for name, case in CASES.items() if arguments.only in name}
    for name, case in tracked(cases.items(), "timing"):
        if case.large:
            size, dtype = arguments.batch_size, arguments.dtype
            case = case._replace(batch_size=size, dtype=dtype)
        names = list(SIDES)
        if case.optimizer or not case.large:  # slower compiled, on CPUs
            names.remove("PyTorch, compiled")
        result = results[name] = measure(case, names, arguments.rounds)
        rows.append(row_of(name, result, peaks[case.dtype or "float32"][1]))
    columns = ["ms a step", "batch", "ours", "PyTorch", "ratio", "GFLOP"]
    columns += ["of peak", "first call, s", "GiB"]
    notes = [
        "pairs: ours / PyTorch's; * compiled",
        "the ratio is the median over the rounds",
        *(f"peak, {d}: {p / 1e9:,.0f} GFLOP/s, {n}" for d, (n, p) in peaks.items()),
        "; ".join(result["versions"]),
    ]
    common.report("nets", columns, rows, results, arguments.json, notes)


if __name__ == "__main__":
    main()
