"""A training step on shapes alone, so that mistakes come before hours of decoding."""

from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from mi_classifier import parallel
from mi_classifier.data import Dataset
from mi_classifier.data.pipeline import Call
from mi_classifier.data.images import blank_dataset
from mi_classifier.errors import UserError
from mi_classifier.losses import CLASSIFICATION_LOSSES, MULTI_LABEL_LOSSES
from mi_classifier.models import create_model
from mi_classifier.models.pretrained import load_pretrained
from mi_classifier.training.optimizer import create_optimizer
from mi_classifier.training.state import TrainState, create_state
from mi_classifier.training.step import TrainSteps, make_train_steps


def check_step(config: ConfigDict, starts: bool) -> None:
    """Traces a training step of a config of large images, without its data.

    Args:
      config: as in configs/.
      starts: whether the run will read its pretrained weights; they are tried, too.

    Raises:
      UserError: a model, an optimizer or weights that do not fit the images or each
        other.
    """
    if "normalization" not in config.data:  # small data, quickly there
        return
    options = {
        field: config.data[field]
        for field in ("side", "stored_side", "normalization")
        if field in config.data
    }
    dataset = blank_dataset(**options)
    check_loss(config.loss, dataset)
    try:
        steps, state, call = abstract_step(config, dataset)
        jax.eval_shape(steps, state, call)
    except UserError:
        raise
    except (TypeError, ValueError, ArithmeticError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"model: {reason}") from error
    if starts and config.get("pretrained"):
        name, variables = config.model.name, state.variables
        load_pretrained(name, config.pretrained, variables, quiet=True)


def check_loss(loss: str, dataset: Dataset) -> None:
    """Checks that a loss is one for the labels of a data set.

    Raises:
      UserError: naming those that are.
    """
    fitting = MULTI_LABEL_LOSSES if dataset.multi_label else CLASSIFICATION_LOSSES
    if loss not in fitting:
        name = dataset.name or "this data set"
        labels = "any number of labels" if dataset.multi_label else "one label"
        raise UserError(
            f"loss: an example of {name} has {labels}; "
            f"use {' or '.join(fitting)}, not {loss}"
        )


def abstract_step(
    config: ConfigDict, dataset: Dataset
) -> tuple[TrainSteps, TrainState, Call]:
    """Returns a config's training step, and shapes of what one call of it takes.

    Args:
      config: as in configs/.
      dataset: of which one image is enough.
    """
    model = create_model(num_classes=dataset.num_classes, **config.model)
    optimizer = create_optimizer(config.optimizer, num_steps=1)
    key = jax.random.key(0)

    def create(key: jax.Array) -> TrainState:
        prior = jnp.zeros(dataset.num_classes)
        return create_state(model, optimizer, dataset.example_input(), prior, key)

    def shapes(array: Any) -> jax.ShapeDtypeStruct:
        shape = (jax.local_device_count(), config.batch_size, *array.shape[1:])
        return jax.ShapeDtypeStruct(shape, array.dtype)

    steps = make_train_steps(
        model, dataset, config.loss, optimizer, key, config.microbatches, split_axis=0
    )
    share = config.batch_size // parallel.num_devices()
    rows = jax.ShapeDtypeStruct((jax.local_device_count(), 1, share), jnp.int32)
    split = jax.tree.map(shapes, dict(dataset.splits["train"]))
    return steps, jax.eval_shape(create, key), Call(split, rows, rows)
