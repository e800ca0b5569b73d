"""A cross-fit of a user's file, from the shell."""

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from mi_classifier.storage import workdirs
from mi_classifier.data import arrays
from mi_classifier.errors import check_options
from mi_classifier.estimate import CrossFit, cross_fit
from mi_classifier.evaluation import predictions
from mi_classifier.storage.files import to_json, write_hashed


def train_cross_fit(config: ConfigDict, workdir: Path) -> None:
    """Estimates the mutual information of the arrays of a config.

    Writes `evaluation/metrics.json`, and `evaluation/predictions.csv`: for each row its
    label, the label that the nets decide for, and its pointwise mutual information. A
    finished workdir is left as it is; a run that was stopped begins again.

    Args:
      config: as in configs/arrays.py, with absolute paths.
      workdir: where to write.

    Raises:
      UserError: a file that cannot be read, or that holds what has no estimate.
    """
    options = dict(config.data)
    check_options(arrays.load, options, "data")
    x, y = arrays.load(**options)
    metrics = workdir / "evaluation" / "metrics.json"
    if metrics.exists():
        workdirs.check_data(workdir, _fingerprints(x, y))
        workdirs.read_cross_fit(workdir)
        print(f"{workdir} is finished")
        return
    fit = cross_fit(x, y, seed=config.seed)
    workdirs.open_for(config, workdir)
    workdirs.check_data(workdir, _fingerprints(x, y))
    columns = {
        "row": range(len(fit.pmi)),
        "label": fit.labels[fit.label],
        "predicted": fit.predictions,
        "pmi_nats": fit.pmi,
    }
    rows = predictions.to_csv(columns)
    write_hashed(metrics.with_name("predictions.csv"), rows)
    figures = {"estimate": dataclasses.asdict(fit.summary()), **_surprising(fit)}
    write_hashed(metrics, to_json(figures, indent=2))


def _fingerprints(x: np.ndarray, y: np.ndarray) -> dict[str, str]:
    return {
        name: hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
        for name, array in (("x", x), ("y", y))
    }


def _surprising(fit: CrossFit, count: int = 10) -> dict[str, object]:
    rows = np.argsort(fit.pmi, kind="stable")[:count]
    rows = rows[fit.pmi[rows] < 0]
    return {
        "most_surprising": [
            {
                "row": int(row),
                "label": str(fit.labels[fit.label[row]]),
                "predicted": str(fit.predictions[row]),
                "pmi_nats": float(fit.pmi[row]),
            }
            for row in rows
        ]
    }
