"""The pass through a split: each example once, in batches of any size."""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from mi_classifier import parallel
from mi_classifier.data import Dataset
from mi_classifier.evaluation.evaluators.base import (
    Batch,
    Evaluator,
    Inference,
    Measurements,
    Priors,
)
from mi_classifier.evaluation.results import SplitResults
from mi_classifier.models import infer

Variables = dict[str, Any]
MeasureSplit = Callable[[Variables, str], dict[str, Any]]


def make_split_pass(
    model: nn.Module,
    dataset: Dataset,
    evaluators: Mapping[str, Evaluator],
    batch_size: int,
) -> MeasureSplit:
    """Compiles the pass through the splits of a data set.

    Args:
      model: the module to evaluate.
      dataset: the data set whose splits are evaluated.
      evaluators: the evaluators that measure each batch, by name.
      batch_size: examples a batch; any positive number gives the same measurements.

    Returns:
      A function from replicated variables and the name of a split to the measurements
      `[N, ...]` of each evaluator, by its name.
    """

    def measure(
        variables: Variables, priors: Priors, batch: Batch
    ) -> dict[str, Measurements]:
        output = infer(model, variables, dataset.preprocess(batch["image"]))
        inference = Inference(output, batch, priors, variables["params"])
        return {name: each.measure(inference) for name, each in evaluators.items()}

    step = parallel.on_devices(measure, in_axes=(None, None, 0), out_axes=0)

    def measure_split(variables: Variables, name: str) -> dict[str, Any]:
        split = dataset.splits[name]
        priors = parallel.replicate(_priors(dataset, name))
        outputs, running = [], None
        for batch in parallel.evaluation_batches(split, batch_size):
            running, done = step(variables, priors, batch), running
            if done is not None:  # at most two batches are on the devices
                outputs.append(parallel.merge(done))
        outputs.append(parallel.merge(running))
        count = len(split["label"])  # padding is at the end
        return jax.tree.map(lambda *parts: np.concatenate(parts)[:count], *outputs)

    return measure_split


def summarize(
    dataset: Dataset,
    evaluators: Mapping[str, Evaluator],
    name: str,
    measurements: Mapping[str, Any],
) -> SplitResults:
    """Returns the results of a split from its measurements."""
    split, priors = dataset.splits[name], _priors(dataset, name)
    found = {
        key: each.summarize(measurements[key], split, priors)
        for key, each in evaluators.items()
    }
    return SplitResults(len(split["label"]), found)


def _priors(dataset: Dataset, name: str) -> Priors:
    return Priors(dataset.log_prior("train"), dataset.log_prior(name))
