"""Train one epoch: calls of the compiled steps, checkpoints by time, and signals."""

import collections
import functools
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from mi_classifier import termination
from mi_classifier.data.pipeline import Batches, make_pipeline
from mi_classifier.errors import UserError
from mi_classifier.progress import Progress
from mi_classifier.storage.checkpoints import Part
from mi_classifier.training import divergence
from mi_classifier.training.optimizer import Optimizer, Span
from mi_classifier.training.state import TrainState, copy
from mi_classifier.training.step import Task, TrainSteps, make_train_steps

_CALLS_AHEAD = 4  # calls of the steps that the host starts before it looks at a loss
# Steps in a call where an accelerator holds the data: starting a call takes the host
# some milliseconds, as long as a step may take.
_LEAST_STEPS = 16
_LEAST_SECONDS = 1.0  # seconds between two checkpoints inside of an epoch
_LOGGED = "train_loss", "train_accuracy"
PASSES = 4  # forward passes that take about as long as a training step


class Setting(NamedTuple):
    """What a run needs besides its state."""

    config: ConfigDict
    workdir: Path
    task: Task
    optimizer: Optimizer
    span: Span
    key: jax.Array  # for all random numbers but the first parameters


def make_training(
    setting: Setting, progress: Progress, are_due: Callable[[float], bool]
) -> Callable[..., tuple[TrainState, dict[str, float], Part]]:
    """Return a function that trains an epoch, or what is left of it.

    Args:
      setting: of the run.
      progress: of the run; its unit is an example's pass forward.
      are_due: says whether so many seconds have passed since the last checkpoint.

    Returns:
      A function of the state, the number of the epoch, the `Part` that is done, and a
      function that saves a state and its `Part`. It returns the new state, what
      training gives to the log, and the whole epoch as a `Part`.
    """
    config, key = setting.config, setting.key
    task, split = setting.task, setting.task.dataset.splits["train"]
    transformation, schedule = setting.optimizer
    length = setting.span.steps_per_epoch
    pipeline = make_pipeline(config.get("pipeline", "auto"), split)
    steps = make_train_steps(
        task, transformation, key, config.microbatches, pipeline.axis
    )
    per_call = config.steps_per_call
    if pipeline.axis is None and jax.default_backend() != "cpu":
        per_call = max(per_call, _LEAST_STEPS)
    layer = functools.partial(divergence.first_broken_layer, task, key)
    compiled: list[bool] = []

    def call(state: TrainState, batches: Batches) -> tuple[TrainState, jax.Array]:
        if compiled:  # another number of steps may compile, but there is work to save
            return steps(state, batches)
        with termination.at_once():
            progress.describe("training: compiling")
            result = steps(state, batches)
            progress.begin()
            progress.describe("training")
        compiled.append(True)
        return result

    def train_epoch(
        before: TrainState, epoch: int, part: Part, save: Callable[..., object]
    ) -> tuple[TrainState, dict[str, float], Part]:
        started = time.monotonic() - part.seconds
        shape = length, config.batch_size
        order = epoch_order(config.seed, epoch, len(split["label"]), shape)
        order = order[int(before.step) - epoch * length :]
        batches = pipeline.batches(order, per_call)

        def so_far(values: np.ndarray) -> Part:
            # One after the other, so that a stop does not change the rounding.
            first = np.array([[part.loss, part.accuracy]])
            loss, accuracy = np.concatenate([first, values]).cumsum(0)[-1].tolist()
            return Part(loss, accuracy, time.monotonic() - started)

        def save_part(state: TrainState, values: np.ndarray) -> None:
            if np.isfinite(values).all() and divergence.all_finite(state.params):
                save(state, so_far(values), seconds=0)

        # A copy, because the steps donate their state: the one before stays usable.
        state, values = run_epoch(
            call,
            copy(before),
            batches,
            lambda count: progress.advance(PASSES * config.batch_size * count),
            lambda: are_due(max(config.checkpoint_seconds, _LEAST_SECONDS)),
            save_part,
        )
        part = so_far(values)
        if np.isfinite(part.loss) and divergence.all_finite(state.params):
            means = part.loss / length, part.accuracy / length
            return state, dict(zip(_LOGGED, means, strict=True)), part
        where = divergence.explain(before, order, steps, pipeline, schedule, layer)
        kept = f" (epoch {epoch} is kept)" if epoch else ""
        raise UserError(
            f"training diverged in epoch {epoch + 1}, {where}; lower "
            f"optimizer.learning_rate{kept}"
        )

    return train_epoch


def epoch_order(
    seed: int, epoch: int, num_examples: int, shape: tuple[int, int]
) -> np.ndarray:
    """Return an epoch's examples in random order, as many as fit into `shape`."""
    order = np.random.default_rng([seed, epoch]).permutation(num_examples)
    return order[: shape[0] * shape[1]].astype(np.int32).reshape(shape)


def run_epoch(
    train_steps: TrainSteps,
    state: TrainState,
    batches: Iterable[Batches],
    advance: Callable[[int], object] = lambda steps: None,
    is_due: Callable[[], bool] = lambda: False,
    save: Callable[[TrainState, np.ndarray], object] = lambda state, values: None,
) -> tuple[TrainState, np.ndarray]:
    """Take the steps of an epoch, until soon after a loss that is not finite.

    The devices never wait for the host: it looks at the losses of a call after it has
    started four more calls. Only a checkpoint makes them wait.

    Args:
      train_steps: the compiled steps.
      state: to begin with; it is donated.
      batches: what each call takes.
      advance: gets the number of steps that are known to be done.
      is_due: says whether a checkpoint is due.
      save: saves the state, and what its steps have found, before the run goes on.

    Returns:
      The state, and the mean loss and accuracy of each batch, `[steps, 2]`.
    """
    done, ahead = [np.empty((0, 2), np.float32)], collections.deque()

    def look(calls_ahead: int) -> None:
        """Wait for all calls but the last few."""
        while len(ahead) > calls_ahead:
            done.append(np.asarray(ahead.popleft()))
            advance(len(done[-1]))

    for number, some in enumerate(batches, start=1):
        state, values = train_steps(state, some)
        ahead.append(values)
        # The arguments of each call ahead take device memory, so limit their number.
        look(_CALLS_AHEAD)
        # All processes stop after the same call, whether or not they save.
        if not np.isfinite(done[max(number - _CALLS_AHEAD, 0)]).all():
            break
        if is_due() or (termination.asked and jax.process_count() == 1):
            look(0)
            save(state, np.concatenate(done))
        termination.check()
    look(0)
    return state, np.concatenate(done)
