"""Optimizers and learning-rate schedules by config, in optax terms."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import optax

from mi_classifier.errors import UserError, check_number, check_options, choose


def sgd(
    learning_rate: optax.ScalarOrSchedule,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> optax.GradientTransformation:
    """Stochastic gradient descent as PyTorch has it: weight decay joins the gradient.

    Args:
      learning_rate: a number, or a function of the step.
      momentum: in [0, 1).
      nesterov: whether to look ahead along the momentum.
      weight_decay: times each parameter is added to its gradient, before momentum.
    """
    return optax.chain(
        optax.add_decayed_weights(weight_decay) if weight_decay else optax.identity(),
        optax.sgd(learning_rate, momentum or None, nesterov),
    )


_OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {
    "adam": optax.adam,
    "adamw": optax.adamw,
    "sgd": sgd,
}
_SCHEDULES = ("constant", "cosine", "step")
# What a schedule takes beside its name and the learning rate.
_SCHEDULE_FIELDS = ("decay_epochs", "decay_rate")
_WORDS = ("name", "schedule", "nesterov", "full_rate")  # what is no number
_GROUP_FIELDS = ("full_rate", "backbone_rate")


def create_schedule(
    config: Mapping[str, Any], num_steps: int, steps_per_epoch: int = 1
) -> optax.Schedule:
    """Creates the learning rate as a function of the step.

    Args:
      config: "learning_rate" and "schedule": "constant"; "cosine", down to 0; or
        "step", times "decay_rate" every "decay_epochs".
      num_steps: steps of the whole run.
      steps_per_epoch: for "decay_epochs".

    Raises:
      UserError: an unknown schedule, a field that it lacks, or a number out of range.
    """
    schedule = choose(config.get("schedule"), _SCHEDULES, "optimizer.schedule")
    rate = config.get("learning_rate", 0)
    if not 0 < rate < float("inf"):
        raise UserError(f"optimizer.learning_rate: must be positive, not {rate}")
    if schedule == "constant":
        return optax.constant_schedule(rate)
    if schedule == "cosine":
        return optax.cosine_decay_schedule(rate, num_steps)
    for field in _SCHEDULE_FIELDS:
        if not config.get(field, 0) > 0:
            raise UserError(
                f"optimizer.{field}: must be positive, not {config.get(field)!r}"
            )
    if type(config["decay_epochs"]) is not int:
        epochs = config["decay_epochs"]
        raise UserError(
            f"optimizer.decay_epochs: must be a whole number, not {epochs!r}"
        )
    return optax.exponential_decay(
        rate,
        config["decay_epochs"] * steps_per_epoch,
        config["decay_rate"],
        staircase=True,
    )


def create_optimizer(
    config: Mapping[str, Any], num_steps: int, steps_per_epoch: int = 1
) -> optax.GradientTransformation:
    """Creates an optimizer.

    Args:
      config: "name": "adam", "adamw" or "sgd"; the fields of `create_schedule`; any
        argument of that optimizer, such as "momentum"; and, to train some modules
        slower, "full_rate", the names of those that keep the learning rate, and
        "backbone_rate", the share of it that the others have: 0 freezes them.
      num_steps: steps of the whole run.
      steps_per_epoch: for schedules by the epoch.

    Raises:
      UserError: an unknown name or argument, or a number out of range.
    """
    options = dict(config)
    for field, value in options.items():
        if field not in _WORDS:
            check_number(value, f"optimizer.{field}")
            if value < 0:
                raise UserError(f"optimizer.{field}: must not be negative, but {value}")
    full = options.get("full_rate", ())
    if not isinstance(full, (tuple, list)) or not all(isinstance(n, str) for n in full):
        raise UserError(f"optimizer.full_rate: must be names of modules, not {full!r}")
    name = choose(options.pop("name", None), _OPTIMIZERS, "optimizer.name")
    options["learning_rate"] = create_schedule(config, num_steps, steps_per_epoch)
    options.pop("schedule")
    for field in _SCHEDULE_FIELDS:
        options.pop(field, None)
    groups = [options.pop(field, None) for field in _GROUP_FIELDS]
    check_options(_OPTIMIZERS[name], options, "optimizer")
    optimizer = _OPTIMIZERS[name](**options)
    if groups == [None, None]:
        return optimizer
    if None in groups:
        raise UserError("optimizer.full_rate and optimizer.backbone_rate: give both")
    if not 0 <= groups[1] <= 1:
        raise UserError(f"optimizer.backbone_rate: must be in [0, 1], not {groups[1]}")
    return optax.chain(optimizer, _scale_backbone(*groups))


def _scale_backbone(
    full_rate: Sequence[str], backbone_rate: float
) -> optax.GradientTransformation:
    """Scales the updates of all modules but those named."""

    def scale(updates: optax.Updates, params: optax.Params | None) -> optax.Updates:
        del params
        if missing := [name for name in full_rate if name not in updates]:
            raise UserError(
                f"optimizer.full_rate: no module is called {missing[0]!r}; there are "
                f"{', '.join(updates)}"
            )
        return {
            name: update
            if name in full_rate
            else jax.tree.map(lambda u: backbone_rate * u, update)
            for name, update in updates.items()
        }

    return optax.stateless(scale)
