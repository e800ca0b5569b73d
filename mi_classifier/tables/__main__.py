"""The command: python -m mi_classifier.tables 2 --seeds=10."""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from mi_classifier import cli
from mi_classifier.errors import UserError, choose
from mi_classifier.tables import TABLES, rerun
from mi_classifier.tables.reruns import Options

_SEEDS = flags.DEFINE_integer("seeds", 1, "runs a cell, seeded 0, 1, 2, ...")
_WORKDIR = flags.DEFINE_string("workdir", "runs/tables", "where to write everything.")
_MINE = flags.DEFINE_boolean(
    "mine", True, "whether Table 2 runs MINE, which takes longest."
)
_ARCHIVE = flags.DEFINE_string(
    "archive_dir", "", "a folder with MNIST's four idx files; default: download them."
)
_DATA_DIR = flags.DEFINE_string(
    "data_dir", "", "where TFDS keeps data sets; default: where TFDS would."
)
_SET = flags.DEFINE_multi_string(
    "set", [], "FIELD=VALUE for every config of the table; may be given many times."
)
_ONLY = flags.DEFINE_list(
    "only", [], "words that a cell must have, as in --only=cub200,vgg16_gap."
)
_COLLECT = flags.DEFINE_boolean(
    "collect", False, "train nothing; take the finished runs below --workdir."
)


def main(arguments: Sequence[str]) -> None:
    """Rerun the table that the arguments name."""
    if len(arguments) != 1:
        raise UserError(
            f"give one table: {', '.join(TABLES)}; --seeds=10 for more runs"
        )
    name = choose(arguments[0], TABLES, "table")
    if _SEEDS.value < 1:
        raise UserError(f"--seeds: must be at least 1, not {_SEEDS.value}")
    options = Options(
        root=Path(_WORKDIR.value) / name,
        seeds=_SEEDS.value,
        mine=_MINE.value,
        archive_dir=_ARCHIVE.value,
        data_dir=_DATA_DIR.value,
        changes=_SET.value,
        only=_ONLY.value,
        collect=_COLLECT.value,
    )
    rerun(name, options)


if __name__ == "__main__":
    cli.run(main, positional=True)
