"""Localization on Tiny-ImageNet by EfficientNet-Lite0, frozen or fine-tuned.

configs/tiny_imagenet_efficientnet.py --config.data.archive_path=tiny-imagenet-200.zip
"""

from ml_collections import ConfigDict

from mi_classifier.config import parse_arguments

from . import common

# With 500 photos a class, the head needs less weight decay than with 30.
_FROZEN = {
    **common.FROZEN,
    "optimizer": {
        **common.FROZEN["optimizer"],
        "learning_rate": 0.3,
        "weight_decay": 3e-4,
    },
    "batch_size": 500,
    "num_epochs": 20,
}


def get_config(argument: str = "") -> ConfigDict:
    """Words: frozen (default) or finetune; softmax (default) or pc_softmax."""
    words = parse_arguments(
        argument,
        training=("frozen", "finetune"),
        loss=("softmax", "pc_softmax"),
    )
    finetune = words["training"] == "finetune"
    return ConfigDict(
        {
            **common.LARGE_IMAGES,
            **(common.FINE_TUNED if finetune else _FROZEN),
            "data": {**common.TINY_IMAGENET, "normalization": "efficientnet"},
            "model": common.EFFICIENTNET,
            "loss": words["loss"] or "softmax",
            "localization": {
                **common.LOCALIZATION,
                "region": 2,  # R of infoCAM and infoCAM+
            },
        }
    )
