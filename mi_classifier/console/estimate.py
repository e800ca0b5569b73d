"""Estimate how much a table tells about a column: mi-classifier estimate FILE.

FILE is a .csv, .xlsx, .parquet or .npz file, see `data.arrays.load`. The report is
written to --workdir.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from mi_classifier import cli, commands
from mi_classifier.config import get_config
from mi_classifier.errors import UserError

_WORKDIR = flags.DEFINE_string(
    "workdir", None, "where to write everything; runs/X for X.csv by default."
)
# By the fields of configs/arrays.py.
_FLAGS = {
    "data.labels": flags.DEFINE_string(
        "labels", "", "the column of labels; the last one by default."
    ),
    "data.leave_out": flags.DEFINE_string(
        "leave_out", "", "columns that are no inputs, as --leave_out=id,name."
    ),
    "data.groups": flags.DEFINE_string(
        "groups", "", "the column that tells which rows depend on each other."
    ),
    "data.inputs": flags.DEFINE_string("inputs", "x", "of .npz: the array of inputs."),
    "missing": flags.DEFINE_enum(
        "missing", "error", ["error", "keep"], "keep takes a missing input as it is."
    ),
    "rank": flags.DEFINE_enum(
        "rank",
        "auto",
        ["auto", "True", "False"],
        "whether to rank the columns by information; auto ranks up to 50.",
    ),
    "seed": flags.DEFINE_integer("seed", 0, "decides the folds and the learners."),
}


def main(files: Sequence[str]) -> None:
    """Estimate the mutual information of the table in a file."""
    if len(files) != 1:
        raise UserError("give one file, as in mi-classifier estimate table.csv")
    config = get_config("arrays")
    fields = {"data.path": files[0]} | {f: flag.value for f, flag in _FLAGS.items()}
    config.update_from_flattened_dict(fields)
    workdir = _WORKDIR.value or Path("runs") / Path(files[0]).stem
    try:
        commands.train_and_evaluate(config, workdir)
    except UserError as error:
        raise _by_our_flags(error) from error


def _by_our_flags(error: UserError) -> UserError:
    """Name the flags of this command, not the fields of the config behind it."""
    text = str(error).removeprefix("data.path: ")
    for field, flag in _FLAGS.items():
        name = rf"(?<![\w./-])(--config\.)?{re.escape(field)}(?=[:=])"
        text = re.sub(name, f"--{flag.name}", text)
    return UserError(text)


def run() -> None:
    """Parse the flags, and call `main`."""
    cli.run(main, positional=True)
