"""Weakly supervised localization: VGG16-GAP on Tiny-ImageNet, Tables 4 and 7.

configs/tiny_imagenet_vgg.py:adl --config.pretrained=FILE
configs/tiny_imagenet_vgg.py:scratch
"""

from ml_collections import ConfigDict

from mi_classifier.config import parse_arguments

from . import common

# From pretrained weights, as in the paper.
_PAPERS = {
    "pretrained": "",  # a file, or such as "timm/vgg16.tv_in1k"
    "optimizer": {
        **common.SGD,
        "learning_rate": 0.01,
        "decay_epochs": 60,
        "full_rate": ("conv6", "head"),  # modules with the full rate
        "backbone_rate": 0.1,  # of it, for the others; 0 freezes them
    },
    "batch_size": 1_280,
    "num_epochs": 200,
}
_SCRATCH = {
    **common.SCRATCH,
    # VGG16's own rate and batch: it has no batch normalization.
    "optimizer": {**common.SCRATCH["optimizer"], "learning_rate": 0.01},
    "batch_size": 256,
    "num_epochs": 30,
}


def get_config(argument: str = "") -> ConfigDict:
    """Words: adl, for attention-based dropout in training; scratch.

    scratch is for a net without pretrained weights: other augmentation, another
    optimizer, and a map of 8 x 8 instead of 4 x 4.
    """
    words = parse_arguments(argument, training=("scratch",), dropout=("adl",))
    scratch = words["training"] == "scratch"
    return ConfigDict(
        {
            **common.LARGE_IMAGES,
            **(_SCRATCH if scratch else _PAPERS),
            "data": {
                **common.TINY_IMAGENET,
                "pad": 8 if scratch else 0,  # pixels at each edge, before the crop
            },
            "model": {
                **common.BACKBONE,
                "name": "vgg16_gap",
                "pools": 3 if scratch else 4,  # 3: a map of 8 x 8; 4: 4 x 4
                "adl": words["dropout"] == "adl",
            },
            "localization": {
                **common.LOCALIZATION,
                "region": 2 if scratch else 3,  # R of infoCAM and infoCAM+
            },
        }
    )
