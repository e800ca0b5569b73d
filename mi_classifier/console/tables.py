"""Rerun a table of the paper: mi-classifier tables 2 --seeds=10."""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from mi_classifier import cli
from mi_classifier.errors import UserError, choose
from mi_classifier.tables import TABLES, rerun
from mi_classifier.tables.reruns import Options

_WORKDIR = flags.DEFINE_string("workdir", "runs/tables", "where to write everything.")
# By the fields of `Options`.
_FLAGS = {
    "seeds": flags.DEFINE_integer("seeds", 1, "runs a cell, seeded 0, 1, 2, ..."),
    "mine": flags.DEFINE_boolean(
        "mine", True, "whether Table 2 runs MINE, which takes longest."
    ),
    "archive_dir": flags.DEFINE_string(
        "archive_dir", "", "folder with MNIST's four idx files; default: download them."
    ),
    "data_dir": flags.DEFINE_string(
        "data_dir", "", "where TFDS keeps data sets; default: where TFDS would."
    ),
    "changes": flags.DEFINE_multi_string(
        "set", [], "FIELD=VALUE for every config of the table; may be given many times."
    ),
    "only": flags.DEFINE_list(
        "only", [], "words that a cell must have, as in --only=cub200,vgg16_gap."
    ),
    "collect": flags.DEFINE_boolean(
        "collect", False, "train nothing; take the finished runs below --workdir."
    ),
}


def main(arguments: Sequence[str]) -> None:
    """Rerun the table that the arguments name."""
    if len(arguments) != 1:
        raise UserError(
            f"give one table: {', '.join(TABLES)}; --seeds=10 for more runs"
        )
    name = choose(arguments[0], TABLES, "table")
    values = {field: flag.value for field, flag in _FLAGS.items()}
    if values["seeds"] < 1:
        raise UserError(f"--seeds: must be at least 1, not {values['seeds']}")
    rerun(name, Options(root=Path(_WORKDIR.value) / name, **values))


def run() -> None:
    """Parse the flags, and call `main`."""
    cli.run(main, positional=True)
