"""The commands for a config that cross-fits nets on a user's table of data."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from ml_collections import ConfigDict

from mi_classifier import config as configs, parallel
from mi_classifier.data import Dataset, arrays
from mi_classifier.errors import UserError, check_options, choose, options_of
from mi_classifier.estimate import CrossFit, MutualInformation, cross_fit
from mi_classifier.evaluation.results import Row
from mi_classifier.reporting import cross_fit_results as reporting
from mi_classifier.reporting.comparison import Compared
from mi_classifier.reporting.cross_fit_results import Column, CrossFitResults
from mi_classifier.reporting.options import ExplainOptions
from mi_classifier.reporting.predictions import to_csv
from mi_classifier.reporting.table import print_table
from mi_classifier.storage import workdirs
from mi_classifier.storage.files import (
    hash_file,
    read_hashed,
    read_json,
    to_json,
    write_hashed,
)
from mi_classifier.text import printable
from mi_classifier.usage import meanings_of

_FIELDS = {"method": str, "seed": int, "missing": str, "rank": str, "data": ConfigDict}
_MEANINGS = {
    "method": "cross_fit: every row is scored by learners that did not see it.",
    "seed": "decides the folds and the learners.",
    "missing": "of inputs: error refuses them, keep takes them for information.",
    "rank": "whether to rank the columns by information: True, False, or auto, which "
    "ranks up to 50.",
}
_MOST_RANKED = 50  # columns that are ranked if the config leaves it open


def known_options(config: ConfigDict) -> Mapping[str, Mapping[str, Any]]:
    """Return the options of `arrays.read`, which depend on no name in the config."""
    return {"data": options_of(arrays.read)}


def meanings(config: ConfigDict) -> dict[str, str]:
    """Return what each field of a config means."""
    of_data = meanings_of(arrays.load).items()
    return _MEANINGS | {f"data.{name}": text for name, text in of_data}


def train(
    config: ConfigDict, workdir: Path, dataset: Dataset | None
) -> tuple[None, None]:
    """Estimate the mutual information of a table, and write `evaluation/`.

    predictions.csv has each row's label, the label that the nets predict, its
    probability, and the row's pointwise mutual information. report.html and figures/
    show these, and the columns by information. metrics.json comes last: a workdir that
    has it is finished and stays as it is. A stopped run begins again.
    """
    if dataset is not None:
        raise UserError(
            "dataset: a cross-fit takes arrays; call mi_classifier.cross_fit"
        )
    configs.check_types(config, _FIELDS)
    configs.check_seed(config.seed)
    choose(config.missing, ("error", "keep"), "missing")
    choose(config.rank, ("auto", "True", "False"), "rank")
    config = configs.with_absolute_paths(config)
    workdirs.check_free_for(config, workdir)
    with workdirs.hold(workdir):
        if (workdir / "evaluation" / "metrics.json").exists():
            workdirs.check_data(workdir, _hash_data(config))
            _read_results(workdir)
            print(f"{workdir} is finished")
        else:
            _estimate(config, workdir)
    parallel.wait_for_all()
    return None, None


def evaluate(
    workdir: Path, dataset: Dataset | None, quiet: bool, ablation: bool
) -> MutualInformation:
    """Print the estimate, the columns by information, and the most surprising rows."""
    if ablation:
        raise UserError(f"--ablation: {workdir} holds a cross-fit, which has no boxes")
    results = _read_results(workdir)
    estimate = results.estimate
    if not quiet and parallel.is_first():
        warnings = tuple(map(printable, estimate.warnings))
        print(dataclasses.replace(estimate, warnings=warnings))
        for table in results.tables():
            print_table(table)
        for note in results.notes:
            print(f"note: {printable(note)}")
        if (path := workdir / "evaluation" / "report.html").exists():
            print(f"figures, predictions and report: {path}")
    return estimate


def explain(workdir: Path, paths: Sequence[str], options: ExplainOptions) -> None:
    """Refuse, because a cross-fit has rows and no images."""
    raise UserError(f"--images: {workdir} holds a cross-fit of rows, not of images")


def compared(workdir: Path) -> Compared:
    """Return what a comparison shows of a finished run."""
    estimate = _read_results(workdir).estimate
    rows = [
        Row("examples", estimate.num_examples, unit="count"),
        Row("mutual information, nats", estimate.nats, estimate.standard_error),
        Row("label entropy H(Y), nats", estimate.label_entropy),
        Row("accuracy on held-out rows, %", estimate.accuracy, unit="percent"),
    ]
    return Compared(workdir, workdirs.load_config(workdir), rows)


def _estimate(config: ConfigDict, workdir: Path) -> None:
    options = dict(config.data)
    check_options(arrays.read, options, "data")
    table = arrays.read(**options)
    known = {"groups": table.groups, "missing": config.missing, "seed": config.seed}
    try:
        fit = cross_fit(table.x, table.y, **known)
    except UserError as error:
        raise _in_the_file(error, config.data.path, table) from None
    columns, notes = [], list(table.notes)
    if refusal := _why_not_ranked(config.rank, table.x):
        notes.append(f"columns are not ranked: {refusal}")
    else:
        from mi_classifier.ranking import rank_columns

        columns = [
            Column(r.name, r.alone, r.alone_error, r.lost, r.lost_error)
            for r in rank_columns(table.x, table.y, **known)
        ]
    workdirs.open_for(config, workdir)
    workdirs.check_data(workdir, _hash_data(config))
    found = _results_of(fit, table, columns, notes)
    title = f"{Path(config.data.path).name}: information about {table.y.name}"
    _write(workdir / "evaluation", title, fit, table, found)


def _in_the_file(error: UserError, path: str, table: arrays.Table) -> UserError:
    """Say it in terms of the file: its columns, its lines, and the config's fields."""
    names = {"x": path, "y": f"{path}, column {table.y.name!r}"}
    what, _, text = str(error).partition(": ")
    text = text.replace("missing='keep'", "--config.missing=keep")
    if table.lines is not None:
        lines = table.lines
        text = re.sub(r"\brow (\d+)", lambda m: f"line {lines[int(m[1])]}", text)
    hint = "; --config.data.labels=NAME tells which column holds the labels"
    return UserError(f"{names.get(what, what)}: {text}{hint * (what == 'y')}")


def _why_not_ranked(choice: str, x: np.ndarray | pd.DataFrame) -> str:
    """Return why the columns are not ranked; empty if they are."""
    if x.ndim > 2:
        return "images have no columns"
    if x.ndim < 2 or x.shape[1] < 2:
        return "the table has one"
    if choice == "False":
        return "config.rank is False"
    if choice == "auto" and x.shape[1] > _MOST_RANKED:
        return f"{x.shape[1]:,} take long; --config.rank=True ranks them"
    return ""


def _results_of(
    fit: CrossFit,
    table: arrays.Table,
    columns: Sequence[Column],
    notes: Sequence[str],
) -> CrossFitResults:
    labels = fit.labels[fit.label]
    surprising = reporting.find_surprising(
        fit.pmi, labels, fit.predictions, table.lines
    )
    if table.x.ndim == 2:
        surprising = reporting.with_values(surprising, table.x, columns)
    is_right = fit.predictions == labels
    bins = reporting.calibrate(fit.confidence, is_right, fit.group)
    return CrossFitResults(fit.summary(), surprising, columns, bins, notes)


def _write(
    folder: Path,
    title: str,
    fit: CrossFit,
    table: arrays.Table,
    results: CrossFitResults,
) -> None:
    content = {
        "row": range(len(fit.pmi)),
        **({} if table.lines is None else {"line": table.lines}),
        "label": [str(label) for label in fit.labels[fit.label]],
        "predicted": [str(label) for label in fit.predictions],
        "probability": fit.confidence,
        "pmi_nats": fit.pmi,
    }
    write_hashed(folder / "predictions.csv", to_csv(content))
    if parallel.is_first():
        # Importing Matplotlib takes a second, so import it only where it is needed.
        from mi_classifier.reporting import cross_fit_report

        cross_fit_report.write(folder, title, results, fit.pmi)
    text = to_json(dataclasses.asdict(results), indent=2)
    write_hashed(folder / "metrics.json", text)


def _hash_data(config: ConfigDict) -> dict[str, str]:
    return {"data.path": hash_file(Path(config.data.path))}


def _read_results(workdir: Path) -> CrossFitResults:
    """Read the results of a cross-fit, and check the other file that it wrote."""
    folder = workdir / "evaluation"
    path = folder / "metrics.json"
    if not path.exists():
        raise UserError(f"{workdir}: has no estimate yet; run train.py on it first")
    remedy = f"remove {folder}, and train again"
    try:
        results = CrossFitResults.from_dict(read_json(path, remedy))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: not that of a cross-fit; {remedy}") from error
    try:
        read_hashed(folder / "predictions.csv", remedy)
    except FileNotFoundError:
        raise UserError(f"{folder}: predictions.csv is missing; {remedy}") from None
    return results
