"""The training loop, to be read from top to bottom."""

import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from mi_classifier import evaluation, parallel
from mi_classifier import workdir as workdirs
from mi_classifier.data import load_dataset
from mi_classifier.errors import UserError, choose
from mi_classifier.losses import CLASSIFICATION_LOSSES
from mi_classifier.models import create_model
from mi_classifier.training.logging import MetricsLog
from mi_classifier.training.optimizer import create_optimizer
from mi_classifier.training.state import TrainState, create_state
from mi_classifier.training.step import copy, make_train_steps


def train(config: ConfigDict, workdir: str | Path) -> TrainState:
    """Trains the classifier of a config, or goes on where a killed run stopped.

    Each epoch is one pass over the training split in a fresh order; what does not fill
    a batch is left for the next. It ends with validation; the epoch that scored best,
    by `config.best_by`, is the one that is evaluated. A finished workdir is left as it
    is.

    Args:
      config: as in configs/.
      workdir: where everything is written.

    Returns:
      The state after the last step.

    Raises:
      UserError: a field that cannot be, data that cannot be read, or a workdir of
        another config.
    """
    workdir = Path(workdir)
    check_config(config)
    dataset = load_dataset(config.data)
    model = create_model(num_classes=dataset.num_classes, **config.model)
    num_examples = len(dataset.splits["train"]["label"])
    parallel.check_batch_size(config.batch_size, num_examples)
    steps_per_epoch = num_examples // config.batch_size
    num_steps = config.num_epochs * steps_per_epoch
    optimizer = create_optimizer(config.optimizer, num_steps)

    init_key, run_key = jax.random.split(jax.random.key(config.seed))
    state = create_state(
        model, optimizer, dataset.example_input(), dataset.log_prior(), init_key
    )
    best = {
        "params": state.params,
        "epoch": np.int32(0),
        "score": np.float32(-np.inf),
    }

    workdirs.open_for(config, workdir)
    checkpoints = workdirs.Checkpoints(workdir)
    if checkpoints.latest_step() is not None:
        restored = checkpoints.restore(state=state, best=best)
        state, best = restored["state"], restored["best"]
        done = "is finished" if state.step == num_steps else "goes on"
        print(f"{workdir}: {done} at step {int(state.step):,} of {num_steps:,}")
    first_epoch = int(state.step) // steps_per_epoch
    if first_epoch == config.num_epochs:
        checkpoints.close()
        return state

    train_steps = make_train_steps(
        model, dataset.preprocess, config.loss, optimizer, run_key
    )
    evaluate_split = evaluation.make_evaluation(
        model,
        dataset,
        evaluation.for_dataset(dataset, config.loss),
        config.evaluation_batch_size,
    )
    split = parallel.replicate(dict(dataset.splits["train"]))
    log = MetricsLog(workdir, int(state.step))
    saved = time.monotonic()
    with _progress() as progress:
        task = progress.add_task(
            "training", total=num_steps, completed=first_epoch * steps_per_epoch
        )
        for epoch in range(first_epoch, config.num_epochs):
            started = time.monotonic()
            order = epoch_order(config.seed, epoch, num_examples)
            batches = order[: steps_per_epoch * config.batch_size].reshape(
                steps_per_epoch, config.batch_size
            )
            losses = []
            for start in range(0, steps_per_epoch, config.steps_per_call):
                indices = batches[start : start + config.steps_per_call]
                state, values = train_steps(
                    state, split, parallel.split_indices(indices)
                )
                losses.append(np.asarray(values))
                progress.advance(task, len(indices))
            figures = evaluate_split(state.variables, "validation")
            row = {
                "epoch": epoch + 1,
                "step": int(state.step),
                "train_loss": float(np.concatenate(losses).mean(dtype=np.float64)),
                **summary(figures),
                "seconds": time.monotonic() - started,
            }
            log.write(row)
            progress.update(task, description=_describe(row, config.num_epochs))
            score = np.nan_to_num(
                np.float32(row[f"validation_{config.best_by}"]), nan=-np.inf
            )
            if score > best["score"] or not best["epoch"]:
                best = {
                    "params": copy(state.params),
                    "epoch": np.int32(epoch + 1),
                    "score": score,
                }
            last = epoch + 1 == config.num_epochs
            if last or time.monotonic() - saved >= config.checkpoint_seconds:
                checkpoints.save(int(state.step), copy(state), best)
                saved = time.monotonic()
    log.close()
    checkpoints.close()
    return state


def check_config(config: ConfigDict) -> None:
    """Checks the fields that no other part checks.

    Raises:
      UserError: naming the field and what it may be.
    """
    choose(config.loss, CLASSIFICATION_LOSSES, "loss")
    choose(config.best_by, ("mutual_information", "accuracy"), "best_by")
    for field in ("num_epochs", "steps_per_call", "evaluation_batch_size"):
        if config[field] < 1:
            raise UserError(f"{field}: must be at least 1, not {config[field]}")
    if config.seed < 0:
        raise UserError(f"seed: must be at least 0, not {config.seed}")


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


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


def _describe(row: dict[str, float], num_epochs: int) -> str:
    return (
        f"epoch {row['epoch']}/{num_epochs}: validation "
        f"MI {row['validation_mutual_information']:.4f} nats, "
        f"accuracy {100 * row['validation_accuracy']:.2f}%"
    )
