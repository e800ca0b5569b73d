"""The flags that say how photos are explained."""

from absl import flags

from mi_classifier.reporting.options import ExplainOptions

# By the fields of `ExplainOptions`.
FLAGS = {
    "label": flags.DEFINE_string(
        "label", "", "of photos: the class whose maps to draw; default: the likeliest."
    ),
    "rival": flags.DEFINE_string(
        "rival", "", "with --label: another class; a map shows why it is not that one."
    ),
    "boxes": flags.DEFINE_list(
        "boxes",
        [],
        "of photos: formats of box files: coco (default), voc, yolo, yolo_scores.",
    ),
    "map": flags.DEFINE_string(
        "map", "info_cam", "of photos: the map that the boxes of these files come from."
    ),
    "threshold": flags.DEFINE_float(
        "threshold",
        None,
        "of photos: a box holds what exceeds this share of the map's maximum; default: "
        "the config's, mostly 0.2.",
    ),
    "components": flags.DEFINE_float(
        "components",
        None,
        "of photos: a box for each part of the map with at least this share of the "
        "image's area, as 0.01; default: for the largest part alone.",
    ),
}


def options() -> ExplainOptions:
    """Return the values of the flags."""
    return ExplainOptions(**{field: flag.value for field, flag in FLAGS.items()})
