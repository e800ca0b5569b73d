"""Optimizers and learning-rate schedules by config, in optax's terms."""

import inspect
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any, NamedTuple

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
      weight_decay: this multiple of each parameter is added to its gradient, before
        momentum.
    """
    return optax.chain(
        optax.add_decayed_weights(weight_decay) if weight_decay else optax.identity(),
        optax.sgd(learning_rate, momentum or None, nesterov),
    )


def _of_optax() -> dict[str, Callable[..., optax.GradientTransformation]]:
    """Returns optax's optimizers: its functions whose first argument is the rate."""
    return {
        name: function
        for name, function in vars(optax).items()
        if inspect.isfunction(function)
        and next(iter(inspect.signature(function).parameters), "") == "learning_rate"
        and name != "lbfgs"  # its line search calls the loss
    }


OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {
    **_of_optax(),
    "sgd": sgd,
}


class Span(NamedTuple):
    """How long a run is, for its schedule.

    Attributes:
      num_steps: steps of the whole run.
      steps_per_epoch: steps of an epoch.
    """

    num_steps: int
    steps_per_epoch: int = 1


def constant(rate: float, span: Span) -> optax.Schedule:
    """Keeps the learning rate."""
    del span
    return optax.constant_schedule(rate)


def cosine(rate: float, span: Span) -> optax.Schedule:
    """Lowers the learning rate to 0 along a cosine."""
    return optax.cosine_decay_schedule(rate, span.num_steps)


def step(
    rate: float, span: Span, decay_epochs: int, decay_rate: float
) -> optax.Schedule:
    """Multiplies the learning rate by `decay_rate` every `decay_epochs` epochs."""
    for name, value in (("decay_epochs", decay_epochs), ("decay_rate", decay_rate)):
        if not value > 0:
            raise UserError(f"optimizer.{name}: must be positive, not {value!r}")
    interval = decay_epochs * span.steps_per_epoch
    return optax.exponential_decay(rate, interval, decay_rate, staircase=True)


SCHEDULES: dict[str, Callable[..., optax.Schedule]] = {
    "constant": constant,
    "cosine": cosine,
    "step": step,
}
_GROUPS = {"full_rate": (), "backbone_rate": 1.0}


class Optimizer(NamedTuple):
    """An optimizer, and the learning rate that it follows.

    Attributes:
      transformation: of gradients to updates.
      schedule: the learning rate by the step.
    """

    transformation: optax.GradientTransformation
    schedule: optax.Schedule


def create_optimizer(config: Mapping[str, Any], span: Span) -> Optimizer:
    """Creates an optimizer and its learning-rate schedule.

    Args:
      config: "name", one of `OPTIMIZERS`, and any argument of it, such as "momentum";
        "learning_rate"; "schedule", one of `SCHEDULES`, and its arguments; and, to
        train some modules slower, "full_rate", the names of those that keep the
        learning rate, and "backbone_rate", the share of it that the others have: 0
        freezes them.
      span: how long the run is.

    Raises:
      UserError: an unknown name or argument, or a number out of range.
    """
    options = dict(config)
    make = OPTIMIZERS[choose(options.pop("name", None), OPTIMIZERS, "optimizer.name")]
    schedule = _create_schedule(options, span, inspect.signature(make).parameters)
    groups = {name: options.pop(name, None) for name in _GROUPS}
    _check_values(make, options)
    options["learning_rate"] = schedule
    check_options(make, options, "optimizer")
    transformation = make(**options)
    if any(value is not None for value in groups.values()):
        _check_groups(**groups)
        transformation = optax.chain(transformation, _scale_backbone(**groups))
    return Optimizer(transformation, schedule)


def known_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a config's "optimizer" may hold, with defaults; None where none.

    Args:
      config: its "name" and "schedule", if known, say which options there are.
    """
    functions = (
        OPTIMIZERS.get(config.get("name")),
        SCHEDULES.get(config.get("schedule")),
    )
    options: dict[str, Any] = {"schedule": "constant", **_GROUPS}
    for function in filter(None, functions):
        for parameter in inspect.signature(function).parameters.values():
            missing = parameter.default is inspect.Parameter.empty
            options[parameter.name] = None if missing else parameter.default
    return {k: v for k, v in options.items() if k not in ("rate", "span")}


def _create_schedule(
    options: dict[str, Any], span: Span, of_optimizer: Container[str]
) -> optax.Schedule:
    """Takes the schedule's own options out of an optimizer's, and makes it."""
    name = choose(options.pop("schedule", None), SCHEDULES, "optimizer.schedule")
    rate = options.pop("learning_rate", 0)
    check_number(rate, "optimizer.learning_rate")
    if not rate > 0:
        raise UserError(f"optimizer.learning_rate: must be positive, not {rate}")
    taken = inspect.signature(SCHEDULES[name]).parameters
    own = {p: options.pop(p) for p in taken if p in options}
    for schedule in SCHEDULES.values():  # options of another one do not matter
        for parameter in inspect.signature(schedule).parameters:
            if parameter not in of_optimizer:
                options.pop(parameter, None)
    check_options(SCHEDULES[name], own | {"rate": rate, "span": span}, "optimizer")
    return SCHEDULES[name](rate, span, **own)


def _check_values(function: Callable, options: Mapping[str, Any]) -> None:
    """Checks that each value is of its default's kind, and no number is negative."""
    parameters = inspect.signature(function).parameters
    for name, value in options.items():
        default = parameters[name].default if name in parameters else None
        if isinstance(default, bool):
            if not isinstance(value, bool):
                raise UserError(f"optimizer.{name}: must be bool, not {value!r}")
        elif isinstance(default, (int, float)) or isinstance(value, (int, float)):
            check_number(value, f"optimizer.{name}")
            if value < 0 and not (isinstance(default, (int, float)) and default < 0):
                raise UserError(f"optimizer.{name}: must not be negative, but {value}")


def _check_groups(full_rate: Sequence[str] | None, backbone_rate: float | None) -> None:
    if full_rate is None or backbone_rate is None:
        raise UserError("optimizer.full_rate and optimizer.backbone_rate: give both")
    names = isinstance(full_rate, (tuple, list))
    if not names or not all(isinstance(name, str) for name in full_rate):
        raise UserError(
            f"optimizer.full_rate: must be names of modules, not {full_rate!r}"
        )
    check_number(backbone_rate, "optimizer.backbone_rate")
    if not 0 <= backbone_rate <= 1:
        raise UserError(
            f"optimizer.backbone_rate: must be in [0, 1], not {backbone_rate}"
        )


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
