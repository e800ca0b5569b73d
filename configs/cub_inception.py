"""Classification: the last layer of Inception-V3 on CUB-200-2011, Table 3.

configs/cub_inception.py:authors,unbalanced,pc_softmax --config.pretrained=FILE
"""

from ml_collections import ConfigDict

from mi_classifier.config import parse_arguments

from . import common


def get_config(argument: str = "") -> ConfigDict:
    """Words: balanced (default), unbalanced; softmax (default), pc_softmax; authors.

    Unbalanced: half of the classes have half of their training images. With "authors",
    they have a third, and all that the paper's text leaves out is as in the authors'
    program, but for the starting weights: theirs were of ImageNet and iNaturalist.
    """
    words = parse_arguments(
        argument,
        classes=("balanced", "unbalanced"),
        loss=("softmax", "pc_softmax"),
        protocol=("authors",),
    )
    authors, balanced = words["protocol"] == "authors", words["classes"] != "unbalanced"
    # The authors' runs have 2,810 steps, and decay every 940, on any set of images:
    # 30 epochs of all, but 45 of the 3,997 unbalanced ones.
    third = 15 if authors and not balanced else 10  # epochs
    return ConfigDict(
        {
            **common.LARGE_IMAGES,
            "data": {
                **common.CUB_200,
                # Pixels; the authors evaluate the middle 0.875 of each side.
                "stored_side": 342 if authors else 299,
                "side": 299,
                "normalization": "inception",
                "balanced": balanced,
                "dropped": "authors" if authors else "half",  # if not balanced
            },
            "model": {
                "name": "inception_v3",
                "frozen": True,
                # Whether batch normalization of the frozen backbone uses the batch.
                "moving_statistics": authors,
                "dropout": 0.2 if authors else 0.5,
                "dtype": "float32",
            },
            "pretrained": "",  # a file, or such as "timm/inception_v3.tv_in1k"
            "loss": words["loss"] or "softmax",
            "optimizer": {
                "name": "sgd",
                "learning_rate": 0.01,
                "momentum": 0.9,
                "weight_decay": 4e-5 if authors else 0.0,
                "schedule": "step",
                "decay_epochs": third,
                "decay_rate": 0.1,
                "full_rate": ("head",),  # the only module that is trained
                "backbone_rate": 0.0,
            },
            "batch_size": 64,
            "num_epochs": 3 * third,
        }
    )
