"""Check a config before its data is read."""

import inspect
from collections.abc import Callable
from typing import Any

from ml_collections import ConfigDict

from mi_classifier import config as configs
from mi_classifier.activation_maps import MAPS
from mi_classifier.data import DATASETS, Dataset
from mi_classifier.data.pipeline import PIPELINES
from mi_classifier.errors import UserError, choose
from mi_classifier.evaluation.evaluators import check_names
from mi_classifier.losses import LOSSES, create_loss
from mi_classifier.models import MODELS
from mi_classifier.training.optimizer import (
    BACKBONE_OPTIONS,
    OPTIMIZERS,
    SCHEDULES,
)


def check_config(config: ConfigDict) -> None:
    """Check the fields that do not depend on the data.

    Raises:
      UserError: a field has a mistake; the message says what it may be.
    """
    configs.check(config)
    create_loss(config.loss, config.get("loss_options"))
    choose(config.get("pipeline", "auto"), PIPELINES, "pipeline")
    choose(config.best_by, ("mutual_information", "accuracy"), "best_by")
    check_names(config.get("evaluators", ()))


def check_loss(loss: str, dataset: Dataset) -> None:
    """Check that a loss fits the labels of a data set.

    Args:
      loss: a name in `LOSSES`.
      dataset: has one label per example, or any number.

    Raises:
      UserError: the loss does not fit; the message names those that do.
    """
    if LOSSES[loss].multi_label == dataset.multi_label:
        return
    fitting = [
        n for n, each in LOSSES.items() if each.multi_label == dataset.multi_label
    ]
    labels = "any number of labels" if dataset.multi_label else "one label"
    raise UserError(
        f"loss: an example of {dataset.name or 'this data set'} has {labels}; "
        f"use {' or '.join(fitting)}, not {loss}"
    )


def known_options(config: ConfigDict) -> dict[str, dict[str, Any]]:
    """Return the fields that a classifier's config may have, with their defaults.

    Args:
      config: the names in its groups decide which options each group has.

    Returns:
      By group, "" for the top level, the options and their defaults; None if an option
      has no default.

    Examples:
      >>> from mi_classifier import get_config
      >>> known_options(get_config("gmm"))["optimizer"]["nesterov"]
      False
    """
    groups = {name: config.get(name, {}) for name in ("data", "model", "optimizer")}
    data, model, optimizer = (group.get("name") for group in groups.values())
    schedule = groups["optimizer"].get("schedule")
    loss = LOSSES.get(config.get("loss"))
    known = {
        "": configs.OPTIONAL_FIELDS,
        "data": _options(DATASETS.get(data)),
        "model": _options(MODELS.get(model)),
        "optimizer": {"schedule": "constant"}
        | BACKBONE_OPTIONS
        | _options(OPTIMIZERS.get(optimizer))
        | _options(SCHEDULES.get(schedule), given=2),
        "loss_options": _options(loss and loss.function, given=3),
    }
    for name in ("num_classes", "parent", "name"):  # the data set or Flax sets these
        known["model"].pop(name, None)
    if "localization" in config:
        every = [_options(each.function, given=3) for each in MAPS.values()]
        # The net gives a map its logits, whose default is None.
        known["localization"] = {
            name: default
            for options in every
            for name, default in options.items()
            if default is not None
        }
    return known


def _options(function: Callable | None, given: int = 0) -> dict[str, Any]:
    """Return the parameters of a function after the first few, with their defaults."""
    if function is None:
        return {}
    parameters = list(inspect.signature(function).parameters.values())[given:]
    return {
        p.name: None if p.default is inspect.Parameter.empty else p.default
        for p in parameters
        if p.kind is not inspect.Parameter.VAR_KEYWORD
    }
