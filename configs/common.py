"""What the experiments on large images share (Section 6.1, Table 3)."""

from ml_collections import ConfigDict

# By backbone: the learning rate, and the modules that have it in full.
_OPTIMIZERS = {
    "vgg16_gap": {"learning_rate": 0.01, "full_rate": ("conv6", "head")},
    "resnet50": {"learning_rate": 0.1, "full_rate": ("layer4", "head")},
}
_BATCH_SIZE = {
    ("vgg16_gap", "cub200"): 30,
    ("vgg16_gap", "tiny_imagenet"): 1_280,
    ("resnet50", "cub200"): 128,
    ("resnet50", "tiny_imagenet"): 640,
}
_REGION = {
    ("vgg16_gap", "cub200"): 5,
    ("vgg16_gap", "tiny_imagenet"): 3,
    ("resnet50", "cub200"): 4,
    ("resnet50", "tiny_imagenet"): 3,
}
_DATA = {
    "cub200": {
        "name": "cub200",
        "stored_side": 256,  # pixels, before the crop
        "side": 224,
        "normalization": "imagenet",
        "balanced": True,
        "archive_path": "",  # CUB_200_2011.tgz, or its folder; "" to download
        "data_dir": "",  # where TFDS keeps data sets; "" for its default
        "lists_dir": "",  # with validation.txt and test.txt; "" for an even split
        "broken": "stop",  # at an image that cannot be decoded; or "skip"
        "seed": 0,  # of the even split
    },
    "tiny_imagenet": {
        "name": "tiny_imagenet",
        "side": 64,
        "normalization": "imagenet",
        "archive_path": "",  # tiny-imagenet-200.zip, or its folder; "" to download
        "data_dir": "",
        "lists_dir": "",
        "broken": "stop",
        "seed": 0,
    },
}
_MAPS = ("cam", "info_cam", "info_cam_plus")
# By backbone, data and ADL, in percent: top-1 and top-5 classification; GT-known and
# Top-1 localization of each map (Tables 6 and 7).
_PAPER = {
    ("vgg16_gap", "cub200", False): (
        (73.97, 91.83),
        ((42.49, 31.38), (52.96, 39.79), (59.43, 44.40)),
    ),
    ("vgg16_gap", "cub200", True): (
        (71.05, 90.20),
        ((71.59, 53.01), (73.35, 53.80), (75.89, 54.35)),
    ),
    ("resnet50", "cub200", False): (
        (80.54, 94.09),
        ((61.66, 50.84), (64.78, 53.22), (68.99, 55.83)),
    ),
    ("resnet50", "cub200", True): (
        (79.22, 94.02),
        ((57.83, 46.56), (67.75, 54.71), (69.63, 55.20)),
    ),
    ("vgg16_gap", "tiny_imagenet", False): (
        (55.25, 79.19),
        ((53.49, 33.48), (55.50, 34.27), (55.25, 34.27)),
    ),
    ("vgg16_gap", "tiny_imagenet", True): (
        (52.48, 78.75),
        ((52.75, 32.26), (53.95, 33.05), (53.91, 32.94)),
    ),
    ("resnet50", "tiny_imagenet", False): (
        (66.45, 86.22),
        ((54.56, 40.55), (57.79, 43.34), (57.71, 43.07)),
    ),
    ("resnet50", "tiny_imagenet", True): (
        (63.21, 83.47),
        ((52.66, 36.88), (54.18, 37.79), (53.70, 37.71)),
    ),
}
# GT-known and Top-1 localization with neither, the subtraction alone, and the region
# alone (Table 8; its second half is Tiny-ImageNet's, whatever its caption says).
_PAPER_ABLATION = {
    ("vgg16_gap", "cub200", False): ((42.49, 31.38), (47.59, 35.01), (53.40, 40.19)),
    ("vgg16_gap", "cub200", True): ((71.59, 53.01), (75.78, 54.28), (73.56, 53.94)),
    ("resnet50", "tiny_imagenet", False): (
        (54.56, 40.55),
        (54.29, 40.51),
        (57.73, 43.34),
    ),
    ("resnet50", "tiny_imagenet", True): (
        (52.66, 36.88),
        (52.52, 37.08),
        (54.15, 37.76),
    ),
}


def localization(backbone: str, data: str, adl: bool) -> ConfigDict:
    """Returns the config of a cell of Tables 4, 6 and 7.

    Args:
      backbone: "vgg16_gap" or "resnet50".
      data: "cub200" or "tiny_imagenet".
      adl: whether training has attention-based dropout.
    """
    return ConfigDict(
        {
            "seed": 0,
            "data": _DATA[data],
            "feed": "auto",  # "device" memory if the images fit, else "stream"
            "model": {
                "name": backbone,
                "width": 64,
                "dtype": "float32",  # or "bfloat16"
                "remat": False,  # slower, and less memory
                "adl": adl,
            },
            "pretrained": "",  # a file, or such as "timm/vgg16.tv_in1k"
            "loss": "softmax",
            "optimizer": {
                "name": "sgd",
                "momentum": 0.9,
                "nesterov": True,
                "weight_decay": 1e-4,
                "schedule": "step",
                "decay_epochs": 60,
                "decay_rate": 0.1,
                "backbone_rate": 0.1,  # of the learning rate; 0 freezes
                **_OPTIMIZERS[backbone],
            },
            "batch_size": _BATCH_SIZE[backbone, data],
            "microbatches": 1,
            "num_epochs": 200,
            "steps_per_call": 1,  # compiled into one call
            "evaluation_batch_size": 64,
            "best_by": "accuracy",  # on validation; or "mutual_information"
            "checkpoint_seconds": 60.0,  # at least, between two checkpoints
            "localization": {
                "region": _REGION[backbone, data],  # R of infoCAM and infoCAM+
                "padding": "full",
                "rival": "region",  # of infoCAM+; or "image"
                "threshold": 0.2,
            },
            "paper": _paper(backbone, data, adl),  # to be printed beside ours
        }
    )


def _paper(backbone: str, data: str, adl: bool) -> dict[str, object]:
    classification, maps = _PAPER[backbone, data, adl]
    figures = {"classification": classification, **dict(zip(_MAPS, maps, strict=True))}
    if ablation := _PAPER_ABLATION.get((backbone, data, adl)):
        rows = zip(("neither", "subtraction", "region"), ablation, strict=True)
        figures["ablation"] = dict(rows)
    return figures


def inception(balanced: bool, loss: str) -> ConfigDict:
    """Returns the config of a cell of Table 3 on CUB-200-2011.

    Args:
      balanced: whether training has all images, or half of the classes half of theirs.
      loss: "softmax" or "pc_softmax".
    """
    data = {"stored_side": 299, "side": 299, "normalization": "inception"}
    return ConfigDict(
        {
            "seed": 0,
            "data": _DATA["cub200"] | data | {"balanced": balanced},
            "feed": "auto",
            "model": {"name": "inception_v3", "frozen": True, "dtype": "float32"},
            "pretrained": "",  # a file, or such as "timm/inception_v3.tv_in1k"
            "loss": loss,
            "optimizer": {
                "name": "sgd",
                "learning_rate": 0.01,
                "momentum": 0.9,
                "schedule": "step",
                "decay_epochs": 10,
                "decay_rate": 0.1,
                "full_rate": ("head",),
                "backbone_rate": 0.0,
            },
            "batch_size": 64,
            "microbatches": 1,
            "num_epochs": 30,
            "steps_per_call": 1,
            "evaluation_batch_size": 64,
            "best_by": "accuracy",
            "checkpoint_seconds": 60.0,
        }
    )
