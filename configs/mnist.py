"""Classification of balanced and unbalanced MNIST, Table 3.

configs/mnist.py:unbalanced,pc_softmax --config.data.archive_dir=FOLDER
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
    return ConfigDict(
        {
            "seed": 0,
            "data": {
                "name": "mnist",
                "balanced": words["classes"] != "unbalanced",
                "archive_dir": "",  # with the four idx files; "" to download
                "data_dir": "",  # where TFDS keeps data sets; "" for its default
            },
            "pipeline": "auto",  # "device" if the data fit its memory, else "stream"
            "evaluators": common.EVALUATORS,
            "model": {"name": "mnist_cnn"},
            "loss": words["loss"] or "softmax",
            "optimizer": {
                "name": "sgd",
                "learning_rate": 0.01,
                "momentum": 0.5,
                "schedule": "constant",
            },
            "batch_size": 64,
            "microbatches": 2,  # added in order: equal bits on 1 and 2 devices
            "num_epochs": 8,
            "steps_per_call": 500,  # compiled into one call, by lax.scan
            "evaluation_batch_size": 1_000,
            "best_by": "accuracy",  # on validation; or "mutual_information"
            "checkpoint_seconds": 10.0,  # at least, between two checkpoints
        }
    )
