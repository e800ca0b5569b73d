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
    return ConfigDict(
        {
            **common.LARGE_IMAGES,
            "data": {
                **common.CUB_200,
                "archive_path": "rehearsal.tgz",
                "stored_side": 144,  # pixels, before the crop
                "side": 128,
            },
            "model": {
                **common.BACKBONE,
                "name": "resnet50",
                "width": 16,
                "adl": words["dropout"] == "adl",
            },
            "pretrained": "",
            "optimizer": {
                **common.SGD,
                "learning_rate": 0.05,
                "decay_epochs": 14,
                "full_rate": ("layer4", "head"),
                "backbone_rate": 1.0,  # of it, for the others: all are new
            },
            "batch_size": 32,
            "num_epochs": 20,
            "localization": {
                **common.LOCALIZATION,
                "region": 3,  # R of infoCAM and infoCAM+
            },
        }
    )
