"""Find where a training diverged: the step, its learning rate, and the layer."""

import contextlib
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from mi_classifier import termination
from mi_classifier.data.pipeline import Pipeline
from mi_classifier.training.state import TrainState, copy
from mi_classifier.training.step import Task, TrainSteps


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
    """Tell which step of an epoch `[steps, B]` goes wrong, by repeating them singly."""
    for batch in order:
        termination.check()
        (batches,) = pipeline.batches(batch[None], 1)
        after, values = train_steps(copy(state), batches)
        loss = float(values[0, 0])
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


def first_broken_layer(
    task: Task, key: jax.Array, state: TrainState, batch: np.ndarray
) -> str | None:
    """Name the first layer whose output for a batch of indices `[B]` is not finite."""
    found: list[str] = []

    def watch(call: Callable, arguments: tuple, options: dict, context: Any) -> Any:
        output = call(*arguments, **options)
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
    # Outside the compiled step, batch normalization over devices raises a NameError.
    # Then the message names no layer.
    with contextlib.suppress(NameError), nn.intercept_methods(watch):
        task.forward(state.variables, images, step_key)
    return f"the output of {found[0]}" if found else None


def _broken(params: Any) -> str:
    names = [
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
        if not all_finite(leaf)
    ]
    more = f" and {len(names) - 1} others" if len(names) > 1 else ""
    return f"{names[0]}{more}" if names else "nothing but the loss"
