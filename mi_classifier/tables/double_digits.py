"""Table 5: labels of double-digit MNIST by sigmoid and PC-sigmoid, and their boxes."""

from typing import Any

import numpy as np

from mi_classifier.reporting.erased import title_of
from mi_classifier.reporting.table import Table, mean_deviation, seeds_note
from mi_classifier.tables.published import TABLE_5, TABLE_5_LOCALIZATION
from mi_classifier.tables.reruns import (
    Cell,
    Cells,
    Options,
    gather,
    localized,
    on_test_split,
    percent,
)

LOSSES = {"sigmoid": "sigmoid", "pc_sigmoid": "PC-sigmoid"}
_RULES = {
    "gt_known": "ink",
    "top1": "and label",
    "cell": "cell",
    "pointing": "pointing",
    "max_box_accuracy": "MaxBoxAcc",
}


def table_5(options: Options) -> tuple[list[Table], dict[str, Any]]:
    """Return accuracy and localization by digit, sigmoid against PC-sigmoid."""
    wanted = {loss: Cell(f"double_mnist:{loss}") for loss in LOSSES}
    runs = gather(wanted, lambda config: config.loss, options)
    cells = on_test_split(runs, "accuracy", "information", "localization")
    return [_accuracy_table(cells), _localization_table(runs)], cells


def _accuracy_table(cells: dict[str, Any]) -> Table:
    by_digit, macro = [], []
    for rule in ("prior", "balanced"):
        for loss, theirs in TABLE_5.items():
            runs = [run["accuracy"][rule] for run in cells.get(loss, [])]
            shares = [run["per_class"] for run in runs]
            by_digit.append(100 * np.reshape(shares, (len(runs), len(theirs))))
            macro += percent(runs, "macro")
    rows = []
    for digit, theirs in enumerate(zip(*TABLE_5.values(), strict=True)):
        row = [str(digit), *(mean_deviation(v[:, digit], ".2f") for v in by_digit)]
        rows.append([*row, "/".join(map(str, theirs))])
    means = [mean_deviation(v.mean(1), ".2f") for v in by_digit]
    rows += [["mean", *means, ""], ["recall and specificity", *macro, ""]]
    heads = ("digit", "sigmoid*", "PC-sigmoid")
    heads += ("sigmoid, balanced", "PC-sigmoid*, balanced", "paper's")
    note = (
        f"{seeds_note(cells)}. First by the prior rule, which makes the fewest errors; "
        "then by the balanced rule, which has the best mean of recall and specificity. "
        "* n > 0, the paper's rule."
    )
    return Table("Table 5: accuracy by digit, %", heads, rows, (note,))


def _localization_table(cells: Cells) -> Table:
    rows = []
    for loss, title in LOSSES.items():
        if not (runs := cells.get(loss)):
            continue
        tests, config = [run.test for run in runs], runs[0].config.localization
        for path, row_title in localized(runs).items():
            _, kind, name = path.split(".")
            theirs = ""
            if kind == "maps":
                row_title = title_of(name, config)
                theirs = TABLE_5_LOCALIZATION.get(name, "")
            measured = percent(tests, *(f"{path}.{r}" for r in _RULES), spec=".1f")
            row = [f"{row_title}, {title}", *measured]
            rows.append([*row, str(theirs) if loss == "pc_sigmoid" else ""])
    threshold = next(iter(cells.values()))[0].config.localization.threshold
    note = (
        f"'ink': the box at threshold {threshold:g} meets the digit's tight box at IoU "
        "0.5; 'and label': the net also finds the label; 'pointing': the map's peak "
        "lies in that tight box; 'MaxBoxAcc': 'ink' by the public WSOL evaluation, at "
        "each map's best threshold; 'cell': the same for the digit's half of the "
        "image, which the whole image passes, too. The paper does not state its rule."
    )
    maps = (
        "Section 6.3 takes each label as a binary classification. Its infoCAM is that "
        "'of the label alone': PMI(present) - PMI(absent) is the label's own logit, so "
        "the map is CAM with regions. The maps below it subtract other digits, and are "
        "not in the paper."
    )
    heads = ("map, net", *_RULES.values(), "paper's")
    return Table("Localization of every present digit, %", heads, rows, (note, maps))
