"""The pass through a split: every example once, on all devices, whatever the batch."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from mi_classifier import parallel
from mi_classifier.data import Dataset
from mi_classifier.evaluation import evaluators as plugins
from mi_classifier.evaluation import multi_label
from mi_classifier.evaluation.evaluators import Evaluator, Priors
from mi_classifier.models import infer

Variables = dict[str, Any]
MeasureSplit = Callable[[Variables, str], dict[str, Any]]


def make_measurement(
    model: nn.Module,
    dataset: Dataset,
    evaluators: Sequence[Evaluator],
    batch_size: int,
) -> MeasureSplit:
    """Compiles the pass through the splits of a data set.

    Args:
      model: the module to evaluate.
      dataset: whose splits are evaluated.
      evaluators: what is asked of each batch.
      batch_size: examples a batch; any positive number gives the same measures.

    Returns:
      A function from replicated variables and the name of a split to the measures
      `[N, ...]` of each evaluator, by its name.
    """

    def measure(
        variables: Variables, priors: Priors, batch: plugins.Batch
    ) -> dict[str, plugins.Measures]:
        output = infer(model, variables, dataset.preprocess(batch["image"]))
        inference = plugins.Inference(output, batch, priors, variables["params"])
        return {e.name: e.measure(inference) for e in evaluators}

    step = parallel.on_devices(measure, in_axes=(None, None, 0), out_axes=0)

    def measure_split(variables: Variables, name: str) -> dict[str, Any]:
        split = dataset.splits[name]
        priors = parallel.replicate(_priors(dataset, name))
        outputs, running = [], None
        for batch in parallel.evaluation_batches(split, batch_size):
            running, done = step(variables, priors, batch), running
            if done is not None:  # the devices hold two batches, not the split
                outputs.append(parallel.merge(done))
        outputs.append(parallel.merge(running))
        count = len(split["label"])  # padding is at the end
        return jax.tree.map(lambda *parts: np.concatenate(parts)[:count], *outputs)

    return measure_split


def summarize(
    dataset: Dataset,
    evaluators: Sequence[Evaluator],
    name: str,
    measures: dict[str, Any],
) -> dict[str, Any]:
    """Returns "num_examples" of a split, and each evaluator's numbers by its name."""
    split, priors = dataset.splits[name], _priors(dataset, name)
    figures = {e.name: e.summarize(measures[e.name], split, priors) for e in evaluators}
    return {"num_examples": len(split["label"]), **figures}


def make_evaluation(
    model: nn.Module,
    dataset: Dataset,
    evaluators: Sequence[Evaluator],
    batch_size: int,
) -> MeasureSplit:
    """Compiles `make_measurement`, followed by `summarize`."""
    measure_split = make_measurement(model, dataset, evaluators, batch_size)
    return lambda variables, name: summarize(
        dataset, evaluators, name, measure_split(variables, name)
    )


def for_dataset(dataset: Dataset, loss: str) -> list[Evaluator]:
    """Returns the evaluators that apply to a data set and a loss, quick ones alone."""
    if dataset.multi_label:
        return [
            multi_label.MultiLabelClassification(loss),
            multi_label.MultiLabelInformation(loss),
            plugins.Activity(),
        ]
    evaluators: list[Evaluator] = [
        plugins.Classification(loss),
        plugins.Information(loss),
        plugins.Activity(),
    ]
    if dataset.log_density is not None:
        evaluators.append(plugins.Truth(dataset.log_density, loss))
    return evaluators


def _priors(dataset: Dataset, name: str) -> Priors:
    return Priors(dataset.log_prior("train"), dataset.log_prior(name))
