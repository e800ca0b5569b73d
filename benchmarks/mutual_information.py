"""Measure the accuracy, the error bar and the speed of the estimate of I(X; Y).

    python benchmarks/mutual_information.py laws [--rows=10000] [--nomine] [--notrees]
    python benchmarks/mutual_information.py coverage [--rows=300] [--samples=200]
    python benchmarks/mutual_information.py dependence [--samples=10]
    python benchmarks/mutual_information.py codings [--rows=5000]
    python benchmarks/mutual_information.py ranking [--rows=10000]
    python benchmarks/mutual_information.py speed [--rows=10000,1000000]

laws: the errors of the estimate, of k nearest neighbors, of MINE and of boosted trees
where the truth is known; `distributions` does the same for seven easy laws. coverage:
how often the 95% interval contains its target. dependence: what dependent rows do.
codings: one table coded in many ways. ranking: seconds of `rank_columns`. speed:
seconds and memory of one estimate. --only=TEXT runs the lines whose name has the text.
"""

import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection

import codings
import common
import coverage
import dependence
import distributions
import laws
import numpy as np
import trees

from mi_classifier import baselines, estimate

EASY = (*distributions.SUITE, distributions.exclusive_or(irrelevant=20))
TWENTY = (*laws.FINE, *laws.HIGH, *laws.OTHER)


def compare(
    cases: Sequence[distributions.Distribution],
    rows: int,
    only: str,
    comparators: Sequence[str],
) -> None:
    """Compare the estimate with the truth and with other estimators on each law."""
    print(
        f"nats, N = {rows:,}; {common.machine()}; errors against the true densities on"
    )
    print("the same rows. z: (ours - I) / ±, where I is the truth of the population")
    titles = "".join(f"{name:>9}" for name in comparators)
    print(
        f"{'':34}{'truth':>8}{'ours':>9}{'±':>8}{'error':>9}{'I':>8}{'z':>7}"
        f"{titles}     s"
    )
    for number, law in enumerate(cases):
        if only and only not in law.name:
            continue
        x, y = law.sample(rows, np.random.default_rng([1, number]))
        pmi = law.pointwise(x, y)
        truth, population = pmi.mean(), law.truth()
        started = time.monotonic()
        fit = estimate.cross_fit(x, y)
        ours = fit.summary()
        seconds = time.monotonic() - started
        z = (ours.nats - population) / max(ours.standard_error, 1e-12)
        line = (
            f"{law.name:34}{truth:8.4f}{ours.nats:9.4f}{ours.standard_error:8.4f}"
            f"{ours.nats - truth:+9.4f}{population:8.4f}{z:+7.1f}"
        )
        for name in comparators:
            if name == "trees":
                error = trees.boosted_trees(x, fit.label, fit.fold) - truth
            else:
                nats, scored = ESTIMATORS[name](x, y)
                error = nats - pmi[scored].mean()
            line += f"{error:+9.4f}"
        print(f"{line}{seconds:6.1f}", flush=True)


def _ours(x: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    return estimate.estimate_mutual_information(x, y).nats, np.arange(len(x))


def _neighbors(x: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    return baselines.nearest_neighbors(x, y), np.arange(len(x))


def _mine(x: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    a, b = len(x) * 8 // 10, len(x) * 9 // 10
    parts = [(x[:a], y[:a]), (x[a:b], y[a:b]), (x[b:], y[b:])]
    return baselines.mine(*parts).shuffled, np.arange(b, len(x))


ESTIMATORS = {"ours": _ours, "k-NN": _neighbors, "MINE": _mine}


def _time(name: str, rows: int, pipe: Connection) -> None:
    distribution = distributions.table_2(10, balanced=True)
    x, y = distribution.sample(rows, np.random.default_rng(0))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    for _ in range(2 if rows <= 100_000 else 1):
        started = time.monotonic()
        nats, scored = ESTIMATORS[name](x, y)
        seconds.append(time.monotonic() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    error = float(nats - distribution.pointwise(x, y)[scored].mean())
    memory = {"memory_gib": peak / 2**20, "before_gib": before / 2**20}
    pipe.send({"seconds": seconds[0], "again": seconds[-1], "error": error, **memory})


def _of_new_process(name: str, rows: int) -> dict[str, float]:
    """Time an estimator in a process that finds no compiled program."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["JAX_COMPILATION_CACHE_DIR"] = folder  # the process inherits it
        pipe, child = context.Pipe()
        process = context.Process(target=_time, args=(name, rows, child))
        process.start()
        child.close()
        result = pipe.recv()
        process.join()
    return result


def speed(sizes: list[int], json_path: str | None) -> None:
    """Time the first estimate of a new process and a second one; reads its memory."""
    rows, results = [], {}
    for size in sizes:
        for name in ESTIMATORS:
            if name != "ours" and size > 100_000:
                continue
            result = results[f"{name}, {size}"] = _of_new_process(name, size)
            ratio = result["seconds"] / results[f"ours, {size}"]["seconds"]
            cells = [
                f"{result['seconds']:.1f}",
                f"{result['again']:.1f}" if size <= 100_000 else "",
                f"{ratio:.2f}",
                f"{result['error']:+.4f}",
                f"{result['memory_gib']:.2f} ({result['before_gib']:.2f})",
            ]
            rows.append([f"{size:,}", name, *cells])
    columns = ["rows", "", "s", "s again", "times ours", "error, nats", "GiB (before)"]
    title = "mutual information, D = 10, 5 classes"
    common.report(title, columns, rows, results, json_path)


def ranking(rows: int, columns: int = 30) -> None:
    """Time `rank_columns` of a table with two relevant columns."""
    from mi_classifier.ranking import rank_columns

    law = distributions.irrelevant_dimensions(columns - 2)
    x, y = law.sample(rows, np.random.default_rng(0))
    for what in ("first", "again"):
        started = time.monotonic()
        found = rank_columns(x, y)
        seconds = time.monotonic() - started
        print(f"{columns} columns, N = {rows:,}, {what}: {seconds:.1f} s", flush=True)
    print(found)


def main() -> None:
    parser = common.parser(__doc__)
    whats = ("laws", "distributions", "coverage", "dependence", "codings", "ranking")
    parser.add_argument("what", nargs="?", default="speed", choices=(*whats, "speed"))
    parser.add_argument("--rows", default="", help="N, or several for speed: 100,200")
    parser.add_argument("--samples", type=int, default=0)
    parser.add_argument("--only", default="", help="the lines whose name contains this")
    parser.add_argument("--nomine", action="store_true")
    parser.add_argument("--notrees", action="store_true")
    arguments = parser.parse_args()
    what, only, samples = arguments.what, arguments.only, arguments.samples
    sizes = [int(size) for size in arguments.rows.split(",") if size]
    if what in ("laws", "distributions"):
        left_out = {"MINE": arguments.nomine, "trees": arguments.notrees}
        names = [n for n in ("k-NN", "MINE", "trees") if not left_out.get(n)]
        cases = TWENTY if what == "laws" else EASY
        compare(cases, *(sizes or [10_000 if what == "laws" else 20_000]), only, names)
    elif what == "coverage":
        coverage.coverage(*(sizes or [300]), samples or 200, only)
    elif what == "dependence":
        dependence.dependence(samples or 10, only)
    elif what == "codings":
        codings.codings(*(sizes or [5_000]), only)
    elif what == "ranking":
        ranking(*(sizes or [10_000]))
    else:
        speed(sizes or [10_000], arguments.json)


if __name__ == "__main__":
    main()
