"""Our side of training_step.py."""

from collections.abc import Callable
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from mi_classifier import parallel
from mi_classifier.data import Dataset
from mi_classifier.data.pipeline import Batches
from mi_classifier.losses import LOSSES
from mi_classifier.models import create_model, infer
from mi_classifier.training.optimizer import Span, create_optimizer
from mi_classifier.training.state import create_state
from mi_classifier.training.step import Task, make_train_steps

SGD = {"name": "sgd", "learning_rate": 0.01, "schedule": "constant"}


class Side:
    """Rounds of training steps, or of inference.

    Args:
      case: a `training_step.Case`.
      images: float32 `[N, H, W, C]` or `[N, D]`.
      labels: `[N]`.
      steps: number of steps of all rounds.
    """

    def __init__(
        self, case: Any, images: np.ndarray, labels: np.ndarray, steps: int
    ) -> None:
        options = {"dtype": case.dtype} if case.dtype else {}
        model = create_model(case.model, case.classes, **options)
        options = case.optimizer or SGD
        optimizer = create_optimizer(options, Span(steps)).transformation
        prior = np.full(case.classes, -np.log(case.classes), np.float32)
        example = jnp.zeros((1, *images.shape[1:]))
        key = jax.random.key(0)
        self._state = create_state(model, optimizer, example, prior, key)
        self._split = parallel.replicate({"image": images, "label": labels})
        self._steps_per_call = case.steps_per_call
        self.version = f"JAX {jax.__version__} on {jax.local_devices()[0].device_kind}"
        rows = parallel.split_indices(np.zeros((1, case.batch_size), np.int32))
        if case.optimizer:
            names = tuple(map(str, range(case.classes)))
            dataset = Dataset("random", {}, names, preprocess=lambda x: x)
            task = Task(model, dataset, LOSSES["softmax"])
            self._program = make_train_steps(task, optimizer, key, case.microbatches)
            self._shapes = (self._state, Batches(self._split, rows, rows))
            self.run = self._train
        else:
            self._program = parallel.on_devices(
                lambda v, s, i: infer(model, v, s["image"][i]), (None, None, 0), 0
            )
            self._shapes = (self._state.variables, self._split, rows[:, 0])
            self.run = self._infer
        # Only the shapes, because training donates the arrays.
        self._shapes = jax.eval_shape(lambda arguments: arguments, self._shapes)

    def _infer(self, indices: np.ndarray) -> None:
        variables = self._state.variables
        outputs = [
            self._program(variables, self._split, parallel.split_indices(row)[:, 0])
            for row in indices[:, None]
        ]
        assert all(np.isfinite(np.asarray(o.logits)).all() for o in outputs)

    def _train(self, indices: np.ndarray) -> None:
        for start in range(0, len(indices), self._steps_per_call):
            rows = parallel.split_indices(indices[start : start + self._steps_per_call])
            batches = Batches(self._split, rows, rows)
            self._state, losses = self._program(self._state, batches)
        assert np.isfinite(losses).all()

    def device_bytes(self) -> int:
        """Returns the peak memory of the GPU, or 0 without one."""
        stats = jax.local_devices()[0].memory_stats() or {}
        return stats.get("peak_bytes_in_use", 0)

    def count_flops(self) -> float | None:
        """Returns the FLOPs of a step, or None if XLA does not tell."""
        return flops_of(self._program, self._shapes)


def flops_of(program: Callable, shapes: tuple) -> float | None:
    """Returns the FLOPs of a program by XLA's cost analysis, or None if it has none.

    Our CPU kernels are loops, and XLA counts one iteration of a loop. So the program
    for GPUs is counted. XLA analyzes a GPU's programs only after compilation.
    """
    jax.clear_caches()  # forget the trace with CPU kernels
    with mock.patch.object(jax, "default_backend", lambda: "gpu"):
        lowered = jax.jit(lambda *arguments: program(*arguments)).lower(*shapes)
    cost = lowered.cost_analysis() or lowered.compile().cost_analysis() or {}
    return cost.get("flops")
