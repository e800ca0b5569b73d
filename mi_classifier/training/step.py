"""Training steps: one compiled call takes many, on every device."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from mi_classifier import parallel
from mi_classifier.data import Dataset, Split
from mi_classifier.data.pipeline import Batches
from mi_classifier.losses import Loss, create_loss
from mi_classifier.models import ModelOutput, create_model
from mi_classifier.models.kernels import row_major
from mi_classifier.training.checks import check_loss
from mi_classifier.training.optimizer import select, trained_modules
from mi_classifier.training.state import TrainState

Stepped = tuple[TrainState, jax.Array]  # with the mean loss and accuracy, [2]
TrainSteps = Callable[[TrainState, Batches], Stepped]
Examples = tuple[jax.Array, jax.Array]  # `rows` and `indices` of `Batches`


@dataclasses.dataclass(frozen=True)
class Task:
    """A model, a data set and a loss that belong together."""

    model: nn.Module
    dataset: Dataset  # augments training examples and makes them the model's input
    loss: Loss
    trained: Sequence[str] = ()  # the modules that are trained; () for all of them

    def inputs(
        self, split: Split, examples: Examples, step_key: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Return the augmented inputs and the labels of some training examples."""
        rows, indices = examples
        # Each example gets its own key, on any device and in any part of the batch.
        keys = jax.vmap(lambda i: jax.random.fold_in(step_key, i))(indices)
        batch = jax.vmap(self.dataset.augment, (0, None, 0))(keys, split, rows)
        return self.dataset.preprocess(batch["image"]), batch["label"]

    def forward(
        self, variables: Any, images: jax.Array, step_key: jax.Array
    ) -> tuple[ModelOutput, Any]:
        """Apply the model in training mode; also return its new batch statistics."""
        options = {"rngs": {"dropout": step_key}, "mutable": ["batch_stats"]}
        output, updated = self.model.apply(variables, images, train=True, **options)
        return output, updated.get("batch_stats", {})


def create_task(config: ConfigDict, dataset: Dataset) -> Task:
    """Create a config's model and loss, if the loss fits the data."""
    check_loss(config.loss, dataset)
    model = create_model(num_classes=dataset.num_classes, **config.model)
    loss = create_loss(config.loss, config.get("loss_options"))
    return Task(model, dataset, loss, trained_modules(config.optimizer))


def make_train_steps(
    task: Task,
    optimizer: optax.GradientTransformation,
    key: jax.Array,
    microbatches: int = 1,
    split_axis: int | None = None,
) -> TrainSteps:
    """Compile the training of several batches in one call.

    The function takes the state (donated) and the batches of S steps, and returns the
    state after them and the mean loss and accuracy of each batch, `[S, 2]`. The
    accuracy is that of the augmented examples before the step. The gradients of the
    microbatches are computed one after the other and added in a fixed order, on any
    number of devices. `split_axis` is that of the pipeline.
    """
    step = _make_step(task, optimizer, microbatches)

    def steps(key: jax.Array, state: TrainState, batches: Batches) -> Stepped:
        split, rows, indices = batches
        if len(rows) == 1:  # XLA's CPU convolutions are ten times slower in a loop
            state, value = step(key, state, split, (rows[0], indices[0]))
            return state, value[None]
        return jax.lax.scan(
            lambda s, examples: step(key, s, split, examples), state, (rows, indices)
        )

    axes = (None, None, Batches(split_axis, 0, 0))
    compiled = parallel.on_devices(steps, axes, (None, None), donate_argnums=(1,))
    # The key is an argument, so that runs that differ in their seed share one program.
    return functools.partial(compiled, parallel.replicate(key))


def _make_step(
    task: Task, optimizer: optax.GradientTransformation, microbatches: int
) -> Callable[..., Stepped]:
    """Return one training step, as a device runs it on its share of the batch."""

    def step(
        key: jax.Array, state: TrainState, split: Split, examples: Examples
    ) -> Stepped:
        # The same key on every device and for every part of the batch.
        step_key = jax.random.fold_in(key, state.step)

        def mean_loss(params: Any, part: Examples) -> tuple[jax.Array, tuple]:
            images, labels = task.inputs(split, part, step_key)
            variables = state.variables | {"params": {**state.params, **params}}
            output, batch_stats = task.forward(variables, images, step_key)
            losses = task.loss.function(output.logits, labels, state.log_prior)
            correct = _correct(task.loss, output.logits, labels).mean()
            return losses.mean(), (correct, batch_stats)

        count = parallel.parts_per_device(microbatches)
        # Any split of the same parts over devices must round alike.
        several = microbatches > 1
        gradient = jax.value_and_grad(mean_loss, has_aux=True)
        trained = select(state.params, task.trained)
        params, results = trained, []
        for part in zip(*(x.reshape(count, -1) for x in examples), strict=True):
            results.append(gradient(params, part))
            # One part after the other, so that memory holds the activations of one.
            if several:
                both = jax.lax.optimization_barrier((params, results[-1]))
                params, results[-1] = both
        (value, (correct, batch_stats)), gradients = parallel.mean(results)
        gradients = jax.tree.map(row_major, gradients)
        updates, opt_state = optimizer.update(gradients, state.opt_state, trained)
        params = {**state.params, **optax.apply_updates(trained, updates)}
        done = state.step + 1
        state = TrainState(done, params, batch_stats, opt_state, state.log_prior)
        return state, jnp.stack([value, correct])

    return step


def _correct(loss: Loss, logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Return which decisions by the paper's rule are right, `[B]` or `[B, M]`."""
    if loss.multi_label:
        return ((logits > 0) == (labels > 0)).astype(jnp.float32)
    return (logits.argmax(-1) == labels).astype(jnp.float32)
