"""Table 2: mutual information of the Gaussian mixture, ours beside all baselines."""

import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from mi_classifier.baselines import BASELINES
from mi_classifier.data import gaussian_mixture, load_dataset
from mi_classifier.reporting.table import Table, mean_deviation, seeds_note
from mi_classifier.storage.files import read_json, to_json, write_hashed
from mi_classifier.tables.published import TABLE_2
from mi_classifier.tables.reruns import (
    Cell,
    FinishedRun,
    Options,
    gather,
    numbers,
    percent,
)

DIMS = (1, 2, 5, 10)
LOSSES = {"softmax": "softmax", "pc_softmax": "PC-softmax"}
# The loss of the paper's own column.
_OWN = {"balanced": "softmax", "unbalanced": "pc_softmax"}
_SHOWN = 1_000  # examples in each panel of Figure 8


def table_2(options: Options) -> tuple[list[Table], dict[str, Any]]:
    """Return the mutual information of the Gaussian mixture, and every baseline."""
    wanted = {
        f"{classes}/{loss}/D{dim}": Cell(
            f"gmm:{classes},{loss}", {"data.dim": dim, "data.fresh": False}, True
        )
        for classes, theirs in TABLE_2.items()
        for loss in LOSSES
        for dim in DIMS
        if loss in theirs
    }
    started, baseline_seconds = time.monotonic(), 0.0
    cells: dict[str, Any] = {}
    for name, runs in gather(wanted, _name_of, options).items():
        classes, loss, _ = name.split(",")
        cells[name] = [_numbers_of(run.test) for run in runs]
        if loss == _OWN[classes]:
            before = time.monotonic()
            for run, row in zip(runs, cells[name], strict=True):
                row |= _baselines(run, options)
            baseline_seconds += time.monotonic() - before
    seconds = time.monotonic() - started
    _draw(options, cells)
    scored = (
        f"{seeds_note(cells)}. Every estimator is scored on the same held-out examples "
        "as Monte Carlo. MINE as published takes its second expectation from shuffled "
        "labels; 'all pairs' sums over all labels instead."
    )
    notes = [scored, *_comparisons(cells)]
    if not options.collect:
        notes.append(
            f"This command took {seconds:.0f} s, of which the baselines took "
            f"{baseline_seconds:.0f} s."
        )
    return [*_information_tables(cells, notes), _accuracy_table(cells)], cells


def _numbers_of(test: dict[str, Any]) -> dict[str, Any]:
    accuracy, found = test["accuracy"], test["information"]
    return {
        "ours": found["mutual_information"]["nats"],
        "monte_carlo": test["truth"]["mutual_information"]["nats"],
        "accuracy": accuracy[accuracy["paper_rule"]],
        "paper": found.get("paper_softmax_plus_log_m"),
    }


def _name_of(config: ConfigDict) -> str:
    classes = "balanced" if config.data.balanced else "unbalanced"
    return f"{classes},{config.loss},{config.data.dim}"


def _titles(published: bool) -> dict[str, str]:
    """Return the titles of the baselines' values that the paper has, or has not."""
    return {
        name: title
        for baseline in BASELINES.values()
        for name, title in baseline.titles.items()
        if (name in TABLE_2["balanced"]) == published
    }


def _own_cells(cells: dict[str, Any]) -> Iterator[tuple[str, int, list[dict]]]:
    """Yield the classes, the dimension and the runs of the paper's own column."""
    for classes, loss in _OWN.items():
        for dim in DIMS:
            if runs := cells.get(f"{classes},{loss},{dim}"):
                yield classes, dim, runs


def _information_tables(cells: dict[str, Any], notes: Sequence[str]) -> list[Table]:
    """Return the table of the estimators that the paper has, and that of the others."""
    published, others = _titles(published=True), _titles(published=False)
    rows, other_rows = [], []
    for classes, dim, runs in _own_cells(cells):
        theirs = {name: v[DIMS.index(dim)] for name, v in TABLE_2[classes].items()}
        errors = (
            theirs[n] - theirs["monte_carlo"] for n in (_OWN[classes], *published)
        )
        truth = numbers(runs, "monte_carlo")
        ours, *above = (
            mean_deviation(numbers(runs, name) - truth, "+.4f")
            for name in ("ours", *published, *others)
        )
        row = [classes, str(dim), f"{truth.mean():.4f}", ours, *above[: len(published)]]
        rows.append([*row, ", ".join(f"{error:+.2f}" for error in errors)])
        other_rows.append([classes, str(dim), ours, *above[len(published) :]])
    titles = published.values()
    heads = ("classes", "D", "Monte Carlo", "ours", *titles)
    heads += (", ".join(["paper's net", *titles]),)
    title = "Table 2: Monte Carlo in nats, and how far above it the estimates are"
    other_heads = ("classes", "D", "ours", *others.values())
    return [
        Table(title, heads, rows, notes),
        Table("Other estimators above Monte Carlo, nats", other_heads, other_rows),
    ]


def _accuracy_table(cells: dict[str, Any]) -> Table:
    rows = []
    for name, runs in cells.items():
        classes, loss, dim = name.split(",")
        theirs = {n: v[DIMS.index(int(dim))] for n, v in TABLE_2[classes].items()}
        row = [f"{classes}, {LOSSES[loss]}", dim]
        row += percent(runs, "accuracy.micro", "accuracy.macro")
        row.append(f"{theirs[f'{loss}_accuracy']:.0f}")
        row.append(mean_deviation(numbers(runs, "ours"), ".4f"))
        formula = numbers(runs, "paper").mean()
        row.append("" if np.isnan(formula) else f"{formula:.4f}")
        rows.append([*row, f"{theirs[loss]:.2f}"])
    heads = ("classes, loss", "D", "accuracy, %", "by class", "paper's", "nats")
    heads += ("softmax + log M", "paper's")
    note = (
        "Accuracy by argmax n(x). 'softmax + log M' is the paper's formula, a bound "
        "only where classes are equally frequent; 'nats' is a bound in every row."
    )
    return Table("Table 2: accuracy, and the bound of every net", heads, rows, (note,))


def _baselines(run: FinishedRun, options: Options) -> dict[str, float]:
    """Read what the baselines found on a run's data; run those that are missing."""
    path = run.workdir / "evaluation" / "baselines.json"
    known = read_json(path, "remove it, and it is made again") if path.exists() else {}
    missing = {
        name: baseline
        for name, baseline in BASELINES.items()
        if not baseline.titles.keys() <= known.keys()
        and (options.mine or not baseline.trains)
    }
    if options.collect or not missing:
        return known
    splits = load_dataset(run.config.data).splits
    names = ("train", "validation", "test")
    samples = [(splits[name]["image"], splits[name]["label"]) for name in names]
    for name, baseline in missing.items():
        if baseline.trains:
            print(f"{name}: {run.workdir}", flush=True)
        found = baseline.estimate(*samples, seed=run.config.seed)
        known |= dict(zip(baseline.titles, found, strict=True))
    write_hashed(path, to_json(known))
    return known


def _comparisons(cells: dict[str, Any]) -> Iterator[str]:
    """Yield how often ours is nearer to Monte Carlo than what the paper compares."""
    for name, title in _titles(published=True).items():
        nearer = []
        for _, _, runs in _own_cells(cells):
            truth = numbers(runs, "monte_carlo")
            ours, theirs = (
                np.abs(numbers(runs, each) - truth).mean() for each in ("ours", name)
            )
            nearer += [] if np.isnan(theirs) else [ours < theirs]
        if nearer:
            yield (
                f"Ours is nearer to Monte Carlo than {title} in {sum(nearer)} of "
                f"{len(nearer)} cells, by the mean absolute error over seeds."
            )


def _draw(options: Options, cells: dict[str, Any]) -> None:
    """Draw the estimates over D, and the mixture itself as in the paper's Figure 8."""
    from mi_classifier.reporting import figures

    panels, samples = {}, {}
    lines = {"truth": "monte_carlo", "ours": "ours"}
    for baseline in BASELINES.values():
        name, title = next(iter(baseline.titles.items()))
        lines[title] = name
    for classes, loss in _OWN.items():
        runs = [cells.get(f"{classes},{loss},{dim}") for dim in DIMS]
        if all(runs) and len({len(each) for each in runs}) == 1:  # in every point
            values = {
                title: np.stack([numbers(each, name) for each in runs], 1)
                for title, name in lines.items()
            }
            panels[f"{classes}, {LOSSES[loss]}"] = {
                title: v for title, v in values.items() if np.isfinite(v).all()
            }
        for dim in DIMS:
            dataset = gaussian_mixture.load(dim, classes == "balanced", 0, fresh=False)
            test = dataset.splits["test"]
            some = (test["image"][:_SHOWN], test["label"][:_SHOWN])
            samples[f"{classes}, D = {dim}"] = some
    if panels:
        figure = figures.curves(panels, DIMS, "dimension D")
        figures.save(figure, options.root.with_name("2_estimates.png"))
    figure = figures.mixture(samples, dataset.class_names)
    figures.save(figure, options.root.with_name("figure_8.png"))
