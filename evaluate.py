"""Evaluates a run: python evaluate.py --workdir=runs/gmm."""

from absl import flags

from mi_classifier import cli

_WORKDIR = flags.DEFINE_string(
    "workdir", None, "give a folder that train.py wrote, as in --workdir=runs/gmm."
)
_ABLATION = flags.DEFINE_boolean(
    "ablation", False, "what each part of infoCAM brings to localization, instead."
)


def main() -> None:
    workdir = cli.required(_WORKDIR)

    from mi_classifier import evaluation

    evaluation.evaluate(workdir, ablation=_ABLATION.value)


if __name__ == "__main__":
    cli.run(main)
