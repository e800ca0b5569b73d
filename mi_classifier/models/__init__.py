"""Classifiers as Flax Linen modules, made by name.

`model.apply(variables, images, train=False)` returns a `ModelOutput`; the last layer is
`variables["params"]["head"]`, with a kernel of shape `[K, M]`. A new model is a file
here and a line in `MODELS`. If its backbone has layers that pretrained weights lack, it
names them in `NEW_LAYERS`.
"""

from typing import Any

import flax.linen as nn

from mi_classifier.errors import check_options, check_whole, choose
from mi_classifier.models.cnn import GapCNN, MnistCNN
from mi_classifier.models.efficientnet import EfficientNetLite0
from mi_classifier.models.inception import InceptionV3
from mi_classifier.models.mlp import MLP
from mi_classifier.models.output import ModelOutput, infer
from mi_classifier.models.resnet import ResNet50
from mi_classifier.models.vgg import VGG16GAP

__all__ = ["MODELS", "ModelOutput", "create_model", "infer"]

MODELS: dict[str, type[nn.Module]] = {
    "efficientnet_lite0": EfficientNetLite0,
    "gap_cnn": GapCNN,
    "inception_v3": InceptionV3,
    "mlp": MLP,
    "mnist_cnn": MnistCNN,
    "resnet50": ResNet50,
    "vgg16_gap": VGG16GAP,
}


def create_model(name: str, num_classes: int, **options: Any) -> nn.Module:
    """Create a model by name.

    Args:
      name: a key of `MODELS`.
      num_classes: number of classes M, at least 1.
      **options: the model's own attributes, such as `hidden` of "mlp".

    Raises:
      UserError: the name or an option is unknown, an option has a wrong value, or
        `num_classes` is less than 1.

    Examples:
      >>> import jax
      >>> model = create_model("mlp", num_classes=3, hidden=(8,))
      >>> variables = model.init(jax.random.key(0), jax.numpy.zeros((1, 2)))
      >>> model.apply(variables, jax.numpy.zeros((5, 2)), train=False).logits.shape
      (5, 3)
    """
    model = MODELS[choose(name, MODELS, "model.name")]
    options["num_classes"] = check_whole(num_classes, "num_classes", least=1)
    check_options(model, options, "model")
    return model(**options)
