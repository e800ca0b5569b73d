"""Evaluate a trained net, and return what was found."""

from collections.abc import Sequence

import numpy as np

from mi_classifier.data import Dataset
from mi_classifier.errors import UserError
from mi_classifier.evaluation import split_pass
from mi_classifier.evaluation.evaluators import DEFAULT, base, create_evaluators
from mi_classifier.evaluation.evaluators.accuracy import join_names
from mi_classifier.evaluation.results import Evaluation, Results
from mi_classifier.evaluation.targets import find_targets
from mi_classifier.evaluation.trained_net import TrainedNet


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
            f"--ablation: {net.dataset.name} has no boxes to find; give data with boxes"
        )
    return _evaluate(net, ["ablation"], ["validation"]).results


def _evaluate(
    net: TrainedNet, names: Sequence[str], split_names: Sequence[str]
) -> Evaluation:
    """Evaluate some splits by some evaluators."""
    dataset, localization = net.dataset, net.config.get("localization")
    subject = base.Subject(dataset, net.loss, localization)
    evaluators = create_evaluators(names, subject)
    measure_split = split_pass.make_split_pass(
        net.model, dataset, evaluators, net.config.evaluation_batch_size
    )
    splits, details, columns = {}, {}, {}
    for name in split_names:
        measurements = measure_split(net.variables, name)
        splits[name] = split_pass.summarize(dataset, evaluators, name, measurements)
        if name == "test":
            details, columns = measurements, _example_columns(dataset, name)
            for key, each in evaluators.items():
                columns |= each.columns(
                    details[key], dataset.splits[name], dataset.class_names
                )
    results = Results(
        dataset=dataset.name,
        loss=net.config.loss,
        class_names=dataset.class_names,
        class_frequencies=np.exp(dataset.log_prior()),
        epoch=net.epoch,
        true_mutual_information=dataset.mutual_information,
        splits=splits,
    )
    return Evaluation(results, details, columns)


def _example_columns(dataset: Dataset, name: str) -> base.Columns:
    """Return "row" of each example, counted from 0, "image" if known, and "label"."""
    labels = dataset.splits[name]["label"]
    columns: base.Columns = {"row": range(len(labels))}
    if name in dataset.image_names:
        columns["image"] = dataset.image_names[name]
    if dataset.multi_label:
        columns["label"] = join_names(labels, dataset.class_names)
    else:
        columns["label"] = np.asarray(dataset.class_names)[labels]
    return columns
