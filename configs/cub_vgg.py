"""Weakly supervised localization: VGG16-GAP on CUB-200-2011, Tables 4 and 6.

configs/cub_vgg.py:adl --config.pretrained=FILE
"""

from ml_collections import ConfigDict

from mi_classifier.config import parse_arguments

from . import common


def get_config(argument: str = "") -> ConfigDict:
    """Words: adl, for attention-based dropout in training."""
    words = parse_arguments(argument, dropout=("adl",))
    return common.localization("vgg16_gap", "cub200", bool(words["dropout"]))
