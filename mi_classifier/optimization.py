"""Training steps in one compiled loop, and the group lasso, in optax terms."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

Array = jax.Array
State = tuple[optax.Params, optax.OptState, Any]  # the last is the memory of the loss
Loss = Callable[[optax.Params, Any, Any], tuple[Array, Any]]


def descend(
    loss: Loss, optimizer: optax.GradientTransformation, state: State, batches: Any
) -> tuple[State, Array]:
    """Take one step on each row of `batches`, a pytree of arrays `[S, ...]`.

    `loss(params, memory, batch)` returns the loss and the memory for the next batch:
    any pytree, such as a moving average. Return the state after S steps, and the loss
    of each batch before its step, `[S]`.
    """

    def step(state: State, batch: Any) -> tuple[State, Array]:
        params, opt_state, memory = state
        value_and_grad = jax.value_and_grad(loss, has_aux=True)
        (value, memory), gradient = value_and_grad(params, memory, batch)
        updates, opt_state = optimizer.update(gradient, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state, memory), value

    return jax.lax.scan(step, state, batches)


def group_lasso(
    layer: str, threshold: optax.Schedule, num_steps: int
) -> optax.GradientTransformation:
    """Make a dense layer leave out inputs: the proximal step of the group lasso.

    The weights of one input are one group. Chain this after the optimizer: once the
    parameters have moved, the norm of each group falls by `threshold(step)`, down to 0.
    After `num_steps` no norm falls any more, and the groups that are 0 stay 0.

    Yuan & Lin, "Model Selection and Estimation in Regression with Grouped Variables",
    Journal of the Royal Statistical Society B 68(1), 2006.
    """

    def update(
        updates: optax.Updates, step: Array, params: optax.Params
    ) -> tuple[optax.Updates, Array]:
        old = params[layer]["kernel"]
        new = old + updates[layer]["kernel"]
        norm = jnp.sqrt((new**2).sum(1, keepdims=True))
        limit = threshold(step)
        shrunk = new * jnp.maximum(1 - limit / jnp.maximum(norm, limit), 0)
        kept = jnp.where((old == 0).all(1, keepdims=True), 0, new)
        kernel = jnp.where(step < num_steps, shrunk, kept)
        return {**updates, layer: {**updates[layer], "kernel": kernel - old}}, step + 1

    return optax.GradientTransformation(lambda params: jnp.zeros((), jnp.int32), update)
