"""Find where a training diverged: the step, its learning rate, and the layer."""

import contextlib
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from mi_classifier.data.pipeline import Pipeline
from mi_classifier.training.state import TrainState
from mi_classifier.training.step import Task, TrainSteps, copy


@jax.jit
def all_finite(tree: Any) -> jax.Array:
    """Return whether all numbers of a tree are finite: no NaN and no infinity."""
    return jnp.all(jnp.array([jnp.isfinite(x).all() for x in jax.tree.leaves(tree)]))


def explain(
    state: TrainState,
    order: np.ndarray,
    train_steps: TrainSteps,
    pipeline: Pipeline,
    schedule: optax.Schedule,
    first_layer: Callable[[TrainState, np.ndarray], str | None],
) -> str:
    """Repeat the steps of an epoch one by one, up to the first that goes wrong.

    Args:
      state: before the epoch.
      order: indices of the epoch's examples, `[steps, B]`.
      train_steps: made by `make_train_steps`.
      pipeline: brings the batches.
      schedule: maps a step to its learning rate.
      first_layer: made by `first_layer_of`.

    Returns:
      The step, its loss, its learning rate and the layer, for an error message.
    """
    for batch in order:
        (batches,) = pipeline.batches(batch[None], 1)
        after, values = train_steps(copy(state), batches)
        loss = float(values[0])
        if np.isfinite(loss) and all_finite(after.params):
            state = after
            continue
        step = int(state.step)
        layer = first_layer(state, batch) or f"the update of {_broken(after.params)}"
        return (
            f"at step {step + 1}: the loss is {loss:g}, at a learning rate of "
            f"{float(schedule(step)):g}; the first value that is not finite is in "
            f"{layer}"
        )
    return "in this epoch, but not when its steps were repeated one by one"


def first_layer_of(
    task: Task, key: jax.Array
) -> Callable[[TrainState, np.ndarray], str | None]:
    """Return a function that finds the first layer whose output is not finite.

    Args:
      task: the model, the data and the loss.
      key: the run's key, as given to `make_train_steps`.

    Returns:
      A function from a state and the indices of a batch `[B]` to the layer, or to None
      if all outputs are finite.
    """

    def find(state: TrainState, batch: np.ndarray) -> str | None:
        found: list[str] = []

        def watch(
            following: Callable, arguments: tuple, options: dict, context: Any
        ) -> Any:
            output = following(*arguments, **options)
            if context.method_name == "__call__" and not all_finite(output):
                found.append("/".join(context.module.path) or "the logits")
            return output

        step_key = jax.random.fold_in(key, state.step)
        split = task.dataset.splits["train"]
        examples = {name: jnp.asarray(array[batch]) for name, array in split.items()}
        rows = np.arange(len(batch))
        images, _ = task.inputs(examples, (rows, jnp.asarray(batch)), step_key)
        if not all_finite(images):
            return "the input"
        # Outside pmap, batch normalization over devices raises a NameError. Then the
        # message names no layer.
        with contextlib.suppress(NameError), nn.intercept_methods(watch):
            task.forward(state.variables, images, step_key)
        return f"the output of {found[0]}" if found else None

    return find


def _broken(params: Any) -> str:
    leaves = jax.tree_util.tree_leaves_with_path(params)
    names = [
        "/".join(str(part.key) for part in path)
        for path, leaf in leaves
        if not all_finite(leaf)
    ]
    more = f" and {len(names) - 1} others" if len(names) > 1 else ""
    return f"{names[0]}{more}" if names else "nothing but the loss"
