"""Evaluate a net: pass through splits, each example once, and return what was found."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from mi_classifier import parallel, termination
from mi_classifier.data import Dataset
from mi_classifier.errors import UserError
from mi_classifier.evaluation.evaluators import DEFAULT, base, create_evaluators
from mi_classifier.evaluation.evaluators.accuracy import names_of
from mi_classifier.evaluation.results import Evaluation, Results, SplitResults
from mi_classifier.evaluation.targets import find_targets
from mi_classifier.evaluation.trained_net import TrainedNet
from mi_classifier.models import infer

Evaluators = Mapping[str, base.Evaluator]
Measurements = dict[str, base.Measured]  # of each evaluator, by its name


def evaluate_net(net: TrainedNet) -> Evaluation:
    """Evaluate a net on every split except "train".

    `net.config.evaluators` names the evaluators; without it, `DEFAULT` does.
    """
    names = net.config.get("evaluators") or DEFAULT
    return _evaluate(
        net, names, [name for name in net.dataset.splits if name != "train"]
    )


def ablate_net(net: TrainedNet) -> Results:
    """Evaluate what each part of infoCAM adds, on the validation split.

    The test split stays unseen, so that settings can be chosen by these results.

    Raises:
      UserError: the data has no boxes to find.
    """
    boxes = len(find_targets(net.dataset.splits["validation"]).rows)
    if not boxes or net.config.get("localization") is None:
        raise UserError(
            f"--ablation: {net.dataset.name} has no boxes in its validation "
            "split; give data that has"
        )
    return _evaluate(net, ["ablation"], ["validation"]).results


def make_split_pass(
    model: nn.Module, dataset: Dataset, evaluators: Evaluators, batch_size: int
) -> Callable[[Any, str], tuple[SplitResults, Measurements]]:
    """Compile the pass through the splits of a data set.

    It maps replicated variables and a split's name to the results of the split, and to
    what each evaluator measured, `[N, ...]`. Any batch size gives the same.
    """

    def measure(variables: Any, priors: base.Priors, batch: Any) -> Measurements:
        output = infer(model, variables, dataset.preprocess(batch[dataset.input]))
        inference = base.Inference(output, batch, priors, variables["params"])
        return {name: each.measure(inference) for name, each in evaluators.items()}

    step = parallel.on_devices(measure, in_axes=(None, None, 0), out_axes=0)

    def evaluate_split(variables: Any, name: str) -> tuple[SplitResults, Measurements]:
        split, count = dataset.splits[name], len(dataset.splits[name]["label"])
        priors = base.Priors(dataset.log_prior("train"), dataset.log_prior(name))
        outputs, running, replicated = [], None, parallel.replicate(priors)
        for batch in parallel.evaluation_batches(split, batch_size):
            running, done = step(variables, replicated, batch), running
            termination.check()
            if done is not None:  # at most two batches are on the devices
                outputs.append(parallel.merge(done))
        outputs.append(parallel.merge(running))
        # Padding is at the end.
        merged = jax.tree.map(lambda *parts: np.concatenate(parts)[:count], *outputs)
        found = {
            key: each.summarize(merged[key], split, priors)
            for key, each in evaluators.items()
        }
        return SplitResults(count, found), merged

    return evaluate_split


def _evaluate(
    net: TrainedNet, names: Sequence[str], split_names: Sequence[str]
) -> Evaluation:
    dataset, localization = net.dataset, net.config.get("localization")
    if dataset.splits["test"]["image"].ndim != 4:  # rows have no maps
        localization = None
    subject = base.Subject(dataset, net.loss, localization)
    evaluators = create_evaluators(names, subject)
    evaluate_split = make_split_pass(
        net.model, dataset, evaluators, net.config.evaluation_batch_size
    )
    splits, details = {}, {}
    for name in split_names:
        splits[name], measured = evaluate_split(net.variables, name)
        if name == "test":
            details = measured
    results = Results(
        dataset=dataset.name,
        loss=net.config.loss,
        class_names=dataset.class_names,
        class_frequencies=np.exp(dataset.log_prior()),
        epoch=net.epoch,
        true_mutual_information=dataset.mutual_information,
        splits=splits,
    )
    columns = _columns(dataset, evaluators, details) if details else {}
    return Evaluation(results, details, columns)


def _columns(
    dataset: Dataset, evaluators: Evaluators, measurements: Measurements
) -> base.Columns:
    """Return "row", "image" if known, "label", and the columns of each evaluator."""
    split, class_names = dataset.splits["test"], dataset.class_names
    columns: base.Columns = {"row": range(len(split["label"]))}
    if "test" in dataset.image_names:
        columns["image"] = dataset.image_names["test"]
    columns["label"] = names_of(split["label"], class_names)
    for name, each in evaluators.items():
        columns |= each.columns(measurements[name], split, class_names)
    return columns
