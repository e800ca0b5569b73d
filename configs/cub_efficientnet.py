"""Localization of birds by EfficientNet-Lite0, frozen or fine-tuned, on CUB-200-2011.

configs/cub_efficientnet.py:finetune --config.data.archive_path=CUB_200_2011.tgz
"""

from ml_collections import ConfigDict

from mi_classifier.config import parse_arguments

from . import common


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
            **(common.FINE_TUNED if finetune else common.FROZEN),
            "data": {**common.CUB_200, "normalization": "efficientnet"},
            "model": common.EFFICIENTNET,
            "loss": words["loss"] or "softmax",
            "localization": {
                **common.LOCALIZATION,
                "region": 2,  # R of infoCAM and infoCAM+
            },
        }
    )
