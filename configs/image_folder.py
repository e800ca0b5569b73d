"""A user's own images in root/CLASS/ or root/train/CLASS/, with or without boxes.

configs/image_folder.py --config.data.root_dir=FOLDER
configs/image_folder.py:scratch,small --config.data.root_dir=FOLDER
"""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from mi_classifier.config import parse_arguments
from mi_classifier.errors import UserError

from . import common

# By word: the net, its fields, the modules with the full rate in fine-tuning, and R.
_NETS = {
    "efficientnet": (common.EFFICIENTNET, ("head",), 2),
    "resnet": ({**common.BACKBONE, "name": "resnet50"}, ("layer4", "head"), 4),
    "vgg": ({**common.BACKBONE, "name": "vgg16_gap"}, ("conv6", "head"), 5),
}
# Fine-tuning of resnet and vgg: the paper's, with a lower rate that goes down sooner.
_PAPERS = {
    "pretrained": "",  # a file, or such as "timm/resnet50.tv_in1k"
    "optimizer": {
        **common.SGD,
        "learning_rate": 0.01,
        "decay_epochs": 20,
        "backbone_rate": 0.1,  # of it, for modules that full_rate does not name
    },
    "batch_size": 32,
    "num_epochs": 60,
}
_SMALL = 16  # channels of a small net's first layer, instead of 32 or 64


def get_config(argument: str = "") -> ConfigDict:
    """Words: frozen (default), finetune or scratch; a net; small; a loss; adl.

    frozen trains the head of a pretrained net on features that are computed once,
    finetune all of its layers, scratch a net without pretrained weights; small makes
    that net narrow. The nets are efficientnet (default), resnet (default for scratch)
    and vgg; only efficientnet has weights that install with the package, so the others
    are fine-tuned by default, from --config.pretrained=FILE. The loss is softmax
    (default) or pc_softmax. adl adds attention-based dropout to resnet or vgg.
    """
    words = parse_arguments(
        argument,
        training=("frozen", "finetune", "scratch"),
        net=tuple(_NETS),
        size=("small",),
        loss=("softmax", "pc_softmax"),
        dropout=("adl",),
    )
    scratch = words["training"] == "scratch"
    net = words["net"] or ("resnet" if scratch else "efficientnet")
    installed = net == "efficientnet"
    training = words["training"] or ("frozen" if installed else "finetune")
    _check(words, net, training)
    _, full_rate, region = _NETS[net]
    recipe = {
        "frozen": common.FROZEN,
        "finetune": common.FINE_TUNED if installed else _PAPERS,
        "scratch": common.SCRATCH,
    }[training]
    if training == "finetune":
        optimizer = {**recipe["optimizer"], "full_rate": full_rate}
        recipe = {**recipe, "optimizer": optimizer}
    return ConfigDict(
        {
            **common.LARGE_IMAGES,
            **recipe,
            "data": {
                "name": "image_folder",
                "root_dir": "",
                "stored_side": 144 if scratch else 256,  # pixels, before the crop
                "side": 128 if scratch else 224,
                "normalization": "efficientnet" if installed else "imagenet",
                "data_dir": "",  # keeps decoded images and features; "": TFDS's default
                "pad": 8 if scratch else 0,  # pixels at each edge, before the crop
                "broken": "stop",  # at an image that cannot be decoded; or "skip"
                "seed": 0,  # of what is held out, and of the split of val
                "hold_out": 0.2,  # share of each class for splits without a folder
                "boxes": "auto",  # what boxes.csv means; or as "corners,last_pixel"
            },
            "model": _model(words, net, scratch),
            "loss": words["loss"] or "softmax",
            "localization": {
                **common.LOCALIZATION,
                "region": 2 if scratch else region,  # R of infoCAM and infoCAM+
            },
        }
    )


def _model(words: Mapping[str, str | None], net: str, scratch: bool) -> dict[str, Any]:
    model, _, _ = _NETS[net]
    if words["size"]:
        model = {**model, "width": _SMALL}
    if net == "efficientnet":
        return {**model, "moving_statistics": scratch}
    return {**model, "adl": words["dropout"] == "adl"}


def _check(words: Mapping[str, str | None], net: str, training: str) -> None:
    """Refuse words that do not fit each other."""
    if training == "frozen" and net != "efficientnet":
        raise UserError(
            f"config argument: {net} has layers without pretrained weights, which a "
            "frozen backbone leaves untrained; use efficientnet, or finetune"
        )
    if words["size"] and training != "scratch":
        raise UserError(
            "config argument: pretrained weights fit the full net alone; use "
            "scratch,small"
        )
    if words["dropout"] and net == "efficientnet":
        raise UserError(
            "config argument: efficientnet has no adl; use resnet,adl or vgg,adl"
        )
