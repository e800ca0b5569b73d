"""Which nets a cross-fit trains, and how."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from mi_classifier.cross_fitting.inputs import BLOCK_BYTES, FOLDS, Inputs
from mi_classifier.errors import UserError
from mi_classifier.models import create_model

_ROUNDS = 40  # at least; each net is scored on its stopping fold after each
_BLOCK_ROUNDS = 5  # at least, for each block of rows
_STOPPING_ROWS = 20_000  # of each fold, at most
_LOGITS = 1 << 19  # of a net at a time, at most, when it is scored
_IMAGE_SIDES = range(16, 65)  # pixels; "mnist_cnn" is made for 28


@dataclasses.dataclass(frozen=True)
class Plan:
    """How to train the nets.

    Attributes:
      seeds: nets for each fold, each with a stopping fold of its own.
      batch_size: examples a step.
      rounds: after each, every net is scored on its stopping fold.
      steps: in each round.
      learning_rate: at the first step; it falls to 0 along a cosine.
      lasso: strength of the group lasso on the layer "hidden0", in learning rates a
        step; 0 for none.
      num_blocks: of rows; the device holds one of them at a time.
      stopping_rows: rows of each fold that nets are stopped on, at most.
      chunk: rows that are scored at once.
    """

    seeds: int
    batch_size: int
    rounds: int
    steps: int
    learning_rate: float
    lasso: float
    num_blocks: int
    stopping_rows: int
    chunk: int


def make_plan(inputs: Inputs, num_classes: int, selects: bool) -> Plan:
    """Choose how to train, by the size of the data.

    Args:
      inputs: of all N rows; images go to convolutional nets.
      num_classes: M.
      selects: whether the model has a dense layer "hidden0" that can leave out inputs.
    """
    rows, images = len(inputs.x), inputs.images
    size = 64 if images else int(np.clip(rows // 80, 32, 1_000))
    steps = max(500 if images else 2_000, 5 * rows // size)
    num_blocks = -(-rows * inputs.row_bytes // BLOCK_BYTES)
    rounds = max(_ROUNDS, _BLOCK_ROUNDS * num_blocks)
    return Plan(
        seeds=1 if images else 2,
        batch_size=size,
        rounds=rounds,
        steps=-(-steps // rounds),
        learning_rate=1e-3 if images else 3e-3,
        lasso=3.0 if selects and not images else 0.0,
        num_blocks=num_blocks,
        stopping_rows=min(_STOPPING_ROWS, BLOCK_BYTES // FOLDS // inputs.row_bytes + 1),
        chunk=int(np.clip(_LOGITS // num_classes, 16, 256 if images else 4_096)),
    )


def default_model(inputs: Inputs, num_classes: int) -> nn.Module:
    """Create the net that fits the inputs: dense, or convolutional for images.

    Raises:
      UserError: images that no built-in net is made for.
    """
    if not inputs.images:
        hidden = (100, 100, 100) if len(inputs.x) >= 500 else (32, 32)
        return create_model("mlp", num_classes, hidden=hidden)
    height, width = inputs.x.shape[1:3]
    if height in _IMAGE_SIDES and width in _IMAGE_SIDES:
        return create_model("mnist_cnn", num_classes)
    raise UserError(
        f"x: images of {height} x {width} pixels; resize them to sides of 16 to 64, "
        "give features of a pretrained net [N, D], or a model of your own"
    )


def check_model(model: nn.Module, inputs: Inputs, num_classes: int) -> None:
    """Check that a model fits the data and the contract of `create_model`.

    Raises:
      UserError: another number of logits, or variables besides its parameters.
    """

    def logits(x: jax.Array) -> tuple[Any, jax.Array]:
        variables = model.init(jax.random.key(0), x)
        return variables, model.apply(variables, x, train=False).logits

    variables, output = jax.eval_shape(logits, inputs[np.arange(1)])
    if output.shape != (1, num_classes):
        raise UserError(
            f"model: gives {output.shape[-1]} logits, but y has {num_classes} labels"
        )
    if set(variables) != {"params"} or "head" not in variables["params"]:
        raise UserError(
            "model: must have parameters only, the last layer's named 'head'"
        )
