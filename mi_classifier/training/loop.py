"""The training loop, to be read from top to bottom."""

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from mi_classifier import config as configs
from mi_classifier import evaluation, parallel, termination
from mi_classifier.storage import workdirs
from mi_classifier.storage.checkpoints import Checkpoints, best_item, has_checkpoint
from mi_classifier.data import load_dataset
from mi_classifier.data.pipeline import FEEDS, Call, make_feed
from mi_classifier.errors import UserError, choose
from mi_classifier.losses import LOSSES
from mi_classifier.models import create_model
from mi_classifier.models.pretrained import load_pretrained
from mi_classifier.training.cross_fit import train_cross_fit
from mi_classifier.training.divergence import all_finite, explain, first_layer_of
from mi_classifier.training.dry_run import check_loss, check_step
from mi_classifier.training.logging import MetricsLog, ProgressBar, write_rows
from mi_classifier.training.optimizer import create_optimizer, create_schedule
from mi_classifier.training.state import TrainState, create_state
from mi_classifier.training.step import TrainSteps, copy, make_train_steps

_CALLS_AHEAD = 4  # of the devices, with their arguments in memory


def train(config: ConfigDict, workdir: str | Path) -> TrainState | None:
    """Trains the classifier of a config, or goes on where a killed run stopped.

    Each epoch is one pass over the training split in a fresh order; what does not fill
    a batch is left for the next. It ends with validation; the epoch that scored best,
    by `config.best_by`, is the one that is evaluated. A finished workdir is left as it
    is. Whatever ends a run early, short of a kill, saves the last epoch first.

    Args:
      config: as in configs/.
      workdir: where everything is written.

    Returns:
      The state after the last step; None from a cross-fit, which has many nets.

    Raises:
      UserError: a field that cannot be, data that cannot be read, a workdir of
        another config, or a loss that is no longer finite.
    """
    workdir = Path(workdir)
    check_config(config)
    config = configs.with_absolute_paths(config)
    workdirs.check_free_for(config, workdir)
    with workdirs.hold(workdir):
        if "method" in config:
            state = train_cross_fit(config, workdir)
        else:
            state = _train(config, workdir)
    parallel.wait_for_all()  # what the first has written is there for all
    return state


def _train(config: ConfigDict, workdir: Path) -> TrainState:
    parallel.check_batch_size(config.batch_size, config.microbatches)
    starts = not has_checkpoint(workdir)
    check_step(config, starts)
    with parallel.first_process_first():
        dataset = load_dataset(config.data)
    check_loss(config.loss, dataset)
    model = create_model(num_classes=dataset.num_classes, **config.model)
    num_examples = len(dataset.splits["train"]["label"])
    steps_per_epoch = num_examples // config.batch_size
    if not steps_per_epoch:
        raise UserError(
            f"batch_size: {config.batch_size} is more than the {num_examples} "
            "training examples"
        )
    num_steps = config.num_epochs * steps_per_epoch
    optimizer = create_optimizer(config.optimizer, num_steps, steps_per_epoch)
    schedule = create_schedule(config.optimizer, num_steps, steps_per_epoch)

    init_key, run_key = jax.random.split(jax.random.key(config.seed))
    state = create_state(
        model, optimizer, dataset.example_input(), dataset.log_prior(), init_key
    )
    if config.get("pretrained") and starts:
        variables = load_pretrained(
            config.model.name, config.pretrained, state.variables
        )
        state = state.replace(**parallel.replicate(variables))
    best = best_item(copy(state.variables))

    workdirs.open_for(config, workdir)
    workdirs.check_data(workdir, dataset.fingerprints())
    parallel.wait_for_all()  # the workdir is there, and nobody has written to it since
    with termination.postponed(), Checkpoints(workdir) as checkpoints:
        rows: list[dict[str, float]] = []
        if checkpoints.latest_step() is not None:
            restored = checkpoints.restore(state=state, best=best)
            state, best, rows = (restored[k] for k in ("state", "best", "rows"))
        _check_same_step(int(state.step), workdir)
        first_epoch = int(state.step) // steps_per_epoch
        if first_epoch == config.num_epochs:
            write_rows(workdir, rows)  # whatever became of the file
            print(f"{workdir} is finished: {first_epoch} of {first_epoch} epochs")
            return state
        if first_epoch:
            print(f"{workdir} goes on after epoch {first_epoch} of {config.num_epochs}")

        feed = make_feed(config.get("feed", "auto"), dataset.splits["train"])
        train_steps = make_train_steps(
            model,
            dataset,
            config.loss,
            optimizer,
            run_key,
            config.microbatches,
            feed.axis,
        )
        evaluate_split = evaluation.make_evaluation(
            model,
            dataset,
            evaluation.for_dataset(dataset, config.loss),
            config.evaluation_batch_size,
        )
        with (
            MetricsLog(workdir, rows) as log,
            ProgressBar(num_steps, int(state.step)) as progress,
        ):
            warned = False
            kept = copy(state)  # the last epoch's, out of the way of donation
            for epoch in range(first_epoch, config.num_epochs):
                started = time.monotonic()
                order = epoch_order(config.seed, epoch, num_examples)
                batches = order[: steps_per_epoch * config.batch_size].reshape(
                    steps_per_epoch, config.batch_size
                )
                calls = feed.calls(batches, config.steps_per_call)
                state, losses = run_epoch(train_steps, state, calls, progress.advance)
                train_loss = float(losses.mean(dtype=np.float64))
                if not (np.isfinite(train_loss) and all_finite(state.params)):
                    layer_of = first_layer_of(model, dataset, run_key)
                    again = (copy(kept), batches, train_steps, feed)
                    where = explain(*again, schedule, layer_of)
                    kept_epoch = f" (epoch {epoch} is kept)" if epoch else ""
                    raise UserError(
                        f"training diverged in epoch {epoch + 1}, {where}; lower "
                        f"optimizer.learning_rate{kept_epoch}"
                    )
                figures = evaluate_split(state.variables, "validation")
                row = {
                    "epoch": epoch + 1,
                    "step": int(state.step),
                    "train_loss": train_loss,
                    **summary(figures),
                    "seconds": time.monotonic() - started,
                }
                if figures["activity"]["silent"] == 1 and not warned:
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
                    int(state.step),
                    kept,
                    best,
                    log.rows,
                    config.checkpoint_seconds,
                )
    return state


def _check_same_step(step: int, workdir: Path) -> None:
    """Of several processes, each reads the checkpoint for itself."""
    if not parallel.all_equal(step):
        raise UserError(
            f"{workdir}: not all processes can read the same checkpoint (this one's: "
            f"of step {step}); see that all see the same files"
        )


def run_epoch(
    train_steps: TrainSteps,
    state: TrainState,
    calls: Iterable[Call],
    advance: Callable[[int], object] = lambda steps: None,
) -> tuple[TrainState, np.ndarray]:
    """Takes the steps of an epoch, or those before a loss that is not finite.

    The devices never wait for the host, which looks at a loss when four more calls are
    on their way.

    Args:
      train_steps: of `make_train_steps`.
      state: donated.
      calls: of a feed.
      advance: told the number of steps of each call.

    Returns:
      The state after the last step taken, and the mean loss of each batch until then.
    """
    losses: list[jax.Array] = []
    for call in calls:
        state, values = train_steps(state, call)
        losses.append(values)
        # The host runs ahead of the devices, but not with the whole epoch.
        if len(losses) > _CALLS_AHEAD:
            done = jax.device_get(losses[-_CALLS_AHEAD - 1])
            if not np.isfinite(done).all():
                break
        advance(len(values))
        termination.check()
    return state, np.concatenate(jax.device_get(losses))


def check_config(config: ConfigDict) -> None:
    """Checks the fields that do not depend on the data.

    Raises:
      UserError: naming the field and what it may be.
    """
    configs.check(config)
    if "method" in config:
        return
    choose(config.loss, LOSSES, "loss")
    choose(config.get("feed", "auto"), FEEDS, "feed")
    choose(config.best_by, ("mutual_information", "accuracy"), "best_by")


def epoch_order(seed: int, epoch: int, num_examples: int) -> np.ndarray:
    """Returns the order of the training examples in an epoch, int32 `[N]`."""
    generator = np.random.default_rng([seed, epoch])
    return generator.permutation(num_examples).astype(np.int32)


def summary(figures: dict[str, Any]) -> dict[str, float]:
    """Returns what an epoch's row holds of the validation split's figures."""
    accuracy = figures["accuracy"]
    return {
        "validation_loss": figures["information"]["loss"],
        "validation_mutual_information": figures["information"]["mutual_information"][
            "nats"
        ],
        "validation_accuracy": accuracy[accuracy["paper_rule"]]["micro"],
        "validation_macro_accuracy": accuracy[accuracy["paper_rule"]]["macro"],
    }


def _describe(row: dict[str, float], num_epochs: int) -> str:
    return (
        f"epoch {row['epoch']}/{num_epochs}: validation "
        f"MI {row['validation_mutual_information']:.4f} nats, "
        f"accuracy {100 * row['validation_accuracy']:.2f}%"
    )
