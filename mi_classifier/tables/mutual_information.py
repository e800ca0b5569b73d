"""Table 2: mutual information of the Gaussian mixture, ours beside all baselines."""

import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from mi_classifier.reporting.table import Table, column, mean_deviation, seeds_note
from mi_classifier.storage.files import read_json, to_json, write_hashed
from mi_classifier.tables import reruns
from mi_classifier.tables.published import TABLE_2

DIMS = (1, 2, 5, 10)
_NEIGHBORS_EXAMPLES = 20_000  # at most, for nearest neighbors

LOSSES = ("softmax", "pc_softmax")
NAMES = {"softmax": "softmax", "pc_softmax": "PC-softmax"}


def table_2(options: reruns.Options) -> tuple[list[Table], dict[str, Any]]:
    """Mutual information of the Gaussian mixture, and every baseline."""
    keys = {
        options.root / classes / loss / f"D{dim}" / f"seed{seed}": (classes, loss, dim)
        for seed in range(options.seeds)
        for classes, paper in TABLE_2.items()
        for loss in LOSSES
        for dim in DIMS
        if loss in paper
    }
    configs_of = {}
    for workdir, (classes, loss, dim) in keys.items():
        config = reruns.config(
            f"gmm:{classes},{loss}", reruns.seed_of(workdir), options
        )
        config.data.update(dim=dim, seed=config.seed, fresh=False)
        configs_of[workdir] = config
    started, baseline_seconds = time.monotonic(), 0.0
    cells: dict[str, Any] = {}
    for name, runs in reruns.gather(configs_of, _name_of, options).items():
        classes, loss, _ = name.split(",")
        for run in runs:
            test = run.results["splits"]["test"]
            row = {
                "ours": test["information"]["mutual_information"]["nats"],
                "monte_carlo": test["truth"]["mutual_information"]["nats"],
                "accuracy": test["accuracy"][test["accuracy"]["paper_rule"]],
                "paper": test["information"].get("paper_softmax_plus_log_m"),
            }
            if loss == _own(classes):
                before = time.monotonic()
                row |= _baselines(run, options)
                baseline_seconds += time.monotonic() - before
            cells.setdefault(name, []).append(row)
    seconds = time.monotonic() - started
    _draw_table_2(options, cells, drawing)
    scored = (
        f"{seeds_note(cells)}. "
        "Every estimator is scored on the same held-out examples as Monte Carlo. "
        "MINE as published takes its second expectation from shuffled labels; "
        "'all pairs' sums over all labels instead."
    )
    notes = [scored]
    if options.mine and any("mine" in run for runs in cells.values() for run in runs):
        nearer = [
            _nearer(runs)
            for _, _, runs in _own_cells(cells)
            if all("mine" in run for run in runs)
        ]
        notes.append(
            f"Ours is nearer to Monte Carlo than MINE in {sum(nearer)} of "
            f"{len(nearer)} cells, by the mean absolute error over seeds."
        )
    if not options.collect:
        notes.append(
            f"This command took {seconds:.0f} s, of which {baseline_seconds:.0f} s on "
            "MINE and nearest neighbors."
        )
    tables = [_information_table(cells, notes), _baseline_table(cells)]
    return [*tables, _accuracy_table(cells)], cells


def _own(classes: str) -> str:
    """The loss of the paper's own column: softmax, or PC-softmax where unbalanced."""
    return "softmax" if classes == "balanced" else "pc_softmax"


def _name_of(config: ConfigDict) -> str:
    classes = "balanced" if config.data.balanced else "unbalanced"
    return f"{classes},{config.loss},{config.data.dim}"


def _own_cells(cells: dict[str, Any]) -> Iterator[tuple[str, int, list[dict]]]:
    """The classes, the dimension and the runs of the paper's own column."""
    for classes in TABLE_2:
        for dim in DIMS:
            if runs := cells.get(f"{classes},{_own(classes)},{dim}"):
                yield classes, dim, runs


def _information_table(cells: dict[str, Any], notes: Sequence[str]) -> Table:
    rows = []
    for classes, dim, runs in _own_cells(cells):
        paper, index = TABLE_2[classes], DIMS.index(dim)
        row = [classes, str(dim), f"{column(runs, 'monte_carlo').mean():.4f}"]
        row += [_above_truth(runs, "ours"), _above_truth(runs, "mine")]
        published = (paper[_own(classes)][index], paper["mine"][index])
        truth = paper["monte_carlo"][index]
        rows.append([*row, ", ".join(f"{v - truth:+.2f}" for v in published)])
    title = "Table 2: Monte Carlo in nats, and how far above it the estimates are"
    columns = ("classes", "D", "Monte Carlo", "ours", "MINE", "paper's net, MINE")
    return Table(title, columns, rows, notes)


def _baseline_table(cells: dict[str, Any]) -> Table:
    names = ("ours", "mine_all_pairs", "nearest_neighbors")
    rows = [
        [classes, str(dim), *(_above_truth(runs, name) for name in names)]
        for classes, dim, runs in _own_cells(cells)
    ]
    title = "Other estimators above Monte Carlo, nats"
    columns = ("classes", "D", "ours", "MINE, all pairs", "nearest neighbors")
    return Table(title, columns, rows)


def _above_truth(runs: Sequence[dict[str, Any]], name: str) -> str:
    return mean_deviation(column(runs, name) - column(runs, "monte_carlo"), "+.4f")


def _accuracy_table(cells: dict[str, Any]) -> Table:
    rows = []
    for classes, paper in TABLE_2.items():
        for loss in (loss for loss in LOSSES if loss in paper):
            for index, dim in enumerate(DIMS):
                runs = cells.get(f"{classes},{loss},{dim}")
                if not runs:
                    continue
                micro = np.array([100 * run["accuracy"]["micro"] for run in runs])
                macro = np.array([100 * run["accuracy"]["macro"] for run in runs])
                bound = column(runs, "ours")
                row = [f"{classes}, {NAMES[loss]}", str(dim)]
                row += [mean_deviation(micro, ".2f"), mean_deviation(macro, ".2f")]
                row += [f"{paper[f'{loss}_accuracy'][index]:.0f}"]
                row += [mean_deviation(bound, ".4f")]
                published = column(runs, "paper")
                row.append(f"{published.mean():.4f}" if loss == "softmax" else "")
                row.append(f"{paper[loss][index]:.2f}")
                rows.append(row)
    columns = ("classes, loss", "D", "accuracy, %", "by class", "paper's", "nats")
    note = (
        "Accuracy by argmax n(x). 'softmax + log M' is the paper's formula, a bound "
        "only where classes are equally frequent; 'nats' is a bound in every row."
    )
    return Table(
        "Table 2: accuracy, and the bound of every net",
        (*columns, "softmax + log M", "paper's"),
        rows,
        (note,),
    )


def _baselines(run: reruns.FinishedRun, options: reruns.Options) -> dict[str, float]:
    from mi_classifier import baselines
    from mi_classifier.data import load_dataset

    path = run.workdir / "evaluation" / "baselines.json"
    noted = read_json(path, "remove it, and it is made anew") if path.exists() else {}
    wanted = {"nearest_neighbors"}
    wanted |= {"mine", "mine_all_pairs"} if options.mine else set()
    if options.collect or wanted <= noted.keys():
        return noted
    splits = load_dataset(run.config.data).splits
    names = ("train", "validation", "test")
    samples = [(splits[name]["image"], splits[name]["label"]) for name in names]
    if "nearest_neighbors" not in noted:
        x, y = (array[:_NEIGHBORS_EXAMPLES] for array in samples[2])
        noted["nearest_neighbors"] = baselines.nearest_neighbors(x, y)
    if options.mine:
        print(f"MINE: {run.workdir}", flush=True)
        mine = baselines.mine(*samples, seed=run.config.seed)
        noted |= {"mine": mine.shuffled, "mine_all_pairs": mine.all_pairs}
    write_hashed(path, to_json(noted))
    return noted


def _nearer(runs: Sequence[dict[str, float]]) -> bool:
    truth = column(runs, "monte_carlo")
    ours, mine = (np.abs(column(runs, n) - truth).mean() for n in ("ours", "mine"))
    return bool(ours < mine)


def _draw_table_2(options: reruns.Options, cells: dict[str, Any], drawing: Any) -> None:
    from mi_classifier.data import gaussian_mixture

    panels, samples = {}, {}
    legend = {
        "monte_carlo": "truth",
        "ours": "ours",
        "mine": "MINE",
        "nearest_neighbors": "nearest neighbors",
    }
    for classes in TABLE_2:
        runs = [cells.get(f"{classes},{_own(classes)},{dim}") for dim in DIMS]
        if not all(runs) or len({len(of_dim) for of_dim in runs}) > 1:
            continue  # a curve wants every point
        values = {
            label: np.stack([column(run, name) for run in runs], 1)
            for name, label in legend.items()
        }
        panels[f"{classes}, {NAMES[_own(classes)]}"] = {
            label: value for label, value in values.items() if np.isfinite(value).all()
        }
    for classes in TABLE_2:
        for dim in DIMS:
            dataset = gaussian_mixture.load(dim, classes == "balanced", seed=0)
            test = dataset.splits["test"]
            some = slice(0, 1_000)
            samples[f"{classes}, D = {dim}"] = (
                test["image"][some],
                test["label"][some],
            )
    if panels:
        figures.save(
            figures.curves(panels, DIMS, "dimension D"),
            options.root.with_name("2_estimates.png"),
        )
    figures.save(
        figures.mixture(samples, dataset.class_names),
        options.root.with_name("figure_8.png"),
    )
