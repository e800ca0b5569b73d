"""Table 3: classification by softmax and PC-softmax, on MNIST and CUB-200-2011."""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict

from mi_classifier.reporting.table import Table, mean_deviation, p_value, seeds_note
from mi_classifier.tables.published import TABLE_3, TABLE_3_CUB, pair
from mi_classifier.tables.reruns import Cell, Options, gather, numbers

LOSSES = {"softmax": "softmax", "pc_softmax": "PC-softmax"}
_RULES = {
    "paper": "argmax n(x), the paper's rule",
    "prior": "the prior rule for both losses",
    "balanced": "the balanced rule for both losses",
}


def table_3(options: Options) -> tuple[list[Table], dict[str, Any]]:
    """Return accuracy on balanced and unbalanced MNIST, softmax against PC-softmax."""
    test_sets = {"authors_test": "authors'", "test": "standard"}
    return _rerun(options, "MNIST", "mnist", TABLE_3, test_sets)


def table_3_cub(options: Options) -> tuple[list[Table], dict[str, Any]]:
    """Return the same on CUB-200-2011."""
    test_sets = {"test": "half of the official"}
    return _rerun(options, "CUB-200-2011", "cub_inception", TABLE_3_CUB, test_sets)


def _rerun(
    options: Options,
    data: str,
    config: str,
    published: Mapping[str, Any],
    test_sets: Mapping[str, str],
) -> tuple[list[Table], dict[str, Any]]:
    """Return a table for each rule; the paper reports the first of `test_sets`."""
    wanted = {
        f"{classes}/{loss}": Cell(f"{config}:{classes},{loss}")
        for classes in published
        for loss in LOSSES
    }
    cells = {
        f"{name},{split}": [run.results["splits"][split]["accuracy"] for run in runs]
        for name, runs in gather(wanted, _name_of, options).items()
        for split in test_sets
    }

    def rows(rule: str) -> Iterator[list[str]]:
        for classes, (split, title) in itertools.product(published, test_sets.items()):
            runs = [cells.get(f"{classes},{loss},{split}", []) for loss in LOSSES]
            if not any(runs):
                continue
            in_paper = rule == "paper" and split == next(iter(test_sets))
            shares = [
                [run[run["paper_rule"] if rule == "paper" else rule] for run in each]
                for each in runs
            ]
            for kind, theirs in published[classes].items():
                values = [100 * numbers(each, kind) for each in shares]
                row = [classes, title, kind]
                row += [mean_deviation(v, ".2f") for v in values]
                yield [*row, p_value(*values), pair(theirs) if in_paper else ""]

    heads = ("classes", "test set", "", *LOSSES.values(), "p", "paper's")
    note = (
        f"{seeds_note(cells)}; p of the two-sided Mann-Whitney U test between the "
        "losses, * below 0.05."
    )
    what = f"Table 3, {data}: accuracy in percent by"
    tables = [
        Table(f"{what} {title}", heads, list(rows(rule)), (note,))
        for rule, title in _RULES.items()
    ]
    return tables, cells


def _name_of(config: ConfigDict) -> str:
    return f"{'balanced' if config.data.balanced else 'unbalanced'},{config.loss}"
