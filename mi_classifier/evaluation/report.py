"""Tables on the terminal."""

import functools
from collections.abc import Callable, Iterable, Sequence
from operator import getitem
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mi_classifier.activation_maps import TITLES
from mi_classifier.estimate import MutualInformation
from mi_classifier.evaluation.evaluators import RULES
from mi_classifier.information import NATS_PER_BIT

_MOST_CLASSES = 20  # that get a row each
# The rows of Table 8: a map, and whether it has the region.
TABLE_8 = {
    "neither": ("cam", False),
    "subtraction": ("info_cam", False),
    "region": ("cam", True),
    "both": ("info_cam", True),
}


def print_tables(figures: dict[str, Any]) -> None:
    """Prints an evaluation: a column for each split, then the test split by class.

    Where there are boxes, also how well each map finds what they bound.

    Args:
      figures: what `evaluate` returns.
    """
    console = Console()
    splits = figures["splits"]
    title = f"{escape(figures['dataset'])}: {figures['loss']}, epoch {figures['epoch']}"
    table = Table(
        title=title,
        caption="± one standard error; * argmax of the net's logits, as in the paper",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),  # three splits fit into 80 columns
        pad_edge=False,
    )
    table.add_column("", no_wrap=True)
    for name, split in splits.items():
        table.add_column(f"{name}\n{split['num_examples']:,}", justify="right")
    truth = figures["true_mutual_information"]
    for name, cells in _rows(list(splits.values()), truth):
        table.add_row(name, *cells)
    console.print(table)
    console.print(_classes(splits["test"], figures["class_names"]))
    if "localization" in splits["test"]:
        localization = splits["test"]["localization"]
        console.print(_localization(localization, figures["paper"]))


def print_ablation(figures: dict[str, Any]) -> None:
    """Prints an ablation: a row for each setting, a column for each threshold.

    Args:
      figures: what `evaluate` returns of one.
    """
    ablation = figures["splits"]["validation"]["ablation"]
    name = escape(figures["dataset"])
    table = Table(
        title=f"{name}: GT-known localization in %, IoU 0.5, validation",
        caption="* the best threshold of a row; peak: the pointing game",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    table.add_column("threshold", no_wrap=True)
    for threshold in ablation["thresholds"]:
        table.add_column(f"{threshold:g}", justify="right")
    table.add_column("peak", justify="right")
    for name, row in ablation["settings"].items():
        best = max(row["gt_known"])
        cells = [f"{100 * v:.1f}{'*' if v == best else ' '}" for v in row["gt_known"]]
        table.add_row(name, *cells, f"{100 * row['pointing']:.1f}")
    console = Console()
    console.print(table)
    console.print(_table_8(ablation, figures["paper"].get("ablation", {})))


def _table_8(ablation: dict[str, Any], paper: dict[str, Any]) -> Table:
    """What the region and the subtraction bring, each alone, as in Table 8."""
    threshold = ablation["threshold"]
    column = ablation["thresholds"].index(threshold)
    table = Table(
        title=f"region R and subtraction, boxes at threshold {threshold:g}, %",
        box=box.SIMPLE_HEAD,
    )
    names = ("R", "subtraction", "GT-known", "Top-1")
    for name in names + (("paper's GT-known", "Top-1") if paper else ()):
        table.add_column(name, justify="right")
    for key, (map_name, region) in TABLE_8.items():
        region = ablation["region"] if region else 1
        row = next(
            row
            for row in ablation["settings"].values()
            if (row["map"], row["region"]) == (map_name, region)
        )
        ours = (_percent(row[name][column]) for name in ("gt_known", "top1"))
        theirs = [f"{v:.2f}" for v in paper.get(key, ())]
        subtracts = "no" if map_name == "cam" else "yes"
        table.add_row(str(region), subtracts, *ours, *theirs)
    return table


def print_estimate(figures: dict[str, Any]) -> None:
    """Prints the estimate of a cross-fit, and the rows that surprised it most.

    Args:
      figures: "estimate", the fields of a `MutualInformation`, and "most_surprising".
    """
    console = Console()
    print(MutualInformation(**figures["estimate"]))
    if not figures["most_surprising"]:
        return
    table = Table(
        title="rows whose inputs speak most against their label",
        box=box.SIMPLE_HEAD,
    )
    for column in ("row", "label", "predicted", "PMI, nats"):
        table.add_column(column, justify="right")
    for row in figures["most_surprising"]:
        cells = (escape(row["label"]), escape(row["predicted"]))
        table.add_row(str(row["row"]), *cells, f"{row['pmi_nats']:.3f}")
    console.print(table)


def _rows(
    splits: list[dict[str, Any]], truth: float | None
) -> Iterable[tuple[str, list[str]]]:
    with_truth = "truth" in splits[0]

    def row(title: str, show: Callable, *path: str) -> tuple[str, list[str]]:
        return title, [show(functools.reduce(getitem, path, s)) for s in splits]

    bound = ("information", "mutual_information")
    multi_label = "per_label" in splits[0]["information"]
    each = " a label" if multi_label else ""
    yield row(f"mutual information{each}, nats", _with_error, *bound)
    yield row("  in bits", _bits_with_error, *bound)
    if truth is not None:
        yield "  closed-form truth", [_number(truth)] * len(splits)
    if with_truth:
        yield row("  Monte-Carlo truth", _with_error, "truth", "mutual_information")
        yield row("  ours above the truth", _with_error, "truth", "error")
    if "paper_softmax_plus_log_m" in splits[0]["information"]:
        path = ("information", "paper_softmax_plus_log_m")
        yield row("  paper's softmax+log M", _number, *path)
    yield row("label entropy H(Y), nats", _number, "information", "label_entropy")
    if not multi_label:
        yield row("cross-entropy, nats", _number, "information", "cross_entropy")
    yield "accuracy, micro/macro %", [""] * len(splits)
    for rule in RULES:
        paper = splits[0]["accuracy"]["paper_rule"] == rule
        title = f"  {rule} rule{' *' if paper else ''}"
        yield row(title, _micro_macro, "accuracy", rule)
        if with_truth:
            yield row("    true densities", _micro_macro, "truth", rule)
        if multi_label:
            yield row("    all labels right", _percent, "accuracy", rule, "exact")


def _number(value: float) -> str:
    return f"{value:.4f}"


def _with_error(estimate: dict[str, float]) -> str:
    return f"{estimate['nats']:.4f} ± {estimate['standard_error']:.4f}"


def _bits_with_error(estimate: dict[str, float]) -> str:
    error = estimate["standard_error"] / NATS_PER_BIT
    return f"{estimate['bits']:.4f} ± {error:.4f}"


def _micro_macro(accuracy: dict[str, float]) -> str:
    return f"{100 * accuracy['micro']:.2f} / {100 * accuracy['macro']:.2f}"


def _percent(value: float) -> str:
    return f"{100 * value:.2f}"


def _classes(split: dict[str, Any], class_names: Sequence[str]) -> Table:
    accuracy, per_label = split["accuracy"], split["information"].get("per_label")
    shares = np.stack([accuracy[rule]["per_class"] for rule in RULES], -1)
    shown = np.arange(len(class_names))
    title = "test accuracy by class, %"
    if len(class_names) > _MOST_CLASSES:
        shown = np.argsort(shares.min(-1), kind="stable")[:_MOST_CLASSES]
        title += f", the {_MOST_CLASSES} lowest of {len(class_names)}"
    table = Table(title=title, box=box.SIMPLE_HEAD)
    table.add_column("class")
    for rule in RULES:
        table.add_column(f"{rule} rule", justify="right")
    if per_label:
        table.add_column("I(X; Y), nats", justify="right")
        table.add_column("H(Y)", justify="right")
    for index in shown:
        cells = [_percent(x) for x in shares[index]]
        if per_label:
            cells.append(_with_error(per_label[index]))
            cells.append(_number(split["information"]["label_entropies"][index]))
        table.add_row(escape(class_names[index]), *cells)
    return table


def _localization(figures: dict[str, Any], paper: dict[str, Any]) -> Table:
    """The rows of Tables 4, 6 and 7, and gentler rules beside them."""
    titles = {
        "gt_known": "GT-known",
        "top1": "Top-1",
        "top5": "Top-5",
        "cell": "cell",
        "pointing": "pointing",
        "max_box_accuracy": "MaxBox",
        "max_box_accuracy_v2": "V2",
    }
    maps = figures["maps"]
    known = [name for name in titles if name in next(iter(maps.values()))]
    caption = f"boxes at threshold {figures['threshold']:g} meet a true one at IoU 0.5"
    if "cell" in known:
        caption += "; cell: the digit's half of the image, at the best threshold"
    if "top5" in figures["classification"]:
        ours = " / ".join(map(_percent, figures["classification"].values()))
        caption += f"; classification, top-1 / top-5: {ours}"
        if paper:
            caption += ", paper's {:.2f} / {:.2f}".format(*paper["classification"])
    table = Table(
        title=f"test localization of {figures['num_labels']:,} labels, %",
        caption=caption,
        box=box.SIMPLE_HEAD,
    )
    table.add_column("map")
    for name in known:
        table.add_column(titles[name], justify="right")
    for name, row in maps.items():
        table.add_row(TITLES[name], *(_percent(row[key]) for key in known))
        if paper:  # GT-known and Top-1
            table.add_row("  paper's", *(f"{value:.2f}" for value in paper[name]))
    return table
