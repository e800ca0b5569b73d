"""The commands for a config that cross-fits nets on a user's table of data."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from mi_classifier import config as configs
from mi_classifier import parallel
from mi_classifier.data import Dataset, arrays
from mi_classifier.errors import UserError, check_options, options_of
from mi_classifier.estimate import MutualInformation, cross_fit
from mi_classifier.evaluation.results import Row
from mi_classifier.reporting.comparison import Compared
from mi_classifier.reporting.options import ExplainOptions
from mi_classifier.reporting.predictions import to_csv
from mi_classifier.reporting.table import Table, print_table
from mi_classifier.storage import workdirs
from mi_classifier.storage.files import read_hashed, read_json, to_json, write_hashed

_FIELDS = {"method": str, "seed": int, "data": ConfigDict}
_SURPRISING = 10  # rows that are listed


def known_options(config: ConfigDict) -> Mapping[str, Mapping[str, Any]]:
    """Return the options of `arrays.load`, which depend on no name in the config."""
    return {"data": options_of(arrays.load)}


def train(
    config: ConfigDict, workdir: Path, dataset: Dataset | None
) -> tuple[None, None]:
    """Estimate the mutual information of arrays; write metrics.json, predictions.csv.

    The latter has each row's label, the label that the nets predict, and its pointwise
    mutual information. A finished workdir stays as it is; a stopped run begins again.
    """
    if dataset is not None:
        raise UserError(
            "dataset: a cross-fit takes arrays; call mi_classifier.cross_fit"
        )
    configs.check_types(config, _FIELDS)
    configs.check_seed(config.seed)
    config = configs.with_absolute_paths(config)
    workdirs.check_free_for(config, workdir)
    with workdirs.hold(workdir):
        _estimate(config, workdir)
    parallel.wait_for_all()
    return None, None


def evaluate(
    workdir: Path, dataset: Dataset | None, quiet: bool, ablation: bool
) -> MutualInformation:
    """Print the estimate, and the rows that speak most against their label."""
    if ablation:
        raise UserError(f"--ablation: {workdir} holds a cross-fit, which has no boxes")
    results = _read_results(workdir)
    estimate = MutualInformation(**results["estimate"])
    if not quiet and parallel.is_first():
        print(estimate)
        rows = [
            (str(row["row"]), row["label"], row["predicted"], f"{row['pmi_nats']:.3f}")
            for row in results["most_surprising"]
        ]
        title = "rows whose inputs speak most against their label"
        if rows:
            print_table(Table(title, ("row", "label", "predicted", "PMI, nats"), rows))
    return estimate


def explain(workdir: Path, paths: Sequence[str], options: ExplainOptions) -> None:
    """Refuse, because a cross-fit has rows and no images."""
    raise UserError(f"--images: {workdir} holds a cross-fit of rows, not of images")


def compared(workdir: Path) -> Compared:
    """Return what a comparison shows of a finished run."""
    estimate = _read_results(workdir)["estimate"]
    rows = [
        Row("examples", estimate["num_examples"], unit="count"),
        Row("mutual information, nats", estimate["nats"], estimate["standard_error"]),
        Row("label entropy H(Y), nats", estimate["label_entropy"]),
        Row("accuracy on held-out rows, %", estimate["accuracy"], unit="percent"),
    ]
    return Compared(workdir, workdirs.load_config(workdir), rows)


def _estimate(config: ConfigDict, workdir: Path) -> None:
    options = dict(config.data)
    check_options(arrays.load, options, "data")
    x, y = arrays.load(**options)
    hashes = {
        name: hashlib.sha256(array.tobytes()).hexdigest()
        for name, array in (("x", x), ("y", y))
    }
    metrics = workdir / "evaluation" / "metrics.json"
    if metrics.exists():
        workdirs.check_data(workdir, hashes)
        _read_results(workdir)
        print(f"{workdir} is finished")
        return
    fit = cross_fit(x, y, seed=config.seed)
    workdirs.open_for(config, workdir)
    workdirs.check_data(workdir, hashes)
    labels = fit.labels[fit.label]
    columns = {
        "row": range(len(fit.pmi)),
        "label": labels,
        "predicted": fit.predictions,
        "pmi_nats": fit.pmi,
    }
    write_hashed(metrics.with_name("predictions.csv"), to_csv(columns))
    lowest = np.argsort(fit.pmi, kind="stable")[:_SURPRISING]
    surprising = [
        {
            "row": int(row),
            "label": str(labels[row]),
            "predicted": str(fit.predictions[row]),
            "pmi_nats": float(fit.pmi[row]),
        }
        for row in lowest[fit.pmi[lowest] < 0]
    ]
    estimate = dataclasses.asdict(fit.summary())
    results = {"estimate": estimate, "most_surprising": surprising}
    write_hashed(metrics, to_json(results, indent=2))


def _read_results(workdir: Path) -> dict[str, Any]:
    """Read the results of a cross-fit, and check the other file that it wrote."""
    folder = workdir / "evaluation"
    if not (folder / "metrics.json").exists():
        raise UserError(f"{workdir}: has no estimate yet; run train.py on it first")
    remedy = f"remove {folder}, and train again"
    results = read_json(folder / "metrics.json", remedy)
    try:
        MutualInformation(**results["estimate"])
        list(results["most_surprising"])
    except (KeyError, TypeError) as error:
        path = folder / "metrics.json"
        raise UserError(f"{path}: not that of a cross-fit; {remedy}") from error
    try:
        read_hashed(folder / "predictions.csv", remedy)
    except FileNotFoundError:
        raise UserError(f"{folder}: predictions.csv is missing; {remedy}") from None
    return results
