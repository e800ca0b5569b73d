"""Check a config before its data is read."""

from collections.abc import Callable
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
    OPTION_MEANINGS,
    SCHEDULES,
    trained_modules,
)
from mi_classifier.usage import meanings_of


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
    takers = _takers(config)
    known = {
        "": configs.OPTIONAL_FIELDS,
        "data": options_of(takers["data"]),
        "model": options_of(takers["model"]),
        "optimizer": {"schedule": "constant"}
        | BACKBONE_OPTIONS
        | options_of(takers["optimizer"])
        | options_of(takers["schedule"], given=2),
        "loss_options": options_of(takers["loss_options"], given=3),
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


def meanings(config: ConfigDict) -> dict[str, str]:
    """Return what each field of a config means, as docstrings say."""
    takers = _takers(config)
    schedule = takers.pop("schedule")
    found = {
        f"{group}.{name}": text
        for group, taker in (*takers.items(), ("optimizer", schedule))
        for name, text in meanings_of(taker).items()
    }
    found |= {f"optimizer.{name}": text for name, text in OPTION_MEANINGS.items()}
    choices = {"data": DATASETS, "model": MODELS, "optimizer": OPTIMIZERS}
    found |= {f"{g}.name": f"one of {', '.join(c)}." for g, c in choices.items()}
    return found | configs.MEANINGS | {"loss": f"one of {', '.join(LOSSES)}."}


def _takers(config: ConfigDict) -> dict[str, Callable[..., Any] | None]:
    """Return the function or class that takes each group of fields."""
    names = configs.flatten(config)
    loss = LOSSES.get(str(names.get("loss")))
    return {
        "data": DATASETS.get(str(names.get("data.name"))),
        "model": MODELS.get(str(names.get("model.name"))),
        "optimizer": OPTIMIZERS.get(str(names.get("optimizer.name"))),
        "schedule": SCHEDULES.get(str(names.get("optimizer.schedule"))),
        "loss_options": None if loss is None else loss.function,
    }
