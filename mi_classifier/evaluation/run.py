"""The pass through a split, and the evaluation of a workdir."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from ml_collections import ConfigDict

from mi_classifier import config as configs
from mi_classifier import parallel
from mi_classifier import workdir as workdirs
from mi_classifier.data import Dataset, load_dataset
from mi_classifier.errors import UserError
from mi_classifier.evaluation import evaluators as plugins
from mi_classifier.evaluation import localizing, multi_label, pictures, report
from mi_classifier.evaluation.evaluators import Evaluator, Priors
from mi_classifier.models import create_model

Variables = dict[str, Any]
EvaluateSplit = Callable[[Variables, str], dict[str, Any]]
ABLATION_THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)


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
        inference = plugins.Inference(output, batch, priors, variables["params"])
        values = {e.name: e.measure(inference) for e in evaluators}
        return values, batch["mask"]

    step = parallel.on_devices(measure, in_axes=(None, None, 0), out_axes=0)
    training = dataset.log_prior("train")

    def evaluate_split(variables: Variables, name: str) -> dict[str, Any]:
        split = dataset.splits[name]
        priors = Priors(training, dataset.log_prior(name))
        on_devices = parallel.replicate(priors)
        outputs, running = [], None
        for batch in parallel.evaluation_batches(split, batch_size):
            running, done = step(variables, on_devices, batch), running
            if done is not None:  # the devices hold two batches, not the split
                outputs.append(parallel.merge(done))
        outputs.append(parallel.merge(running))
        values, masks = zip(*outputs, strict=True)
        real = np.concatenate(masks) > 0
        measures = jax.tree.map(lambda *parts: np.concatenate(parts)[real], *values)
        figures = {
            e.name: e.summarize(measures[e.name], split, priors) for e in evaluators
        }
        return {"num_examples": int(real.sum()), **figures}

    return evaluate_split


def for_dataset(dataset: Dataset, loss: str) -> list[Evaluator]:
    """Returns the evaluators that apply to a data set and a loss, quick ones alone."""
    if dataset.multi_label:
        return [
            multi_label.MultiLabelInformation(loss),
            multi_label.MultiLabelClassification(loss),
        ]
    evaluators: list[Evaluator] = [
        plugins.Information(loss),
        plugins.Classification(loss),
    ]
    if dataset.log_density is not None:
        evaluators.append(plugins.Truth(dataset.log_density, loss))
    return evaluators


def evaluate(
    workdir: str | Path, quiet: bool = False, ablation: bool = False
) -> dict[str, Any]:
    """Evaluates the best checkpoint of a workdir on every split but the training one.

    Prints the tables and writes `evaluation/metrics.json`; where the data has boxes, it
    localizes too, and draws `evaluation/figures/localization.png`. A cross-fit has
    scored every row already; what it wrote is printed.

    Args:
      workdir: a folder that `train.py` wrote; its config.json says all else.
      quiet: whether to print no tables.
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
    config = workdirs.load_config(workdir)
    try:
        configs.check(config)
    except UserError as error:
        raise UserError(f"{workdir / workdirs.CONFIG}: {error}") from None
    folder = workdir / "evaluation"
    if "method" in config:
        figures = workdirs.read_json(folder / "metrics.json")
        if not quiet:
            report.print_estimate(figures)
        return figures
    if ablation and "localization" not in config:
        raise UserError(f"--ablation: {config.data.name} has no boxes to find")
    workdirs.check_has_checkpoint(workdir)
    dataset = load_dataset(config.data)
    names = [name for name in dataset.splits if name != "train"]
    localizes = "localization" in config and all(
        dataset.splits[name].get("num_boxes", np.zeros(1)).any() for name in names
    )
    if ablation and not localizes:
        raise UserError(f"--ablation: {dataset.name} has no boxes to find")
    workdirs.check_data(workdir, dataset.fingerprints())
    model = create_model(num_classes=dataset.num_classes, **config.model)
    shapes = jax.eval_shape(model.init, jax.random.key(0), dataset.example_input())
    best = workdirs.restore_best(workdir, {"batch_stats": {}} | shapes)
    variables = best["variables"]

    def evaluate_splits(evaluators: Sequence[Evaluator], *names: str) -> dict[str, Any]:
        evaluate_split = make_evaluation(
            model, dataset, evaluators, config.evaluation_batch_size
        )
        return {
            "dataset": dataset.name,
            "loss": config.loss,
            "class_names": dataset.class_names,
            "epoch": int(best["epoch"]),
            "true_mutual_information": dataset.mutual_information,
            "paper": config.get("paper", ConfigDict()).to_dict(),
            "splits": {name: evaluate_split(variables, name) for name in names},
        }

    if ablation:
        settings = localizing.ablation(config.localization)
        threshold, region = config.localization.threshold, config.localization.region
        thresholds = sorted({*ABLATION_THRESHOLDS, threshold})
        evaluator = localizing.Ablation(
            config.loss, settings, thresholds, threshold, region
        )
        figures = evaluate_splits([evaluator], "validation")
        workdirs.write_text(
            folder / "ablation.json", workdirs.to_json(figures, indent=2)
        )
        if not quiet:
            report.print_ablation(figures)
        return figures
    evaluators = for_dataset(dataset, config.loss)
    if localizes:
        settings = localizing.settings(config.localization)
        threshold = config.localization.threshold
        evaluators.append(localizing.Localization(config.loss, settings, threshold))
    figures = evaluate_splits(evaluators, *names)
    workdirs.write_text(folder / "metrics.json", workdirs.to_json(figures, indent=2))
    if not quiet:
        report.print_tables(figures)
    if localizes:
        path = folder / "figures" / "localization.png"
        pictures.draw_localization(
            path, model, variables, dataset, settings, config.localization.threshold
        )
        if not quiet:
            print(f"pictures: {path}")
    return figures
