"""Optimizers and learning-rate schedules from optax, created from a config."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from mi_classifier.errors import (
    UserError,
    check_number,
    check_options,
    choose,
    options_of,
)


def sgd(
    learning_rate: optax.ScalarOrSchedule,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> optax.GradientTransformation:
    """Create SGD whose weight decay is part of the gradient, as in PyTorch.

    Args:
      learning_rate: a number, or a function of the step.
      momentum: in [0, 1).
      nesterov: whether to use Nesterov momentum.
      weight_decay: this multiple of each parameter is added to its gradient, before
        momentum.
    """
    return optax.chain(
        optax.add_decayed_weights(weight_decay) if weight_decay else optax.identity(),
        optax.sgd(learning_rate, momentum or None, nesterov),
    )


# Those of optax that need only the mean gradient and take a schedule. The others
# do not fit: lbfgs and polyak_sgd need the loss, dpsgd the gradient of each example and
# noisy_sgd a random key; optimistic_adam, rprop and sm3 take no schedule.
_OF_OPTAX = """
    adabelief adadelta adafactor adagrad adam adamax adamaxw adamw adan amsgrad fromage
    lamb lars lion novograd optimistic_adam_v2 optimistic_gradient_descent radam rmsprop
    sign_sgd signum yogi
"""
OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {
    "sgd": sgd,
    # An older optax lacks the newest ones.
    **{
        name: getattr(optax, name) for name in _OF_OPTAX.split() if hasattr(optax, name)
    },
}


class Span(NamedTuple):
    """The length of a run."""

    num_steps: int  # of the whole run
    steps_per_epoch: int = 1


def step(
    rate: float, span: Span, decay_epochs: int, decay_rate: float
) -> optax.Schedule:
    """Multiply the learning rate by `decay_rate` every `decay_epochs` epochs.

    Args:
      rate: the learning rate at the start.
      span: the length of the run.
      decay_epochs: epochs after which the learning rate falls, again and again.
      decay_rate: factor by which it falls.
    """
    for name, value in (("decay_epochs", decay_epochs), ("decay_rate", decay_rate)):
        if not value > 0:
            raise UserError(f"optimizer.{name}: must be positive, not {value!r}")
    interval = decay_epochs * span.steps_per_epoch
    return optax.exponential_decay(rate, interval, decay_rate, staircase=True)


def warmup_cosine(rate: float, span: Span, warmup_epochs: int) -> optax.Schedule:
    """Raise the learning rate from 0 in equal steps, then lower it to 0 as a cosine.

    Args:
      rate: the largest learning rate.
      span: the length of the run.
      warmup_epochs: epochs in which the learning rate rises.
    """
    num_epochs = span.num_steps // span.steps_per_epoch
    if not 0 <= warmup_epochs < num_epochs:
        raise UserError(
            f"optimizer.warmup_epochs: must be at least 0 and less than num_epochs, "
            f"{num_epochs}, not {warmup_epochs}; with few epochs, set "
            "--config.optimizer.warmup_epochs=0"
        )
    warmup_steps = warmup_epochs * span.steps_per_epoch
    return optax.warmup_cosine_decay_schedule(0, rate, warmup_steps, span.num_steps)


SCHEDULES: dict[str, Callable[..., optax.Schedule]] = {
    "constant": lambda rate, span: optax.constant_schedule(rate),
    "cosine": lambda rate, span: optax.cosine_decay_schedule(rate, span.num_steps),
    "step": step,
    "warmup_cosine": warmup_cosine,
}
# The options that train some modules slower, and their defaults.
BACKBONE_OPTIONS = {"full_rate": (), "backbone_rate": 1.0}
OPTION_MEANINGS = {
    "learning_rate": "at the start, or where the schedule has its maximum.",
    "schedule": f"of the learning rate: {', '.join(SCHEDULES)}.",
    "full_rate": "names of the modules with the full learning rate.",
    "backbone_rate": "factor of the learning rate of all others; 0 freezes them.",
}


class Optimizer(NamedTuple):
    """An optimizer, and the learning rate that it follows."""

    transformation: optax.GradientTransformation  # maps gradients to updates
    schedule: optax.Schedule  # maps a step to its learning rate


def create_optimizer(config: Mapping[str, Any], span: Span) -> Optimizer:
    """Create an optimizer and its learning-rate schedule.

    Args:
      config: "name", one of `OPTIMIZERS`, and any argument of it, such as "momentum";
        "learning_rate"; "schedule", one of `SCHEDULES`, "constant" by default, and its
        options; and, to train some modules slower, "full_rate", the names of those that
        keep the learning rate, and "backbone_rate", the factor for all others: 0
        freezes them.
      span: the length of the run.

    Raises:
      UserError: a name or an argument is unknown, or a number is out of range.

    Examples:
      >>> config = {"name": "adam", "learning_rate": 0.1, "schedule": "cosine"}
      >>> float(create_optimizer(config, Span(num_steps=100)).schedule(100))
      0.0
    """
    options = {"schedule": "constant", "learning_rate": 0, **config}
    make = OPTIMIZERS[choose(options.pop("name", None), OPTIMIZERS, "optimizer.name")]
    name = choose(options.pop("schedule"), SCHEDULES, "optimizer.schedule")
    rate = options.pop("learning_rate")
    check_number(rate, "optimizer.learning_rate")
    if not rate > 0:
        raise UserError(f"optimizer.learning_rate: must be positive, not {rate}")
    groups = {o: options.pop(o) for o in BACKBONE_OPTIONS if o in options}
    make_schedule = functools.partial(SCHEDULES[name], rate, span)
    own = {o: options.pop(o) for o in options_of(make_schedule) if o in options}
    defaults = options_of(make)
    for other in SCHEDULES.values():  # an override may leave the options of another
        for option in options_of(other, given=2).keys() - defaults.keys():
            options.pop(option, None)
    check_options(make_schedule, own, "optimizer")
    options["learning_rate"] = schedule = make_schedule(**own)
    for option, value in options.items():
        if {type(value), type(defaults.get(option))} & {int, float}:
            check_number(value, f"optimizer.{option}")
            if value < 0:
                raise UserError(f"optimizer.{option}: must be at least 0, not {value}")
    check_options(make, options, "optimizer")
    transformation = make(**options)
    if groups:
        check_options(_scale_backbone, groups, "optimizer")
        transformation = optax.chain(transformation, _scale_backbone(**groups))
    if names := trained_modules(config):
        transformation = _only(names, transformation)
    return Optimizer(transformation, schedule)


def rates_ignore_length(config: Mapping[str, Any], num_epochs: int) -> bool:
    """Return whether learning rates stay the same if the number of epochs grows.

    Examples:
      >>> config = {"name": "adam", "learning_rate": 0.1}
      >>> rates_ignore_length(config, 9)
      True
      >>> rates_ignore_length({**config, "schedule": "cosine"}, 9)
      False
    """
    epochs = np.arange(num_epochs + 1)
    short, long = (
        create_optimizer(config, Span(length)).schedule(epochs)
        for length in (num_epochs, 2 * num_epochs)
    )
    return bool(np.array_equal(short, long))


def trained_modules(config: Mapping[str, Any]) -> Sequence[str]:
    """Return the modules that an optimizer's config trains; () for all of them."""
    names = _module_names(config.get("full_rate", ()))
    return () if config.get("backbone_rate", 1.0) else names


def _module_names(full_rate: Any) -> tuple[str, ...]:
    is_list = isinstance(full_rate, (tuple, list))
    if not (is_list and all(isinstance(name, str) for name in full_rate)):
        raise UserError(
            f"optimizer.full_rate: must be a tuple of names, not {full_rate!r}"
        )
    return tuple(full_rate)


def _only(
    names: Sequence[str], inner: optax.GradientTransformation
) -> optax.GradientTransformation:
    """Return updates of the named modules alone; the others need no state either."""

    def update(
        updates: optax.Updates, state: optax.OptState, params: optax.Params | None
    ) -> tuple[optax.Updates, optax.OptState]:
        params = None if params is None else select(params, names)
        return inner.update(select(updates, names), state, params)

    return optax.GradientTransformation(lambda p: inner.init(select(p, names)), update)


def select(params: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Return the parameters of the named modules; of all modules for no names."""
    if missing := [name for name in names if name not in params]:
        raise UserError(
            f"optimizer.full_rate: no module is called {missing[0]!r}; there are "
            f"{', '.join(params)}; set --config.optimizer.full_rate=\"('head',)\""
        )
    return {name: params[name] for name in names or params}


def _scale_backbone(
    full_rate: Sequence[str], backbone_rate: float
) -> optax.GradientTransformation:
    """Scale the updates of all modules that `full_rate` does not name."""
    full_rate = _module_names(full_rate)
    if not 0 <= backbone_rate <= 1:
        raise UserError(
            f"optimizer.backbone_rate: must be in [0, 1], not {backbone_rate}"
        )
    if not full_rate and not backbone_rate:
        raise UserError(
            "optimizer.full_rate: names no module, and backbone_rate=0 freezes all "
            "others; name the modules to train, such as ('head',)"
        )

    def scale(updates: optax.Updates, params: optax.Params | None) -> optax.Updates:
        del params
        select(updates, full_rate)  # refuses a name of no module
        return {
            name: update
            if name in full_rate
            else jax.tree.map(lambda u: backbone_rate * u, update)
            for name, update in updates.items()
        }

    return optax.stateless(scale)
