"""Optimizers and learning-rate schedules by config, in optax terms."""

from collections.abc import Callable, Mapping
from typing import Any

import optax

from mi_classifier.errors import UserError, check_options, choose

_OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {
    "adam": optax.adam,
    "adamw": optax.adamw,
    "sgd": optax.sgd,
}
_SCHEDULES: dict[str, Callable[[float, int], optax.Schedule]] = {
    "constant": lambda learning_rate, steps: optax.constant_schedule(learning_rate),
    "cosine": optax.cosine_decay_schedule,
}


def create_schedule(config: Mapping[str, Any], num_steps: int) -> optax.Schedule:
    """Creates the learning rate as a function of the step.

    Args:
      config: "learning_rate" and "schedule": "constant", or "cosine" down to 0.
      num_steps: steps of the whole run.

    Raises:
      UserError: an unknown schedule, or a learning rate that is not positive.
    """
    schedule = choose(config.get("schedule"), _SCHEDULES, "optimizer.schedule")
    rate = config.get("learning_rate", 0)
    if not 0 < rate < float("inf"):
        raise UserError(f"optimizer.learning_rate: must be positive, not {rate}")
    return _SCHEDULES[schedule](rate, num_steps)


def create_optimizer(
    config: Mapping[str, Any], num_steps: int
) -> optax.GradientTransformation:
    """Creates an optimizer.

    Args:
      config: "name", "adam" or "sgd"; the fields of `create_schedule`; and any
        argument of that optax optimizer, such as "momentum".
      num_steps: steps of the whole run.

    Raises:
      UserError: an unknown name or argument.
    """
    options = dict(config)
    name = choose(options.pop("name", None), _OPTIMIZERS, "optimizer.name")
    options["learning_rate"] = create_schedule(config, num_steps)
    options.pop("schedule")
    check_options(_OPTIMIZERS[name], options, "optimizer")
    return _OPTIMIZERS[name](**options)
