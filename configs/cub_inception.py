"""Classification: the last layer of Inception-V3 on CUB-200-2011, Table 3.

configs/cub_inception.py:unbalanced,pc_softmax --config.pretrained=FILE
"""

from ml_collections import ConfigDict

from mi_classifier.config import parse_arguments

from . import common


def get_config(argument: str = "") -> ConfigDict:
    """Words: balanced (default) or unbalanced; softmax (default) or pc_softmax.

    Unbalanced: half of the classes have half of their training images.
    """
    words = parse_arguments(
        argument,
        classes=("balanced", "unbalanced"),
        loss=("softmax", "pc_softmax"),
    )
    return ConfigDict(
        {
            **common.LARGE_IMAGES,
            "data": {
                **common.CUB_200,
                "stored_side": 299,  # pixels
                "side": 299,
                "normalization": "inception",
                "balanced": words["classes"] != "unbalanced",
            },
            "model": {"name": "inception_v3", "frozen": True, "dtype": "float32"},
            "pretrained": "",  # a file, or such as "timm/inception_v3.tv_in1k"
            "loss": words["loss"] or "softmax",
            "optimizer": {
                "name": "sgd",
                "learning_rate": 0.01,
                "momentum": 0.9,
                "schedule": "step",
                "decay_epochs": 10,
                "decay_rate": 0.1,
                "full_rate": ("head",),  # the only module that is trained
                "backbone_rate": 0.0,
            },
            "batch_size": 64,
            "num_epochs": 30,
        }
    )
