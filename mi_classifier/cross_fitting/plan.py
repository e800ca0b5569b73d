"""How to train the nets of a cross-fit, chosen by the size and the kind of the data."""

import dataclasses

import flax.linen as nn
import numpy as np

from mi_classifier.cross_fitting.inputs import PADDED, Inputs
from mi_classifier.models import create_model

BLOCK_BYTES = 1 << 28  # of inputs on the device at a time, at most
_LOGITS = 1 << 19  # of a net at a time, at most, when it is scored
_STOPPING_ROWS = 20_000  # at most
_FEW_NUMBERS = 6  # columns of numbers; with more, Fourier features find no structure
_FINE_GROUPS = 1_000  # with fewer, plain nets find as much, in less time
# More nets help where there are enough rows to train on, and are quickly trained where
# there are not too many.
_FEW_ROWS = 1_000
_SHARED_ROWS = 20_000
_FREQUENCIES = 64
# Standard deviations of the frequencies, in radians per deviation of a column; with 0,
# the net has nothing but its inputs.
_FOURIER = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
_LEAST_SIDE = 16  # pixels, of images for "mnist_cnn"; it is made for 28


@dataclasses.dataclass(frozen=True)
class Plan:
    """How to train the learners."""

    scales: tuple[float, ...]  # of Fourier features that compete; may be none
    nets: int  # of each fold
    batch_size: int
    search_rounds: int  # of the competing nets
    rounds: int  # of the first cycle; after each round, every net is scored
    steps: int  # in each round
    cycles: int  # at most; each is twice as long as the one before
    learning_rate: float  # at the first step of a cycle; it falls to 0 along a cosine
    weight_decay: float  # decoupled, as in AdamW
    lasso: float  # of the layer "hidden0", in learning rates a step; 0 for none
    num_blocks: int  # of rows; the device holds one of them at a time
    stopping_rows: int  # at most
    chunk: int  # rows that are scored at once
    linear: bool  # whether linear learners join the nets
    local: bool  # whether neighbors and trees do, too


def make_plan(
    inputs: Inputs, num_classes: int, groups: int, own_model: bool = False
) -> Plan:
    """Choose how to train.

    Args:
      inputs: of N rows.
      num_classes: number of labels M.
      groups: number of groups that are independent of each other; N if all rows are.
      own_model: whether the user has given a model.
    """
    rows, images = len(inputs), inputs.images
    row_bytes = 4 * inputs[np.arange(1)].size
    size = 64 if images else int(np.clip(rows // 80, 32, 1_000))
    num_blocks = -(-rows * row_bytes // BLOCK_BYTES)
    steps = 500 if images else 1_600
    steps = max(steps, 4 * rows // size)
    more = int(np.clip(_SHARED_ROWS // rows, 2, 4))
    few = 0 < len(inputs.numbers) <= _FEW_NUMBERS
    fine = not images and not own_model and few and groups >= _FINE_GROUPS
    return Plan(
        scales=_FOURIER if fine else (),
        nets=4 if fine else 1 if images else more if rows >= _FEW_ROWS else 2,
        batch_size=size,
        search_rounds=max(10, num_blocks),
        rounds=max(20 if fine else 32, 2 * num_blocks),
        steps=-(-steps // max(32, 2 * num_blocks)),
        cycles=2 if fine else 1 if images else 3,
        learning_rate=1e-3 if images else 3e-3,
        weight_decay=0.1 if fine else 0.0,
        lasso=0.0 if images or own_model else 0.3 if fine else 3.0,
        num_blocks=num_blocks,
        stopping_rows=min(_STOPPING_ROWS, BLOCK_BYTES // row_bytes + 1),
        chunk=int(np.clip(_LOGITS // num_classes, 16, 256 if images else 1_024)),
        linear=not images and not own_model,
        local=fine,
    )


def outputs_of(inputs: Inputs, num_classes: int) -> int:
    """Return how many outputs a default net has, so that programs are shared."""
    if inputs.images or num_classes == 2:
        return num_classes
    return -(-num_classes // PADDED) * PADDED if num_classes > 4 else 4


def default_model(inputs: Inputs, num_outputs: int, plan: Plan) -> nn.Module:
    """Create the net that fits the inputs: dense, or convolutional for images."""
    if inputs.images:
        height, width = inputs[np.arange(1)].shape[1:3]
        small = min(height, width) < _LEAST_SIDE
        return create_model("gap_cnn" if small else "mnist_cnn", num_outputs)
    hidden = (100, 100, 100) if len(inputs) >= 500 else (32, 32)
    fourier = {}
    if plan.scales:
        count = len(inputs.numbers)
        fourier = {"frequencies": _FREQUENCIES, "fourier_inputs": count}
    return create_model("mlp", num_outputs, hidden=hidden, **fourier)
