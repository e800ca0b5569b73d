"""Table 3: classification by softmax and PC-softmax, on MNIST and CUB-200-2011."""

from typing import Any

import numpy as np
from ml_collections import ConfigDict

from mi_classifier.reporting.table import (
    Table,
    mean_deviation,
    p_value,
    seeds_note,
)
from mi_classifier.tables import reruns
from mi_classifier.tables.published import TABLE_3, TABLE_3_CUB

LOSSES = ("softmax", "pc_softmax")
NAMES = {"softmax": "softmax", "pc_softmax": "PC-softmax"}


def table_3(options: reruns.Options) -> tuple[list[Table], dict[str, Any]]:
    """Accuracy on balanced and unbalanced MNIST, softmax against PC-softmax."""
    test_sets = {"authors_test": "authors'", "test": "standard"}
    return _table(options, "MNIST", "mnist", TABLE_3, test_sets)


def table_3_cub(options: reruns.Options) -> tuple[list[Table], dict[str, Any]]:
    """The same on CUB-200-2011."""
    test_sets = {"test": "half of the official"}
    return _table(options, "CUB-200-2011", "cub_inception", TABLE_3_CUB, test_sets)


def _table(
    options: reruns.Options,
    data: str,
    file: str,
    paper: dict[str, Any],
    test_sets: dict[str, str],
) -> tuple[list[Table], dict[str, Any]]:
    """A table of a config file's runs; of `test_sets` the first is the paper's."""
    wanted = {
        options.root / classes / loss / f"seed{seed}": reruns.config(
            f"{file}:{classes},{loss}", seed, options
        )
        for seed in range(options.seeds)
        for classes in paper
        for loss in LOSSES
    }
    cells = {
        f"{name},{split}": [run.results["splits"][split]["accuracy"] for run in runs]
        for name, runs in reruns.gather(wanted, _name_of, options).items()
        for split in test_sets
    }
    titles = {
        "paper": "argmax n(x), the paper's rule",
        "prior": "the prior rule for both losses",
        "balanced": "the balanced rule for both losses",
    }
    note = (
        f"{seeds_note(cells)}; p of the two-sided Mann-Whitney U test between the "
        "losses, * below 0.05."
    )
    tables = [
        Table(
            f"Table 3, {data}: accuracy in percent by {title}",
            ("classes", "test set", "", "softmax", "PC-softmax", "p", "paper's"),
            _rows(cells, rule, paper, test_sets),
            (note,),
        )
        for rule, title in titles.items()
    ]
    return tables, cells


def _name_of(config: ConfigDict) -> str:
    return f"{'balanced' if config.data.balanced else 'unbalanced'},{config.loss}"


def _rows(
    cells: dict[str, Any],
    rule: str,
    paper: dict[str, Any],
    test_sets: dict[str, str],
) -> list[list[str]]:
    rows = []
    for classes, published in paper.items():
        for split, title in test_sets.items():
            runs = [cells.get(f"{classes},{loss},{split}", []) for loss in LOSSES]
            if not any(runs):
                continue
            for kind in ("micro", "macro"):
                values = [
                    np.array([100 * _by_rule(run, rule)[kind] for run in of_loss])
                    for of_loss in runs
                ]
                row = [classes, title, kind]
                row += [mean_deviation(v, ".2f") for v in values]
                row.append(p_value(*values))
                shown = rule == "paper" and split == next(iter(test_sets))
                figures = "/".join(f"{v:.2f}" for v in published[kind])
                rows.append([*row, figures if shown else ""])
    return rows


def _by_rule(accuracy: dict[str, Any], rule: str) -> dict[str, float]:
    return accuracy[accuracy["paper_rule"] if rule == "paper" else rule]
