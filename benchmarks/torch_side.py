"""PyTorch's side of training_step.py."""

from typing import Any

import numpy as np
import torch
import torch_nets
from torch.nn import functional

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
OPTIMIZERS = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}


class Side:
    """Rounds of training steps, or of inference.

    Args:
      case: a `training_step.Case`.
      images: float32 `[N, H, W, C]` or `[N, D]`.
      labels: `[N]`.
      steps: number of steps of all rounds.
      compiles: whether to compile the net; on GPUs it always is.
    """

    def __init__(
        self,
        case: Any,
        images: np.ndarray,
        labels: np.ndarray,
        steps: int,
        compiles: bool,
    ) -> None:
        torch.set_float32_matmul_precision("high")  # TF32, which XLA uses too
        torch.backends.cudnn.benchmark = True
        self.version = f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads"
        self._net = torch_nets.create(case.model, case.classes).to(DEVICE)
        if images.ndim == 4:
            images = images.transpose(0, 3, 1, 2)
        self._images = torch.from_numpy(images).to(DEVICE)
        # The faster memory layout of each. The view of NHWC arrays is channels-last.
        if case.large:
            self._net = self._net.to(memory_format=torch.channels_last)
        else:
            self._images = self._images.contiguous()
        if compiles or DEVICE == "cuda":
            self._net = torch.compile(self._net)
            self.version += ", compiled"
        self._labels = torch.from_numpy(labels).long().to(DEVICE)
        self._in_bfloat16 = case.dtype == "bfloat16"
        self.run = self._infer
        if case.optimizer:
            self.run = self._train
            self._create_optimizer(case.optimizer, steps)
        else:
            self._net.eval()

    def _create_optimizer(self, options: dict[str, Any], steps: int) -> None:
        options = dict(options)
        make, schedule = OPTIMIZERS[options.pop("name")], options.pop("schedule")
        rate = options.pop("learning_rate")
        self._optimizer = make(self._net.parameters(), lr=rate, **options)
        self._scheduler = None
        if schedule == "cosine":
            self._scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(
                self._optimizer, steps
            )

    def _logits(self, row: torch.Tensor) -> torch.Tensor:
        with torch.autocast(DEVICE, torch.bfloat16, enabled=self._in_bfloat16):
            return self._net(self._images[row]).float()

    @torch.inference_mode()
    def _infer(self, indices: np.ndarray) -> None:
        rows = torch.from_numpy(indices).long().to(DEVICE)
        total = sum(self._logits(row).sum() for row in rows)
        assert torch.isfinite(total).item()  # waits for the device

    def _train(self, indices: np.ndarray) -> None:
        rows = torch.from_numpy(indices).long().to(DEVICE)
        total = torch.zeros((), device=DEVICE)
        for row in rows:
            self._optimizer.zero_grad()
            loss = functional.cross_entropy(self._logits(row), self._labels[row])
            loss.backward()
            self._optimizer.step()
            if self._scheduler:
                self._scheduler.step()
            total += loss.detach()
        assert torch.isfinite(total).item()  # waits for the device

    def device_bytes(self) -> int:
        """Returns the peak memory of the GPU, or 0 without one."""
        return torch.cuda.max_memory_allocated() if DEVICE == "cuda" else 0

    def count_flops(self) -> None:
        """Does not count; the nets are the same, and our side does."""
