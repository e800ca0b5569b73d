"""Measure the accuracy, the error bar and the speed of the estimate of I(X; Y).

    python benchmarks/mutual_information.py distributions [--rows=20000] [--nomine]
    python benchmarks/mutual_information.py coverage [--rows=300] [--samples=200]
    python benchmarks/mutual_information.py speed [--rows=10000,1000000]

distributions: the errors of the estimate, of k-nearest neighbors and of MINE where the
truth is known. coverage: how often the 95% interval contains the truth. speed: seconds
and memory of one estimate.
"""

import multiprocessing
import resource
import time
from multiprocessing.connection import Connection

import common
import distributions
import numpy as np

from mi_classifier import baselines, estimate


def compare(rows: int, mine: bool) -> None:
    """Compares the estimate with the truth and the baselines on each distribution."""
    print(f"nats, N = {rows:,}; errors against the true densities on the same rows")
    print(f"{'':28}{'truth':>8}{'ours':>9}{'±':>8}{'error':>9}{'k-NN':>9}{'MINE':>9}")
    irrelevant = distributions.exclusive_or(irrelevant=20)
    for distribution in (*distributions.SUITE, irrelevant):
        x, y = distribution.sample(rows, np.random.default_rng(1))
        truth = distribution.pointwise(x, y)
        ours = estimate.estimate_mutual_information(x, y)
        error = ours.nats - truth.mean()
        neighbors = baselines.nearest_neighbors(x, y) - truth.mean()
        line = (
            f"{distribution.name:28}{truth.mean():8.4f}{ours.nats:9.4f}"
            f"{ours.standard_error:8.4f}{error:+9.4f}{neighbors:+9.4f}"
        )
        if mine:
            a, b = rows * 8 // 10, rows * 9 // 10
            parts = [(x[:a], y[:a]), (x[a:b], y[a:b]), (x[b:], y[b:])]
            bound = baselines.mine(*parts).shuffled
            line += f"{bound - truth[b:].mean():+9.4f}"
        low, high = ours.confidence_interval
        inside = low <= truth.mean() <= high
        print(line, "" if inside or abs(error) < 0.02 else "  OUT", flush=True)


def coverage(rows: int, samples: int) -> None:
    """Counts how often the 95% interval contains the nets' bound on the population.

    A fresh sample of 100,000 rows stands for the population.
    """
    print(f"95% intervals, N = {rows:,}, {samples} samples; fresh sample of 100,000")
    cases = (
        distributions.table_2(2, balanced=True),
        distributions.table_2(5, balanced=False),
        distributions.student(),
        distributions.exclusive_or(),
        distributions.independent(),
    )
    for distribution in cases:
        fresh = distribution.sample(100_000, np.random.default_rng(7))
        inside, errors, biases, reported = 0, [], [], []
        for seed in range(samples):
            x, y = distribution.sample(rows, np.random.default_rng([seed, 3]))
            fit = estimate.cross_fit(x, y, seed=seed)
            found = fit.summary()
            population = fit.score(*fresh).mean(1) @ np.bincount(fit.fold) / rows
            low, high = found.confidence_interval
            inside += low <= population <= high
            errors.append(found.nats - population)
            biases.append(population - distribution.pointwise(x, y).mean())
            reported.append(found.standard_error)
        print(
            f"{distribution.name:28}inside {inside / samples:6.1%}   deviation "
            f"{np.std(errors):.4f}, reported {np.mean(reported):.4f}, bias "
            f"{np.mean(errors):+.4f}; below the truth by {-np.mean(biases):.4f}",
            flush=True,
        )


def _ours(x: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    return estimate.estimate_mutual_information(x, y).nats, np.arange(len(x))


def _neighbors(x: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    return baselines.nearest_neighbors(x, y), np.arange(len(x))


def _mine(x: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    a, b = len(x) * 8 // 10, len(x) * 9 // 10
    parts = [(x[:a], y[:a]), (x[a:b], y[a:b]), (x[b:], y[b:])]
    return baselines.mine(*parts).shuffled, np.arange(b, len(x))


ESTIMATORS = {"ours": _ours, "nearest neighbors": _neighbors, "MINE": _mine}


def _time(name: str, rows: int, pipe: Connection) -> None:
    distribution = distributions.table_2(10, balanced=True)
    x, y = distribution.sample(rows, np.random.default_rng(0))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.monotonic()
    nats, scored = ESTIMATORS[name](x, y)
    seconds = time.monotonic() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    error = float(nats - distribution.pointwise(x, y)[scored].mean())
    memory = {"memory_gib": peak / 2**20, "before_gib": before / 2**20}
    pipe.send({"seconds": seconds, "error": error, **memory})


def speed(sizes: list[int], json_path: str | None) -> None:
    """Times one estimate in a new process, with compilation, and reads its memory."""
    rows, results = [], {}
    context = multiprocessing.get_context("spawn")
    for size in sizes:
        for name in ESTIMATORS:
            if name != "ours" and size > 100_000:
                continue
            pipe, child = context.Pipe()
            process = context.Process(target=_time, args=(name, size, child))
            process.start()
            child.close()
            result = results[f"{name}, {size}"] = pipe.recv()
            process.join()
            ratio = result["seconds"] / results[f"ours, {size}"]["seconds"]
            cells = [
                f"{result['seconds']:.1f}",
                f"{ratio:.2f}",
                f"{result['error']:+.4f}",
                f"{result['memory_gib']:.2f} ({result['before_gib']:.2f})",
            ]
            rows.append([f"{size:,}", name, *cells])
    columns = ["rows", "", "s", "times ours", "error, nats", "GiB (before)"]
    title = "mutual information, D = 10, 5 classes"
    common.report(title, columns, rows, results, json_path)


def main() -> None:
    parser = common.parser(__doc__)
    whats = ("distributions", "coverage", "speed")
    parser.add_argument("what", nargs="?", default="speed", choices=whats)
    parser.add_argument("--rows", default="")
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--nomine", action="store_true")
    arguments = parser.parse_args()
    sizes = [int(size) for size in arguments.rows.split(",") if size]
    if arguments.what == "distributions":
        compare(*(sizes or [20_000]), mine=not arguments.nomine)
    elif arguments.what == "coverage":
        coverage(*(sizes or [300]), samples=arguments.samples)
    else:
        speed(sizes or [10_000], arguments.json)


if __name__ == "__main__":
    main()
