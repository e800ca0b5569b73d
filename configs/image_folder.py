"""A user's own images in root/train/CLASS/ and root/val/CLASS/, with or without boxes.

configs/image_folder.py:resnet,adl --config.data.root_dir=FOLDER
"""

from ml_collections import ConfigDict

from mi_classifier.config import parse_arguments

from . import common

_BACKBONES = {"vgg": "vgg16_gap", "resnet": "resnet50"}


def get_config(argument: str = "") -> ConfigDict:
    """Words: vgg or resnet (default); softmax (default) or pc_softmax; adl."""
    words = parse_arguments(
        argument,
        backbone=tuple(_BACKBONES),
        loss=("softmax", "pc_softmax"),
        dropout=("adl",),
    )
    backbone = _BACKBONES[words["backbone"] or "resnet"]
    config = common.localization(backbone, "cub200", bool(words["dropout"]))
    config.loss = words["loss"] or "softmax"
    config.data = ConfigDict(
        {
            "name": "image_folder",
            "root_dir": "",
            "stored_side": 256,  # pixels, before the crop
            "side": 224,
            "normalization": "imagenet",
            "data_dir": "",  # below it decoded images are kept; "" for TFDS's default
            "broken": "stop",  # at an image that cannot be decoded; or "skip"
            "seed": 0,  # of the split of val, where there is no test
        }
    )
    config.batch_size, config.num_epochs = 32, 60
    # Gentler than the paper's: this may well start without pretrained weights.
    config.optimizer.learning_rate = 0.01
    config.optimizer.decay_epochs = 20
    return config
