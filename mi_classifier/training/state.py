"""The state of a run, and how it is initialized."""

from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax

from mi_classifier import parallel


@flax.struct.dataclass
class TrainState:
    """Everything that a step changes, and the prior that the losses need.

    Attributes:
      step: number of steps taken, int32.
      params: the model's parameters.
      batch_stats: its batch statistics; empty without batch normalization.
      opt_state: the optimizer's state.
      log_prior: log P(y) of the training labels, float32 `[M]`.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: optax.OptState
    log_prior: jax.Array

    def __repr__(self) -> str:
        count = sum(x.size for x in jax.tree.leaves(self.params))
        return f"<TrainState after step {int(self.step)}, {count:,} parameters>"

    @property
    def variables(self) -> dict[str, Any]:
        """The variables that `model.apply` takes."""
        return {"params": self.params, "batch_stats": self.batch_stats}


def create_state(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    example_input: jax.Array,
    log_prior: jax.Array,
    key: jax.Array,
) -> TrainState:
    """Initialize a state on every device; only the shape of the input matters."""

    @jax.jit
    def init(key: jax.Array, log_prior: jax.Array) -> TrainState:
        variables = model.init(key, example_input)
        step, params = jnp.zeros((), jnp.int32), variables["params"]
        stats = variables.get("batch_stats", {})
        return TrainState(step, params, stats, optimizer.init(params), log_prior)

    return parallel.replicate(init(key, jnp.asarray(log_prior)))


def copy(tree: Any) -> Any:
    """Copy a tree on its devices, so that donating the original does not touch it."""
    return jax.tree.map(jnp.copy, tree)
