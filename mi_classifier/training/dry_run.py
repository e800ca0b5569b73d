"""Trace a training step on shapes, to find mistakes before hours of decoding."""

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from mi_classifier import parallel
from mi_classifier.data import DATASETS, Dataset, load_blank
from mi_classifier.data.pipeline import Batches
from mi_classifier.errors import UserError, choose, reason_of
from mi_classifier.models.pretrained import load_pretrained
from mi_classifier.training.optimizer import Span, create_optimizer
from mi_classifier.training.state import TrainState, create_state
from mi_classifier.training.step import TrainSteps, create_task, make_train_steps


def check_step(config: ConfigDict, starts: bool) -> None:
    """Trace a training step of a config of large images, without its data.

    If a run starts, it reads its pretrained weights, so this function tries them, too.
    """
    choose(config.data.name, DATASETS, "data.name")
    dataset = load_blank(config.data)
    if dataset is None:  # a small data set, which loads quickly
        return
    try:
        steps, state, batches = abstract_step(config, dataset)
        jax.eval_shape(steps, state, batches)
    except UserError:
        raise
    except (TypeError, ValueError, ArithmeticError) as error:
        raise UserError(f"model: {reason_of(error)[:300]}") from error
    if starts and config.get("pretrained"):
        name, variables = config.model.name, state.variables
        load_pretrained(name, config.pretrained, variables, quiet=True)


def abstract_step(
    config: ConfigDict, dataset: Dataset
) -> tuple[TrainSteps, TrainState, Batches]:
    """Return a config's training step, and the shapes of its arguments."""
    task, key = create_task(config, dataset), jax.random.key(0)
    span = Span(config.num_epochs)
    optimizer = create_optimizer(config.optimizer, span).transformation
    devices, size = parallel.num_local_devices(), config.batch_size

    def create(key: jax.Array) -> TrainState:
        prior = jnp.zeros(dataset.num_classes)
        return create_state(task.model, optimizer, dataset.example_input(), prior, key)

    steps = make_train_steps(task, optimizer, key, config.microbatches, split_axis=0)
    rows = jax.ShapeDtypeStruct((devices, 1, size // parallel.num_devices()), jnp.int32)
    split = {
        name: jax.ShapeDtypeStruct((devices, size, *array.shape[1:]), array.dtype)
        for name, array in dataset.splits["train"].items()
    }
    return steps, jax.eval_shape(create, key), Batches(split, rows, rows)
