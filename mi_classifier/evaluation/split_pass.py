"""The pass through a split: each example once, in batches of any size."""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from mi_classifier import parallel
from mi_classifier.data import Dataset
from mi_classifier.evaluation.evaluators import base
from mi_classifier.evaluation.results import SplitResults
from mi_classifier.models import infer

Evaluators = Mapping[str, base.Evaluator]
Variables = dict[str, Any]


def make_split_pass(
    model: nn.Module, dataset: Dataset, evaluators: Evaluators, batch_size: int
) -> Callable[[Variables, str], dict[str, base.Measurements]]:
    """Compile the pass through the splits of a data set.

    It maps replicated variables and a split's name to what each evaluator measured,
    `[N, ...]`, by the evaluator's name. Any batch size gives the same measurements.
    """

    def measure(variables: Variables, priors: base.Priors, batch: Any) -> Any:
        output = infer(model, variables, dataset.preprocess(batch["image"]))
        inference = base.Inference(output, batch, priors, variables["params"])
        return {name: each.measure(inference) for name, each in evaluators.items()}

    step = parallel.on_devices(measure, in_axes=(None, None, 0), out_axes=0)

    def measure_split(variables: Variables, name: str) -> dict[str, base.Measurements]:
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
    evaluators: Evaluators,
    name: str,
    measurements: Mapping[str, base.Measurements],
) -> SplitResults:
    """Return the results of a split from what each evaluator measured."""
    split, priors = dataset.splits[name], _priors(dataset, name)
    found = {
        key: each.summarize(measurements[key], split, priors)
        for key, each in evaluators.items()
    }
    return SplitResults(len(split["label"]), found)


def _priors(dataset: Dataset, name: str) -> base.Priors:
    return base.Priors(dataset.log_prior("train"), dataset.log_prior(name))
