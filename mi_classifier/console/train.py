"""Train and evaluate what a config describes: --config=configs/gmm.py.

--config=gmm takes the config that is installed with the package. With --help beside
it, its fields are listed.
"""

from absl import flags
from ml_collections import ConfigDict

from mi_classifier import cli, commands

_CONFIG = cli.define_config()
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "where to write everything; runs/X for configs/X.py by default."
)
_DISTRIBUTED = cli.define_distributed()


def main(config: ConfigDict | None) -> None:
    """Train and evaluate what the flags say."""
    cli.required(_CONFIG)
    workdir = _WORKDIR.value or cli.default_workdir()
    cli.join(_DISTRIBUTED)
    commands.train_and_evaluate(config, workdir)


def run() -> None:
    """Parse the flags, and call `main`."""
    cli.run(main, known_options=commands.known_options, meanings=commands.meanings)
