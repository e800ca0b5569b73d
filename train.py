"""Trains a classifier: python train.py --config=configs/gmm.py [--workdir=FOLDER]."""

from absl import flags

from mi_classifier import cli

_CONFIG = cli.define_config()
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Where to write everything; runs/X for configs/X.py by default."
)


def main() -> None:
    from mi_classifier import evaluation, training

    workdir = _WORKDIR.value or cli.default_workdir()
    training.train(_CONFIG.value, workdir)
    evaluation.evaluate(workdir)


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    cli.run(main)
