"""Check a config before its data is read."""

from typing import Any

import flax.linen as nn
import jax
from ml_collections import ConfigDict

from mi_classifier import config as configs
from mi_classifier.activation_maps import MAPS, region_warning
from mi_classifier.data import DATASETS, Dataset
from mi_classifier.data.pipeline import PIPELINES
from mi_classifier.errors import UserError, choose, options_of
from mi_classifier.evaluation.evaluators import check_names
from mi_classifier.losses import LOSSES, create_loss
from mi_classifier.models import MODELS, infer
from mi_classifier.training.optimizer import (
    BACKBONE_OPTIONS,
    OPTIMIZERS,
    SCHEDULES,
    trained_modules,
)


def check_config(config: ConfigDict) -> None:
    """Check the fields that do not depend on the data."""
    configs.check(config)
    create_loss(config.loss, config.get("loss_options"))
    choose(config.get("pipeline", "auto"), PIPELINES, "pipeline")
    choose(config.best_by, ("mutual_information", "accuracy"), "best_by")
    check_names(config.get("evaluators", ()))
    trained = trained_modules(config.optimizer)
    if config.get("cache_features") and tuple(trained) != ("head",):
        raise UserError(
            "cache_features: features are kept only for a frozen backbone; set "
            "--config.optimizer.backbone_rate=0.0 and "
            "--config.optimizer.full_rate=\"('head',)\""
        )
    if "num_classes" in config.model:
        raise UserError("model.num_classes: the data set decides it; remove the field")


def check_loss(loss: str, dataset: Dataset) -> None:
    """Check that a loss fits a data set of one label per example, or any number."""
    if LOSSES[loss].multi_label == dataset.multi_label:
        return
    fitting = [n for n, o in LOSSES.items() if o.multi_label == dataset.multi_label]
    labels = "any number of labels" if dataset.multi_label else "one label"
    raise UserError(
        f"loss: an example of {dataset.name or 'this data set'} has {labels}; "
        f"use {' or '.join(fitting)}, not {loss}"
    )


def warning_of_region(config: ConfigDict, model: nn.Module, dataset: Dataset) -> str:
    """Return a warning if the config's region is large for the net's map, else ""."""
    options = config.get("localization") or {}
    images = dataset.example_input()
    if images.ndim != 4:  # rows have no maps
        return ""
    variables = jax.eval_shape(model.init, jax.random.key(0), images)
    output = jax.eval_shape(lambda v, x: infer(model, v, x), variables, images)
    if output.features.ndim != 4:
        return ""
    return region_warning(options.get("region", 1), output.features.shape[1:3])


def known_options(config: ConfigDict) -> dict[str, dict[str, Any]]:
    """Return the fields that a config may have, by group, with their defaults or None.

    The names in a group decide which options it has; "" is the top level.
    """
    flat = configs.flatten(config)
    data, model, optimizer, schedule, loss = (
        str(flat.get(field))
        for field in (
            "data.name",
            "model.name",
            "optimizer.name",
            "optimizer.schedule",
            "loss",
        )
    )
    known = {
        "": configs.OPTIONAL_FIELDS,
        "data": options_of(DATASETS.get(data)),
        "model": options_of(MODELS.get(model)),
        "optimizer": {"schedule": "constant"}
        | BACKBONE_OPTIONS
        | options_of(OPTIMIZERS.get(optimizer))
        | options_of(SCHEDULES.get(schedule), given=2),
        "loss_options": options_of(
            getattr(LOSSES.get(loss), "function", None), given=3
        ),
    }
    for name in ("num_classes", "parent", "name"):  # the data set or Flax sets these
        known["model"].pop(name, None)
    if "localization" in config:
        known["localization"] = {
            name: default
            for each in MAPS.values()
            for name, default in options_of(each.function, given=3).items()
            if default is not None  # as that of the logits, which the net gives a map
        }
    return known
