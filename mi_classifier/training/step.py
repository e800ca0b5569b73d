"""The training step: many of them in one call, on every device."""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from mi_classifier import parallel
from mi_classifier.data import Dataset, Split
from mi_classifier.data.pipeline import Call
from mi_classifier.losses import LOSSES
from mi_classifier.training.state import TrainState

TrainSteps = Callable[[TrainState, Call], tuple[TrainState, jax.Array]]


def make_train_steps(
    model: nn.Module,
    dataset: Dataset,
    loss: str,
    optimizer: optax.GradientTransformation,
    key: jax.Array,
    microbatches: int = 1,
    split_axis: int | None = None,
) -> TrainSteps:
    """Compiles the training of several batches in one call.

    Args:
      model: the module to train.
      dataset: how its training examples are drawn and become the model's input.
      loss: a name among `losses.LOSSES`.
      optimizer: of the state's parameters.
      key: of the run; a step's own is `fold_in(key, step)`.
      microbatches: parts of a batch whose gradients are computed apart and added in a
        fixed order, whatever the number of devices.
      split_axis: of the calls' splits, `Feed.axis`.

    Returns:
      A function from the state (donated) and a call of a feed to the state S steps
      later and the mean loss of each batch, `[S]`.
    """
    example_loss = LOSSES[loss]

    def step(
        state: TrainState,
        split: Split,
        examples: tuple[jax.Array, jax.Array],
        key: jax.Array,
    ) -> tuple[TrainState, jax.Array]:
        # One draw a step: the same on every device and for every part of the batch.
        step_key = jax.random.fold_in(key, state.step)
        rngs = {"dropout": step_key}

        def mean_loss(
            params: optax.Params, examples: tuple[jax.Array, jax.Array]
        ) -> tuple[jax.Array, optax.Params]:
            rows, indices = examples
            # An example's draw is its own, on whichever device and in whichever part.
            keys = jax.vmap(lambda i: jax.random.fold_in(step_key, i))(indices)
            batch = jax.vmap(dataset.draw, (0, None, 0))(keys, split, rows)
            images = dataset.preprocess(batch["image"])
            output, updated = model.apply(
                state.variables | {"params": params},
                images,
                train=True,
                rngs=rngs,
                mutable=["batch_stats"],
            )
            loss = example_loss(output.logits, batch["label"], state.log_prior).mean()
            return loss, updated.get("batch_stats", {})

        count = parallel.parts_per_device(microbatches)
        gradient = jax.value_and_grad(mean_loss, has_aux=True)
        params, results = state.params, []
        for part in zip(*(x.reshape(count, -1) for x in examples), strict=True):
            results.append(gradient(params, part))
            # One after the other: the activations of one part in memory, not of all.
            params, results[-1] = jax.lax.optimization_barrier((params, results[-1]))
        (value, batch_stats), gradients = parallel.mean(results)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        return state.replace(
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            batch_stats=batch_stats,
            opt_state=opt_state,
        ), value

    def steps(
        key: jax.Array, state: TrainState, call: Call
    ) -> tuple[TrainState, jax.Array]:
        split, rows, indices = call
        if len(rows) == 1:  # XLA's CPU convolutions are ten times slower in a loop
            state, value = step(state, split, (rows[0], indices[0]), key)
            return state, value[None]
        return jax.lax.scan(
            lambda s, examples: step(s, split, examples, key), state, (rows, indices)
        )

    compiled = parallel.on_devices(
        steps,
        in_axes=(None, None, Call(split_axis, 0, 0)),
        out_axes=(None, None),
        donate_argnums=(1,),
    )
    # An argument, not a constant: runs that differ in their seed share one program.
    return functools.partial(compiled, parallel.replicate(key))


def copy(tree: object) -> object:
    """Copies a tree on its devices, out of the way of donated buffers."""
    return jax.tree.map(jnp.copy, tree)
