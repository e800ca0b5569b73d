"""A narrow ResNet50 from scratch, on generated images in CUB-200-2011's layout.

python tools/rehearsal.py cub200 --out=rehearsal.tgz
python train.py --config=configs/rehearsal.py
"""

from ml_collections import ConfigDict

from mi_classifier.config import parse_arguments

from . import common


def get_config(argument: str = "") -> ConfigDict:
    """Words: adl, for attention-based dropout in training."""
    words = parse_arguments(argument, dropout=("adl",))
    config = common.localization("resnet50", "cub200", bool(words["dropout"]))
    config.data.archive_path = "rehearsal.tgz"
    config.data.stored_side, config.data.side = 144, 128
    config.model.width = 16
    config.optimizer.learning_rate = 0.05
    config.optimizer.backbone_rate = 1.0
    config.optimizer.decay_epochs = 14
    config.batch_size, config.num_epochs = 32, 20
    config.localization.region = 3
    return config
