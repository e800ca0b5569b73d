"""A user's own images in root/train/CLASS/ and root/val/CLASS/, with or without boxes.

configs/image_folder.py:resnet,adl --config.data.root_dir=FOLDER
"""

from ml_collections import ConfigDict

from mi_classifier.config import parse_arguments

from . import common

# By word: the net, its module with the full learning rate, and R, as on CUB-200-2011.
_BACKBONES = {"vgg": ("vgg16_gap", "conv6", 5), "resnet": ("resnet50", "layer4", 4)}


def get_config(argument: str = "") -> ConfigDict:
    """Words: vgg or resnet (default); softmax (default) or pc_softmax; adl."""
    words = parse_arguments(
        argument,
        backbone=tuple(_BACKBONES),
        loss=("softmax", "pc_softmax"),
        dropout=("adl",),
    )
    name, last_module, region = _BACKBONES[words["backbone"] or "resnet"]
    return ConfigDict(
        {
            **common.LARGE_IMAGES,
            "data": {
                "name": "image_folder",
                "root_dir": "",
                "stored_side": 256,  # pixels, before the crop
                "side": 224,
                "normalization": "imagenet",
                "data_dir": "",  # keeps decoded images; "" for TFDS's default
                "broken": "stop",  # at an image that cannot be decoded; or "skip"
                "seed": 0,  # of the split of val, if there is no test
            },
            "model": {
                **common.BACKBONE,
                "name": name,
                "adl": words["dropout"] == "adl",
            },
            "pretrained": "",  # a file, or such as "timm/resnet50.tv_in1k"
            "loss": words["loss"] or "softmax",
            "optimizer": {
                **common.SGD,
                # Lower than the paper's, and sooner down: training may well start
                # without pretrained weights.
                "learning_rate": 0.01,
                "decay_epochs": 20,
                "full_rate": (last_module, "head"),  # modules with the full rate
                "backbone_rate": 0.1,  # of it, for the others; 0 freezes them
            },
            "batch_size": 32,
            "num_epochs": 60,
            "localization": {
                **common.LOCALIZATION,
                "region": region,  # R of infoCAM and infoCAM+
            },
        }
    )
