"""Several evaluated workdirs side by side, from what their evaluations wrote."""

import glob
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mi_classifier import config as configs
from mi_classifier import workdir as workdirs
from mi_classifier.activation_maps import TITLES
from mi_classifier.errors import UserError
from mi_classifier.evaluation.evaluators import RULES
from mi_classifier.evaluation.table import Table, percent, print_table

_FEW = 8  # fields in which runs differ that are shown


def compare(patterns: Sequence[str]) -> None:
    """Prints workdirs side by side: in what they differ, and what the test split says.

    Args:
      patterns: of workdirs that were evaluated, such as "runs/mnist*".

    Raises:
      UserError: no such workdir, or none that was evaluated.
    """
    workdirs_found = _find(patterns)
    print_table(comparison(workdirs_found))


def comparison(paths: Sequence[Path]) -> Table:
    """Returns a table with a column for each workdir."""
    runs = [workdirs.load_config(path) for path in paths]
    figures = [workdirs.read_json(p / "evaluation" / "metrics.json") for p in paths]
    flat = [configs.flatten(config) for config in runs]
    fields = sorted({field for values in flat for field in values})
    differing = [
        field
        for field in fields
        if len({repr(values.get(field, "")) for values in flat}) > 1
    ]
    rows = [
        (field, *(str(values.get(field, "")) for values in flat))
        for field in differing[:_FEW]
    ]
    columns = [_figures_of(each) for each in figures]
    names = {name: None for column in columns for name in column}  # in their order
    rows += [(name, *(column.get(name, "") for column in columns)) for name in names]
    notes = ["test split; ± one standard error; boxes at IoU 0.5"]
    if len(differing) > _FEW:
        notes.append(f"they also differ in {', '.join(differing[_FEW:])}")
    parent = Path(os.path.commonpath([path.absolute().parent for path in paths]))
    heads = [str(path.absolute().relative_to(parent)) for path in paths]
    return Table(f"runs in {parent}", ("", *heads), rows, notes)


def _find(patterns: Sequence[str]) -> list[Path]:
    found: dict[Path, None] = {}
    for pattern in patterns:
        paths = [Path(p) for p in sorted(glob.glob(pattern))]
        evaluated = [p for p in paths if (p / "evaluation" / "metrics.json").is_file()]
        if not evaluated:
            what = "no such workdir" if not paths else "not evaluated yet"
            raise UserError(
                f"--compare: {pattern}: {what}; run evaluate.py on it first"
            )
        found |= dict.fromkeys(evaluated)
    return list(found)


def _figures_of(figures: dict[str, Any]) -> dict[str, str]:
    """Returns what is shown of a run, by row."""
    if "estimate" in figures:  # a cross-fit
        estimate = figures["estimate"]
        return {
            "examples": f"{estimate['num_examples']:,}",
            "mutual information, nats": _nats(estimate),
            "label entropy H(Y), nats": f"{estimate['label_entropy']:.4f}",
            "prior rule, micro %": percent(estimate["accuracy"]),
        }
    test = figures["splits"]["test"]
    shown = {
        "examples": f"{test['num_examples']:,}",
        "epoch": str(figures["epoch"]),
        "mutual information, nats": _nats(test["information"]["mutual_information"]),
        "label entropy H(Y), nats": f"{test['information']['label_entropy']:.4f}",
    }
    if "calibration" in test:
        nats = test["calibration"]["nats"]
        shown["calibration error, nats"] = "" if nats is None else f"{nats:.4f}"
    for rule in RULES:
        for kind in ("micro", "macro"):
            shown[f"{rule} rule, {kind} %"] = percent(test["accuracy"][rule][kind])
    for name, row in test.get("localization", {}).get("maps", {}).items():
        for key, title in (
            ("gt_known", "GT-known"),
            ("top1", "Top-1"),
            ("max_box_accuracy", "MaxBox"),
        ):
            shown[f"{TITLES[name]}, {title} %"] = percent(row[key])
    return shown


def _nats(estimate: dict[str, float | None]) -> str:
    error = estimate["standard_error"]
    return f"{estimate['nats']:.4f}" + ("" if error is None else f" ± {error:.4f}")
