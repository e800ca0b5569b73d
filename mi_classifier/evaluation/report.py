"""Tables on the terminal."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from mi_classifier.evaluation.evaluators import RULES

_MOST_CLASSES = 20  # that get a row each


def print_tables(figures: dict[str, Any], class_names: Sequence[str]) -> None:
    """Prints an evaluation: a column for each split, then the test split by class.

    Args:
      figures: what `evaluate` returns.
      class_names: M names.
    """
    console = Console()
    splits = figures["splits"]
    title = f"{figures['dataset']}: {figures['loss']}, epoch {figures['epoch']}"
    table = Table(
        title=title, caption="* argmax n(x), the paper's decision", box=box.SIMPLE_HEAD
    )
    table.add_column("", no_wrap=True)
    for name, split in splits.items():
        table.add_column(f"{name}\n{split['num_examples']:,}", justify="right")
    for name, cells in _rows(list(splits.values())):
        table.add_row(name, *cells)
    console.print(table)
    console.print(_classes(splits["test"]["accuracy"], class_names))


def _rows(splits: list[dict[str, Any]]) -> Iterable[tuple[str, list[str]]]:
    with_truth = "truth" in splits[0]

    def row(title: str, template: str, *path: str) -> tuple[str, list[str]]:
        cells = []
        for split in splits:
            value: Any = split
            for key in path:
                value = value[key]
            cells.append(template.format(value))
        return title, cells

    nats = "{0[nats]:.4f} ± {0[standard_error]:.4f}"
    accuracy = "{0[micro]:.2%} / {0[macro]:.2%}"
    bound = ("information", "mutual_information")
    yield row("mutual information, nats", nats, *bound)
    if with_truth:
        yield row("  Monte-Carlo truth", nats, "truth", "mutual_information")
    yield row("  in bits", "{0[bits]:.4f}", *bound)
    if "paper_softmax_plus_log_m" in splits[0]["information"]:
        path = ("information", "paper_softmax_plus_log_m")
        yield row("  paper's softmax + log M", "{:.4f}", *path)
    yield row("label entropy H(Y), nats", "{:.4f}", "information", "label_entropy")
    yield row("cross-entropy, nats", "{:.4f}", "information", "cross_entropy")
    yield "accuracy, micro / macro", [""] * len(splits)
    for rule in RULES:
        paper = splits[0]["accuracy"]["paper_rule"] == rule
        title = f"  {rule} rule{' *' if paper else ''}"
        yield row(title, accuracy, "accuracy", rule)
        if with_truth:
            yield row("    Bayes' limit", accuracy, "truth", rule)


def _classes(accuracy: dict[str, Any], class_names: Sequence[str]) -> Table:
    recalls = np.stack([accuracy[rule]["per_class"] for rule in RULES], -1)
    shown = np.arange(len(class_names))
    title = "test accuracy by class"
    if len(class_names) > _MOST_CLASSES:
        shown = np.argsort(recalls.min(-1), kind="stable")[:_MOST_CLASSES]
        title += f", the {_MOST_CLASSES} lowest of {len(class_names)}"
    table = Table(title=title, box=box.SIMPLE_HEAD)
    table.add_column("class")
    for rule in RULES:
        table.add_column(f"{rule} rule", justify="right")
    for index in shown:
        table.add_row(class_names[index], *(f"{x:.2%}" for x in recalls[index]))
    return table
