"""The training loop, to be read from top to bottom: setup, epoch, save."""

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

_CALLS_AHEAD = 4  # of the devices, with their arguments in memory


class Trained(NamedTuple):
    """What a training ends with.

    Attributes:
      state: after the last step.
      dataset: it was trained on.
    """

    state: TrainState
    dataset: Dataset


def train(
    config: ConfigDict, workdir: str | Path, dataset: Dataset | None = None
) -> Trained:
    """Trains the classifier of a config, or resumes a run that was stopped.

    Each epoch is one pass over the training split in a fresh order; examples that do
    not fill a batch are left out of it. It ends with validation; the epoch that scores
    best, by `config.best_by`, is the one that is evaluated. A finished workdir is left
    as it is. If anything but a kill ends a run early, the last epoch is saved first.

    Args:
      config: as in configs/.
      workdir: where everything is written.
      dataset: to train on; by default it is loaded as the config says.

    Returns:
      The state after the last step, and the data.

    Raises:
      UserError: a field with a mistake, data that cannot be read, a workdir of another
        config, or a loss that is no longer finite.
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
        state = _train(_set_up(config, workdir, dataset), starts)
    parallel.wait_for_all()  # every process finds what the first one has written
    return Trained(state, dataset)


@dataclasses.dataclass(frozen=True)
class _Setup:
    """What a run is made of.

    Attributes:
      config: it is trained by.
      workdir: it writes to.
      task: model, data and loss.
      optimizer: with its schedule.
      span: the length of the run, in steps.
      init_key: of the parameters' initialization.
      key: of all else.
    """

    config: ConfigDict
    workdir: Path
    task: Task
    optimizer: Optimizer
    span: Span
    init_key: jax.Array
    key: jax.Array


def _set_up(config: ConfigDict, workdir: Path, dataset: Dataset) -> _Setup:
    check_loss(config.loss, dataset)
    num_examples = len(dataset.splits["train"]["label"])
    steps_per_epoch = num_examples // config.batch_size
    if not steps_per_epoch:
        raise UserError(
            f"batch_size: {config.batch_size} is more than the {num_examples} "
            "training examples"
        )
    span = Span(config.num_epochs * steps_per_epoch, steps_per_epoch)
    model = create_model(num_classes=dataset.num_classes, **config.model)
    task = Task(model, dataset, create_loss(config.loss, config.get("loss_options")))
    optimizer = create_optimizer(config.optimizer, span)
    keys = jax.random.split(jax.random.key(config.seed))
    return _Setup(config, workdir, task, optimizer, span, *keys)


def _train(setup: _Setup, starts: bool) -> TrainState:
    config, workdir, dataset = setup.config, setup.workdir, setup.task.dataset
    state = _first_state(setup, starts)
    best = best_item(copy(state.variables))
    workdirs.open_for(config, workdir)
    workdirs.check_data(workdir, dataset.fingerprints(), dataset.hash_arrays)
    parallel.wait_for_all()  # the workdir is there, and nobody has written to it since
    with termination.postponed(), Checkpoints(workdir) as checkpoints:
        rows: list[dict[str, float]] = []
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
            print(f"{workdir} goes on after epoch {first_epoch} of {config.num_epochs}")

        pipeline = make_pipeline(
            config.get("pipeline", "auto"), dataset.splits["train"]
        )
        train_steps = make_train_steps(
            setup.task,
            setup.optimizer.transformation,
            setup.key,
            config.microbatches,
            pipeline.axis,
        )
        validate = _make_validation(setup)
        progress = Progress("training", setup.span.num_steps, int(state.step), True)
        with MetricsLog(workdir, rows) as log, progress:
            warned = False
            kept = copy(state)  # of the last epoch; steps donate the other
            for epoch in range(first_epoch, config.num_epochs):
                started = time.monotonic()
                order = epoch_order(setup, epoch)
                batches = pipeline.batches(order, config.steps_per_call)
                state, losses = run_epoch(train_steps, state, batches, progress.advance)
                train_loss = float(losses.mean(dtype=np.float64))
                if not (
                    np.isfinite(train_loss) and divergence.all_finite(state.params)
                ):
                    where = divergence.explain(
                        copy(kept),
                        order,
                        train_steps,
                        pipeline,
                        setup.optimizer.schedule,
                        divergence.first_layer_of(setup.task, setup.key),
                    )
                    kept_epoch = f" (epoch {epoch} is kept)" if epoch else ""
                    raise UserError(
                        f"training diverged in epoch {epoch + 1}, {where}; lower "
                        f"optimizer.learning_rate{kept_epoch}"
                    )
                results = validate(state.variables)
                row = {
                    "epoch": epoch + 1,
                    "step": int(state.step),
                    "train_loss": train_loss,
                    **_validation_row(results),
                    "seconds": time.monotonic() - started,
                }
                if results["activity"].silent == 1 and not warned:
                    progress.warn(
                        f"epoch {epoch + 1}: every feature of every validation example "
                        "is 0: the net is dead; lower optimizer.learning_rate, or take "
                        "another seed"
                    )
                    warned = True
                log.write(row)
                progress.describe(_describe(row, config.num_epochs))
                score = np.float32(row[f"validation_{config.best_by}"])
                if score > best["score"]:
                    best = best_item(copy(state.variables), epoch + 1, score)
                kept = copy(state)
                checkpoints.save_soon(
                    int(state.step), kept, best, log.rows, config.checkpoint_seconds
                )
    return state


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


def _check_same_step(step: int, workdir: Path) -> None:
    """Checks that all processes, each of which reads the checkpoint, read the same."""
    if not parallel.all_equal(step):
        raise UserError(
            f"{workdir}: not all processes can read the same checkpoint (this one's: "
            f"of step {step}); give a --workdir that all of them share"
        )


def epoch_order(setup: _Setup, epoch: int) -> np.ndarray:
    """Returns the order of the training examples in an epoch, int32 `[steps, B]`."""
    config = setup.config
    num_examples = len(setup.task.dataset.splits["train"]["label"])
    generator = np.random.default_rng([config.seed, epoch])
    order = generator.permutation(num_examples).astype(np.int32)
    shape = (setup.span.steps_per_epoch, config.batch_size)
    return order[: shape[0] * shape[1]].reshape(shape)


def run_epoch(
    train_steps: TrainSteps,
    state: TrainState,
    batches: Iterable[Batches],
    advance: Callable[[int], object] = lambda steps: None,
) -> tuple[TrainState, np.ndarray]:
    """Takes the steps of an epoch, or those before a loss that is not finite.

    The devices never wait for the host, which looks at a loss when four more calls of
    the steps are on their way.

    Args:
      train_steps: of `make_train_steps`.
      state: donated.
      batches: of a pipeline.
      advance: told the number of steps of each call.

    Returns:
      The state after the last step taken, and the mean loss of each batch until then.
    """
    losses: list[jax.Array] = []
    for some in batches:
        state, values = train_steps(state, some)
        losses.append(values)
        # The host runs ahead of the devices, but not with the whole epoch.
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
    """Returns what an epoch's row holds of the validation split's results."""
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
