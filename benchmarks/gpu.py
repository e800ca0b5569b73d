"""Measure on a GPU what other machines cannot tell, in less than eight minutes.

    pip install '.[cuda13,test]' torch && python benchmarks/gpu.py --json=gpu.json
        [--tiny_imagenet=FOLDER] [--only=digits,kernels,nets,tests,run]

Each part runs in a process of its own and is stopped after its limit, so that one that
hangs costs no other its time:

* digits: how far logits in TF32 and bfloat16 are from those of float32 products;
* kernels: how many a training step starts, and for how long each keeps the card busy;
* nets: training steps beside compiled PyTorch;
* tests: those of maths, models and steps;
* run: the real Tiny-ImageNet by stages, from the folder that its archive unpacks to.

On CPUs, `--small` shows that it works.
"""

import collections
import glob
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

import common

# The parts, and the seconds after which each is stopped.
LIMITS = {"digits": 60, "kernels": 80, "nets": 130, "tests": 100, "run": 110}
NETS = {"VGG16-GAP": "vgg16_gap", "ResNet50": "resnet50"}
TESTS = (
    *("test_activation_maps", "test_localization", "test_information", "test_losses"),
    *("models", "training/test_step", "training/test_epochs", "test_parallel"),
)


def digits(arguments: Any) -> dict[str, Any]:
    """Compares logits of random images with those of float32 products."""
    import jax
    import jax.numpy as jnp

    from mi_classifier.models import create_model, infer

    side, count = (64, 4) if arguments.small else (224, 32)
    images = jax.random.normal(jax.random.key(0), (count, side, side, 3))
    convolve, found = jax.lax.conv_general_dilated, {}

    def rounded(x: jax.Array, kernel: jax.Array, *rest: Any, **options: Any) -> Any:
        x, kernel = (jax.lax.reduce_precision(each, 8, 10) for each in (x, kernel))
        return convolve(x, kernel, *rest, **options)

    for title, name in NETS.items():
        logits = {}
        for kind, dtype, function in (
            ("float32", "float32", convolve),
            ("by default", "float32", convolve),
            ("TF32, emulated", "float32", rounded),
            ("bfloat16", "bfloat16", convolve),
        ):
            model = create_model(name, 200, dtype=dtype)
            variables = jax.jit(model.init)(jax.random.key(1), images[:1])
            with (
                jax.default_matmul_precision(
                    None if kind == "by default" else "highest"
                ),
                mock.patch.object(jax.lax, "conv_general_dilated", function),
                mock.patch.object(jax, "default_backend", lambda: "gpu"),
            ):
                run = jax.jit(lambda v, x, model=model: infer(model, v, x).logits)
                logits[kind] = run(variables, images)
        exact = logits.pop("float32")
        found[title] = {
            kind: float(jnp.abs(each - exact).max() / exact.std())
            for kind, each in logits.items()
        }
        print(
            f"{title}: largest difference of a logit from that of float32 products, in"
        )
        print(f"  standard deviations of the logits: {found[title]}", flush=True)
    return found


def kernels(arguments: Any) -> dict[str, Any]:
    """Counts and times the kernels of a training step by XLA's profiler."""
    import jax
    import jax_side
    import numpy as np
    import training_step

    found = {}
    for title in NETS:
        size = 2 if arguments.small else 128
        case = training_step.CASES[title]._replace(
            batch_size=size, dtype="bfloat16", examples=2 * size
        )
        generator = np.random.default_rng(0)
        shape = (case.examples, *case.input_shape)
        images = generator.standard_normal(shape, np.float32)
        labels = generator.integers(0, case.classes, case.examples).astype(np.int32)
        side = jax_side.Side(case, images, labels, 100)
        rows = generator.integers(0, case.examples, (case.steps, size)).astype(np.int32)
        side.run(rows)
        with tempfile.TemporaryDirectory() as folder:
            with jax.profiler.trace(folder):
                side.run(rows)
            spent = read_trace(folder)
        busy = sum(seconds for seconds, _ in spent.values()) / case.steps
        count = sum(number for _, number in spent.values()) // case.steps
        found[title] = {"milliseconds": 1e3 * busy, "kernels": count, "of": spent}
        print(f"{title}: {count} kernels a step, {1e3 * busy:.2f} ms")
        for name, (seconds, number) in sorted(
            spent.items(), key=lambda item: -item[1][0]
        )[:20]:
            part = 1e3 * seconds / case.steps
            print(f"  {part:8.3f} ms x{number // case.steps:<4d} {name}", flush=True)
    return found


def read_trace(folder: str) -> dict[str, tuple[float, int]]:
    """Returns seconds and number of each kernel in a trace of the profiler."""
    seconds: dict[str, float] = collections.Counter()
    numbers: dict[str, int] = collections.Counter()
    for path in glob.glob(f"{folder}/**/*.trace.json.gz", recursive=True):
        with gzip.open(path) as file:
            events = json.load(file)["traceEvents"]
        named = [e for e in events if e.get("ph") == "M" and "name" in e["args"]]
        names = {(e["name"], e["pid"], e.get("tid")): e["args"]["name"] for e in named}
        devices = {
            pid
            for (kind, pid, _), name in names.items()
            if kind == "process_name" and "GPU" in name
        }
        for event in events:
            stream = names.get(("thread_name", event.get("pid"), event.get("tid")), "")
            if (
                event.get("ph") == "X"
                and event["pid"] in devices
                and "Stream" in stream
            ):
                seconds[event["name"][:80]] += event["dur"] / 1e6
                numbers[event["name"][:80]] += 1
    return {name: (seconds[name], numbers[name]) for name in seconds}


def nets(arguments: Any) -> dict[str, Any]:
    """Times training steps beside compiled PyTorch."""
    import training_step

    peaks, found = training_step.peaks_of({"bfloat16"}), {}
    for title in NETS:
        size = 2 if arguments.small else 128
        case = training_step.CASES[title]._replace(batch_size=size, dtype="bfloat16")
        found[title] = training_step.measure(case, ["ours", "PyTorch"], 4)
        row = training_step.row_of(title, found[title], peaks["bfloat16"][1])
        print(" | ".join(row), flush=True)
    return found


def tests(arguments: Any) -> dict[str, Any]:
    """Runs the tests that compute, and returns the last lines that they print."""
    names = TESTS[:1] if arguments.small else TESTS
    paths = [f"tests/{name}" for name in names]
    paths = [
        f"{p}.py" if (common.REPOSITORY / f"{p}.py").exists() else p for p in paths
    ]
    command = [sys.executable, "-m", "pytest", "-q", "-n", "6", "--maxfail=40"]
    done = subprocess.run(
        [*command, "-o", "addopts=--import-mode=importlib", *paths],
        cwd=common.REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    lines = done.stdout.strip().splitlines()[-50:]
    print("\n".join(lines))
    return {"status": done.returncode, "lines": lines}


def run(arguments: Any) -> dict[str, Any]:
    """Trains and evaluates on Tiny-ImageNet, and times each stage."""
    if not arguments.tiny_imagenet:
        print("no --tiny_imagenet: not measured")
        return {}
    epochs = 1 if arguments.small else 10
    with tempfile.TemporaryDirectory() as folder:
        workdir = f"{folder}/run"
        options = [
            f"--config.data.archive_path={Path(arguments.tiny_imagenet).absolute()}",
            f"--config.data.data_dir={folder}/data",
            f"--config.model.width={4 if arguments.small else 64}",
            "--config.model.dtype=bfloat16",
            "--config.evaluation_batch_size=500",
            f"--config.num_epochs={epochs}",
        ]
        config = "--config=configs/tiny_imagenet_resnet.py"
        command = [sys.executable, "train.py", config, *options]
        found = {"train and evaluate": timed([*command, f"--workdir={workdir}"])}
        found["start again, finished"] = timed([*command, f"--workdir={workdir}"])
        evaluate = [sys.executable, "evaluate.py", f"--workdir={workdir}"]
        found["evaluate alone"] = timed(evaluate)
        lines = Path(f"{workdir}/metrics.jsonl").read_text().splitlines()
        found["epochs"] = [json.loads(line)["seconds"] for line in lines]
    print(found)
    return found


def timed(command: list[str]) -> float:
    started = time.monotonic()
    subprocess.run(
        command, cwd=common.REPOSITORY, stdout=subprocess.DEVNULL, check=True
    )
    return time.monotonic() - started


def main() -> None:
    parser = common.parser(__doc__)
    names = ",".join(LIMITS)
    parser.add_argument("--only", default=names, help=f"some of {names}")
    parser.add_argument("--tiny_imagenet", default="", help="the unpacked folder")
    parser.add_argument("--small", action="store_true", help="narrow nets, few images")
    parser.add_argument("--alone", default="", help="the part that this process runs")
    arguments = parser.parse_args()
    if arguments.alone:
        found = globals()[arguments.alone](arguments)
        Path(arguments.json).write_text(json.dumps(found))
        return
    results = {}
    environment = dict(os.environ, XLA_PYTHON_CLIENT_PREALLOCATE="false")
    for name in arguments.only.split(","):
        if name not in LIMITS:
            parser.error(f"--only: no part {name!r}; choose from {names}")
        with tempfile.TemporaryDirectory() as folder:
            path, started = f"{folder}/part.json", time.monotonic()
            command = [sys.executable, __file__, *sys.argv[1:]]
            command += [f"--alone={name}", f"--json={path}"]
            limit = None if arguments.small else LIMITS[name]
            print(f"-- {name}", flush=True)
            try:
                done = subprocess.run(
                    command, env=environment, timeout=limit, check=False
                )
                said = f"status {done.returncode}"
            except subprocess.TimeoutExpired:
                said = f"stopped after {limit} s"
            seconds = time.monotonic() - started
            results[name] = {"ended": said, "seconds": seconds}
            if Path(path).exists():
                results[name]["found"] = json.loads(Path(path).read_text())
            print(f"-- {name}: {said}, {seconds:.0f} s", flush=True)
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
