"""Checks of a config that come before its data is read."""

import functools
import inspect
from collections.abc import Callable, Mapping
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
from mi_classifier.training import optimizer


def check_config(config: ConfigDict) -> None:
    """Checks the fields that do not depend on the data.

    Raises:
      UserError: naming the field and what it may be.
    """
    configs.check(config)
    create_loss(config.loss, config.get("loss_options"))
    choose(config.get("pipeline", "auto"), PIPELINES, "pipeline")
    choose(config.best_by, ("mutual_information", "accuracy"), "best_by")
    check_names(config.get("evaluators", ()))


def check_loss(loss: str, dataset: Dataset) -> None:
    """Checks that a loss is one for the labels of a data set.

    Args:
      loss: a name among `LOSSES`.
      dataset: with one label an example, or several.

    Raises:
      UserError: naming the losses that are.
    """
    fitting = [
        n for n, each in LOSSES.items() if each.multi_label == dataset.multi_label
    ]
    if loss not in fitting:
        name = dataset.name or "this data set"
        labels = "any number of labels" if dataset.multi_label else "one label"
        raise UserError(
            f"loss: an example of {name} has {labels}; "
            f"use {' or '.join(fitting)}, not {loss}"
        )


def known_options(config: ConfigDict) -> Mapping[str, Mapping[str, Any]]:
    """Returns the fields that a classifier's config may have, with their defaults.

    Args:
      config: the names in its groups say which options these have.

    Returns:
      By group, "" for the top, what it may hold; a default of None is unknown.
    """
    loss = LOSSES.get(config.get("loss"))
    known = {
        "": configs.OPTIONAL_FIELDS,
        "data": _defaults(DATASETS.get(config.data.get("name"))),
        "model": _defaults(MODELS.get(config.model.get("name"))),
        "optimizer": optimizer.known_options(config.optimizer),
        "loss_options": _defaults(loss and functools.partial(loss.function, 0, 0, 0)),
    }
    if "localization" in config:
        every = [_defaults(entry.function) for entry in MAPS.values()]
        known["localization"] = {k: v for each in every for k, v in each.items()}
    for name in ("num_classes", "parent", "name"):  # ours or Flax's to say
        known["model"].pop(name, None)
    return known


def _defaults(function: Callable | None) -> dict[str, Any]:
    if function is None:
        return {}
    parameters = inspect.signature(function).parameters.values()
    return {
        p.name: None if p.default is inspect.Parameter.empty else p.default
        for p in parameters
        if p.kind is not inspect.Parameter.VAR_KEYWORD
    }
