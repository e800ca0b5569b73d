"""The pass through a split, and the evaluation of a workdir."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from mi_classifier import config as configs
from mi_classifier import parallel
from mi_classifier import workdir as workdirs
from mi_classifier.data import Dataset, load_dataset
from mi_classifier.errors import UserError
from mi_classifier.evaluation import evaluators as plugins
from mi_classifier.evaluation import report
from mi_classifier.evaluation.evaluators import Evaluator, Priors
from mi_classifier.models import create_model

Variables = dict[str, Any]
EvaluateSplit = Callable[[Variables, str], dict[str, Any]]


def make_evaluation(
    model: nn.Module,
    dataset: Dataset,
    evaluators: Sequence[Evaluator],
    batch_size: int,
) -> EvaluateSplit:
    """Compiles the pass through the splits of a data set.

    Args:
      model: the module to evaluate.
      dataset: whose splits are evaluated.
      evaluators: what is asked of each batch.
      batch_size: examples a batch; any positive number gives the same figures.

    Returns:
      A function from replicated variables and the name of a split to a dict with
      "num_examples" and each evaluator's numbers under its name.
    """

    def measure(
        variables: Variables, priors: Priors, batch: plugins.Batch
    ) -> tuple[dict[str, plugins.Measures], jax.Array]:
        output = model.apply(variables, dataset.preprocess(batch["image"]), train=False)
        values = {e.name: e.measure(output, batch, priors) for e in evaluators}
        return values, batch["mask"]

    step = parallel.on_devices(measure, in_axes=(None, None, 0), out_axes=0)
    training = dataset.log_prior("train")

    def evaluate_split(variables: Variables, name: str) -> dict[str, Any]:
        split = dataset.splits[name]
        priors = Priors(training, dataset.log_prior(name))
        on_devices = parallel.replicate(priors)
        outputs = [
            step(variables, on_devices, batch)
            for batch in parallel.evaluation_batches(split, batch_size)
        ]
        values, masks = zip(*map(parallel.merge, outputs), strict=True)
        real = np.concatenate(masks) > 0
        measures = jax.tree.map(lambda *parts: np.concatenate(parts)[real], *values)
        figures = {
            e.name: e.summarize(measures[e.name], split, priors) for e in evaluators
        }
        return {"num_examples": int(real.sum()), **figures}

    return evaluate_split


def evaluate(workdir: str | Path, quiet: bool = False) -> dict[str, Any]:
    """Evaluates the best checkpoint of a workdir on every split but the training one.

    Prints the tables and writes `evaluation/metrics.json`. A cross-fit has scored every
    row already; what it wrote is printed.

    Args:
      workdir: a folder that `train.py` wrote; its config.json says all else.
      quiet: whether to print no tables.

    Returns:
      What is written: the epoch evaluated, and for each split its figures.

    Raises:
      UserError: no workdir, no checkpoint, or data that cannot be read.
    """
    workdir = Path(workdir)
    config = workdirs.load_config(workdir)
    try:
        configs.check(config)
    except UserError as error:
        raise UserError(f"{workdir / workdirs.CONFIG}: {error}") from None
    path = workdir / "evaluation" / "metrics.json"
    if "method" in config:
        figures = workdirs.read_json(path)
        if not quiet:
            report.print_estimate(figures)
        return figures
    workdirs.check_has_checkpoint(workdir)
    dataset = load_dataset(config.data)
    workdirs.check_data(workdir, dataset.fingerprints())
    model = create_model(num_classes=dataset.num_classes, **config.model)
    shapes = jax.eval_shape(model.init, jax.random.key(0), dataset.example_input())
    best = workdirs.restore_best(workdir, shapes["params"])
    evaluate_split = make_evaluation(
        model,
        dataset,
        plugins.for_dataset(dataset, config.loss),
        config.evaluation_batch_size,
    )
    variables = {"params": best["params"]}
    figures = {
        "dataset": dataset.name,
        "loss": config.loss,
        "class_names": dataset.class_names,
        "epoch": int(best["epoch"]),
        "true_mutual_information": dataset.mutual_information,
        "splits": {
            name: evaluate_split(variables, name)
            for name in dataset.splits
            if name != "train"
        },
    }
    if not quiet:
        report.print_tables(figures)
    workdirs.write_text(path, workdirs.to_json(figures, indent=2))
    return figures
