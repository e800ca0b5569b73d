"""Trains a classifier: python train.py --config=configs/gmm.py [--workdir=FOLDER]."""

from absl import flags

from mi_classifier import cli

_CONFIG = cli.define_config()
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "where to write everything; runs/X for configs/X.py by default."
)
_DISTRIBUTED = cli.define_distributed()
flags.declare_key_flag("config")


def main() -> None:
    config = cli.required(_CONFIG)
    workdir = _WORKDIR.value or cli.default_workdir()

    cli.join(_DISTRIBUTED)

    from mi_classifier import evaluation, training

    training.train(config, workdir)
    evaluation.evaluate(workdir)


if __name__ == "__main__":
    cli.run(main)
