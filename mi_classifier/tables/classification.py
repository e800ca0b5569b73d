"""Table 3: classification by softmax and PC-softmax, on MNIST and CUB-200-2011."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from mi_classifier.reporting.table import Table, mean_deviation, p_value, seeds_note
from mi_classifier.tables.published import TABLE_3, TABLE_3_CUB, pair
from mi_classifier.tables.reruns import Cell, Cells, Options, gather, numbers

LOSSES = {"softmax": "softmax", "pc_softmax": "PC-softmax"}
_RULES = {
    "paper": "argmax n(x), the paper's rule",
    "prior": "the prior rule for both losses",
    "balanced": "the balanced rule for both losses",
}


# Words of `cub_inception` by the name of a protocol: the paper's text leaves much open.
_PROTOCOLS = {"authors": "authors,", "text": ""}


def table_3(options: Options) -> tuple[list[Table], dict[str, Any]]:
    """Return accuracy on balanced and unbalanced MNIST, softmax against PC-softmax."""
    wanted = {
        f"{classes}/{loss}": Cell(f"mnist:{classes},{loss}")
        for classes in TABLE_3
        for loss in LOSSES
    }
    test_sets = {"authors_test": "authors'", "test": "standard"}
    runs = gather(wanted, _name_of, options)
    return _tables("MNIST", runs, TABLE_3, test_sets)


def table_3_cub(options: Options) -> tuple[list[Table], dict[str, Any]]:
    """Return the same on CUB-200-2011, as the authors did and as the text says."""
    wanted = {
        f"{protocol}/{classes}/{loss}": Cell(f"cub_inception:{word}{classes},{loss}")
        for protocol, word in _PROTOCOLS.items()
        for classes in TABLE_3_CUB
        for loss in LOSSES
    }
    # The paper's results are of the authors' program.
    theirs = {
        f"{protocol},{classes}": TABLE_3_CUB[classes] if protocol == "authors" else {}
        for protocol, classes in itertools.product(_PROTOCOLS, TABLE_3_CUB)
    }
    runs = gather(wanted, _name_of_cub, options)
    note = (
        "'authors' follows the authors' program, which the paper's results are of; "
        "'text' follows the paper's text. docs/paper.md lists the differences."
    )
    halves = {"test": "half of the protocol's"}
    return _tables("CUB-200-2011", runs, theirs, halves, (note,))


def _tables(
    data: str,
    runs: Cells,
    published: Mapping[str, Mapping[str, Sequence[float]]],
    test_sets: Mapping[str, str],
    notes: Sequence[str] = (),
) -> tuple[list[Table], dict[str, Any]]:
    """Return a table for each rule; the paper reports the first of `test_sets`."""
    cells = {
        f"{name},{split}": [run.results["splits"][split]["accuracy"] for run in each]
        for name, each in runs.items()
        for split in test_sets
    }

    def rows(rule: str) -> Iterator[list[str]]:
        for classes, (split, title) in itertools.product(published, test_sets.items()):
            found = [cells.get(f"{classes},{loss},{split}", []) for loss in LOSSES]
            if not any(found):
                continue
            in_paper = rule == "paper" and split == next(iter(test_sets))
            shares = [
                [run[run["paper_rule"] if rule == "paper" else rule] for run in each]
                for each in found
            ]
            for kind in ("micro", "macro"):
                values = [100 * numbers(each, kind) for each in shares]
                row = [classes.replace(",", ", "), title, kind]
                row += [mean_deviation(v, ".2f") for v in values]
                theirs = published[classes].get(kind) if in_paper else None
                yield [*row, p_value(*values), pair(theirs)]

    heads = ("classes", "test set", "", *LOSSES.values(), "p", "paper's")
    note = (
        f"{seeds_note(cells)}; p of the two-sided Mann-Whitney U test between the "
        "losses, * below 0.05."
    )
    what = f"Table 3, {data}: accuracy in percent by"
    tables = [
        Table(f"{what} {title}", heads, list(rows(rule)), (note, *notes))
        for rule, title in _RULES.items()
    ]
    return tables, cells


def _name_of_cub(config: ConfigDict) -> str:
    protocol = "authors" if config.data.get("dropped") == "authors" else "text"
    return f"{protocol},{_name_of(config)}"


def _name_of(config: ConfigDict) -> str:
    return f"{'balanced' if config.data.balanced else 'unbalanced'},{config.loss}"
