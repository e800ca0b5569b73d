"""Evaluate a trained net, and return what was found."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mi_classifier.data import Dataset
from mi_classifier.errors import UserError
from mi_classifier.evaluation import split_pass
from mi_classifier.evaluation.evaluators import (
    DEFAULT,
    Evaluator,
    Subject,
    create_evaluators,
)
from mi_classifier.evaluation.evaluators.accuracy import join_names
from mi_classifier.evaluation.results import Evaluation, Results, SplitResults
from mi_classifier.evaluation.targets import find_targets
from mi_classifier.evaluation.trained_net import TrainedNet


def evaluate_net(net: TrainedNet) -> Evaluation:
    """Evaluates a net on every split except "train".

    `net.config.evaluators` names the evaluators; without it, `DEFAULT` does.
    """
    dataset = net.dataset
    names = net.config.get("evaluators") or DEFAULT
    evaluators = create_evaluators(names, _subject(net))
    measure_split = split_pass.make_split_pass(
        net.model, dataset, evaluators, net.config.evaluation_batch_size
    )
    splits, details = {}, {}
    for name in dataset.splits:
        if name == "train":
            continue
        measurements = measure_split(net.variables, name)
        splits[name] = split_pass.summarize(dataset, evaluators, name, measurements)
        if name == "test":
            details = measurements
    columns = prediction_columns(dataset, evaluators, "test", details)
    return Evaluation(_results(net, splits), details, columns)


def ablate_net(net: TrainedNet) -> Results:
    """Evaluates what each part of infoCAM adds, on the validation split.

    The test split stays unseen, so that settings can be chosen by these results.

    Raises:
      UserError: the data has no boxes to find.
    """
    evaluators = create_evaluators(["ablation"], _subject(net))
    if not evaluators or not len(find_targets(net.dataset.splits["validation"]).rows):
        raise UserError(
            f"--ablation: {net.dataset.name} has no boxes to find; give data with boxes"
        )
    measure_split = split_pass.make_split_pass(
        net.model, net.dataset, evaluators, net.config.evaluation_batch_size
    )
    measurements = measure_split(net.variables, "validation")
    found = split_pass.summarize(net.dataset, evaluators, "validation", measurements)
    return _results(net, {"validation": found})


def prediction_columns(
    dataset: Dataset,
    evaluators: Mapping[str, Evaluator],
    name: str,
    measurements: Mapping[str, Any],
) -> dict[str, Sequence[Any]]:
    """Returns the columns of predictions.csv for a split, N values each, by name.

    The first columns are "row", counted from 0, "image", the name of the image if it
    has one, and "label"; the columns of each evaluator follow. A value that is not
    known is None.
    """
    split = dataset.splits[name]
    labels = split["label"]
    columns: dict[str, Sequence[Any]] = {"row": range(len(labels))}
    if name in dataset.image_names:
        columns["image"] = dataset.image_names[name]
    if dataset.multi_label:
        columns["label"] = join_names(labels, dataset.class_names)
    else:
        columns["label"] = np.asarray(dataset.class_names)[labels]
    for key, evaluator in evaluators.items():
        columns |= evaluator.columns(measurements[key], split, dataset.class_names)
    return columns


def _subject(net: TrainedNet) -> Subject:
    return Subject(net.dataset, net.loss, net.config.get("localization"))


def _results(net: TrainedNet, splits: Mapping[str, SplitResults]) -> Results:
    return Results(
        dataset=net.dataset.name,
        loss=net.config.loss,
        class_names=net.dataset.class_names,
        class_frequencies=np.exp(net.dataset.log_prior()),
        epoch=net.epoch,
        true_mutual_information=net.dataset.mutual_information,
        splits=splits,
    )
