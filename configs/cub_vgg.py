"""Weakly supervised localization: VGG16-GAP on CUB-200-2011, Tables 4 and 6.

configs/cub_vgg.py:adl --config.pretrained=FILE
"""

from ml_collections import ConfigDict

from mi_classifier.config import parse_arguments

from . import common


def get_config(argument: str = "") -> ConfigDict:
    """Words: adl, for attention-based dropout in training."""
    words = parse_arguments(argument, dropout=("adl",))
    return ConfigDict(
        {
            **common.LARGE_IMAGES,
            "data": common.CUB_200,
            "model": {
                **common.BACKBONE,
                "name": "vgg16_gap",
                "adl": words["dropout"] == "adl",
            },
            "pretrained": "",  # a file, or such as "timm/vgg16.tv_in1k"
            "optimizer": {
                **common.SGD,
                "learning_rate": 0.01,
                "decay_epochs": 60,
                "full_rate": ("conv6", "head"),  # modules with the full rate
                "backbone_rate": 0.1,  # of it, for the others; 0 freezes them
            },
            "batch_size": 30,
            "num_epochs": 200,
            "localization": {
                **common.LOCALIZATION,
                "region": 5,  # R of infoCAM and infoCAM+
            },
        }
    )
