"""Evaluate a run: --workdir=runs/gmm.

Other flags explain photos, compare runs, or evaluate a net of another framework.
"""

from absl import flags

from mi_classifier import cli, commands
from mi_classifier.console import explanation
from mi_classifier.errors import UserError

_WORKDIR = flags.DEFINE_string(
    "workdir", None, "give a folder that train.py wrote, as in --workdir=runs/gmm."
)
_ABLATION = flags.DEFINE_boolean(
    "ablation", False, "show what each part of infoCAM adds to localization instead."
)
_IMAGES = flags.DEFINE_list(
    "images", [], "explain these images (files or folders), not the test split."
)
_COMPARE = flags.DEFINE_list(
    "compare", [], "show evaluated workdirs, or patterns of them, side by side instead."
)
_FEATURES = flags.DEFINE_string(
    "features",
    "",
    "evaluate a net of another framework instead, by an .npz file of its features, its "
    "last layer's kernel and the labels; --workdir is where the evaluation goes.",
)
_DISTRIBUTED = cli.define_distributed()


def main() -> None:
    """Evaluate, explain or compare, as the flags say."""
    modes = (_ABLATION, _IMAGES, _COMPARE, _FEATURES)
    asked = [f"--{flag.name}" for flag in modes if flag.present and flag.value]
    if asked and _DISTRIBUTED.value:
        raise UserError(f"--distributed: {asked[0]} runs in one process; leave it out")
    if len(asked) > 1:
        raise UserError(f"{', '.join(asked)}: give one of these at a time")
    for flag in (_IMAGES, _COMPARE, _FEATURES):
        if flag.present and not flag.value:
            raise UserError(f"--{flag.name}: is empty; give a path")
    of_images = explanation.FLAGS.values()
    if not _IMAGES.value and (given := [f"--{f.name}" for f in of_images if f.present]):
        raise UserError(f"{', '.join(given)}: give images too, --images=FILE,FOLDER")
    if _COMPARE.value:
        commands.compare(_COMPARE.value)
        return
    if _FEATURES.present:
        commands.evaluate_features(_FEATURES.value, _WORKDIR.value)
        return
    workdir = cli.required(_WORKDIR)
    if _IMAGES.value:
        commands.explain(workdir, _IMAGES.value, explanation.options())
        return
    cli.join(_DISTRIBUTED)
    commands.evaluate(workdir, ablation=_ABLATION.value)


def run() -> None:
    """Parse the flags, and call `main`."""
    cli.run(main)
