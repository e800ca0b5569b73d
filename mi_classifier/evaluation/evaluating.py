"""The evaluation of a workdir: tables, predictions.csv, figures, report.html."""

import contextlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from mi_classifier import parallel
from mi_classifier.storage import workdirs
from mi_classifier.errors import UserError
from mi_classifier.estimate import MutualInformation
from mi_classifier.evaluation import localizing, measuring, predictions, summary
from mi_classifier.evaluation.calibration import Calibration
from mi_classifier.evaluation.evaluators import Evaluator
from mi_classifier.evaluation.trained_net import Run, load_config, load_run
from mi_classifier.reporting.table import Table, print_table
from mi_classifier.storage.files import TEMPORARY, hold, to_json, write_hashed, write_text

ABLATION_THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)


def evaluate(
    workdir: str | Path, quiet: bool = False, ablation: bool = False
) -> dict[str, Any]:
    """Evaluates the best checkpoint of a workdir on every split but the training one.

    Prints the tables and writes, below `evaluation/`, `predictions.csv` (the test
    split), `figures/`, `report.html` and `metrics.json`, the latter last. A cross-fit
    has scored every row already; what it wrote is printed.

    Args:
      workdir: a folder that `train.py` wrote; its config.json says all else.
      quiet: whether to print nothing, and to draw no figures and no report.
      ablation: whether to print and write, instead, what each part of infoCAM brings,
        `evaluation/ablation.json`, on the validation split: a setting chosen by it has
        not seen the test split.

    Returns:
      What is written: the epoch evaluated, and for each split its figures.

    Raises:
      UserError: no workdir, no checkpoint, data that cannot be read, or an ablation of
        data without boxes.
    """
    workdir = Path(workdir)
    quiet = quiet or not parallel.is_first()
    config = load_config(workdir)
    if "method" in config:
        if ablation:
            raise UserError("--ablation: a cross-fit has no boxes to find")
        figures = workdirs.read_cross_fit(workdir)
        if not quiet:
            _print_estimate(figures)
        return figures
    if ablation and "localization" not in config:
        raise UserError(f"--ablation: {config.data.name} has no boxes to find")
    run = load_run(workdir)
    with _hold(workdir / "evaluation"):
        return _ablate(run, quiet) if ablation else _evaluate(run, quiet)


def _hold(folder: Path) -> contextlib.AbstractContextManager[None]:
    """Keeps other evaluations out of a folder; the first of several processes does."""
    if not parallel.is_first():
        return contextlib.nullcontext()
    refusal = f"--workdir: another process writes to {folder}; wait for it"
    return hold(folder / ".lock", refusal=refusal, leftovers=[f".*{TEMPORARY}"])


def _evaluate(run: Run, quiet: bool) -> dict[str, Any]:
    workdir, config = run.workdir, run.config
    dataset = run.dataset
    evaluators = [
        *measuring.for_dataset(dataset, config.loss),
        Calibration(config.loss, dataset.multi_label),
    ]
    if "localization" in config:
        settings = localizing.settings(config.localization)
        threshold = config.localization.threshold
        evaluators.append(localizing.Localization(config.loss, settings, threshold))
    names = [name for name in dataset.splits if name != "train"]
    measure_split = _measure(run, evaluators)
    splits, measures = {}, {}
    for name in names:
        of_split = measure_split(run.variables, name)
        splits[name] = measuring.summarize(dataset, evaluators, name, of_split)
        if name == "test":
            measures = of_split
    figures = _figures(run, splits)
    columns = predictions.collect(dataset, evaluators, "test", measures)
    folder = workdir / "evaluation"
    tables = summary.evaluation_tables(figures)
    if not quiet:
        _print(tables)
    if parallel.is_first():
        _remove_outdated(folder)
    write_text(folder / "predictions.csv", predictions.to_csv(columns))
    if not quiet:
        # Drawing takes a second to import, which no other command pays.
        from mi_classifier.evaluation import report

        path = report.write(run, figures, tables, columns, measures)
        print(f"figures, predictions and report: {path}")
    write_hashed(folder / "metrics.json", to_json(figures, indent=2))
    return figures


def _measure(run: Run, evaluators: Sequence[Evaluator]) -> measuring.MeasureSplit:
    return measuring.make_measurement(
        run.model, run.dataset, evaluators, run.config.evaluation_batch_size
    )


def _figures(run: Run, splits: dict[str, Any]) -> dict[str, Any]:
    return {
        "dataset": run.dataset.name,
        "loss": run.config.loss,
        "class_names": run.dataset.class_names,
        "class_frequencies": np.exp(run.dataset.log_prior()),
        "epoch": run.epoch,
        "true_mutual_information": run.dataset.mutual_information,
        "paper": run.config.get("paper", ConfigDict()).to_dict(),
        "splits": splits,
    }


def _remove_outdated(folder: Path) -> None:
    """Removes what another evaluation wrote, lest it stays beside this one's."""
    for name in ("metrics.json", "report.html"):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / "figures", ignore_errors=True)


def _ablate(run: Run, quiet: bool) -> dict[str, Any]:
    config = run.config
    if not len(localizing.find_targets(run.dataset.splits["validation"]).rows):
        raise UserError(f"--ablation: {run.dataset.name} has no boxes to find")
    threshold, region = config.localization.threshold, config.localization.region
    evaluator = localizing.Ablation(
        config.loss,
        localizing.ablation(config.localization),
        sorted({*ABLATION_THRESHOLDS, threshold}),
        threshold,
        region,
    )
    measures = _measure(run, [evaluator])(run.variables, "validation")
    of_split = measuring.summarize(run.dataset, [evaluator], "validation", measures)
    figures = _figures(run, {"validation": of_split})
    path = run.workdir / "evaluation" / "ablation.json"
    write_hashed(path, to_json(figures, indent=2))
    if not quiet:
        _print(summary.ablation_tables(figures))
    return figures


def _print_estimate(figures: dict[str, Any]) -> None:
    print(MutualInformation(**figures["estimate"]))
    if figures["most_surprising"]:
        print_table(summary.surprising_rows(figures))


def _print(tables: Sequence[Table]) -> None:
    for table in tables:
        print_table(table)
