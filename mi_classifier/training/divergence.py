"""Where a training went wrong: the step, its learning rate, and the layer."""

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
    """Returns whether no number of a tree is NaN or infinite."""
    return jnp.all(jnp.array([jnp.isfinite(x).all() for x in jax.tree.leaves(tree)]))


def explain(
    state: TrainState,
    order: np.ndarray,
    train_steps: TrainSteps,
    pipeline: Pipeline,
    schedule: optax.Schedule,
    first_layer: Callable[[TrainState, np.ndarray], str | None],
) -> str:
    """Repeats the steps of an epoch one by one, up to the first that goes wrong.

    Args:
      state: before the epoch; donated.
      order: of the epoch's examples, indices `[steps, B]`.
      train_steps: of `make_train_steps`.
      pipeline: of the run.
      schedule: the learning rate by the step.
      first_layer: `first_layer_of` a run.

    Returns:
      What to tell the user.
    """
    for batch in order:
        before = copy(state)
        (batches,) = pipeline.batches(batch[None], 1)
        state, values = train_steps(state, batches)
        loss = float(values[0])
        if np.isfinite(loss) and all_finite(state.params):
            continue
        step = int(before.step)
        layer = first_layer(before, batch) or f"the update of {_broken(state.params)}"
        return (
            f"at step {step + 1}: the loss is {loss:g}, at a learning rate of "
            f"{float(schedule(step)):g}; the first that is not finite is {layer}"
        )
    return "in this epoch, but not when its steps were repeated one by one"


def first_layer_of(
    task: Task, key: jax.Array
) -> Callable[[TrainState, np.ndarray], str | None]:
    """Returns a function that finds the first layer whose output is not finite.

    Args:
      task: what is trained.
      key: of the run.

    Returns:
      A function from a state and the indices of a batch `[B]` to the layer, or None
      where all outputs are finite.
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
        # Batch normalization over devices finds no devices here: no layer is named then.
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
    return f"{names[0]}{more}" if names else "nothing: the loss alone"
