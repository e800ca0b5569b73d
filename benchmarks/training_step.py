"""Training steps and inference beside PyTorch's, in one run on one machine, as ratios.

    pip install torch && python benchmarks/training_step.py [--rounds=7]

Beside the times: the FLOPs that XLA counts in our program before it is compiled, what
share of the machine's peak they mean, the seconds that the first call takes longer than
the others, and the peak memory of each side.

Both sides do a whole step on data that is in memory: they gather a batch by shuffled
indices, compute loss and gradients, update the parameters and keep the loss; or, for
inference, compute logits and features. Each side has a process of its own, as a
user's would, for their thread pools and allocators disturb each other; their rounds
alternate, so that whatever else the machine does meets both. Inference of PyTorch is
timed as it is and compiled, and the faster of the two is printed; its training is
slower compiled on CPUs. On GPUs all of it is compiled; there, for the large nets:
--batch_size=128 --dtype=bfloat16.
"""

import functools
import multiprocessing
import os
import resource
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import NamedTuple
from unittest import mock

import common
import numpy as np
from rich.progress import track

SGD = {"name": "sgd", "learning_rate": 0.01, "momentum": 0.5, "schedule": "constant"}
ADAM = {"name": "adam", "learning_rate": 3e-3, "schedule": "cosine"}
# Small, so that random labels do not make the loss infinite.
NESTEROV = SGD | {
    "learning_rate": 1e-4,
    "momentum": 0.9,
    "nesterov": True,
    "weight_decay": 1e-4,
}
IMAGE, LARGE = (224, 224, 3), (299, 299, 3)


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


LARGE_NETS = ("vgg16_gap", "resnet50", "inception_v3")
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
}


class Side(NamedTuple):
    """One side of a case: a round by its indices, and what is known beforehand."""

    round: Callable[[np.ndarray], None]
    version: str
    flops: float = 0.0  # of a step


def torch_round(
    case: Case, images: np.ndarray, labels: np.ndarray, steps: int, compiles: bool
) -> Side:
    import torch
    import torch_nets
    from torch.nn import functional

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_float32_matmul_precision("high")  # TF32, as XLA has it
    torch.backends.cudnn.benchmark = True
    version = f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads"
    net = torch_nets.create(case.model, case.classes).to(device)
    if images.ndim == 4:
        images = images.transpose(0, 3, 1, 2)
    x = torch.from_numpy(images).to(device)
    if case.model in LARGE_NETS:  # the faster layout on CPUs and GPUs
        net = net.to(memory_format=torch.channels_last)
    else:
        x = x.contiguous()
    if device == "cuda" or compiles:
        net = torch.compile(net)
        version += ", compiled"
    y = torch.from_numpy(labels).long().to(device)
    cast = torch.autocast(device, torch.bfloat16, enabled=case.dtype == "bfloat16")

    if case.optimizer is None:
        net.eval()

        @torch.inference_mode()
        def infer(indices: np.ndarray) -> None:
            rows = torch.from_numpy(indices).long().to(device)
            with cast:
                total = sum(net(x[row]).float().sum() for row in rows)
            assert torch.isfinite(total).item()

        return Side(infer, version)

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

    return Side(train, version)


def our_round(case: Case, images: np.ndarray, labels: np.ndarray, steps: int) -> Side:
    import jax
    import jax.numpy as jnp

    from mi_classifier import parallel
    from mi_classifier.data import Dataset
    from mi_classifier.data.pipeline import Call
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

        def predict(indices: np.ndarray) -> None:
            outputs = [
                forward(state.variables, split, parallel.split_indices(row[None])[:, 0])
                for row in indices
            ]
            assert all(np.isfinite(np.asarray(o.logits)).all() for o in outputs)

        shapes = (state.variables, split, np.zeros((1, case.batch_size), np.int32))
        return Side(predict, version, flops_of(forward, shapes))

    train_steps = make_train_steps(
        model, dataset, "softmax", tx, jax.random.key(1), case.microbatches
    )

    def train(indices: np.ndarray) -> None:
        nonlocal state
        for start in range(0, len(indices), case.steps_per_call):
            rows = parallel.split_indices(indices[start : start + case.steps_per_call])
            state, losses = train_steps(state, Call(split, rows, rows))
        assert np.isfinite(losses).all()

    rows = parallel.split_indices(np.zeros((1, case.batch_size), np.int32))
    shapes = (*train_steps.args, state, Call(split, rows, rows))
    return Side(train, version, flops_of(train_steps.func, shapes))


def flops_of(function: Callable, arguments: tuple) -> float:
    """FLOPs of a program by XLA's cost analysis, before it is compiled.

    Not of the program for CPUs: it has loops, of which XLA counts one round.
    """
    import jax

    with mock.patch.object(jax, "default_backend", lambda: "gpu"):
        flops = function.lower(*arguments).cost_analysis()["flops"]
    jax.clear_caches()
    return flops


SIDES = {
    "ours": our_round,
    "PyTorch": functools.partial(torch_round, compiles=False),
    "PyTorch, compiled": functools.partial(torch_round, compiles=True),
}


def one_card() -> None:
    """Leaves this process, and those that it starts, one of several cards."""
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    os.environ["CUDA_VISIBLE_DEVICES"] = first


def worker(side: str, case: Case, rounds: int, pipe: Connection) -> None:
    """Times one round for each message, in a process of its own."""
    generator = np.random.default_rng(0)
    images = generator.standard_normal((case.examples, *case.input_shape), np.float32)
    labels = generator.integers(0, case.classes, case.examples).astype(np.int32)
    own = SIDES[side](case, images, labels, case.steps * (rounds + 1))
    pipe.send((own.version, own.flops))
    for _ in range(rounds + 1):
        indices = generator.integers(0, case.examples, (case.steps, case.batch_size))
        pipe.recv()
        started = time.perf_counter()
        own.round(indices.astype(np.int32))
        pipe.send((time.perf_counter() - started) / case.steps)
    pipe.send(device_memory(side) or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def device_memory(side: str) -> float:
    """Peak memory of the GPU in KiB; 0 without one."""
    if side == "ours":
        import jax

        stats = jax.local_devices()[0].memory_stats() or {}
        return stats.get("peak_bytes_in_use", 0) / 2**10
    import torch

    return torch.cuda.max_memory_allocated() / 2**10 if torch.cuda.is_available() else 0


def measure(case: Case, sides: list[str], rounds: int) -> dict[str, object]:
    context = multiprocessing.get_context("spawn")
    pipes, processes, versions, flops = {}, [], {}, {}
    for side in sides:
        pipes[side], child = context.Pipe()
        processes.append(
            context.Process(target=worker, args=(side, case, rounds, child))
        )
        processes[-1].start()
        child.close()  # so that a worker that dies is noticed
        versions[side], flops[side] = pipes[side].recv()
    times: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(rounds + 1):
        for side, pipe in pipes.items():
            pipe.send("go")
            times[side].append(pipe.recv())
    memory = {side: pipe.recv() / 2**20 for side, pipe in pipes.items()}
    for process in processes:
        process.join()
    first = {side: values.pop(0) for side, values in times.items()}  # warms up
    median = {side: statistics.median(values) for side, values in times.items()}
    theirs = min(sides[1:], key=lambda side: median[side])
    pairs = zip(times["ours"], times[theirs], strict=True)
    ratios = [b / a for a, b in pairs]
    return {
        "versions": [versions["ours"], versions[theirs]],
        "batch_size": case.batch_size,
        "ours_ms": 1e3 * median["ours"],
        **{f"{side}_ms": 1e3 * median[side] for side in sides[1:]},
        "pytorch_ms": 1e3 * median[theirs],
        "ratio": statistics.median(ratios),
        "ratio_least": min(ratios),
        "ratio_most": max(ratios),
        "flops": flops["ours"],
        "flop_rate": flops["ours"] / median["ours"],
        "pytorch_flop_rate": flops["ours"] / median[theirs],
        "first_call_s": case.steps * (first["ours"] - median["ours"]),
        "pytorch_first_call_s": case.steps * (first[theirs] - median[theirs]),
        "memory_gib": memory["ours"],
        "pytorch_memory_gib": memory[theirs],
    }


def _peaks(dtypes: set[str], pipe: Connection) -> None:
    pipe.send({dtype: common.peak(dtype) for dtype in dtypes})


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--batch_size", type=int, default=4, help="of the large nets")
    parser.add_argument("--dtype", default="float32", help="of the large nets")
    arguments = parser.parse_args()
    one_card()
    cases = {name: case for name, case in CASES.items() if arguments.only in name}
    if not cases:
        parser.error(f"--only: no case is called so; there are {', '.join(CASES)}")
    context = multiprocessing.get_context("spawn")
    pipe, child = context.Pipe()
    dtypes = {"float32", arguments.dtype}
    process = context.Process(target=_peaks, args=(dtypes, child))
    process.start()
    peaks = pipe.recv()
    process.join()
    rows, figures = [], {"peaks": peaks}
    for name, case in track(cases.items(), "timing"):
        if case.model in LARGE_NETS:
            size, dtype = arguments.batch_size, arguments.dtype
            case = case._replace(batch_size=size, dtype=dtype)
        sides = list(SIDES)
        if case.optimizer or case.model not in LARGE_NETS:  # slower compiled, on CPUs
            sides.remove("PyTorch, compiled")
        f = figures[name] = measure(case, sides, arguments.rounds)
        peak = peaks[case.dtype or "float32"][1]
        shares = (f["flop_rate"] / peak, f["pytorch_flop_rate"] / peak)
        rows.append(
            [
                name + ("" if "compiled" not in f["versions"][1] else " *"),
                str(case.batch_size),
                f"{f['ours_ms']:.3f}",
                f"{f['pytorch_ms']:.3f}",
                f"{f['ratio']:.2f} ({f['ratio_least']:.2f}-{f['ratio_most']:.2f})",
                f"{f['flops'] / 1e9:.3g}",
                " / ".join(f"{share:.0%}" for share in shares),
                f"{f['first_call_s']:.1f} / {f['pytorch_first_call_s']:.1f}",
                f"{f['memory_gib']:.2f} / {f['pytorch_memory_gib']:.2f}",
            ]
        )
    columns = ["ms a step", "batch", "ours", "PyTorch", "ratio", "GFLOP"]
    columns += ["of peak", "first call, s", "GiB"]
    notes = [
        "pairs: ours / PyTorch's; * compiled",
        "the ratio is the median of the rounds'",
        *(f"peak, {d}: {p / 1e9:,.0f} GFLOP/s, {n}" for d, (n, p) in peaks.items()),
        "; ".join(f["versions"]),
    ]
    common.report("nets", columns, rows, figures, arguments.json, notes)


if __name__ == "__main__":
    main()
