"""Evaluates a run: python evaluate.py --workdir=runs/gmm."""

from absl import flags

from mi_classifier import cli

_WORKDIR = flags.DEFINE_string("workdir", None, "A folder that train.py wrote.")


def main() -> None:
    from mi_classifier import evaluation

    evaluation.evaluate(_WORKDIR.value)


if __name__ == "__main__":
    flags.mark_flag_as_required("workdir")
    cli.run(main)
