"""A small backbone from scratch, on generated images in CUB-200-2011's layout.

python -m mi_classifier.rehearsal cub200 --out=rehearsal.tgz
configs/rehearsal.py:vgg,adl
"""

from ml_collections import ConfigDict

from mi_classifier import recipes
from mi_classifier.config import parse_arguments

_BACKBONES = {"vgg": "vgg16_gap", "resnet": "resnet50"}
_LEARNING_RATES = {"vgg": 0.02, "resnet": 0.05}


def get_config(argument: str = "") -> ConfigDict:
    """Words: vgg or resnet (default); adl."""
    words = parse_arguments(argument, backbone=tuple(_BACKBONES), dropout=("adl",))
    backbone = words["backbone"] or "resnet"
    config = recipes.localization(
        _BACKBONES[backbone], "cub200", bool(words["dropout"])
    )
    config.data.archive_path = "rehearsal.tgz"
    config.data.stored_side, config.data.side = 144, 128
    config.model.width = 16
    config.optimizer.learning_rate = _LEARNING_RATES[backbone]
    config.optimizer.backbone_rate = 1.0
    config.optimizer.decay_epochs = 8
    config.batch_size, config.num_epochs = 32, 12
    config.localization.region = 3
    del config.paper
    return config
