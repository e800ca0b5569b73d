"""Classifiers as Flax Linen modules, made by name.

`model.apply(variables, images, train=False)` returns a `ModelOutput`; the last layer is
`variables["params"]["head"]`, with a kernel of shape `[K, M]`.
"""

from typing import Any

import flax.linen as nn

from mi_classifier.errors import UserError, check_options, choose
from mi_classifier.models.gap_cnn import GapCNN
from mi_classifier.models.inception import InceptionV3
from mi_classifier.models.inference import infer
from mi_classifier.models.mlp import MLP
from mi_classifier.models.mnist_cnn import MnistCNN
from mi_classifier.models.output import ModelOutput
from mi_classifier.models.resnet import ResNet50
from mi_classifier.models.vgg import VGG16GAP

__all__ = [
    "MLP",
    "VGG16GAP",
    "GapCNN",
    "InceptionV3",
    "MnistCNN",
    "ModelOutput",
    "ResNet50",
    "create_model",
    "infer",
]

_MODELS: dict[str, type[nn.Module]] = {
    "gap_cnn": GapCNN,
    "inception_v3": InceptionV3,
    "mlp": MLP,
    "mnist_cnn": MnistCNN,
    "resnet50": ResNet50,
    "vgg16_gap": VGG16GAP,
}


def create_model(name: str, num_classes: int, **options: Any) -> nn.Module:
    """Creates a model by name.

    Args:
      name: "mlp", "mnist_cnn", "gap_cnn", "vgg16_gap", "resnet50" or "inception_v3".
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
    if not isinstance(units, (tuple, list)) or not all(
        type(n) is int and 0 < n < 2**31 for n in units
    ):
        raise UserError(f"model.hidden: must be positive whole numbers, not {units!r}")
    return model(**options)
