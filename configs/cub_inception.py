"""Classification: the last layer of Inception-V3 on CUB-200-2011, Table 3.

The data are generated images of the same shapes so far.

configs/cub_inception.py:pc_softmax --config.pretrained=FILE
"""

from ml_collections import ConfigDict

from mi_classifier import recipes
from mi_classifier.config import parse_arguments


def get_config(argument: str = "") -> ConfigDict:
    """Words: pc_softmax, else an ordinary softmax."""
    words = parse_arguments(argument, loss=("softmax", "pc_softmax"))
    return recipes.inception(words["loss"] or "softmax")
