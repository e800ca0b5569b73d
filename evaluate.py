"""Evaluates a run: python evaluate.py --workdir=runs/gmm."""

from absl import flags

from mi_classifier import cli, commands
from mi_classifier.errors import UserError
from mi_classifier.reporting.options import ExplainOptions

_WORKDIR = flags.DEFINE_string(
    "workdir", None, "give a folder that train.py wrote, as in --workdir=runs/gmm."
)
_ABLATION = flags.DEFINE_boolean(
    "ablation", False, "show what each part of infoCAM adds to localization instead."
)
_IMAGES = flags.DEFINE_list(
    "images", [], "classify these images (files or folders), not the test split."
)
_LABEL = flags.DEFINE_string(
    "label", "", "with --images: the class whose maps to draw; default: the likeliest."
)
_RIVAL = flags.DEFINE_string(
    "rival", "", "with --label: another class; a map shows why it is not that one."
)
_BOXES = flags.DEFINE_list(
    "boxes",
    [],
    "with --images: formats of box files: coco (default), voc, yolo, yolo_scores.",
)
_MAP = flags.DEFINE_string(
    "map", "info_cam", "with --images: the map that the boxes of these files come from."
)
_COMPONENTS = flags.DEFINE_float(
    "components",
    None,
    "with --images: a box for each part of the map with at least this share of the "
    "image's area, as 0.01; default: for the largest part alone.",
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
    modes = (_ABLATION, _IMAGES, _COMPARE, _FEATURES)
    asked = [f"--{flag.name}" for flag in modes if flag.present and flag.value]
    if len(asked) > 1:
        raise UserError(f"{', '.join(asked)}: give one of these at a time")
    for flag in (_IMAGES, _COMPARE, _FEATURES):
        if flag.present and not flag.value:
            raise UserError(f"--{flag.name}: is empty; give a path")
    of_images = (_LABEL, _RIVAL, _BOXES, _MAP, _COMPONENTS)
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
        values = [flag.value for flag in of_images]
        commands.explain(workdir, _IMAGES.value, ExplainOptions(*values))
        return
    cli.join(_DISTRIBUTED)
    commands.evaluate(workdir, ablation=_ABLATION.value)


if __name__ == "__main__":
    cli.run(main)
