"""Weakly supervised localization: ResNet50 on Tiny-ImageNet, Tables 4 and 7.

configs/tiny_imagenet_resnet.py:adl --config.pretrained=FILE
"""

from ml_collections import ConfigDict

from mi_classifier.config import parse_arguments

from . import common


def get_config(argument: str = "") -> ConfigDict:
    """Words: adl, for attention-based dropout in training."""
    words = parse_arguments(argument, dropout=("adl",))
    return common.localization("resnet50", "tiny_imagenet", bool(words["dropout"]))
