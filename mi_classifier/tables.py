"""Reruns a table of the paper, ours beside the paper's.

python -m mi_classifier.tables 2 --seeds=10

Each cell is a run of train.py's in a workdir of its own below `--workdir`; those that
are there and finished are not run again. Table 2 is mutual information on the Gaussian
mixture, 3 the MNIST half of classification, and "channel", which the paper does not
have, mutual information on real images with labels of known noise. Written are
TABLE.md, TABLE.json and figures.
"""

import dataclasses
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags
from ml_collections import ConfigDict

from mi_classifier import cli
from mi_classifier import config as configs
from mi_classifier import workdir as workdirs
from mi_classifier.errors import UserError, choose

_SEEDS = flags.DEFINE_integer("seeds", 1, "runs a cell, seeded 0, 1, 2, ...")
_WORKDIR = flags.DEFINE_string("workdir", "runs/tables", "where to write everything.")
_MINE = flags.DEFINE_boolean("mine", True, "whether Table 2 runs MINE too.")
_ARCHIVE = flags.DEFINE_string(
    "archive_dir", "", "a folder with MNIST's four idx files; downloaded by default."
)
_DATA_DIR = flags.DEFINE_string(
    "data_dir", "", "where TFDS keeps data sets; its default by default."
)

DIMS = (1, 2, 5, 10)
FLIPS = (0.0, 0.1, 0.3, 0.5, 0.7)
_NEIGHBORS_EXAMPLES = 20_000  # at most, for nearest neighbors

# Table 2: mutual information in nats, accuracy in percent.
PAPER_2: dict[str, dict[str, tuple[float, ...]]] = {
    "balanced": {
        "monte_carlo": (1.03, 1.30, 1.54, 1.60),
        "mine": (1.00, 1.22, 1.46, 1.54),
        "softmax": (0.99, 1.28, 1.48, 1.54),
        "softmax_accuracy": (74, 85, 94, 98),
    },
    "unbalanced": {
        "monte_carlo": (1.02, 1.23, 1.44, 1.48),
        "mine": (0.99, 1.17, 1.27, 1.22),
        "softmax": (1.11, 1.31, 1.41, 1.36),
        "pc_softmax": (0.96, 1.20, 1.31, 1.34),
        "softmax_accuracy": (79, 87, 93, 95),
        "pc_softmax_accuracy": (79, 88, 95, 96),
    },
}
# Table 3: micro and macro accuracy in percent; softmax, PC-softmax.
PAPER_3 = {
    "balanced": {"micro": (97.95, 97.91), "macro": (97.95, 97.91)},
    "unbalanced": {"micro": (96.81, 96.86), "macro": (95.05, 96.30)},
}
LOSSES = ("softmax", "pc_softmax")
NAMES = {"softmax": "softmax", "pc_softmax": "PC-softmax"}


@dataclasses.dataclass(frozen=True)
class Table:
    """A table, ready to be shown.

    Attributes:
      title: above it.
      columns: their heads.
      rows: cells, as many as columns.
      notes: below it.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class Options:
    """How a table is rerun.

    Attributes:
      root: the folder of the table's workdirs; what is written stands beside it.
      seeds: runs a cell, seeded 0, 1, 2, ...
      mine: whether Table 2 runs MINE too.
      archive_dir: of MNIST's idx files, "" to download.
      data_dir: where TFDS keeps data sets, "" for its default.
    """

    root: Path
    seeds: int = 1
    mine: bool = True
    archive_dir: str = ""
    data_dir: str = ""


def main(arguments: Sequence[str]) -> None:
    """Runs the table that is asked for."""
    if len(arguments) != 1:
        raise UserError(
            f"give one table: {', '.join(TABLES)}; --seeds=10 for more runs"
        )
    name = choose(arguments[0], TABLES, "table")
    if _SEEDS.value < 1:
        raise UserError(f"--seeds: must be at least 1, not {_SEEDS.value}")
    options = Options(
        root=Path(_WORKDIR.value) / name,
        seeds=_SEEDS.value,
        mine=_MINE.value,
        archive_dir=_ARCHIVE.value,
        data_dir=_DATA_DIR.value,
    )
    rerun(name, options)


def rerun(name: str, options: Options) -> None:
    """Reruns a table, prints it, and writes it as Markdown and JSON.

    Args:
      name: a key of `TABLES`.
      options: how.

    Raises:
      UserError: data or workdirs that cannot be used.
    """
    tables, figures = TABLES[name](options)
    for table in tables:
        _print(table)
    markdown = "\n".join(map(_markdown, tables))
    workdirs.write_text(options.root.with_suffix(".md"), markdown)
    json_text = workdirs.to_json(figures, indent=1)
    workdirs.write_text(options.root.with_suffix(".json"), json_text)
    print(f"written: {options.root}.md, {options.root}.json, and figures beside them")


def table_2(options: Options) -> tuple[list[Table], dict[str, Any]]:
    """Mutual information of the Gaussian mixture, and every baseline."""
    from mi_classifier.evaluation import figures as drawing

    keys = {
        options.root / classes / loss / f"D{dim}" / f"seed{seed}": (classes, loss, dim)
        for seed in range(options.seeds)
        for classes, paper in PAPER_2.items()
        for loss in LOSSES
        for dim in DIMS
        if loss in paper
    }
    configs_of = {}
    for workdir, (classes, loss, dim) in keys.items():
        config = _config(f"gmm.py:{classes},{loss}", _seed(workdir), options)
        config.data.update(dim=dim, seed=config.seed, fresh=False)
        configs_of[workdir] = config
    started, baseline_seconds = time.monotonic(), 0.0
    figures = _figures(configs_of)
    cells: dict[str, Any] = {}
    for workdir, (classes, loss, dim) in keys.items():
        test = figures[workdir]["splits"]["test"]
        row = {
            "ours": test["information"]["mutual_information"]["nats"],
            "monte_carlo": test["truth"]["mutual_information"]["nats"],
            "accuracy": test["accuracy"][test["accuracy"]["paper_rule"]],
            "paper": test["information"].get("paper_softmax_plus_log_m"),
        }
        if loss == _own(classes):
            before = time.monotonic()
            row |= _baselines(configs_of[workdir], workdir, options.mine)
            baseline_seconds += time.monotonic() - before
        cells.setdefault(f"{classes},{loss},{dim}", []).append(row)
    seconds = time.monotonic() - started
    _draw_table_2(options, cells, drawing)
    scored = (
        f"{options.seeds} seeds a cell; ± the standard deviation over seeds. "
        "Every estimator is scored on the same held-out examples as Monte Carlo. "
        "MINE as published takes its second expectation from shuffled labels; "
        "'all pairs' sums over all labels instead."
    )
    notes = [scored]
    if options.mine:
        nearer = [_nearer(cells[f"{c},{_own(c)},{d}"]) for c in PAPER_2 for d in DIMS]
        notes.append(
            f"Ours is nearer to Monte Carlo than MINE in {sum(nearer)} of "
            f"{len(nearer)} cells, by the mean absolute error over seeds."
        )
    notes.append(
        f"This command took {seconds:.0f} s, of which {baseline_seconds:.0f} s on MINE "
        "and nearest neighbors."
    )
    tables = [_information_table(cells, notes), _baseline_table(cells)]
    return [*tables, _accuracy_table(cells)], cells


def _own(classes: str) -> str:
    """The loss of the paper's own column: softmax, or PC-softmax where unbalanced."""
    return "softmax" if classes == "balanced" else "pc_softmax"


def _information_table(cells: dict[str, Any], notes: Sequence[str]) -> Table:
    rows = []
    for classes, paper in PAPER_2.items():
        for index, dim in enumerate(DIMS):
            runs = cells[f"{classes},{_own(classes)},{dim}"]
            row = [classes, str(dim), f"{_column(runs, 'monte_carlo').mean():.4f}"]
            row += [_above_truth(runs, "ours"), _above_truth(runs, "mine")]
            published = (paper[_own(classes)][index], paper["mine"][index])
            truth = paper["monte_carlo"][index]
            rows.append([*row, ", ".join(f"{v - truth:+.2f}" for v in published)])
    title = "Table 2: Monte Carlo in nats, and how far above it the estimates are"
    columns = ("classes", "D", "Monte Carlo", "ours", "MINE", "paper's net, MINE")
    return Table(title, columns, rows, notes)


def _baseline_table(cells: dict[str, Any]) -> Table:
    rows = []
    for classes in PAPER_2:
        for dim in DIMS:
            runs = cells[f"{classes},{_own(classes)},{dim}"]
            names = ("ours", "mine_all_pairs", "nearest_neighbors")
            rows.append([classes, str(dim), *(_above_truth(runs, n) for n in names)])
    title = "Other estimators above Monte Carlo, nats"
    columns = ("classes", "D", "ours", "MINE, all pairs", "nearest neighbors")
    return Table(title, columns, rows)


def _above_truth(runs: Sequence[dict[str, Any]], name: str) -> str:
    return _mean_deviation(_column(runs, name) - _column(runs, "monte_carlo"), "+.4f")


def _accuracy_table(cells: dict[str, Any]) -> Table:
    rows = []
    for classes, paper in PAPER_2.items():
        for loss in (loss for loss in LOSSES if loss in paper):
            for index, dim in enumerate(DIMS):
                runs = cells[f"{classes},{loss},{dim}"]
                micro = np.array([100 * run["accuracy"]["micro"] for run in runs])
                macro = np.array([100 * run["accuracy"]["macro"] for run in runs])
                bound = _column(runs, "ours")
                row = [f"{classes}, {NAMES[loss]}", str(dim)]
                row += [_mean_deviation(micro, ".2f"), _mean_deviation(macro, ".2f")]
                row += [f"{paper[f'{loss}_accuracy'][index]:.0f}"]
                row += [_mean_deviation(bound, ".4f")]
                published = _column(runs, "paper")
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


def _baselines(config: ConfigDict, workdir: Path, with_mine: bool) -> dict[str, float]:
    from mi_classifier import baselines
    from mi_classifier.data import load_dataset

    path = workdir / "evaluation" / "baselines.json"
    noted = json.loads(path.read_text()) if path.exists() else {}
    wanted = {"nearest_neighbors"} | (
        {"mine", "mine_all_pairs"} if with_mine else set()
    )
    if wanted <= noted.keys():
        return noted
    splits = load_dataset(config.data).splits
    names = ("train", "validation", "test")
    samples = [(splits[name]["image"], splits[name]["label"]) for name in names]
    if "nearest_neighbors" not in noted:
        x, y = (array[:_NEIGHBORS_EXAMPLES] for array in samples[2])
        noted["nearest_neighbors"] = baselines.nearest_neighbors(x, y)
    if with_mine:
        print(f"MINE: {workdir}", flush=True)
        mine = baselines.mine(*samples, seed=config.seed)
        noted |= {"mine": mine.shuffled, "mine_all_pairs": mine.all_pairs}
    workdirs.write_text(path, workdirs.to_json(noted))
    return noted


def _nearer(runs: Sequence[dict[str, float]]) -> bool:
    truth = _column(runs, "monte_carlo")
    ours, mine = (np.abs(_column(runs, n) - truth).mean() for n in ("ours", "mine"))
    return bool(ours < mine)


def _draw_table_2(options: Options, cells: dict[str, Any], drawing: Any) -> None:
    from mi_classifier.data import gaussian_mixture

    panels, samples = {}, {}
    legend = {
        "monte_carlo": "truth",
        "ours": "ours",
        "mine": "MINE",
        "nearest_neighbors": "nearest neighbors",
    }
    for classes in PAPER_2:
        runs = [cells[f"{classes},{_own(classes)},{dim}"] for dim in DIMS]
        values = {
            label: np.stack([_column(run, name) for run in runs], 1)
            for name, label in legend.items()
        }
        panels[f"{classes}, {NAMES[_own(classes)]}"] = {
            label: value for label, value in values.items() if np.isfinite(value).all()
        }
    for classes in PAPER_2:
        for dim in DIMS:
            dataset = gaussian_mixture.load(dim, classes == "balanced", seed=0)
            test = dataset.splits["test"]
            some = slice(0, 1_000)
            samples[f"{classes}, D = {dim}"] = (
                test["image"][some],
                test["label"][some],
            )
    drawing.save(
        drawing.curves(panels, DIMS, "dimension D"),
        options.root.with_name("2_estimates.png"),
    )
    drawing.save(
        drawing.mixture(samples, dataset.class_names),
        options.root.with_name("figure_8.png"),
    )


def table_3(options: Options) -> tuple[list[Table], dict[str, Any]]:
    """Accuracy on balanced and unbalanced MNIST, softmax against PC-softmax."""
    keys = {
        options.root / classes / loss / f"seed{seed}": (classes, loss)
        for seed in range(options.seeds)
        for classes in PAPER_3
        for loss in LOSSES
    }
    figures = _figures(
        {
            workdir: _config(f"mnist.py:{classes},{loss}", _seed(workdir), options)
            for workdir, (classes, loss) in keys.items()
        }
    )
    cells: dict[str, Any] = {}
    for workdir, (classes, loss) in keys.items():
        for split in ("authors_test", "test"):
            accuracy = figures[workdir]["splits"][split]["accuracy"]
            cells.setdefault(f"{classes},{loss},{split}", []).append(accuracy)
    rules = ("paper", "prior", "balanced")
    return [_classification_table(cells, rule) for rule in rules], cells


def _classification_table(cells: dict[str, Any], rule: str) -> Table:
    from scipy import stats

    titles = {
        "paper": "argmax n(x), the paper's rule",
        "prior": "the prior rule for both losses",
        "balanced": "the balanced rule for both losses",
    }
    rows = []
    for classes, paper in PAPER_3.items():
        for split, title in {"authors_test": "authors'", "test": "standard"}.items():
            for kind in ("micro", "macro"):
                values = [
                    np.array([100 * _by_rule(run, rule)[kind] for run in runs])
                    for runs in (cells[f"{classes},{loss},{split}"] for loss in LOSSES)
                ]
                p = stats.mannwhitneyu(*values, alternative="two-sided").pvalue
                row = [classes, title, kind]
                row += [_mean_deviation(v, ".2f") for v in values]
                row.append(f"{p:.4f}{'*' if p < 0.05 else ' '}")
                shown = rule == "paper" and split == "authors_test"
                published = "/".join(f"{v:.2f}" for v in paper[kind])
                rows.append([*row, published if shown else ""])
    note = (
        f"{len(values[0])} seeds; ± the standard deviation over seeds; p of the "
        "two-sided Mann-Whitney U test between the losses, * below 0.05."
    )
    return Table(
        f"Table 3, MNIST: accuracy in percent by {titles[rule]}",
        ("classes", "test set", "", "softmax", "PC-softmax", "p", "paper's"),
        rows,
        (note,),
    )


def _by_rule(accuracy: dict[str, Any], rule: str) -> dict[str, float]:
    return accuracy[accuracy["paper_rule"] if rule == "paper" else rule]


def table_channel(options: Options) -> tuple[list[Table], dict[str, Any]]:
    """Mutual information of MNIST images and labels of known noise."""
    from mi_classifier.evaluation import figures as drawing

    configs_of = {}
    for seed in range(options.seeds):
        for flip in FLIPS:
            config = _config("mnist_channel.py", seed, options)
            config.data.update(flip_probability=flip, seed=seed)
            configs_of[options.root / f"flip{flip:g}" / f"seed{seed}"] = config
    cells: dict[str, Any] = {}
    for workdir, figures in _figures(configs_of).items():
        test = figures["splits"]["test"]["information"]
        flip = configs_of[workdir].data.flip_probability
        cells.setdefault(f"{flip:g}", []).append(
            {
                "truth": figures["true_mutual_information"],
                "label_entropy": test["label_entropy"],
                **test["mutual_information"],
            }
        )
    rows = []
    for flip, runs in cells.items():
        truth, ours = _column(runs, "truth"), _column(runs, "nats")
        entropy, error = _column(runs, "label_entropy"), _column(runs, "standard_error")
        row = [flip, f"{entropy.mean():.4f}", f"{truth.mean():.4f}"]
        row += [_mean_deviation(ours, ".4f"), f"{error.mean():.4f}"]
        rows.append([*row, f"{(ours - truth).mean():+.4f}"])
    values = {
        name: np.stack([_column(runs, key) for runs in cells.values()], 1)
        for name, key in (("truth", "truth"), ("ours", "nats"))
    }
    figure = drawing.curves({"MNIST through a noise channel": values}, FLIPS, "P(flip)")
    drawing.save(figure, options.root.with_name("channel.png"))
    columns = (
        "P(flip)",
        "H(Y')",
        "closed form",
        "ours",
        "standard error",
        "difference",
    )
    title = "MNIST labels through a symmetric channel: I(X; Y') in nats, test set"
    return [Table(title, columns, rows)], cells


TABLES: dict[str, Callable] = {"2": table_2, "3": table_3, "channel": table_channel}


def _config(reference: str, seed: int, options: Options) -> ConfigDict:
    config = configs.load(f"configs/{reference}")
    config.seed = seed
    if "archive_dir" in config.data:
        folders = {"archive_dir": options.archive_dir, "data_dir": options.data_dir}
        config.data.update(folders)
    return configs.with_absolute_paths(config)


def _figures(cells: Mapping[Path, ConfigDict]) -> dict[Path, Any]:
    """Returns the evaluation of each cell's workdir; trains those that are missing."""
    metrics = {w: w / "evaluation" / "metrics.json" for w in cells}
    for workdir, config in cells.items():
        workdirs.check_free_for(config, workdir)
    missing = [
        (configs.to_json(config), workdir)
        for workdir, config in cells.items()
        if not _finished(config, workdir, metrics[workdir])
    ]
    processes = min(_processes(), len(missing))
    if processes > 1:
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(processes, spawn) as pool:
            for count, workdir in enumerate(
                pool.map(_run, *zip(*missing, strict=True))
            ):
                print(f"{count + 1}/{len(missing)}: {workdir}", flush=True)
    else:
        for count, cell in enumerate(missing):
            print(f"{count + 1}/{len(missing)}: {_run(*cell)}", flush=True)
    return {w: json.loads(path.read_text()) for w, path in metrics.items()}


def _processes() -> int:
    """How many cells to train at once: a small net does not fill two cores."""
    import jax

    return min(os.cpu_count() or 1, 4) if jax.default_backend() == "cpu" else 1


def _seed(workdir: Path) -> int:
    return int(workdir.name.removeprefix("seed"))


def _run(config: str, workdir: Path) -> Path:
    from mi_classifier import evaluation, training

    _compile_once()
    training.train(configs.from_json(config), workdir)
    evaluation.evaluate(workdir, quiet=True)
    return workdir


def _compile_once() -> None:
    """Keeps compiled programs: cells differ in numbers, seldom in programs."""
    import jax

    folder = Path(tempfile.gettempdir()) / f"mi_classifier_compiled_{os.getuid()}"
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def _finished(config: ConfigDict, workdir: Path, metrics: Path) -> bool:
    log = workdir / "metrics.jsonl"
    if not log.exists() or not metrics.exists():
        return False
    if log.stat().st_mtime > metrics.stat().st_mtime:
        return False
    return len(log.read_text().splitlines()) == config.num_epochs


def _column(runs: Sequence[dict[str, Any]], name: str) -> np.ndarray:
    values = [run.get(name) for run in runs]
    return np.array([np.nan if v is None else v for v in values], np.float64)


def _mean_deviation(values: np.ndarray, spec: str) -> str:
    if np.isnan(values).any():
        return ""
    text = format(values.mean(), spec)
    if len(values) == 1:
        return text
    return f"{text} ± {format(values.std(ddof=1), spec.replace('+', ''))}"


def _print(table: Table) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable

    console = Console()
    shown = RichTable(
        title=table.title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False
    )
    for index, column in enumerate(table.columns):
        shown.add_column(column, justify="right" if index else "left")
    for row in table.rows:
        shown.add_row(*row)
    console.print(shown)
    for note in table.notes:
        console.print(note, highlight=False)


def _markdown(table: Table) -> str:
    lines = [f"**{table.title}**", "", "| " + " | ".join(table.columns) + " |"]
    lines.append("|" + "---|" * len(table.columns))
    lines += ["| " + " | ".join(row) + " |" for row in table.rows]
    return "\n".join([*lines, "", *table.notes, ""])


if __name__ == "__main__":
    cli.run(main, positional=True)
