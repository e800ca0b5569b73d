"""Table 5: labels of double-digit MNIST by sigmoid and PC-sigmoid, and their boxes."""

from typing import Any

import numpy as np

from mi_classifier.activation_maps import MAPS
from mi_classifier.reporting.table import Table, column, mean_deviation, seeds_note
from mi_classifier.tables import reruns
from mi_classifier.tables.published import TABLE_5, TABLE_5_LOCALIZATION

LOSSES = {"sigmoid": "sigmoid", "pc_sigmoid": "PC-sigmoid"}
_RULES = {
    "gt_known": "ink",
    "top1": "and label",
    "cell": "cell",
    "pointing": "pointing",
    "max_box_accuracy": "MaxBoxAcc",
}


def table_5(options: reruns.Options) -> tuple[list[Table], dict[str, Any]]:
    """Accuracy by digit, sigmoid against PC-sigmoid, and localization of each digit."""
    keys = {
        options.root / loss / f"seed{seed}": loss
        for seed in range(options.seeds)
        for loss in LOSSES
    }
    configs_of = {
        workdir: reruns.config(f"double_mnist:{loss}", reruns.seed_of(workdir), options)
        for workdir, loss in keys.items()
    }
    names = ("accuracy", "information", "localization")
    runs = reruns.gather(configs_of, lambda config: config.loss, options)
    cells = {
        loss: [{n: run.results["splits"]["test"][n] for n in names} for run in of_loss]
        for loss, of_loss in runs.items()
    }
    return [_accuracy_table(cells), _localization_table(cells)], cells


def _accuracy_table(cells: dict[str, Any]) -> Table:
    def shares(loss: str, rule: str, kind: str = "per_class") -> np.ndarray:
        """`[S]` of S seeds, of a digit each `[S, 10]`."""
        shape = (0, len(TABLE_5[loss])) if kind == "per_class" else (0,)
        runs = [run["accuracy"][rule][kind] for run in cells.get(loss, [])]
        return 100 * np.array(runs) if runs else np.zeros(shape)

    values = [
        shares("sigmoid", "prior"),
        shares("pc_sigmoid", "prior"),
        shares("sigmoid", "balanced"),
        shares("pc_sigmoid", "balanced"),
    ]
    rows = []
    for digit, published in enumerate(zip(*TABLE_5.values(), strict=True)):
        row = [str(digit), *(mean_deviation(v[:, digit], ".2f") for v in values)]
        rows.append([*row, "/".join(f"{v:.0f}" for v in published)])
    means = [mean_deviation(v.mean(1), ".2f") for v in values]
    rows.append(["mean", *means, ""])
    macro = [
        mean_deviation(shares(loss, rule, "macro"), ".2f")
        for rule in ("prior", "balanced")
        for loss in LOSSES
    ]
    rows.append(["recall and specificity", *macro, ""])
    columns = (
        "digit",
        "sigmoid*",
        "PC-sigmoid",
        "sigmoid, balanced",
        "PC-sigmoid*, balanced",
        "paper's",
    )
    note = (
        f"{seeds_note(cells)}. Decided by the "
        "prior rule, the fewest errors, then by the balanced rule, the best mean of "
        "recall and specificity; * n > 0, the paper's decision."
    )
    return Table("Table 5: accuracy by digit, %", columns, rows, (note,))


def _localization_table(cells: dict[str, Any]) -> Table:
    rows = []
    for loss, title in LOSSES.items():
        for name, entry in MAPS.items():
            runs = [r["localization"]["maps"][name] for r in cells.get(loss, [])]
            row = [f"{entry.title}, {title}"]
            row += [mean_deviation(100 * column(runs, rule), ".1f") for rule in _RULES]
            published = TABLE_5_LOCALIZATION.get(name)
            shown = loss == "pc_sigmoid" and published is not None
            rows.append([*row, f"{published}" if shown else ""])
    threshold = next(iter(cells.values()))[0]["localization"]["threshold"]
    note = (
        f"'ink': the box at threshold {threshold:g} meets the digit's tight box at IoU "
        "0.5; 'and label': its label is decided for, too; 'pointing': the map's peak "
        "lies in that tight box; 'MaxBoxAcc': 'ink' by the public WSOL evaluation, at "
        "each map's best threshold, and 'cell' the same for the digit's half of the "
        "image. The paper does not state its rule."
    )
    return Table(
        "Localization of every present digit, %",
        ("map, net", *_RULES.values(), "paper's"),
        rows,
        (note,),
    )
