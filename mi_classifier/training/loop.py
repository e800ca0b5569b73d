"""The training loop, from top to bottom: set up, train an epoch, save."""

import functools
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from mi_classifier import config as configs, evaluation, parallel, termination
from mi_classifier.data import Dataset, load_dataset
from mi_classifier.data.pipeline import Batches, make_pipeline
from mi_classifier.errors import UserError
from mi_classifier.evaluation.evaluators import ALWAYS, create_evaluators
from mi_classifier.models.pretrained import load_pretrained
from mi_classifier.progress import Progress
from mi_classifier.storage import workdirs
from mi_classifier.storage.checkpoints import Checkpoints, best_item, has_checkpoint
from mi_classifier.training import divergence
from mi_classifier.training.checks import check_config, warning_of_region
from mi_classifier.training.dry_run import check_step
from mi_classifier.training.features import on_features
from mi_classifier.training.logging import MetricsLog, write_rows
from mi_classifier.training.optimizer import (
    Optimizer,
    Span,
    create_optimizer,
    rates_ignore_length,
)
from mi_classifier.training.state import TrainState, copy, create_state
from mi_classifier.training.step import Task, TrainSteps, create_task, make_train_steps

_CALLS_AHEAD = 4  # calls of the steps that the host starts before it looks at a loss
_RANDOM = (
    "the backbone is frozen and `pretrained` is empty, so its features are random; "
    "give weights, such as --config.pretrained=imagenet"
)
_DEAD = (
    "every feature of every validation example is 0: the net is dead; lower "
    "optimizer.learning_rate, or set another seed"
)


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
    the run, as those of the schedules "constant" and "step". If anything but a kill
    ends a run early, the last epoch is saved first.

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
    with workdirs.hold(workdir):
        parallel.check_batch_size(config.batch_size, config.microbatches)
        starts = not has_checkpoint(workdir)
        if dataset is None:
            check_step(config, starts)
            with parallel.first_process_first():
                dataset = load_dataset(config.data)
        state = _train(*_set_up(config, workdir, dataset, starts))
    parallel.wait_for_all()  # every process finds what the first one has written
    return Trained(state, dataset)


class _Run(NamedTuple):
    """What a run needs besides its state."""

    config: ConfigDict
    workdir: Path
    task: Task
    optimizer: Optimizer
    span: Span
    key: jax.Array  # for all random numbers but the first parameters


def _set_up(
    config: ConfigDict, workdir: Path, dataset: Dataset, starts: bool
) -> tuple[_Run, TrainState]:
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
        print(warning)
    state = create_state(task.model, optimizer.transformation, example, prior, init_key)
    if starts and (pretrained := config.get("pretrained")):
        variables = load_pretrained(config.model.name, pretrained, state.variables)
        state = state.replace(**parallel.replicate(variables))
    elif starts and task.trained and parallel.is_first():
        print(f"warning: {_RANDOM}", file=sys.stderr)
    return _Run(config, workdir, task, optimizer, span, key), state


def _train(run: _Run, state: TrainState) -> TrainState:
    config, workdir, dataset = run.config, run.workdir, run.task.dataset
    may_go_on = rates_ignore_length(config.optimizer, config.num_epochs)
    workdirs.open_for(config, workdir, may_go_on)
    workdirs.check_data(workdir, dataset.fingerprints(), dataset.hash_arrays)
    workdirs.note_classes(workdir, dataset.class_names, dataset.log_prior())
    parallel.wait_for_all()  # the workdir is there, and nobody has written to it since
    with termination.postponed(), Checkpoints(workdir) as checkpoints:
        best, rows = best_item(state.variables), []
        if checkpoints.latest_step() is not None:
            restored = checkpoints.restore(state=state, best=best)
            state, best, rows = (restored[k] for k in ("state", "best", "rows"))
        if not parallel.all_equal(step := int(state.step)):
            raise UserError(
                f"{workdir}: not all processes can read the same checkpoint (this one "
                f"read step {step}); give a --workdir that all of them share"
            )
        first_epoch = step // run.span.steps_per_epoch
        if first_epoch == config.num_epochs:
            write_rows(workdir, rows)  # the file may be gone, or cut
            print(f"{workdir} is finished: {first_epoch} of {first_epoch} epochs")
            return state
        if first_epoch:
            print(f"{workdir} resumes after epoch {first_epoch} of {config.num_epochs}")

        if config.get("cache_features"):
            run = run._replace(task=on_features(run.task, state.variables, config))
        validate, warned = _make_validation(run), False
        progress = Progress("training", run.span.num_steps, step, True)
        train_epoch = _make_training(run, progress.advance)
        with MetricsLog(workdir, rows) as log, progress:
            for epoch in range(first_epoch, config.num_epochs):
                started = time.monotonic()
                state, trained = train_epoch(state, epoch)
                found, dead = validate(state.variables)
                row = {"epoch": epoch + 1, "step": int(state.step), **trained, **found}
                row["seconds"] = time.monotonic() - started
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
                checkpoints.save_soon(
                    int(state.step), state, best, log.rows, config.checkpoint_seconds
                )
    return state


def _make_training(
    run: _Run, advance: Callable[[int], object]
) -> Callable[[TrainState, int], tuple[TrainState, dict[str, float]]]:
    """Return a function that trains one epoch: the new state, and its log's part."""
    config, split = run.config, run.task.dataset.splits["train"]
    transformation, schedule = run.optimizer
    pipeline = make_pipeline(config.get("pipeline", "auto"), split)
    steps = make_train_steps(
        run.task, transformation, run.key, config.microbatches, pipeline.axis
    )
    layer = functools.partial(divergence.first_broken_layer, run.task, run.key)

    def train_epoch(
        before: TrainState, epoch: int
    ) -> tuple[TrainState, dict[str, float]]:
        shape = run.span.steps_per_epoch, config.batch_size
        order = epoch_order(config.seed, epoch, len(split["label"]), shape)
        batches = pipeline.batches(order, config.steps_per_call)
        # A copy, because the steps donate their state: the one before stays usable.
        state, values = run_epoch(steps, copy(before), batches, advance)
        loss, accuracy = map(float, values.mean(0, dtype=np.float64))
        if np.isfinite(loss) and divergence.all_finite(state.params):
            return state, {"train_loss": loss, "train_accuracy": accuracy}
        where = divergence.explain(before, order, steps, pipeline, schedule, layer)
        kept = f" (epoch {epoch} is kept)" if epoch else ""
        raise UserError(
            f"training diverged in epoch {epoch + 1}, {where}; lower "
            f"optimizer.learning_rate{kept}"
        )

    return train_epoch


def _make_validation(run: _Run) -> Callable[[Any], tuple[dict[str, float], bool]]:
    """Return a function that gives an epoch's results, and whether the net is dead."""
    model, dataset, loss = run.task.model, run.task.dataset, run.task.loss
    evaluators = create_evaluators(ALWAYS, evaluation.Subject(dataset, loss))
    evaluate_split = evaluation.make_split_pass(
        model, dataset, evaluators, run.config.evaluation_batch_size
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
) -> tuple[TrainState, np.ndarray]:
    """Take the steps of an epoch, until soon after a loss that is not finite.

    The devices never wait for the host: it looks at the losses of a call after it has
    started four more calls. Return the state, and the mean loss and accuracy of each
    batch, `[steps, 2]`.
    """
    found: list[jax.Array] = []
    for some in batches:
        state, values = train_steps(state, some)
        found.append(values)
        # The arguments of each call ahead take device memory, so limit their number.
        if len(found) > _CALLS_AHEAD:
            done = jax.device_get(found[-_CALLS_AHEAD - 1])
            if not np.isfinite(done).all():
                break
        advance(len(values))
        termination.check()
    return state, np.concatenate(jax.device_get(found))
