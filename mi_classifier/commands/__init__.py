"""The commands, for every kind of experiment that a config describes.

An experiment trains one classifier, or cross-fits many on a table of data. This is the
only place that asks which of the two a config, or a workdir, is. Both are modules with
the same functions: `known_options`, `train`, `evaluate`, `explain` and `compared`.
"""

import glob
import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ml_collections import ConfigDict

from mi_classifier.errors import UserError, choose

if TYPE_CHECKING:  # importing these takes seconds, and `--help` needs none of them
    from mi_classifier.data import Dataset
    from mi_classifier.estimate import MutualInformation
    from mi_classifier.evaluation import Results
    from mi_classifier.training import TrainState

_EXPERIMENTS = {"classifier": "classifier", "cross_fit": "cross_fit"}


def _experiment(config: ConfigDict) -> ModuleType:
    method = config.get("method", "classifier")
    module = _EXPERIMENTS[choose(method, _EXPERIMENTS, "method")]
    return importlib.import_module(f"mi_classifier.commands.{module}")


def _experiment_in(workdir: Path) -> ModuleType:
    from mi_classifier.storage import workdirs

    return _experiment(workdirs.load_config(workdir))


def known_options(config: ConfigDict) -> Mapping[str, Mapping[str, Any]]:
    """Returns the fields that a config may have, see `overrides.override`."""
    return _experiment(config).known_options(config)


def train(
    config: ConfigDict, workdir: str | Path, dataset: "Dataset | None" = None
) -> "TrainState | None":
    """Trains what a config describes, or resumes a run that was stopped.

    Args:
      config: as in configs/, for instance of `get_config`.
      workdir: where everything is written; a finished one is left as it is.
      dataset: to train on, from memory; `config.data` is then ignored. By default the
        data is loaded as the config says.

    Returns:
      The state after the last step; None for a cross-fit, which has many nets.

    Raises:
      UserError: a field with a mistake, data that cannot be read, a workdir of another
        config, or a loss that is no longer finite.
    """
    return _experiment(config).train(config, Path(workdir), dataset)


def evaluate(
    workdir: str | Path,
    dataset: "Dataset | None" = None,
    quiet: bool = False,
    ablation: bool = False,
) -> "Results | MutualInformation":
    """Evaluates the best checkpoint of a workdir on every split but the training one.

    Prints the tables and writes, below `evaluation/`, `predictions.csv` (the test
    split), `figures/`, `report.html` and `metrics.json`, the latter last. A cross-fit
    has scored every row already; its results are printed.

    Args:
      workdir: a folder that `train` wrote; its config.json says all else.
      dataset: of a run that was trained from memory.
      quiet: whether to print nothing, and to draw no figures and no report.
      ablation: whether to print and write, instead, what each part of infoCAM adds,
        `evaluation/ablation.json`, on the validation split: a setting that is chosen by
        it has not seen the test split.

    Returns:
      The results; of a cross-fit, its estimate.

    Raises:
      UserError: no workdir, no checkpoint, data that cannot be read, or an ablation of
        data without boxes.
    """
    workdir = Path(workdir)
    return _experiment_in(workdir).evaluate(workdir, dataset, quiet, ablation)


def train_and_evaluate(
    config: ConfigDict, workdir: str | Path, quiet: bool = False
) -> None:
    """Trains what a config describes and evaluates it, on data that is loaded once.

    Args:
      config: as in configs/.
      workdir: where everything is written.
      quiet: as of `evaluate`.

    Raises:
      UserError: as `train`.
    """
    _experiment(config).train_and_evaluate(config, Path(workdir), quiet)


def explain(workdir: str | Path, paths: Sequence[str], label: str, rival: str) -> None:
    """Prints the likeliest classes of images, and draws the maps of the first.

    Args:
      workdir: a folder that `train` wrote.
      paths: image files, or folders of them.
      label: the class whose maps are drawn; "" for the likeliest.
      rival: another class; a further map shows what speaks for `label` and against it.

    Raises:
      UserError: no workdir, a path without images, or a class that does not exist.
    """
    workdir = Path(workdir)
    _experiment_in(workdir).explain(workdir, paths, label, rival)


def compare(patterns: Sequence[str]) -> None:
    """Prints workdirs side by side: how their configs differ, and their results.

    Args:
      patterns: of workdirs that were evaluated, such as "runs/mnist*".

    Raises:
      UserError: no such workdir, or none that was evaluated.
    """
    from mi_classifier.reporting.comparison import comparison
    from mi_classifier.reporting.table import print_table

    runs = [_experiment_in(path).compared(path) for path in _find(patterns)]
    print_table(comparison(runs))


def _find(patterns: Sequence[str]) -> list[Path]:
    from mi_classifier.storage import workdirs

    found: dict[Path, None] = {}
    for pattern in patterns:
        paths = [Path(p) for p in sorted(glob.glob(pattern))]
        evaluated = [p for p in paths if (p / "evaluation" / "metrics.json").is_file()]
        if not evaluated:
            problem = "no such workdir" if not paths else "not evaluated yet"
            raise UserError(
                f"--compare: {pattern}: {problem}; run evaluate.py on it first"
            )
        for path in paths:
            if path not in evaluated and (path / workdirs.CONFIG).is_file():
                print(f"{path}: left out, not evaluated yet")
        found |= dict.fromkeys(evaluated)
    return list(found)
