"""The state of a run, and its first value."""

from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax

from mi_classifier import parallel


@flax.struct.dataclass
class TrainState:
    """All that a step changes, and the prior that every loss needs.

    Attributes:
      step: int32 scalar, steps taken.
      params: the model's parameters.
      batch_stats: its batch statistics; empty without batch normalization.
      opt_state: the optimizer's state.
      log_prior: float32 `[M]`, log P(y) of the training labels.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: optax.OptState
    log_prior: jax.Array

    @property
    def variables(self) -> dict[str, Any]:
        """What `model.apply` takes."""
        return {"params": self.params, "batch_stats": self.batch_stats}


def create_state(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    example_input: jax.Array,
    log_prior: jax.Array,
    key: jax.Array,
) -> TrainState:
    """Initializes a run's state, the same on every device.

    Args:
      model: the module to train.
      optimizer: its optimizer.
      example_input: a batch of preprocessed images, for its shape.
      log_prior: `[M]` log P(y).
      key: of the parameters' initialization.
    """

    def init(key: jax.Array, log_prior: jax.Array) -> TrainState:
        variables = model.init(key, example_input)
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=variables["params"],
            batch_stats=variables.get("batch_stats", {}),
            opt_state=optimizer.init(variables["params"]),
            log_prior=log_prior,
        )

    return parallel.replicate(jax.jit(init)(key, jnp.asarray(log_prior)))
