"""A neural-network classifier is a mutual-information estimator.

The functions that a user needs, by the room they live in:

* estimates: `estimate_mutual_information`, `pointwise_mutual_information_of`,
  `cross_fit`, `CrossFit`, `MutualInformation`
* information: `log_pc_softmax`, `pointwise_mutual_information`, `variational_bound`,
  `label_entropy`, `log_label_prior`, `optimal_decision`, `softmax_to_pc_logits`
* losses: `softmax_cross_entropy`, `pc_softmax_cross_entropy`,
  `sigmoid_cross_entropy`, `pc_sigmoid_cross_entropy`
* maps: `class_activation_map`, `info_cam`, `info_cam_plus`
* localization: `boxes_from_maps`, `peaks_from_maps`, `score_maps`, `iou`, `best_iou`,
  `localization_accuracy`, `pointing_accuracy`, `boxes_at_thresholds`,
  `box_accuracy_curve`
* models: `create_model`, `ModelOutput`
* data: `load_dataset`, `Dataset`
* training and evaluation: `train`, `evaluate`
* errors: `UserError`
"""

import importlib

_ROOMS = {
    "estimate": (
        "CrossFit",
        "MutualInformation",
        "cross_fit",
        "estimate_mutual_information",
        "pointwise_mutual_information_of",
    ),
    "baselines": (),
    "information": (
        "label_entropy",
        "log_label_prior",
        "log_pc_softmax",
        "optimal_decision",
        "pointwise_mutual_information",
        "softmax_to_pc_logits",
        "variational_bound",
    ),
    "losses": (
        "pc_sigmoid_cross_entropy",
        "pc_softmax_cross_entropy",
        "sigmoid_cross_entropy",
        "softmax_cross_entropy",
    ),
    "activation_maps": ("class_activation_map", "info_cam", "info_cam_plus"),
    "localization": (
        "best_iou",
        "box_accuracy_curve",
        "boxes_at_thresholds",
        "boxes_from_maps",
        "iou",
        "localization_accuracy",
        "peaks_from_maps",
        "pointing_accuracy",
        "score_maps",
    ),
    "models": ("ModelOutput", "create_model"),
    "data": ("Dataset", "load_dataset"),
    "training": ("train",),
    "evaluation": ("evaluate",),
    "errors": ("UserError",),
}
_HOME = {name: room for room, names in _ROOMS.items() for name in names}
__all__ = list(_HOME)


def __getattr__(name: str) -> object:
    # Loaded when first asked for: importing JAX, TFDS and Orbax takes seconds, and
    # `train.py --help` needs none of them.
    if name in _ROOMS:
        return importlib.import_module(f"mi_classifier.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'mi_classifier' has no attribute {name!r}")
    return getattr(importlib.import_module(f"mi_classifier.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
