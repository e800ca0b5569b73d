"""Classifiers as Flax Linen modules, made by name.

`model.apply(variables, images, train=False)` returns a `ModelOutput`; the last layer is
`variables["params"]["head"]`, with a kernel of shape `[K, M]`.
"""

from typing import Any

import flax.linen as nn

from mi_classifier.errors import UserError, check_options, choose
from mi_classifier.models.gap_cnn import GapCNN
from mi_classifier.models.mlp import MLP
from mi_classifier.models.mnist_cnn import MnistCNN
from mi_classifier.models.output import ModelOutput

__all__ = ["MLP", "GapCNN", "MnistCNN", "ModelOutput", "create_model"]

_MODELS: dict[str, type[nn.Module]] = {
    "gap_cnn": GapCNN,
    "mlp": MLP,
    "mnist_cnn": MnistCNN,
}


def create_model(name: str, num_classes: int, **options: Any) -> nn.Module:
    """Creates a model by name.

    Args:
      name: "gap_cnn", "mlp" or "mnist_cnn".
      num_classes: number of classes M, at least 1.
      **options: the model's own attributes, such as `hidden` of "mlp".

    Raises:
      UserError: an unknown name or option, or no class.
    """
    model = _MODELS[choose(name, _MODELS, "model.name")]
    options["num_classes"] = num_classes
    check_options(model, options, "model")
    if num_classes < 1:
        raise UserError(f"num_classes: must be at least 1, not {num_classes}")
    units = options.get("hidden", ())
    if not all(isinstance(n, int) and n > 0 for n in units):
        raise UserError(f"model.hidden: must be positive whole numbers, not {units!r}")
    return model(**options)
