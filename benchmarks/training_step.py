"""Training steps beside PyTorch's, in one run on one machine, as ratios.

    pip install torch && python benchmarks/training_step.py [--rounds=7]

Both sides do a whole step on data that is in memory: they gather a batch by shuffled
indices, compute loss and gradients, update the parameters (SGD with momentum, or Adam
with cosine decay) and keep the loss. Each side has a process of its own, as a user's
would, for their thread pools and allocators disturb each other; their rounds
alternate, so that whatever else the machine does meets both.
"""

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

SGD = {"name": "sgd", "learning_rate": 0.01, "momentum": 0.5, "schedule": "constant"}
ADAM = {"name": "adam", "learning_rate": 3e-3, "schedule": "cosine"}


class Case(NamedTuple):
    model: str
    input_shape: tuple[int, ...]
    classes: int
    optimizer: dict
    batch_size: int
    microbatches: int  # ours
    steps: int  # a round


# The first and the last are those of configs/mnist.py and configs/gmm.py.
CASES = {
    "MNIST CNN, batch 64": Case("mnist_cnn", (28, 28, 1), 10, SGD, 64, 2, 60),
    "MLP, batch 256": Case("mlp", (10,), 5, ADAM, 256, 1, 500),
    "MLP, batch 1,000": Case("mlp", (10,), 5, ADAM, 1_000, 2, 300),
}
EXAMPLES = 30_000


def torch_steps(
    case: Case, images: np.ndarray, labels: np.ndarray, steps: int
) -> tuple[Callable[[np.ndarray], None], str]:
    import torch
    from torch import nn
    from torch.nn import functional

    nets = {
        "mlp": lambda: nn.Sequential(
            *(nn.Linear(10, 100), nn.ReLU(), nn.Linear(100, 100), nn.ReLU()),
            *(nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, 5)),
        ),
        "mnist_cnn": lambda: nn.Sequential(
            *(nn.Conv2d(1, 20, 5), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(20, 50, 5), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(800, 500), nn.ReLU(), nn.Linear(500, 10)),
        ),
    }
    device = "cuda" if torch.cuda.is_available() else "cpu"
    net = nets[case.model]().to(device)
    optimizer = case.optimizer
    rate = optimizer["learning_rate"]
    if optimizer["name"] == "adam":
        update = torch.optim.Adam(net.parameters(), rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(update, steps)
    else:
        update = torch.optim.SGD(net.parameters(), rate, optimizer["momentum"])
        schedule = None
    if images.ndim == 4:
        images = images.transpose(0, 3, 1, 2)
    x = torch.from_numpy(np.ascontiguousarray(images)).to(device)
    y = torch.from_numpy(labels).long().to(device)

    def run(indices: np.ndarray) -> None:
        rows = torch.from_numpy(indices).long().to(device)
        total = torch.zeros((), device=device)
        for row in rows:
            update.zero_grad()
            loss = functional.cross_entropy(net(x[row]), y[row])
            loss.backward()
            update.step()
            if schedule:
                schedule.step()
            total += loss.detach()
        assert torch.isfinite(total).item()  # waits for the device

    return run, f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads"


def our_steps(
    case: Case, images: np.ndarray, labels: np.ndarray, steps: int
) -> tuple[Callable[[np.ndarray], None], str]:
    import jax
    import jax.numpy as jnp

    from mi_classifier import parallel
    from mi_classifier.data import Dataset
    from mi_classifier.models import create_model
    from mi_classifier.training.optimizer import create_optimizer
    from mi_classifier.training.state import create_state
    from mi_classifier.training.step import make_train_steps

    classes = case.classes
    model = create_model(case.model, classes)
    tx = create_optimizer(case.optimizer, steps)
    prior = np.full(classes, -np.log(classes), np.float32)
    example = jnp.zeros((1, *images.shape[1:]))
    state = create_state(model, tx, example, prior, jax.random.key(0))
    names = tuple(map(str, range(classes)))
    dataset = Dataset("random", {}, names, preprocess=lambda x: x)
    train_steps = make_train_steps(
        model, dataset, "softmax", tx, jax.random.key(1), case.microbatches
    )
    split = parallel.replicate({"image": images, "label": labels})

    def run(indices: np.ndarray) -> None:
        nonlocal state
        state, losses = train_steps(state, split, parallel.split_indices(indices))
        assert np.isfinite(losses).all()

    device = jax.local_devices()[0].device_kind
    return run, f"JAX {jax.__version__} on {device}"


SIDES = {"ours": our_steps, "PyTorch": torch_steps}


def worker(side: str, case: str, rounds: int, pipe: Connection) -> None:
    """Times one round for each message, in a process of its own."""
    spec = CASES[case]
    generator = np.random.default_rng(0)
    images = generator.standard_normal((EXAMPLES, *spec.input_shape), np.float32)
    labels = generator.integers(0, spec.classes, EXAMPLES).astype(np.int32)
    run, version = SIDES[side](spec, images, labels, spec.steps * (rounds + 1))
    pipe.send(version)
    for _ in range(rounds + 1):
        indices = generator.integers(0, EXAMPLES, (spec.steps, spec.batch_size))
        pipe.recv()
        started = time.perf_counter()
        run(indices.astype(np.int32))
        pipe.send(1e3 * (time.perf_counter() - started) / spec.steps)


def measure(case: str, rounds: int) -> dict[str, object]:
    context = multiprocessing.get_context("spawn")
    pipes, processes, versions = {}, [], []
    for side in SIDES:
        pipes[side], child = context.Pipe()
        processes.append(
            context.Process(target=worker, args=(side, case, rounds, child))
        )
        processes[-1].start()
        versions.append(pipes[side].recv())
    times: dict[str, list[float]] = {side: [] for side in SIDES}
    for _ in range(rounds + 1):
        for side, pipe in pipes.items():
            pipe.send("go")
            times[side].append(pipe.recv())
    for process in processes:
        process.join()
    ours, theirs = (times[side][1:] for side in SIDES)  # the first round warms up
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    return {
        "versions": versions,
        "ours_ms": statistics.median(ours),
        "pytorch_ms": statistics.median(theirs),
        "ratio": statistics.median(ratios),
        "ratio_least": min(ratios),
        "ratio_most": max(ratios),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", help="where to write the figures")
    arguments = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    figures = {"machine": f"{cores} cores, {platform.machine()}", "cases": {}}
    table = Table(title=f"ms a training step, {figures['machine']}")
    for column in ("", "ours", "PyTorch", "PyTorch / ours", "least to most"):
        table.add_column(column, justify="right" if column else "left")
    for case in CASES:
        f = figures["cases"][case] = measure(case, arguments.rounds)
        table.add_row(
            case,
            f"{f['ours_ms']:.3f}",
            f"{f['pytorch_ms']:.3f}",
            f"{f['ratio']:.2f}",
            f"{f['ratio_least']:.2f} to {f['ratio_most']:.2f}",
        )
    table.caption = "; ".join(f["versions"])
    Console().print(table)
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(figures, file, indent=2)


if __name__ == "__main__":
    main()
