"""What several configs share; it is the same in every experiment that uses it."""

# Evaluators, in the order of the tables. The names are those of EVALUATORS in
# mi_classifier/evaluation/evaluators; those that do not fit the data are left out.
EVALUATORS = (
    "information",
    "truth",
    "calibration",
    "accuracy",
    "activity",
    "localization",
)

# The fields of every experiment on large images, Section 6.1 and Table 3.
LARGE_IMAGES = {
    "seed": 0,
    "pipeline": "auto",  # "device" if the images fit its memory, else "stream"
    "evaluators": EVALUATORS,
    "loss": "softmax",
    "microbatches": 1,
    "steps_per_call": 1,  # compiled into one call
    "evaluation_batch_size": 64,
    "best_by": "accuracy",  # on validation; or "mutual_information"
    "checkpoint_seconds": 60.0,  # at least, between two checkpoints
}

CUB_200 = {
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
}

TINY_IMAGENET = {
    "name": "tiny_imagenet",
    "side": 64,
    "normalization": "imagenet",
    "boxes": "true",  # or "published": corners read as x, y, width, height
    "archive_path": "",  # tiny-imagenet-200.zip, or its folder; "" downloads it
    "data_dir": "",  # where TFDS keeps data sets; "" for its default
    "lists_dir": "",  # with validation.txt and test.txt; "" for an even split
    "broken": "stop",  # at an image that cannot be decoded; or "skip"
    "seed": 0,  # of the even split
}

# The fields of every net with a GAP head, beside its name and its dropout.
BACKBONE = {
    "width": 64,
    "dtype": "float32",  # or "bfloat16"
    "remat": False,  # True is slower and takes less memory
}

# The optimizer of every localization experiment, beside its learning rate, how soon
# that decays, and which modules have it in full.
SGD = {
    "name": "sgd",
    "momentum": 0.9,
    "nesterov": True,
    "weight_decay": 1e-4,
    "schedule": "step",
    "decay_rate": 0.1,  # the learning rate is multiplied by it
}

# How boxes are found in every localization experiment, beside the region.
LOCALIZATION = {
    "padding": "full",
    "rival": "region",  # of infoCAM+; or "image"
    "threshold": 0.2,  # of the map's maximum
}

# EfficientNet-Lite0, whose ImageNet weights the extra "pretrained" installs.
EFFICIENTNET = {
    "name": "efficientnet_lite0",
    "width": 32,  # channels of the stem; another width has no pretrained weights
    "input_side": 224,  # pixels; smaller images are enlarged inside the net
    "dropout": 0.0,  # share of pooled features
    "moving_statistics": False,  # False keeps the pretrained ones, in training too
    "dtype": "float32",  # or "bfloat16"
}

# The head alone is trained, on features that the frozen backbone computes once. SGD
# does not move the sum of the classes' weights; weight decay alone shrinks it.
# Predictions do not depend on that sum but CAM does: with Adam, which moves it, CAM
# finds far fewer objects.
FROZEN = {
    "pretrained": "imagenet",
    "cache_features": True,  # of images without augmentation
    "optimizer": {
        "name": "sgd",
        "learning_rate": 0.03,
        "momentum": 0.9,
        "weight_decay": 3e-3,
        "schedule": "cosine",
        "full_rate": ("head",),  # modules with the full rate
        "backbone_rate": 0.0,  # of it, for the others: they are frozen
    },
    "batch_size": 32,
    "best_by": "mutual_information",  # accuracy has ties among few images
    "steps_per_call": 50,  # compiled into one call
    "num_epochs": 30,
}

# All modules are trained, and none has pretrained weights.
SCRATCH = {
    "pretrained": "",
    "loss_options": {"label_smoothing": 0.1},
    "optimizer": {
        "name": "sgd",
        "learning_rate": 0.1,
        "momentum": 0.9,
        "nesterov": True,
        "weight_decay": 5e-4,
        "schedule": "warmup_cosine",
        "warmup_epochs": 3,
        "full_rate": ("head",),  # modules with the full rate
        "backbone_rate": 1.0,  # of it, for the others: all are new
    },
    "batch_size": 128,
    "steps_per_call": 1,  # compiled into one call
    "num_epochs": 60,
}

# All modules of EfficientNet-Lite0 are trained, from pretrained weights.
FINE_TUNED = {
    "pretrained": "imagenet",
    "cache_features": False,
    "optimizer": {
        "name": "sgd",
        "learning_rate": 0.02,
        "momentum": 0.9,
        "nesterov": True,
        "weight_decay": 1e-4,
        "schedule": "cosine",
        "full_rate": ("head",),  # modules with the full rate
        "backbone_rate": 0.3,  # of it, for the others
    },
    "batch_size": 32,
    "steps_per_call": 1,  # compiled into one call
    "num_epochs": 20,
}
