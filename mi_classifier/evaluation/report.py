"""Tables on the terminal."""

from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

_MOST_CLASSES = 20  # whose recalls are still worth a row each


def print_tables(figures: dict[str, Any], class_names: Sequence[str]) -> None:
    """Prints an evaluation: a column for each split, then recalls by class.

    Args:
      figures: what `evaluate` returns.
      class_names: M names.
    """
    console = Console()
    splits = figures["splits"]
    table = Table(
        title=f"{figures['dataset']}, {figures['loss']}, epoch {figures['epoch']}"
    )
    table.add_column("")
    for name, split in splits.items():
        table.add_column(f"{name}\n{split['num_examples']:,}", justify="right")
    for title, cells in _rows(list(splits.values())):
        table.add_row(title, *cells)
    console.print(table)
    if len(class_names) <= _MOST_CLASSES and all(
        "truth" not in s for s in splits.values()
    ):
        console.print(_recalls(splits["test"]["accuracy"], class_names))


def _rows(splits: list[dict[str, Any]]) -> Iterable[tuple[str, list[str]]]:
    def row(title: str, *path: str, scale: float = 1, digits: int = 4) -> tuple:
        cells = []
        for split in splits:
            value: Any = split
            for key in path:
                value = value[key]
            cells.append(f"{scale * value:.{digits}f}")
        return title, cells

    def information(title: str, *path: str) -> tuple[str, list[str]]:
        _, values = row(title, *path, "nats")
        _, errors = row(title, *path, "standard_error")
        return title, [f"{v} ± {e}" for v, e in zip(values, errors, strict=True)]

    def accuracy(kind: str, rule: str) -> Iterable[tuple[str, list[str]]]:
        paper = splits[0]["accuracy"]["paper_rule"] == rule
        name = f"{kind} accuracy, {rule} rule{' = argmax n' if paper else ''} (%)"
        yield row(name, "accuracy", rule, kind, scale=100, digits=2)
        if "truth" in splits[0]:
            yield row("  Bayes' limit", "truth", rule, kind, scale=100, digits=2)

    yield information("mutual information (nats)", "information", "mutual_information")
    if "truth" in splits[0]:
        yield information("  Monte-Carlo truth", "truth", "mutual_information")
    yield row("mutual information (bits)", "information", "mutual_information", "bits")
    if "paper_softmax_plus_log_m" in splits[0]["information"]:
        yield row(
            "  the paper's: softmax + log M", "information", "paper_softmax_plus_log_m"
        )
    yield row("label entropy H(Y) (nats)", "information", "label_entropy")
    yield row("cross-entropy (nats)", "information", "cross_entropy")
    for rule in ("prior", "balanced"):
        for kind in ("micro", "macro"):
            yield from accuracy(kind, rule)


def _recalls(accuracy: dict[str, Any], class_names: Sequence[str]) -> Table:
    table = Table(title="test accuracy by class (%)")
    table.add_column("class")
    for rule in ("prior", "balanced"):
        table.add_column(f"{rule} rule", justify="right")
    pairs = zip(
        accuracy["prior"]["per_class"], accuracy["balanced"]["per_class"], strict=True
    )
    for name, values in zip(class_names, pairs, strict=True):
        table.add_row(name, *(f"{100 * value:.2f}" for value in values))
    return table
