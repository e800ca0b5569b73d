"""The commands for a config that trains one classifier."""

from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict

from mi_classifier import training
from mi_classifier.data import Dataset
from mi_classifier.errors import UserError
from mi_classifier.evaluation import Results, load_net
from mi_classifier.evaluation.imagenet import load_net_to_ask
from mi_classifier.evaluation.results import Row
from mi_classifier.evaluation.trained_net import MEMORY, load_config
from mi_classifier.reporting.comparison import Compared, by_path
from mi_classifier.reporting.options import ExplainOptions
from mi_classifier.reporting.writing import evaluate_and_write
from mi_classifier.rules import with_usual_results
from mi_classifier.storage.files import read_json
from mi_classifier.tables import published
from mi_classifier.training import Trained, checks

known_options, meanings = checks.known_options, checks.meanings


@with_usual_results
def train(config: ConfigDict, workdir: Path, dataset: Dataset | None) -> Trained:
    """Train on a data set in memory, or on what the config says."""
    if dataset is not None:
        if not isinstance(dataset, Dataset):
            raise UserError(
                f"dataset: must be a Dataset, as from_arrays((images, labels)) makes "
                f"one, not {type(dataset).__name__}"
            )
        config = config.copy_and_resolve_references()
        with config.unlocked():
            config.data = ConfigDict({"name": MEMORY, **dataset.description})
    return training.train(config, workdir, dataset)


@with_usual_results
def evaluate(
    workdir: Path, dataset: Dataset | None, quiet: bool, ablation: bool
) -> Results:
    """Evaluate a workdir; show the paper's results beside ours."""
    config = load_config(workdir)
    if ablation and "localization" not in config:
        raise UserError(
            f"--ablation: the config of {workdir} has no boxes to find; give a workdir "
            "of data with boxes"
        )
    net = load_net(workdir, dataset)
    theirs = published.localization(net.config, net.dataset.num_classes)
    return evaluate_and_write(net, theirs, quiet, ablation)


def explain(workdir: Path, paths: Sequence[str], options: ExplainOptions) -> None:
    """Explain what a net says about images."""
    from mi_classifier.reporting import explanation, image_paths

    images = image_paths.find_images(paths)
    explanation.explain(load_net_to_ask(workdir), images, options)


def compared(workdir: Path) -> Compared:
    """Return what a comparison shows of an evaluated run."""
    path = workdir / "evaluation" / "metrics.json"
    remedy = "run evaluate.py on it again"
    try:
        rows = [Row(**row) for row in read_json(path, remedy).get("rows")]
        by_path(rows)  # finds values of a wrong type
    except (AttributeError, TypeError, ValueError) as error:
        raise UserError(
            f"{path}: not written by this version's evaluation; {remedy}"
        ) from error
    return Compared(workdir, load_config(workdir), rows)
