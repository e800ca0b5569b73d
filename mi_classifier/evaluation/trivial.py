"""How well boxes that look at no image find the labels, and which maps beat them."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from mi_classifier import localization
from mi_classifier.data import Split
from mi_classifier.evaluation.targets import Targets, find_targets

TITLES = {
    "whole_image": "whole image",
    "centered_square": "centered square",
    "centered_gaussian": "centered Gaussian",
    "middle": "middle",
}
_MOST_NAMED = 4  # maps that a sentence names


@dataclasses.dataclass(frozen=True)
class TrivialAccuracy:
    """How well something that looks at no image finds the labels.

    The fields after `box` are those of a `MapAccuracy`, and None if they do not apply:
    a box has no peak, the centered Gaussian no threshold, and the middle no box.
    """

    title: str  # its name in tables
    box: Sequence[float] | None = None  # the same in every image, in pixels
    gt_known: float | None = None
    top1: float | None = None
    top5: float | None = None
    pointing: float | None = None
    mean_iou: float | None = None
    max_box_accuracy: float | None = None
    max_box_accuracy_v2: float | None = None
    cell: float | None = None


def trivial_accuracies(
    targets: Targets,
    size: tuple[int, int],
    correct: Mapping[str, np.ndarray],
    validation: Split | None,
) -> dict[str, TrivialAccuracy]:
    """Return the accuracy of each trivial box, by its name in `TITLES`.

    Args:
      targets: I targets, at least one.
      size: (height, width) of the images in pixels.
      correct: whether the net decides for each target `[I]`, as "top1" and "top5".
      validation: the split that the centered square is chosen on; without it, or
        without boxes there, there is no such square.
    """
    boxes = {"whole_image": localization.whole_image(size)}
    if validation is not None:
        known = find_targets(validation)
        if len(known.rows) and validation["image"].shape[1:3] == size:
            margin = localization.best_centered_square(*known.boxes, size)
            boxes["centered_square"] = localization.centered_square(size, margin)
    count = len(targets.rows)
    found = {
        name: _box_accuracy(TITLES[name], box, size, targets, correct)
        for name, box in boxes.items()
    }
    gaussian = localization.centered_gaussian(size)
    traced = localization.boxes_at_thresholds(gaussian[None])[0]
    found["centered_gaussian"] = TrivialAccuracy(
        TITLES["centered_gaussian"], **_curve_accuracy(traced, size, targets)
    )
    points = _repeat(localization.middle(size), count)
    hits = localization.pointing_accuracy(points, *targets.boxes)
    found["middle"] = TrivialAccuracy(TITLES["middle"], pointing=float(hits))
    return found


def measures(threshold: float) -> dict[str, str]:
    """Return the measures in which a map must beat the trivial boxes, by their field.

    Examples:
      >>> measures(0.2)["gt_known"]
      'GT-known at threshold 0.2'
    """
    known = f"GT-known at threshold {threshold:g}"
    return {"gt_known": known, "max_box_accuracy": "MaxBoxAcc"}


def unbeaten(
    measure: str,
    maps: Mapping[str, float],
    trivial: Mapping[str, float],
    count: float,
) -> list[str]:
    """Return a sentence about the maps that do not beat the best trivial box.

    A map beats the box if its share is higher by more than one standard error. That is
    sqrt(p (1 - p) / N) for the share p of the box among N labels.

    Args:
      measure: the heading of the measure, such as "GT-known".
      maps: the share of labels that each map finds, by the map's title.
      trivial: the same of each trivial box.
      count: N, the number of labels; NaN if unknown, for an error of 0.

    Returns:
      The sentence, or none if every map beats the box, or if nothing is known.

    Examples:
      >>> maps = {"CAM": 0.345, "infoCAM": 0.7}
      >>> (sentence,) = unbeaten("GT-known", maps, {"centered square": 0.619}, 5794)
      >>> sentence.partition(":")[0]
      'By GT-known, CAM (34.50) does not beat the centered square (61.90)'
    """
    known = {name: value for name, value in maps.items() if np.isfinite(value)}
    held = {name: value for name, value in trivial.items() if np.isfinite(value)}
    if not held:
        return []
    best = max(held, key=held.__getitem__)
    share = held[best]
    error = np.nan_to_num(np.sqrt(share * (1 - share) / max(count, 1)))
    worse = {name: value for name, value in known.items() if value <= share + error}
    if not worse:
        return []
    names = [f"{name} ({100 * value:.2f})" for name, value in worse.items()]
    text = " and ".join([*filter(None, [", ".join(names[:-1])]), names[-1]])
    if len(worse) > _MOST_NAMED:
        text = f"{len(worse)} of {len(known)} maps"
    verb, whose = ("does", "its") if len(worse) == 1 else ("do", "their")
    margin = ""
    if max(worse.values()) > share:
        margin = f" by more than one standard error ({100 * error:.2f})"
    sentence = (
        f"By {measure}, {text} {verb} not beat the {best} ({100 * share:.2f}){margin}: "
        f"as far as this data can tell, {whose} boxes are no better than one box for "
        "all images."
    )
    return [sentence]


def _box_accuracy(
    title: str,
    box: np.ndarray,
    size: tuple[int, int],
    targets: Targets,
    correct: Mapping[str, np.ndarray],
) -> TrivialAccuracy:
    boxes = _repeat(box, len(targets.rows))
    return TrivialAccuracy(
        title,
        box.tolist(),
        gt_known=targets.accuracy(boxes),
        **{name: targets.accuracy(boxes, counted) for name, counted in correct.items()},
        mean_iou=float(localization.best_iou(boxes, *targets.boxes).mean()),
        # A map that is 1 in the box and 0 elsewhere has this box at every threshold.
        **_curve_accuracy(box[None], size, targets),
    )


def _curve_accuracy(
    boxes: np.ndarray, size: tuple[int, int], targets: Targets
) -> dict[str, float]:
    """Return the public WSOL evaluation of boxes `[T, 4]`, the same for each target."""
    last = np.array([size[1], size[0]] * 2) - 1
    boxes = np.minimum(boxes, last)  # that evaluation clips them to the last pixel
    curves = targets.curves(lambda some: _repeat(boxes, len(targets.rows[some])), size)
    return best_of_curves(curves)


def _repeat(array: np.ndarray, count: int) -> np.ndarray:
    """Return an array once for each target, `[count, ...]`, as a view."""
    return np.broadcast_to(array, (count, *array.shape))


def best_of_curves(curves: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Return MaxBoxAcc, MaxBoxAccV2 and "cell" of the curves by `Targets.curves`."""
    half, found = localization.IOUS.index(0.5), curves["boxes"]
    best = {
        "max_box_accuracy": float(found[half].max()),
        "max_box_accuracy_v2": float(found.max(1).mean()),
    }
    if "cells" in curves:
        best["cell"] = float(curves["cells"][half].max())
    return best
