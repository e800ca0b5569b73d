"""Double-digit MNIST: several labels an image, and where they are. Table 5, Figure 4.

configs/double_mnist.py:sigmoid --config.data.archive_dir=FOLDER
"""

from ml_collections import ConfigDict

from mi_classifier.config import parse_arguments

from . import common


def get_config(argument: str = "") -> ConfigDict:
    """Words: pc_sigmoid (default) or sigmoid."""
    words = parse_arguments(argument, loss=("pc_sigmoid", "sigmoid"))
    return ConfigDict(
        {
            "seed": 0,
            "data": {
                "name": "double_mnist",
                "seed": 0,
                "archive_dir": "",  # with the four idx files; "" to download
                "data_dir": "",  # where TFDS keeps data sets; "" for its default
            },
            "pipeline": "auto",  # "device" if the data fit its memory, else "stream"
            "evaluators": common.EVALUATORS,
            "model": {"name": "gap_cnn"},
            "loss": words["loss"] or "pc_sigmoid",
            "optimizer": {
                "name": "adam",
                "learning_rate": 4e-3,
                "schedule": "cosine",
            },
            "batch_size": 64,
            "microbatches": 2,  # added in order: equal bits on 1 and 2 devices
            "num_epochs": 7,
            "steps_per_call": 100,  # compiled into one call, by lax.scan
            "evaluation_batch_size": 500,
            "best_by": "mutual_information",  # on validation; or "accuracy"
            "checkpoint_seconds": 10.0,  # at least, between two checkpoints
            "localization": {
                "region": 3,  # R of infoCAM and infoCAM+
                "padding": "full",
                "rival": "region",  # of infoCAM+; or "image"
                "threshold": 0.3,
            },
        }
    )
