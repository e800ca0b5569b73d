"""Trains a classifier: python train.py --config=configs/gmm.py [--workdir=FOLDER]."""

from absl import flags

from mi_classifier import cli

_CONFIG = cli.define_config()
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "where to write everything; runs/X for configs/X.py by default."
)
flags.declare_key_flag("config")


def main() -> None:
    config = cli.required(_CONFIG)
    workdir = _WORKDIR.value or cli.default_workdir()

    from mi_classifier import evaluation, training

    training.train(config, workdir)
    evaluation.evaluate(workdir)


if __name__ == "__main__":
    cli.run(main)
