"""Table 2: mutual information of the Gaussian mixture, ours beside all baselines."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from mi_classifier.baselines import BASELINES
from mi_classifier.data import gaussian_mixture, load_dataset
from mi_classifier.reporting.table import Table, mean_deviation, seeds_note
from mi_classifier.storage.files import read_json, to_json, write_hashed
from mi_classifier.tables import reruns
from mi_classifier.tables.published import TABLE_2
from mi_classifier.tables.reruns import Cell, FinishedRun, Options, numbers, percent

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
    for name, runs in reruns.gather(wanted, _name_of, options).items():
        classes, loss, _ = name.split(",")
        cells[name] = [_numbers_of(run.test) for run in runs]
        if loss == _OWN[classes]:
            before = time.monotonic()
            for run, row in zip(runs, cells[name], strict=True):
                row |= _baselines(run, options)
            baseline_seconds += time.monotonic() - before
    took = (
        f"This command took {time.monotonic() - started:.0f} s, of which the baselines "
        f"took {baseline_seconds:.0f} s."
    )
    _draw(options, cells)
    tables = _information_tables(cells, () if options.collect else (took,))
    return [*tables, _accuracy_table(cells)], cells


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


def _information_tables(cells: dict[str, Any], notes: Sequence[str]) -> list[Table]:
    """Return the table of the estimators that the paper has, and that of the others."""
    titles = {n: t for each in BASELINES.values() for n, t in each.titles.items()}
    published = {n: t for n, t in titles.items() if n in TABLE_2["balanced"]}
    others = {n: t for n, t in titles.items() if n not in published}
    nearer = {name: [] for name in published}
    rows, other_rows = [], []
    for name, runs in cells.items():
        classes, loss, dim = name.split(",")
        if loss != _OWN[classes]:
            continue
        truth = numbers(runs, "monte_carlo")
        above = {n: numbers(runs, n) - truth for n in ("ours", *published, *others)}
        ours, *shown = (mean_deviation(values, "+.4f") for values in above.values())
        theirs, at = TABLE_2[classes], DIMS.index(int(dim))
        row = [classes, dim, f"{truth.mean():.4f}", ours, *shown[: len(published)]]
        errors = (
            f"{theirs[each][at] - theirs['monte_carlo'][at]:+.2f}"
            for each in (loss, *published)
        )
        rows.append([*row, ", ".join(errors)])
        other_rows.append([classes, dim, ours, *shown[len(published) :]])
        for each in published:
            if not np.isnan(above[each]).any():
                error, their_error = np.abs([above["ours"], above[each]]).mean(1)
                nearer[each].append(error < their_error)
    scored = (
        f"{seeds_note(cells)}. Every estimator is scored on the same held-out examples "
        "as Monte Carlo. MINE as published takes its second expectation from shuffled "
        "labels; 'all pairs' sums over all labels instead."
    )
    counted = [
        f"Ours is nearer to Monte Carlo than {published[name]} in {sum(wins)} of "
        f"{len(wins)} cells, by the mean absolute error over seeds."
        for name, wins in nearer.items()
        if wins
    ]
    theirs = ", ".join(["paper's net", *published.values()])
    heads = ("classes", "D", "Monte Carlo", "ours", *published.values(), theirs)
    title = "Table 2: Monte Carlo in nats, and how far above it the estimates are"
    other_heads = ("classes", "D", "ours", *others.values())
    return [
        Table(title, heads, rows, [scored, *counted, *notes]),
        Table("Other estimators above Monte Carlo, nats", other_heads, other_rows),
    ]


def _accuracy_table(cells: dict[str, Any]) -> Table:
    rows = []
    for name, runs in cells.items():
        classes, loss, dim = name.split(",")
        theirs, at = TABLE_2[classes], DIMS.index(int(dim))
        row = [f"{classes}, {LOSSES[loss]}", dim]
        row += percent(runs, "accuracy.micro", "accuracy.macro")
        row.append(f"{theirs[f'{loss}_accuracy'][at]:.0f}")
        row.append(mean_deviation(numbers(runs, "ours"), ".4f"))
        formula = numbers(runs, "paper").mean()
        row.append("" if np.isnan(formula) else f"{formula:.4f}")
        rows.append([*row, f"{theirs[loss][at]:.2f}"])
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
        and not options.collect
    }
    if missing:
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


def _draw(options: Options, cells: dict[str, Any]) -> None:
    """Draw the estimates over D, and the mixture itself as in the paper's Figure 8."""
    from mi_classifier.reporting import figures

    panels, samples = {}, {}
    firsts = [next(iter(baseline.titles.items())) for baseline in BASELINES.values()]
    lines = {"truth": "monte_carlo", "ours": "ours"} | {t: name for name, t in firsts}
    for classes, loss in _OWN.items():
        runs = [cells.get(f"{classes},{loss},{dim}") for dim in DIMS]
        if all(runs) and len({len(each) for each in runs}) == 1:  # in every point
            curves = {
                title: np.stack([numbers(each, name) for each in runs], 1)
                for title, name in lines.items()
            }
            finite = {t: v for t, v in curves.items() if np.isfinite(v).all()}
            panels[f"{classes}, {LOSSES[loss]}"] = finite
        for dim in DIMS:
            dataset = gaussian_mixture.load(dim, classes == "balanced", 0, fresh=False)
            test = dataset.splits["test"]
            shown = test["image"][:_SHOWN], test["label"][:_SHOWN]
            samples[f"{classes}, D = {dim}"] = shown
    with figures.in_default_style():
        if panels:
            figure = figures.curves(panels, DIMS, "dimension D")
            figures.save(figure, options.root.with_name("2_estimates.png"))
        figure = figures.mixture(samples, dataset.class_names)
        figures.save(figure, options.root.with_name("figure_8.png"))
