"""The commands, for every kind of experiment that a config describes.

An experiment trains one classifier, or cross-fits many on a table of data. Only this
folder asks which of the two a config or a workdir is. Each is a module with the same
functions: `known_options`, `meanings`, `train`, `evaluate`, `explain` and `compared`.
"""

import glob
import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ml_collections import ConfigDict

from mi_classifier.config import upgrade
from mi_classifier.errors import UserError, as_path, choose

if TYPE_CHECKING:  # importing these takes seconds, and `--help` needs none of them
    from mi_classifier import Dataset, MutualInformation, Results
    from mi_classifier.reporting.options import ExplainOptions
    from mi_classifier.training import TrainState


def _experiment(config: ConfigDict) -> ModuleType:
    modules = ("classifier", "cross_fit")
    name = choose(config.get("method", "classifier"), modules, "method")
    return importlib.import_module(f"mi_classifier.commands.{name}")


def _experiment_in(workdir: Path) -> ModuleType:
    from mi_classifier.evaluation.imagenet import names_imagenet
    from mi_classifier.storage import workdirs

    if names_imagenet(workdir):
        raise UserError(
            f"--workdir={workdir}: this net has no data to be evaluated on; give "
            "photos, --images=FILE,FOLDER"
        )
    return _experiment(workdirs.load_config(workdir))


def known_options(config: ConfigDict) -> Mapping[str, Mapping[str, Any]]:
    """Return the fields that a config may have but lacks, see `overrides.override`."""
    return _experiment(config).known_options(config)


def meanings(config: ConfigDict) -> dict[str, str]:
    """Return what each field of a config means."""
    return _experiment(config).meanings(config)


def train(
    config: ConfigDict, workdir: str | Path, dataset: "Dataset | None" = None
) -> "TrainState | None":
    """Train what a config describes, or resume a run that was stopped.

    Args:
      config: as in configs/, for instance from `get_config`.
      workdir: where everything is written; a finished one is left as it is.
      dataset: from memory; `config.data` is then ignored. By default the data is loaded
        as the config says.

    Returns:
      The state after the last step; None for a cross-fit, which has many nets.

    Raises:
      UserError: a field has a mistake, data cannot be read, the workdir holds a run of
        another config, or the loss is no longer finite.

    Examples:
      >>> import tempfile
      >>> from mi_classifier import get_config
      >>> config = get_config("gmm")
      >>> config.num_epochs, config.data.fresh, config.model.hidden = 1, False, (8,)
      >>> with tempfile.TemporaryDirectory() as workdir:
      ...     state = train(config, workdir)
      ...     results = evaluate(workdir, quiet=True)
      >>> int(state.step), results.splits["test"].num_examples
      (48, 6000)
    """
    if not isinstance(config, ConfigDict):
        raise UserError(
            "config: must be a ConfigDict, as get_config('image_folder') returns, not "
            f"{config!r}"
        )
    config = upgrade(config)
    return _experiment(config).train(config, as_path(workdir, "workdir"), dataset)[0]


def evaluate(
    workdir: str | Path,
    dataset: "Dataset | None" = None,
    quiet: bool = False,
    ablation: bool = False,
) -> "Results | MutualInformation":
    """Evaluate the best checkpoint of a workdir on every split but the training one.

    Prints the tables. Below `evaluation/` it writes `predictions.csv` (the test split),
    `figures/`, `report.html` and, last of all, `metrics.json`. A cross-fit has scored
    every row already, so its results are only printed.

    Args:
      workdir: a folder that `train` wrote; its config.json says all else.
      dataset: the data of a run that was trained from memory.
      quiet: whether to print nothing and to make no figures and no report.
      ablation: whether to evaluate what each part of infoCAM adds instead, and to write
        `evaluation/ablation.json`. It uses the validation split, so that a setting
        chosen by it has not seen the test split.

    Returns:
      The results, or the estimate of a cross-fit.

    Raises:
      UserError: there is no workdir or no checkpoint, data cannot be read, or it has no
        boxes for an ablation.

    Examples:
      See `train`.
    """
    workdir = as_path(workdir, "workdir")
    return _experiment_in(workdir).evaluate(workdir, dataset, quiet, ablation)


def train_and_evaluate(
    config: ConfigDict, workdir: str | Path, quiet: bool = False
) -> None:
    """Train what a config describes and evaluate it, on data that is loaded once."""
    experiment, workdir = _experiment(config), Path(workdir)
    _, dataset = experiment.train(config, workdir, None)
    experiment.evaluate(workdir, dataset, quiet, ablation=False)


def explain(
    workdir: str | Path, paths: Sequence[str], options: "ExplainOptions"
) -> None:
    """Print the likeliest classes of images; write pictures, predictions and boxes.

    The workdir "imagenet" stands for the net of ImageNet's classes. See
    `reporting.explanation.explain`.
    """
    from mi_classifier.evaluation.imagenet import names_imagenet

    workdir = Path(workdir)
    is_net = names_imagenet(workdir)
    experiment = _experiment(ConfigDict()) if is_net else _experiment_in(workdir)
    experiment.explain(workdir, paths, options)


def evaluate_features(path: str, workdir: str | None) -> None:
    """Evaluate a net by a file of its features, see `features.evaluate_features`."""
    from mi_classifier import features
    from mi_classifier.data import exported

    if workdir is not None and (Path(workdir) / "config.json").exists():
        raise UserError(
            f"--workdir: {workdir} holds a run, whose evaluation would be replaced; "
            "give another folder"
        )
    arrays = exported.read(path)
    if "image_size" in arrays:
        arrays["image_size"] = tuple(arrays["image_size"].tolist())
    features.evaluate_features(**arrays, workdir=workdir)


def compare(patterns: Sequence[str]) -> None:
    """Print how evaluated workdirs that match patterns, as "runs/mnist*", differ."""
    from mi_classifier.reporting.comparison import comparison
    from mi_classifier.reporting.table import print_table
    from mi_classifier.storage import workdirs

    found: dict[Path, None] = {}
    for pattern in patterns:
        paths = [Path(p) for p in sorted(glob.glob(pattern))]
        if not paths:
            raise UserError(f"--compare: {pattern}: no such workdir")
        evaluated = [p for p in paths if (p / "evaluation" / "metrics.json").is_file()]
        if not evaluated:
            raise UserError(
                f"--compare: {pattern}: not evaluated yet; run evaluate.py on it first"
            )
        for path in paths:
            if path not in evaluated and (path / workdirs.CONFIG).is_file():
                print(f"{path}: left out, not evaluated yet")
            elif path in evaluated and not (path / workdirs.CONFIG).is_file():
                print(f"{path}: left out, it holds no run")
                evaluated.remove(path)
        found |= dict.fromkeys(evaluated)
    print_table(comparison([_experiment_in(path).compared(path) for path in found]))
