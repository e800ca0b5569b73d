"""Classifiers as Flax Linen modules, made by name.

`model.apply(variables, images, train=False)` returns a `ModelOutput`; the last layer is
`variables["params"]["head"]`, with a kernel of shape `[K, M]`.
"""

import dataclasses
from typing import Any

import flax.linen as nn

from mi_classifier.errors import UserError, choose, nearest
from mi_classifier.models.mlp import MLP
from mi_classifier.models.mnist_cnn import MnistCNN
from mi_classifier.models.output import ModelOutput

__all__ = ["MLP", "MnistCNN", "ModelOutput", "create_model"]

_MODELS: dict[str, type[nn.Module]] = {"mlp": MLP, "mnist_cnn": MnistCNN}


def create_model(name: str, num_classes: int, **options: Any) -> nn.Module:
    """Creates a model by name.

    Args:
      name: "mlp" or "mnist_cnn".
      num_classes: number of classes M, at least 1.
      **options: the model's own attributes, such as `hidden` of "mlp".

    Raises:
      UserError: an unknown name or option, or no class.
    """
    model = _MODELS[choose(name, _MODELS, "model.name")]
    known = {field.name for field in dataclasses.fields(model)} - {"name", "parent"}
    for option in options:
        if option not in known - {"num_classes"}:
            hint = nearest(option, known)
            raise UserError(f"model.{option}: not an option of {name!r}{hint}")
    if num_classes < 1:
        raise UserError(f"num_classes: must be at least 1, not {num_classes}")
    return model(num_classes=num_classes, **options)
