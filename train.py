"""Trains and evaluates: python train.py --config=configs/gmm.py [--workdir=FOLDER]."""

from absl import flags
from ml_collections import ConfigDict

from mi_classifier import cli, commands

_CONFIG = cli.define_config()
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "where to write everything; runs/X for configs/X.py by default."
)
_DISTRIBUTED = cli.define_distributed()
flags.declare_key_flag("config")


def main(config: ConfigDict | None) -> None:
    cli.required(_CONFIG)
    workdir = _WORKDIR.value or cli.default_workdir()
    cli.join(_DISTRIBUTED)
    commands.train_and_evaluate(config, workdir)


if __name__ == "__main__":
    cli.run(main, known_options=commands.known_options)
