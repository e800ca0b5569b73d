"""Mutual information of the paper's Gaussian mixture, Tables 1 and 2.

configs/gmm.py:unbalanced,pc_softmax --config.data.dim=5
"""

from ml_collections import ConfigDict

from mi_classifier.config import parse_arguments

from . import common


def get_config(argument: str = "") -> ConfigDict:
    """Words: balanced (default) or unbalanced; softmax or pc_softmax.

    The default loss is the paper's: softmax for balanced, PC-softmax for unbalanced.
    """
    words = parse_arguments(
        argument,
        classes=("balanced", "unbalanced"),
        loss=("softmax", "pc_softmax"),
    )
    balanced = words["classes"] != "unbalanced"
    return ConfigDict(
        {
            "seed": 0,
            "data": {
                "name": "gaussian_mixture",
                "dim": 2,
                "balanced": balanced,
                "seed": 0,
                "fresh": True,  # a million more examples to be evaluated on
            },
            "pipeline": "auto",  # "device" if the data fit its memory, else "stream"
            "evaluators": common.EVALUATORS,
            "model": {"name": "mlp", "hidden": (100, 100, 100)},
            "loss": words["loss"] or ("softmax" if balanced else "pc_softmax"),
            "optimizer": {
                "name": "adam",
                "learning_rate": 3e-3,
                "schedule": "cosine",
            },
            "batch_size": 1_000,
            "microbatches": 2,  # added in order: equal bits on 1 and 2 devices
            "num_epochs": 30,
            "steps_per_call": 500,  # compiled into one call, by lax.scan
            "evaluation_batch_size": 10_000,
            "best_by": "mutual_information",  # on validation; or "accuracy"
            "checkpoint_seconds": 10.0,  # at least, between two checkpoints
        }
    )
