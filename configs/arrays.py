"""Mutual information of a user's own arrays: inputs x and labels y, from a file.

configs/arrays.py --config.data.path=FILE.npz
"""

from ml_collections import ConfigDict

from mi_classifier.config import parse_arguments


def get_config(argument: str = "") -> ConfigDict:
    """Takes no words."""
    parse_arguments(argument)
    return ConfigDict(
        {
            "method": "cross_fit",  # as mi_classifier.estimate_mutual_information
            "seed": 0,
            "data": {
                "path": "",  # .npz, or .csv with or without a line of names
                "inputs": "x",  # the array in an .npz file
                "labels": "",  # its array, "y" by default, or the .csv file's column
            },
        }
    )
