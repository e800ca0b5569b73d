"""Trace a training step on shapes, to find mistakes before hours of decoding."""

from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from mi_classifier import parallel
from mi_classifier.data import Dataset
from mi_classifier.data.images import blank_dataset
from mi_classifier.data.pipeline import Batches
from mi_classifier.errors import UserError
from mi_classifier.losses import create_loss
from mi_classifier.models import create_model
from mi_classifier.models.pretrained import load_pretrained
from mi_classifier.training.checks import check_loss
from mi_classifier.training.optimizer import Span, create_optimizer
from mi_classifier.training.state import TrainState, create_state
from mi_classifier.training.step import Task, TrainSteps, make_train_steps


def check_step(config: ConfigDict, starts: bool) -> None:
    """Trace a training step of a config of large images, without its data.

    Args:
      config: as in configs/.
      starts: whether the run is new. It then reads its pretrained weights, so this
        function tries them, too.

    Raises:
      UserError: the model, the optimizer or the weights do not fit the images or each
        other.
    """
    if "normalization" not in config.data:  # a small data set, which loads quickly
        return
    fields = ("side", "stored_side", "normalization")
    options = {name: config.data[name] for name in fields if name in config.data}
    dataset = blank_dataset(**options)
    check_loss(config.loss, dataset)
    try:
        steps, state, batches = abstract_step(config, dataset)
        jax.eval_shape(steps, state, batches)
    except UserError:
        raise
    except (TypeError, ValueError, ArithmeticError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"model: {reason}") from error
    if starts and config.get("pretrained"):
        name, variables = config.model.name, state.variables
        load_pretrained(name, config.pretrained, variables, quiet=True)


def abstract_step(
    config: ConfigDict, dataset: Dataset
) -> tuple[TrainSteps, TrainState, Batches]:
    """Return a config's training step, and the shapes of its arguments.

    Args:
      config: as in configs/.
      dataset: has at least one image per split.
    """
    model = create_model(num_classes=dataset.num_classes, **config.model)
    loss = create_loss(config.loss, config.get("loss_options"))
    optimizer = create_optimizer(config.optimizer, Span(1)).transformation
    key = jax.random.key(0)

    def create(key: jax.Array) -> TrainState:
        prior = jnp.zeros(dataset.num_classes)
        return create_state(model, optimizer, dataset.example_input(), prior, key)

    devices = parallel.num_local_devices()

    def shapes(array: Any) -> jax.ShapeDtypeStruct:
        shape = (devices, config.batch_size, *array.shape[1:])
        return jax.ShapeDtypeStruct(shape, array.dtype)

    steps = make_train_steps(
        Task(model, dataset, loss), optimizer, key, config.microbatches, split_axis=0
    )
    share = config.batch_size // parallel.num_devices()
    rows = jax.ShapeDtypeStruct((devices, 1, share), jnp.int32)
    split = jax.tree.map(shapes, dict(dataset.splits["train"]))
    return steps, jax.eval_shape(create, key), Batches(split, rows, rows)
