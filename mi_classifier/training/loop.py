"""The training loop, from top to bottom: set up, train an epoch, save."""

import dataclasses
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from mi_classifier import config as configs
from mi_classifier import evaluation, parallel, termination
from mi_classifier.data import Dataset, load_dataset
from mi_classifier.data.pipeline import Batches, make_pipeline
from mi_classifier.errors import UserError
from mi_classifier.evaluation.evaluators import ALWAYS, create_evaluators
from mi_classifier.evaluation.results import SplitResults
from mi_classifier.losses import create_loss
from mi_classifier.models import create_model
from mi_classifier.models.pretrained import load_pretrained
from mi_classifier.progress import Progress
from mi_classifier.storage import workdirs
from mi_classifier.storage.checkpoints import Checkpoints, best_item, has_checkpoint
from mi_classifier.training import divergence
from mi_classifier.training.checks import check_config, check_loss
from mi_classifier.training.dry_run import check_step
from mi_classifier.training.logging import MetricsLog, write_rows
from mi_classifier.training.optimizer import Optimizer, Span, create_optimizer
from mi_classifier.training.state import TrainState, create_state
from mi_classifier.training.step import Task, TrainSteps, copy, make_train_steps

_CALLS_AHEAD = 4  # calls of the steps that the host starts before it looks at a loss
_DEAD = (
    "every feature of every validation example is 0: the net is dead; lower "
    "optimizer.learning_rate, or set another seed"
)


class Trained(NamedTuple):
    """The result of a training.

    Attributes:
      state: the state after the last step.
      dataset: the data that it was trained on.
    """

    state: TrainState
    dataset: Dataset


def train(
    config: ConfigDict, workdir: str | Path, dataset: Dataset | None = None
) -> Trained:
    """Train the classifier of a config, or resume a run that was stopped.

    Each epoch is one pass over the training split in a fresh order; examples that do
    not fill a batch are left out of it. It ends with validation; the epoch that scores
    best, by `config.best_by`, is the one that is evaluated. A finished workdir is left
    as it is. If anything but a kill ends a run early, the last epoch is saved first.

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
    workdirs.check_free_for(config, workdir)
    with workdirs.hold(workdir):
        parallel.check_batch_size(config.batch_size, config.microbatches)
        starts = not has_checkpoint(workdir)
        if dataset is None:
            check_step(config, starts)
            with parallel.first_process_first():
                dataset = load_dataset(config.data)
        setup = _set_up(config, workdir, dataset)
        state = _train(setup, _first_state(setup, starts))
    parallel.wait_for_all()  # every process finds what the first one has written
    return Trained(state, dataset)


@dataclasses.dataclass(frozen=True)
class _Setup:
    """Everything that a run needs."""

    config: ConfigDict
    workdir: Path
    task: Task
    optimizer: Optimizer
    span: Span
    init_key: jax.Array  # for the parameters
    key: jax.Array  # for all other random numbers


def _set_up(config: ConfigDict, workdir: Path, dataset: Dataset) -> _Setup:
    check_loss(config.loss, dataset)
    num_examples = len(dataset.splits["train"]["label"])
    steps_per_epoch = num_examples // config.batch_size
    if not steps_per_epoch:
        raise UserError(
            f"batch_size: {config.batch_size} is more than the {num_examples} "
            "training examples; choose a smaller one"
        )
    span = Span(config.num_epochs * steps_per_epoch, steps_per_epoch)
    model = create_model(num_classes=dataset.num_classes, **config.model)
    task = Task(model, dataset, create_loss(config.loss, config.get("loss_options")))
    optimizer = create_optimizer(config.optimizer, span)
    keys = jax.random.split(jax.random.key(config.seed))
    return _Setup(config, workdir, task, optimizer, span, *keys)


def _first_state(setup: _Setup, starts: bool) -> TrainState:
    dataset, pretrained = setup.task.dataset, setup.config.get("pretrained")
    state = create_state(
        setup.task.model,
        setup.optimizer.transformation,
        dataset.example_input(),
        dataset.log_prior(),
        setup.init_key,
    )
    if not (pretrained and starts):
        return state
    variables = load_pretrained(setup.config.model.name, pretrained, state.variables)
    return state.replace(**parallel.replicate(variables))


def _train(setup: _Setup, state: TrainState) -> TrainState:
    config, workdir, dataset = setup.config, setup.workdir, setup.task.dataset
    workdirs.open_for(config, workdir)
    workdirs.check_data(workdir, dataset.fingerprints(), dataset.hash_arrays)
    parallel.wait_for_all()  # the workdir is there, and nobody has written to it since
    with termination.postponed(), Checkpoints(workdir) as checkpoints:
        best, rows = best_item(state.variables), []
        if checkpoints.latest_step() is not None:
            restored = checkpoints.restore(state=state, best=best)
            state, best, rows = (restored[k] for k in ("state", "best", "rows"))
        _check_same_step(int(state.step), workdir)
        first_epoch = int(state.step) // setup.span.steps_per_epoch
        if first_epoch == config.num_epochs:
            write_rows(workdir, rows)  # the file may be gone, or cut
            print(f"{workdir} is finished: {first_epoch} of {first_epoch} epochs")
            return state
        if first_epoch:
            print(f"{workdir} resumes after epoch {first_epoch} of {config.num_epochs}")

        validate, warned = _make_validation(setup), False
        progress = Progress("training", setup.span.num_steps, int(state.step), True)
        train_epoch = _make_training(setup, progress.advance)
        with MetricsLog(workdir, rows) as log, progress:
            for epoch in range(first_epoch, config.num_epochs):
                started = time.monotonic()
                state, train_loss = train_epoch(state, epoch)
                results = validate(state.variables)
                row = {
                    "epoch": epoch + 1,
                    "step": int(state.step),
                    "train_loss": train_loss,
                    **_validation_row(results),
                    "seconds": time.monotonic() - started,
                }
                log.write(row)
                progress.describe(_describe(row, config.num_epochs))
                if results["activity"].silent == 1 and not warned:
                    progress.warn(f"epoch {epoch + 1}: {_DEAD}")
                    warned = True
                score = np.float32(row[f"validation_{config.best_by}"])
                if score > best["score"]:
                    best = best_item(state.variables, epoch + 1, score)
                checkpoints.save_soon(
                    int(state.step), state, best, log.rows, config.checkpoint_seconds
                )
    return state


def _check_same_step(step: int, workdir: Path) -> None:
    """Check that all processes have read the same checkpoint."""
    if not parallel.all_equal(step):
        raise UserError(
            f"{workdir}: not all processes can read the same checkpoint (this one "
            f"read step {step}); give a --workdir that all of them share"
        )


def _make_training(
    setup: _Setup, advance: Callable[[int], object]
) -> Callable[[TrainState, int], tuple[TrainState, float]]:
    """Return a function that trains one epoch: the new state and the mean loss."""
    config, split = setup.config, setup.task.dataset.splits["train"]
    pipeline = make_pipeline(config.get("pipeline", "auto"), split)
    train_steps = make_train_steps(
        setup.task,
        setup.optimizer.transformation,
        setup.key,
        config.microbatches,
        pipeline.axis,
    )

    def train_epoch(before: TrainState, epoch: int) -> tuple[TrainState, float]:
        shape = setup.span.steps_per_epoch, config.batch_size
        order = epoch_order(config.seed, epoch, len(split["label"]), shape)
        batches = pipeline.batches(order, config.steps_per_call)
        # A copy, because the steps donate their state: the one before stays usable.
        state, losses = run_epoch(train_steps, copy(before), batches, advance)
        train_loss = float(losses.mean(dtype=np.float64))
        if np.isfinite(train_loss) and divergence.all_finite(state.params):
            return state, train_loss
        where = divergence.explain(
            before,
            order,
            train_steps,
            pipeline,
            setup.optimizer.schedule,
            divergence.first_layer_of(setup.task, setup.key),
        )
        kept = f" (epoch {epoch} is kept)" if epoch else ""
        raise UserError(
            f"training diverged in epoch {epoch + 1}, {where}; lower "
            f"optimizer.learning_rate{kept}"
        )

    return train_epoch


def epoch_order(
    seed: int, epoch: int, num_examples: int, shape: tuple[int, int]
) -> np.ndarray:
    """Return an epoch's indices into the training split, int32 of shape (steps, B).

    The examples that do not fit into that shape are left out.
    """
    order = np.random.default_rng([seed, epoch]).permutation(num_examples)
    return order[: shape[0] * shape[1]].astype(np.int32).reshape(shape)


def run_epoch(
    train_steps: TrainSteps,
    state: TrainState,
    batches: Iterable[Batches],
    advance: Callable[[int], object] = lambda steps: None,
) -> tuple[TrainState, np.ndarray]:
    """Take the steps of an epoch, or those before a loss that is not finite.

    The devices never wait for the host: it looks at the losses of a call after it has
    started four more calls.

    Args:
      train_steps: made by `make_train_steps`.
      state: the state before the epoch; donated.
      batches: the batches of each call, from a pipeline.
      advance: is called with the number of steps after each call.

    Returns:
      The state after the last step taken, and the mean loss of each batch until then.
    """
    losses: list[jax.Array] = []
    for some in batches:
        state, values = train_steps(state, some)
        losses.append(values)
        # The arguments of each call ahead take device memory, so limit their number.
        if len(losses) > _CALLS_AHEAD:
            done = jax.device_get(losses[-_CALLS_AHEAD - 1])
            if not np.isfinite(done).all():
                break
        advance(len(values))
        termination.check()
    return state, np.concatenate(jax.device_get(losses))


def _make_validation(setup: _Setup) -> Callable[[Any], SplitResults]:
    task = setup.task
    subject = evaluation.Subject(task.dataset, task.loss)
    evaluators = create_evaluators(ALWAYS, subject)
    measure_split = evaluation.make_split_pass(
        task.model, task.dataset, evaluators, setup.config.evaluation_batch_size
    )

    def validate(variables: Any) -> SplitResults:
        measurements = measure_split(variables, "validation")
        return evaluation.summarize(
            task.dataset, evaluators, "validation", measurements
        )

    return validate


def _validation_row(results: SplitResults) -> dict[str, float]:
    """Return the validation results that go into an epoch's row."""
    accuracy = results["accuracy"].by_rule("paper")
    return {
        "validation_loss": results["information"].loss,
        "validation_mutual_information": results["information"].mutual_information.nats,
        "validation_accuracy": accuracy.micro,
        "validation_macro_accuracy": accuracy.macro,
    }


def _describe(row: dict[str, float], num_epochs: int) -> str:
    return (
        f"epoch {row['epoch']}/{num_epochs}: validation "
        f"MI {row['validation_mutual_information']:.4f} nats, "
        f"accuracy {100 * row['validation_accuracy']:.2f}%"
    )
