"""The training loop, from top to bottom: set up, train an epoch, save."""

import contextlib
import functools
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from mi_classifier import config as configs, evaluation, parallel, termination
from mi_classifier.data import Dataset, load_dataset
from mi_classifier.errors import UserError
from mi_classifier.evaluation.evaluators import ALWAYS, create_evaluators
from mi_classifier.models.pretrained import load_pretrained
from mi_classifier.progress import Progress, say
from mi_classifier.storage import workdirs
from mi_classifier.storage.checkpoints import (
    Checkpoints,
    Part,
    best_item,
    has_checkpoint,
)
from mi_classifier.text import tell
from mi_classifier.training.checks import check_config, warning_of_region
from mi_classifier.training.dry_run import check_step
from mi_classifier.training.epochs import PASSES, Setting, make_training
from mi_classifier.training.features import on_features
from mi_classifier.training.logging import MetricsLog, write_rows
from mi_classifier.training.optimizer import (
    Span,
    create_optimizer,
    rates_ignore_length,
)
from mi_classifier.training.state import TrainState, create_state
from mi_classifier.training.step import create_task

_UNSAVED = 5.0  # seconds of work that Ctrl-C may lose while a net is compiled
_RANDOM = (
    "the backbone is frozen and `pretrained` is empty, so its features are random; "
    "give weights, such as --config.pretrained=imagenet"
)
_DEAD = (
    "every feature of every validation example is 0: the net is dead; lower "
    "optimizer.learning_rate, or set another seed"
)

_alone = threading.Lock()


class Trained(NamedTuple):
    """The result of a training."""

    state: TrainState  # after the last step
    dataset: Dataset  # that it was trained on


def train(
    config: ConfigDict, workdir: str | Path, dataset: Dataset | None = None
) -> Trained:
    """Train the classifier of a config, or resume a run that was stopped.

    Each epoch is one pass over the training split in a fresh order; examples that do
    not fill a batch are left out of it. It ends with validation; the epoch that scores
    best, by `config.best_by`, is the one that is evaluated. A finished workdir is left
    as it is; if `config.num_epochs` has grown since, the run goes on, as if it had been
    longer from the start. That needs learning rates that do not depend on the length of
    the run, as those of the schedules "constant" and "step". The state is saved every
    `config.checkpoint_seconds`, inside of long epochs too. If an error ends a run
    early, the last epoch is saved first. In commands, Ctrl-C and SIGTERM save the last
    step; elsewhere a KeyboardInterrupt keeps the last epoch.

    Args:
      config: as in configs/.
      workdir: the folder to write everything to.
      dataset: the data to train on; by default it is loaded as the config says.

    Returns:
      The state after the last step, and the data.

    Raises:
      UserError: a field has a mistake, the data cannot be read, the workdir holds a run
        of another config, or the loss is no longer finite.
    """
    workdir = Path(workdir)
    check_config(config)
    config = configs.with_absolute_paths(config)
    may_go_on = rates_ignore_length(config.optimizer, config.num_epochs)
    workdirs.check_free_for(config, workdir, may_go_on)
    with _alone_in_process(), workdirs.hold(workdir):
        parallel.check_batch_size(config.batch_size, config.microbatches)
        starts = not has_checkpoint(workdir)
        if dataset is None:
            check_step(config, starts)
            with parallel.first_process_first():
                dataset = load_dataset(config.data)
        state = _train(*_set_up(config, workdir, dataset, starts))
    parallel.wait_for_all()  # every process finds what the first one has written
    return Trained(state, dataset)


def _set_up(
    config: ConfigDict, workdir: Path, dataset: Dataset, starts: bool
) -> tuple[Setting, TrainState]:
    task = create_task(config, dataset)
    num_examples = len(dataset.splits["train"]["label"])
    steps_per_epoch = num_examples // config.batch_size
    if not steps_per_epoch:
        raise UserError(
            f"batch_size: {config.batch_size} is more than the {num_examples} "
            "training examples; choose a smaller one"
        )
    span = Span(config.num_epochs * steps_per_epoch, steps_per_epoch)
    optimizer = create_optimizer(config.optimizer, span)
    init_key, key = jax.random.split(jax.random.key(config.seed))
    example, prior = dataset.example_input(), dataset.log_prior()
    if warning := warning_of_region(config, task.model, dataset):
        tell(warning)
    state = create_state(task.model, optimizer.transformation, example, prior, init_key)
    if starts and (pretrained := config.get("pretrained")):
        variables = load_pretrained(config.model.name, pretrained, state.variables)
        state = state.replace(**parallel.replicate(variables))
    elif starts and task.trained:
        say(f"warning: {_RANDOM}")
    return Setting(config, workdir, task, optimizer, span, key), state


@contextlib.contextmanager
def _alone_in_process() -> Iterator[None]:
    """Let threads train one after the other: what Orbax writes would get mixed up."""
    if not _alone.acquire(blocking=False):
        say("waiting for another training in this process")
        _alone.acquire()
    try:
        yield
    finally:
        _alone.release()


def _train(setting: Setting, state: TrainState) -> TrainState:
    config, workdir, dataset = setting.config, setting.workdir, setting.task.dataset
    may_go_on = rates_ignore_length(config.optimizer, config.num_epochs)
    workdirs.open_for(config, workdir, may_go_on)
    workdirs.check_data(workdir, dataset.fingerprints(), dataset.hash_arrays)
    workdirs.note_classes(workdir, dataset.class_names, dataset.log_prior())
    parallel.wait_for_all()  # the workdir is there, and nobody has written to it since
    run = workdirs.run_of(config, workdir)
    with termination.postponed(), Checkpoints(workdir, run) as checkpoints:
        state, best, rows, part = _restore(checkpoints, workdir, state)
        # A run may have stopped between the last step of an epoch and its validation.
        first_epoch, per_epoch = len(rows), setting.span.steps_per_epoch
        done = int(state.step) - first_epoch * per_epoch
        if first_epoch == config.num_epochs:
            write_rows(workdir, rows)  # the file may be gone, or cut
            tell(f"{workdir} is finished: {first_epoch} of {first_epoch} epochs")
            return state
        if done:
            now = f"in epoch {first_epoch + 1}, after {done:,} of {per_epoch:,} steps"
            tell(f"{workdir} resumes {now}; {config.num_epochs} epochs in all")
        elif first_epoch:
            tell(f"{workdir} resumes after epoch {first_epoch} of {config.num_epochs}")

        with termination.at_once():  # nothing is lost
            if config.get("cache_features"):
                task = on_features(setting.task, state.variables, config)
                setting = setting._replace(task=task)
            validate, warned = _make_validation(setting), False
            progress, count = _make_progress(setting, first_epoch, done)
            train_epoch = make_training(setting, progress, checkpoints.are_due)
        with MetricsLog(workdir, rows) as log, progress:
            for epoch in range(first_epoch, config.num_epochs):
                save = functools.partial(_save, checkpoints, best=best, rows=log.rows)
                state, trained, part = train_epoch(state, epoch, part, save)
                started, compiles = time.monotonic(), epoch == first_epoch
                # Later on, written only if the run stops before the validation is done.
                save(state, part, seconds=_UNSAVED if compiles else math.inf)
                with contextlib.ExitStack() as stack:
                    if compiles:
                        checkpoints.wait()
                        stack.enter_context(termination.at_once())
                    found, dead = validate(state.variables)
                progress.advance(count)
                row = {"epoch": epoch + 1, "step": int(state.step), **trained, **found}
                row["seconds"] = part.seconds + time.monotonic() - started
                log.write(row)
                progress.describe(
                    f"epoch {epoch + 1}/{config.num_epochs}: validation "
                    f"MI {row['validation_mutual_information']:.4f} nats, "
                    f"accuracy {100 * row['validation_accuracy']:.2f}%"
                )
                if dead and not warned:
                    progress.warn(f"epoch {epoch + 1}: {_DEAD}")
                    warned = True
                score = np.float32(row[f"validation_{config.best_by}"])
                if score > best["score"]:
                    best = best_item(state.variables, epoch + 1, score)
                part, seconds = Part(), config.checkpoint_seconds
                _save(checkpoints, state, part, seconds, best, log.rows)
    return state


def _restore(
    checkpoints: Checkpoints, workdir: Path, state: TrainState
) -> tuple[TrainState, dict[str, Any], list[dict[str, float]], Part]:
    """Return the state, the best epoch, the rows of the log and the begun epoch."""
    best = best_item(state.variables)
    found = {"state": state, "best": best, "rows": [], "part": Part()}
    if checkpoints.latest_step() is not None:
        found = checkpoints.restore(state=state, best=best)
    if not parallel.all_equal(step := int(found["state"].step)):
        raise UserError(
            f"{workdir}: not all processes can read the same checkpoint (this one "
            f"read step {step}); give a --workdir that all of them share"
        )
    return found["state"], found["best"], found["rows"], found["part"]


def _save(
    checkpoints: Checkpoints,
    state: TrainState,
    part: Part,
    seconds: float,
    best: Any,
    rows: Sequence[Mapping[str, float]],
) -> None:
    checkpoints.save_soon(int(state.step), state, best, rows, seconds, part)


def _make_progress(setting: Setting, epoch: int, steps: int) -> tuple[Progress, int]:
    """Return the bar of a training, and how much a validation adds to it.

    Its unit is an example's pass forward, because nothing else is known at first.
    """
    count = len(setting.task.dataset.splits["validation"]["label"])
    step = PASSES * setting.config.batch_size
    whole = setting.span.steps_per_epoch * step + count
    total, completed = setting.config.num_epochs * whole, epoch * whole + steps * step
    return Progress("training", total, completed, keep=True), count


def _make_validation(
    setting: Setting,
) -> Callable[[Any], tuple[dict[str, float], bool]]:
    """Return a function that gives an epoch's results, and whether the net is dead."""
    model, dataset, loss = setting.task.model, setting.task.dataset, setting.task.loss
    evaluators = create_evaluators(ALWAYS, evaluation.Subject(dataset, loss))
    evaluate_split = evaluation.make_split_pass(
        model, dataset, evaluators, setting.config.evaluation_batch_size
    )

    def validate(variables: Any) -> tuple[dict[str, float], bool]:
        results, _ = evaluate_split(variables, "validation")
        information, accuracy = results["information"], results["accuracy"]
        row = {
            "validation_loss": information.loss,
            "validation_mutual_information": information.mutual_information.nats,
            "validation_accuracy": accuracy.by_rule("paper").micro,
            "validation_macro_accuracy": accuracy.by_rule("paper").macro,
        }
        return row, results["activity"].silent == 1

    return validate
