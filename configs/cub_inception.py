"""Classification: the last layer of Inception-V3 on CUB-200-2011, Table 3.

configs/cub_inception.py:unbalanced,pc_softmax --config.pretrained=FILE
"""

from ml_collections import ConfigDict

from mi_classifier.config import parse_arguments

from . import common


def get_config(argument: str = "") -> ConfigDict:
    """Words: balanced (default) or unbalanced; softmax (default) or pc_softmax."""
    words = parse_arguments(
        argument,
        classes=("balanced", "unbalanced"),
        loss=("softmax", "pc_softmax"),
    )
    balanced = words["classes"] != "unbalanced"
    return common.inception(balanced, words["loss"] or "softmax")
