"""Training steps and inference beside PyTorch's, in one run on one machine, as ratios.

    pip install torch && python benchmarks/training_step.py [--rounds=7]

Both sides do a whole step on data that is in memory: they gather a batch by shuffled
indices, compute loss and gradients, update the parameters and keep the loss; or, for
inference, compute logits and features. Each side has a process of its own, as a
user's would, for their thread pools and allocators disturb each other; their rounds
alternate, so that whatever else the machine does meets both. On a GPU, for the large
nets: --batch_size=128 --dtype=bfloat16.
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
# Small, so that random labels do not make the loss infinite.
NESTEROV = SGD | {
    "learning_rate": 1e-4,
    "momentum": 0.9,
    "nesterov": True,
    "weight_decay": 1e-4,
}
IMAGE = (224, 224, 3)


class Case(NamedTuple):
    model: str
    input_shape: tuple[int, ...]
    classes: int
    optimizer: dict | None  # None: inference
    batch_size: int
    microbatches: int  # ours
    steps: int  # a round
    steps_per_call: int  # ours
    examples: int
    dtype: str = ""


# The first and the third are those of configs/mnist.py and configs/gmm.py.
CASES = {
    "MNIST CNN": Case("mnist_cnn", (28, 28, 1), 10, SGD, 64, 2, 60, 60, 30_000),
    "MLP": Case("mlp", (10,), 5, ADAM, 256, 1, 500, 500, 30_000),
    "MLP, larger batch": Case("mlp", (10,), 5, ADAM, 1_000, 2, 300, 300, 30_000),
    "VGG16-GAP": Case("vgg16_gap", IMAGE, 200, NESTEROV, 4, 1, 4, 1, 512),
    "VGG16-GAP, inference": Case("vgg16_gap", IMAGE, 200, None, 4, 1, 8, 1, 512),
    "ResNet50": Case("resnet50", IMAGE, 200, NESTEROV, 4, 1, 4, 1, 512),
    "ResNet50, inference": Case("resnet50", IMAGE, 200, None, 4, 1, 8, 1, 512),
}
Round = Callable[[np.ndarray], None]


def torch_round(
    case: Case, images: np.ndarray, labels: np.ndarray, steps: int
) -> tuple[Round, str]:
    import torch
    import torch_nets
    from torch.nn import functional

    device = "cuda" if torch.cuda.is_available() else "cpu"
    net = torch_nets.create(case.model, case.classes).to(device)
    if images.ndim == 4:
        images = images.transpose(0, 3, 1, 2)
    x = torch.from_numpy(images).to(device)
    if case.model in ("vgg16_gap", "resnet50"):  # the faster layout on CPUs and GPUs
        net = net.to(memory_format=torch.channels_last)
    else:
        x = x.contiguous()
    if device == "cuda":
        net = torch.compile(net)
    y = torch.from_numpy(labels).long().to(device)
    cast = torch.autocast(device, torch.bfloat16, enabled=case.dtype == "bfloat16")
    version = f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads"

    if case.optimizer is None:
        net.eval()

        @torch.inference_mode()
        def infer(indices: np.ndarray) -> None:
            rows = torch.from_numpy(indices).long().to(device)
            with cast:
                total = sum(net(x[row]).float().sum() for row in rows)
            assert torch.isfinite(total).item()

        return infer, version

    options = dict(case.optimizer)
    name, schedule = options.pop("name"), options.pop("schedule")
    options["lr"] = options.pop("learning_rate")
    update = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[name](
        net.parameters(), **options
    )
    scheduler = None
    if schedule == "cosine":
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(update, steps)

    def train(indices: np.ndarray) -> None:
        rows = torch.from_numpy(indices).long().to(device)
        total = torch.zeros((), device=device)
        for row in rows:
            update.zero_grad()
            with cast:
                logits = net(x[row])
            loss = functional.cross_entropy(logits.float(), y[row])
            loss.backward()
            update.step()
            if scheduler:
                scheduler.step()
            total += loss.detach()
        assert torch.isfinite(total).item()  # waits for the device

    return train, version


def our_round(
    case: Case, images: np.ndarray, labels: np.ndarray, steps: int
) -> tuple[Round, str]:
    import jax
    import jax.numpy as jnp

    from mi_classifier import parallel
    from mi_classifier.data import Dataset
    from mi_classifier.data.feed import Call
    from mi_classifier.models import create_model, infer
    from mi_classifier.training.optimizer import create_optimizer
    from mi_classifier.training.state import create_state
    from mi_classifier.training.step import make_train_steps

    classes = case.classes
    model = create_model(
        case.model, classes, **({"dtype": case.dtype} if case.dtype else {})
    )
    tx = create_optimizer(case.optimizer or SGD, steps)
    prior = np.full(classes, -np.log(classes), np.float32)
    example = jnp.zeros((1, *images.shape[1:]))
    state = create_state(model, tx, example, prior, jax.random.key(0))
    names = tuple(map(str, range(classes)))
    dataset = Dataset("random", {}, names, preprocess=lambda x: x)
    split = parallel.replicate({"image": images, "label": labels})
    version = f"JAX {jax.__version__} on {jax.local_devices()[0].device_kind}"

    if case.optimizer is None:
        forward = parallel.on_devices(
            lambda v, s, i: infer(model, v, s["image"][i]), (None, None, 0), 0
        )

        def infer(indices: np.ndarray) -> None:
            outputs = [
                forward(state.variables, split, parallel.split_indices(row[None])[:, 0])
                for row in indices
            ]
            assert all(np.isfinite(np.asarray(o.logits)).all() for o in outputs)

        return infer, version

    train_steps = make_train_steps(
        model, dataset, "softmax", tx, jax.random.key(1), case.microbatches
    )

    def train(indices: np.ndarray) -> None:
        nonlocal state
        for start in range(0, len(indices), case.steps_per_call):
            rows = parallel.split_indices(indices[start : start + case.steps_per_call])
            state, losses = train_steps(state, Call(split, rows, rows))
        assert np.isfinite(losses).all()

    return train, version


SIDES = {"ours": our_round, "PyTorch": torch_round}


def worker(side: str, case: Case, rounds: int, pipe: Connection) -> None:
    """Times one round for each message, in a process of its own."""
    generator = np.random.default_rng(0)
    images = generator.standard_normal((case.examples, *case.input_shape), np.float32)
    labels = generator.integers(0, case.classes, case.examples).astype(np.int32)
    run, version = SIDES[side](case, images, labels, case.steps * (rounds + 1))
    pipe.send(version)
    for _ in range(rounds + 1):
        indices = generator.integers(0, case.examples, (case.steps, case.batch_size))
        pipe.recv()
        started = time.perf_counter()
        run(indices.astype(np.int32))
        pipe.send(1e3 * (time.perf_counter() - started) / case.steps)


def measure(case: Case, rounds: int) -> dict[str, object]:
    context = multiprocessing.get_context("spawn")
    pipes, processes, versions = {}, [], []
    for side in SIDES:
        pipes[side], child = context.Pipe()
        processes.append(
            context.Process(target=worker, args=(side, case, rounds, child))
        )
        processes[-1].start()
        child.close()  # so that a worker that dies is noticed
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
        "batch_size": case.batch_size,
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
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--batch_size", type=int, default=4, help="of the large nets")
    parser.add_argument("--dtype", default="float32", help="of the large nets")
    arguments = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    figures = {"machine": f"{cores} cores, {platform.machine()}", "cases": {}}
    table = Table(title=f"ms a step, {figures['machine']}")
    for column in ("", "batch", "ours", "PyTorch", "PyTorch / ours", "least to most"):
        table.add_column(column, justify="right" if column else "left")
    for name, case in CASES.items():
        if arguments.only not in name:
            continue
        if case.input_shape == IMAGE:
            case = case._replace(batch_size=arguments.batch_size, dtype=arguments.dtype)
        f = figures["cases"][name] = measure(case, arguments.rounds)
        table.add_row(
            name,
            str(case.batch_size),
            f"{f['ours_ms']:.3f}",
            f"{f['pytorch_ms']:.3f}",
            f"{f['ratio']:.2f}",
            f"{f['ratio_least']:.2f} to {f['ratio_most']:.2f}",
        )
    if not figures["cases"]:
        parser.error(f"--only: no case is called so; there are {', '.join(CASES)}")
    table.caption = "; ".join(f["versions"])
    Console().print(table)
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(figures, file, indent=2)


if __name__ == "__main__":
    main()
