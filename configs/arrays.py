"""Mutual information of a user's own table: input columns x and a column of labels y.

configs/arrays.py --config.data.path=FILE.csv --config.data.labels=NAME
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
            "missing": "error",  # or "keep": a missing input is information, too
            "rank": "auto",  # ranks up to 50 columns by information; or True, False
            "data": {
                "path": "",  # .csv, with or without names in line 1; .parquet, .npz
                "inputs": "x",  # the array in an .npz file
                "labels": "",  # its array, "y" by default, or the table's column
                "leave_out": "",  # columns that are no inputs, such as "id,name"
                "groups": "",  # the column, or array, that tells dependent rows
            },
        }
    )
