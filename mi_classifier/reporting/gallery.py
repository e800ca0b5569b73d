"""The gallery of the report: images, their maps, and their boxes at every threshold."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from mi_classifier import localization
from mi_classifier.activation_maps import MAPS
from mi_classifier.evaluation import Evaluation, TrainedNet
from mi_classifier.evaluation.targets import Targets, find_targets, target_names
from mi_classifier.progress import tracked

MOST_IMAGES = 500
MOST_BYTES = 10_000  # of an image, if one of `SIDES` makes it that short
SIDES = (192, 128, 96)  # pixels of the longer side that are tried in this order
_LOSSLESS = 64  # pixels of the longer side of images that stay as they are
_TOP = 3  # classes shown for each image
_IOU_STEPS = 65_534  # even, so that an IoU of one half is a whole step


def make_gallery(net: TrainedNet, evaluation: Evaluation) -> dict[str, Any]:
    """Return the content of the gallery, ready to be written as JSON.

    There is an item for each image and each label to find in it. If there are maps, the
    item has the box at each threshold, from `localization.boxes_from_maps`, and its IoU
    with the true box. Of more than 500 test images, the gallery shows 500 from all over
    the split.
    """
    images = net.dataset.splits["test"]["image"]
    count, height, width = images.shape[:3]
    chosen = np.linspace(0, count - 1, min(count, MOST_IMAGES)).astype(int)
    maps, thresholds, start = {}, [], 0
    if "localization" in evaluation.measurements:
        maps = evaluation.measurements["localization"]["maps"]
        threshold = net.config.localization.threshold
        thresholds = sorted({*np.arange(0, 1, 0.02).round(2).tolist(), threshold})
        start = thresholds.index(threshold)
    return {
        "count": count,
        "height": height,
        "width": width,
        "images": [_image(net, int(row), evaluation) for row in chosen],
        "maps": [MAPS[name].title for name in maps],
        "thresholds": thresholds,
        "start": start,
        "items": _items(net, chosen, evaluation, maps, thresholds),
    }


def to_url(content: bytes, kind: str) -> str:
    """Return a data URL of an image file; `kind` is "png" or "jpeg"."""
    return f"data:image/{kind};base64,{_base64(content)}"


def encode_image(image: np.ndarray) -> str:
    """Return a uint8 image `[H, W, C]` as a data URL, smaller if it is large."""
    shown = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    lossless = max(shown.size) <= _LOSSLESS
    kind = "png" if lossless else "jpeg"
    for side in (_LOSSLESS,) if lossless else SIDES:
        shown.thumbnail((side, side))
        file = io.BytesIO()
        shown.save(file, kind, quality=75)
        if file.tell() <= MOST_BYTES:
            break
    return to_url(file.getvalue(), kind)


def _image(net: TrainedNet, row: int, evaluation: Evaluation) -> dict[str, Any]:
    columns = evaluation.columns
    top = []
    if likeliest := evaluation.measurements.get("calibration"):
        fields = (likeliest[n][row, :_TOP] for n in ("classes", "probability", "pmi"))
        for label, probability, pmi in zip(*fields, strict=True):
            name = net.dataset.class_names[label]
            top.append([name, _rounded(probability), _rounded(pmi)])
    return {
        "row": row,
        "name": str(columns["image"][row]) if "image" in columns else "",
        "source": encode_image(net.dataset.splits["test"]["image"][row]),
        **{name: str(columns[name][row]) for name in ("label", "prediction")},
        "top": top,
    }


def _items(
    net: TrainedNet,
    chosen: np.ndarray,
    evaluation: Evaluation,
    maps: Mapping[str, np.ndarray],
    thresholds: Sequence[float],
) -> list[dict[str, Any]]:
    split = {name: a[chosen] for name, a in net.dataset.splits["test"].items()}
    targets = find_targets(split, all_images=True)
    rows = chosen[targets.rows]
    if "box_label" in split:  # several labels an image
        labels = targets.of(split["box_label"])
        names = target_names(targets, split, net.dataset.class_names)
        decided = evaluation.measurements["accuracy"][net.loss.rule]
        right = decided[rows, labels]
        pmi = evaluation.measurements["information"]["pmi"][rows, labels]
    else:
        names, predictions, pmi = (
            np.asarray(evaluation.columns[name])[rows]
            for name in ("label", "prediction", "pmi_nats")
        )
        right = names == predictions
    boxes, num_boxes = targets.boxes
    found = [
        _found(targets, array[chosen], split["image"].shape[1:3], thresholds)
        for array in tracked(maps.values(), "drawing boxes")
    ]
    return [
        {
            "image": int(targets.rows[i]),
            "label": str(names[i]),
            "pmi": _rounded(pmi[i]),
            "right": bool(right[i]),
            "truth": boxes[i, : num_boxes[i]].tolist(),
            "found": [of_map[i] for of_map in found],
        }
        for i in range(len(rows))
    ]


def _found(
    targets: Targets,
    maps: np.ndarray,
    size: tuple[int, int],
    thresholds: Sequence[float],
) -> list[dict[str, Any]]:
    """Return the map of each target, its box at each threshold, and their IoU."""
    maps = targets.of(maps)
    boxes = localization.boxes_from_maps(maps, size, thresholds)
    overlaps = np.float64(localization.best_iou(boxes, *targets.boxes))
    steps = np.floor(overlaps * _IOU_STEPS)
    scores = localization.score_maps(maps, maps.shape[1:])  # not resized
    return [
        {
            "shape": maps.shape[1:],
            "values": _base64((255 * values).round().astype(np.uint8).tobytes()),
            "boxes": _base64(corners.astype("<u2").tobytes()),
            "iou": _base64(iou.astype("<u2").tobytes()),
        }
        for values, corners, iou in zip(scores, boxes, steps, strict=True)
    ]


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _rounded(value: float) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None
