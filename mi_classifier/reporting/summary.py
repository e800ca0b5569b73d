"""The figures of an evaluation as tables: those of the terminal and of the report."""

import functools
from collections.abc import Callable, Iterable, Sequence
from operator import getitem
from typing import Any

import numpy as np

from mi_classifier.activation_maps import TITLES
from mi_classifier.evaluation.evaluators import RULES
from mi_classifier.reporting.table import Table, percent
from mi_classifier.information import NATS_PER_BIT

_MOST_CLASSES = 20  # that get a row each
# The rows of Table 8: a map, and whether it has the region.
TABLE_8 = {
    "neither": ("cam", False),
    "subtraction": ("info_cam", False),
    "region": ("cam", True),
    "both": ("info_cam", True),
}
_LOCALIZATION = {
    "gt_known": "GT-known",
    "top1": "Top-1",
    "top5": "Top-5",
    "cell": "cell",
    "pointing": "pointing",
    "max_box_accuracy": "MaxBox",
    "max_box_accuracy_v2": "V2",
}


def evaluation_tables(figures: dict[str, Any]) -> list[Table]:
    """Returns the tables of an evaluation.

    Args:
      figures: what `evaluate` returns.

    Returns:
      One with a column for each split, one of the test split by class, and where there
      are boxes, one of how well each map finds what they bound.
    """
    splits = figures["splits"]
    truth = figures["true_mutual_information"]
    notes = ["± one standard error; * argmax of the net's logits, as in the paper"]
    if splits["test"]["information"]["mutual_information"]["nats"] < 0:
        notes.append(
            "negative: this net says less than class frequencies alone do; train it "
            "longer, with a lower optimizer.learning_rate, or from pretrained weights"
        )
    heads = [f"{name}\n{split['num_examples']:,}" for name, split in splits.items()]
    tables = [
        Table(
            f"{figures['dataset']}: {figures['loss']}, epoch {figures['epoch']}",
            ("", *heads),
            [(name, *cells) for name, cells in _rows(list(splits.values()), truth)],
            notes,
        ),
        _classes(splits["test"], figures["class_names"]),
    ]
    localization = splits["test"].get("localization", {})
    if localization.get("maps"):
        tables.append(_localization(localization, figures["paper"]))
    return tables


def ablation_tables(figures: dict[str, Any]) -> list[Table]:
    """Returns an ablation: a row for each setting, a column for each threshold.

    Args:
      figures: what `evaluate` returns of one.

    Returns:
      That table, and the one of region and subtraction, as in Table 8.
    """
    ablation = figures["splits"]["validation"]["ablation"]
    rows = []
    for name, row in ablation["settings"].items():
        best = max(row["gt_known"])
        cells = [f"{100 * v:.1f}{'*' if v == best else ' '}" for v in row["gt_known"]]
        rows.append((name, *cells, f"{100 * row['pointing']:.1f}"))
    table = Table(
        f"{figures['dataset']}: GT-known localization in %, IoU 0.5, validation",
        ("threshold", *(f"{t:g}" for t in ablation["thresholds"]), "peak"),
        rows,
        ("* the best threshold of a row; peak: the pointing game",),
    )
    return [table, _table_8(ablation, figures["paper"].get("ablation", {}))]


def ablation_cells(ablation: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Returns GT-known and Top-1 localization of the rows of Table 8.

    Args:
      ablation: the figures of `localizing.Ablation`.
    """
    column = ablation["thresholds"].index(ablation["threshold"])
    cells = {}
    for key, (map_name, has_region) in TABLE_8.items():
        region = ablation["region"] if has_region else 1
        row = next(
            row
            for row in ablation["settings"].values()
            if (row["map"], row["region"]) == (map_name, region)
        )
        cells[key] = {name: row[name][column] for name in ("gt_known", "top1")}
    return cells


def _table_8(ablation: dict[str, Any], paper: dict[str, Any]) -> Table:
    """What the region and the subtraction bring, each alone, as in Table 8."""
    rows = []
    for key, cells in ablation_cells(ablation).items():
        map_name, has_region = TABLE_8[key]
        row = [str(ablation["region"] if has_region else 1)]
        row += ["no" if map_name == "cam" else "yes", *map(percent, cells.values())]
        if paper:  # which says nothing new of both
            row += [f"{value:.2f}" for value in paper.get(key, ())] or ["", ""]
        rows.append(row)
    columns = ("R", "subtraction", "GT-known", "Top-1", "paper's GT-known", "Top-1")
    threshold = f"{ablation['threshold']:g}"
    return Table(
        f"region R and subtraction, boxes at threshold {threshold}, %",
        columns if paper else columns[:4],
        rows,
    )


def surprising_rows(figures: dict[str, Any]) -> Table:
    """Returns the rows that surprised a cross-fit most.

    Args:
      figures: its "most_surprising".
    """
    rows = [
        (str(row["row"]), row["label"], row["predicted"], f"{row['pmi_nats']:.3f}")
        for row in figures["most_surprising"]
    ]
    title = "rows whose inputs speak most against their label"
    return Table(title, ("row", "label", "predicted", "PMI, nats"), rows)


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
    if "calibration" in splits[0]:
        yield row("calibration error, nats", _number, "calibration", "nats")
        path = ("calibration", "expected_calibration_error")
        yield row("  of probabilities, %", percent, *path)
    yield "accuracy, micro/macro %", [""] * len(splits)
    for rule in RULES:
        paper = splits[0]["accuracy"]["paper_rule"] == rule
        title = f"  {rule} rule{' *' if paper else ''}"
        yield row(title, _micro_macro, "accuracy", rule)
        if with_truth:
            yield row("    true densities", _micro_macro, "truth", rule)
        if multi_label:
            yield row("    all labels right", percent, "accuracy", rule, "exact")


def _number(value: float) -> str:
    return f"{value:.4f}"


def _with_error(estimate: dict[str, float]) -> str:
    return f"{estimate['nats']:.4f} ± {estimate['standard_error']:.4f}"


def _bits_with_error(estimate: dict[str, float]) -> str:
    error = estimate["standard_error"] / NATS_PER_BIT
    return f"{estimate['bits']:.4f} ± {error:.4f}"


def _micro_macro(accuracy: dict[str, float]) -> str:
    return f"{100 * accuracy['micro']:.2f} / {100 * accuracy['macro']:.2f}"


def _classes(split: dict[str, Any], class_names: Sequence[str]) -> Table:
    accuracy, per_label = split["accuracy"], split["information"].get("per_label")
    shares = np.stack([accuracy[rule]["per_class"] for rule in RULES], -1)
    shown = np.arange(len(class_names))
    title = "test accuracy by class, %"
    if len(class_names) > _MOST_CLASSES:
        shown = np.argsort(shares.min(-1), kind="stable")[:_MOST_CLASSES]
        title += f", the {_MOST_CLASSES} lowest of {len(class_names)}"
    columns = ["class", *(f"{rule} rule" for rule in RULES)]
    if per_label:
        columns += ["I(X; Y), nats", "H(Y)"]
    rows = []
    for index in shown:
        cells = [percent(x) for x in shares[index]]
        if per_label:
            cells.append(_with_error(per_label[index]))
            cells.append(_number(split["information"]["label_entropies"][index]))
        rows.append((class_names[index], *cells))
    return Table(title, columns, rows)


def _localization(figures: dict[str, Any], paper: dict[str, Any]) -> Table:
    """The rows of Tables 4, 6 and 7, and gentler rules beside them."""
    maps = figures["maps"]
    known = [name for name in _LOCALIZATION if name in next(iter(maps.values()))]
    notes = [f"boxes at threshold {figures['threshold']:g} meet a true one at IoU 0.5"]
    if "cell" in known:
        notes.append("cell: the digit's half of the image, at the best threshold")
    if "top5" in figures["classification"]:
        ours = " / ".join(map(percent, figures["classification"].values()))
        notes.append(f"classification, top-1 / top-5: {ours}")
        if paper:
            notes[-1] += ", paper's {:.2f} / {:.2f}".format(*paper["classification"])
    rows = []
    for name, row in maps.items():
        rows.append((TITLES[name], *(percent(row[key]) for key in known)))
        if paper:  # GT-known and Top-1
            published = [f"{value:.2f}" for value in paper[name]]
            blank = [""] * (len(known) - len(published))
            rows.append(("  paper's", *published, *blank))
    title = f"test localization of {figures['num_labels']:,} labels, %"
    if figures["num_labels"] < figures["num_images"]:  # some have no true box
        title = title.replace("labels", f"of {figures['num_images']:,} images")
    return Table(
        title,
        ("map", *(_LOCALIZATION[name] for name in known)),
        rows,
        ("; ".join(notes),),
    )
