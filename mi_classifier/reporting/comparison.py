"""Several evaluated workdirs side by side, from what their evaluations wrote."""

import glob
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mi_classifier import config as configs
from mi_classifier.storage import workdirs
from mi_classifier.activation_maps import TITLES
from mi_classifier.errors import UserError
from mi_classifier.evaluation.evaluators import RULES
from mi_classifier.reporting.table import Table, percent, print_table
from mi_classifier.storage.files import read_json

_FEW = 8  # fields in which runs differ that are shown, these before others
_FIRST = (
    "data.name",
    "loss",
    "model.name",
    "pretrained",
    "num_epochs",
    "batch_size",
    "optimizer.learning_rate",
    "seed",
)


def compare(patterns: Sequence[str]) -> None:
    """Prints workdirs side by side: in what they differ, and what the test split says.

    Args:
      patterns: of workdirs that were evaluated, such as "runs/mnist*".

    Raises:
      UserError: no such workdir, or none that was evaluated.
    """
    print_table(comparison(_find(patterns)))


def comparison(paths: Sequence[Path]) -> Table:
    """Returns a table with a column for each workdir."""
    runs = [workdirs.load_config(path) for path in paths]
    remedy = "evaluate it again"
    figures = [read_json(p / "evaluation" / "metrics.json", remedy) for p in paths]
    flat = [configs.flatten(config) for config in runs]
    fields = {field for values in flat for field in values}
    differing = [
        field
        for field in [*_FIRST, *sorted(fields - {*_FIRST})]
        if len({repr(values.get(field, "")) for values in flat}) > 1
        and not field.startswith("paper.")
    ]
    rows = [
        (field, *(str(values.get(field, "")) for values in flat))
        for field in differing[:_FEW]
    ]
    columns = []
    for path, each in zip(paths, figures, strict=True):
        try:
            columns.append(_figures_of(each))
        except (KeyError, TypeError) as error:
            where = path / "evaluation" / "metrics.json"
            raise UserError(f"{where}: not of an evaluation, {error}") from error
    names = {name: None for column in columns for name in column}  # in their order
    rows += [(name, *(column.get(name, "") for column in columns)) for name in names]
    notes = ["test split; ± one standard error"]
    if any("GT-known" in name for name in names):
        notes[0] += "; boxes meet a true one at IoU 0.5"
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
        for path in paths:
            if path not in evaluated and (path / workdirs.CONFIG).is_file():
                print(f"{path}: left out, not evaluated yet")
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
    each = " a label" if "per_label" in test["information"] else ""
    bound = _nats(test["information"]["mutual_information"])
    entropy = test["information"]["label_entropy"]
    shown = {
        "examples": f"{test['num_examples']:,}",
        "epoch": str(figures["epoch"]),
        f"mutual information{each}, nats": bound,
        f"label entropy H(Y){each}, nats": f"{entropy:.4f}",
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
    nats, error = estimate["nats"], estimate["standard_error"]
    if nats is None:
        return ""
    return f"{nats:.4f}" + ("" if error is None else f" ± {error:.4f}")
