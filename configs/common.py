"""The experiments on large images: Section 6.1, and Table 3 on CUB-200-2011."""

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
        "archive_path": "",  # CUB_200_2011.tgz, or its folder; "" downloads it
        "data_dir": "",  # where TFDS keeps data sets; "" for its default
        "lists_dir": "",  # with validation.txt and test.txt; "" for an even split
        "broken": "stop",  # at an image that cannot be decoded; or "skip"
        "seed": 0,  # of the even split
    },
    "tiny_imagenet": {
        "name": "tiny_imagenet",
        "side": 64,
        "normalization": "imagenet",
        "archive_path": "",  # tiny-imagenet-200.zip, or its folder; "" downloads it
        "data_dir": "",
        "lists_dir": "",
        "broken": "stop",
        "seed": 0,
    },
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
            "pipeline": "auto",  # "device" memory if the images fit, else "stream"
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
        }
    )


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
            "pipeline": "auto",
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
