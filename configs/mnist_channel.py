"""Mutual information of real images and labels sent through a noise channel.

configs/mnist_channel.py:unbalanced --config.data.flip_probability=0.5
"""

from ml_collections import ConfigDict

from mi_classifier.config import parse_arguments

from . import common


def get_config(argument: str = "") -> ConfigDict:
    """Words: balanced (default), or unbalanced for a tenth of the even digits."""
    words = parse_arguments(argument, classes=("balanced", "unbalanced"))
    return ConfigDict(
        {
            "seed": 0,
            "data": {
                "name": "mnist_channel",
                "flip_probability": 0.3,
                "balanced": words["classes"] != "unbalanced",
                "seed": 0,
                "archive_dir": "",  # with the four idx files; "" to download
                "data_dir": "",  # where TFDS keeps data sets; "" for its default
            },
            "pipeline": "auto",  # "device" if the data fit its memory, else "stream"
            "evaluators": common.EVALUATORS,
            "model": {"name": "mnist_cnn", "label_noise": True},
            "loss": "softmax",
            "optimizer": {
                "name": "adamw",
                "learning_rate": 1e-3,
                "weight_decay": 0.1,
                "schedule": "cosine",
            },
            "batch_size": 128,
            "microbatches": 2,  # added in order: equal bits on 1 and 2 devices
            "num_epochs": 6,
            "steps_per_call": 100,  # compiled into one call, by lax.scan
            "evaluation_batch_size": 1_000,
            "best_by": "mutual_information",  # on validation; or "accuracy"
            "checkpoint_seconds": 10.0,  # at least, between two checkpoints
        }
    )
