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
from mi_classifier.evaluation.targets import find_targets, labels_of, target_names
from mi_classifier.progress import tracked

MOST_IMAGES = 500
_SIDES = (192, 128, 96)  # pixels of an image's longer side, the first that is
_MOST_BYTES = 10_000  # short enough
_LOSSLESS = 64  # pixels of the longer side of images that are kept as they are
_TOP = 3  # classes shown of each image
_IOU_STEPS = 65_534  # so that one half is a step, and a hit stays one


def make_gallery(net: TrainedNet, evaluation: Evaluation) -> dict[str, Any]:
    """Returns the content of the gallery, ready to be written as JSON.

    If there are more than 500 test images, it shows some from all over the split. There
    is an item for each image and label to be found in it. Where there are maps, it has
    the box at each threshold, as `localization.boxes_from_maps` has it, and its IoU.

    Args:
      net: the net and its data.
      evaluation: its results.
    """
    split = net.dataset.splits["test"]
    columns = evaluation.columns
    count = len(split["image"])
    chosen = np.linspace(0, count - 1, min(count, MOST_IMAGES)).astype(int)
    height, width = split["image"].shape[1:3]
    gallery = {
        "count": count,
        "height": height,
        "width": width,
        "images": [_image(net, int(row), evaluation) for row in chosen],
        "maps": [],
        "thresholds": [],
        "start": 0,
    }
    if "localization" not in evaluation.measurements:
        return gallery | {
            "items": [
                {
                    "image": i,
                    "label": image["label"],
                    "pmi": _rounded(columns["pmi_nats"][image["row"]]),
                    "right": image["label"] == image["prediction"],
                    "truth": [],
                    "found": [],
                }
                for i, image in enumerate(gallery["images"])
            ]
        }
    threshold = net.config.localization.threshold
    thresholds = sorted({*np.arange(0, 1, 0.02).round(2).tolist(), threshold})
    maps = evaluation.measurements["localization"]["maps"]
    return gallery | {
        "maps": [MAPS[name].title for name in maps],
        "thresholds": thresholds,
        "start": thresholds.index(threshold),
        "items": _items(net, chosen, thresholds, evaluation.measurements),
    }


def to_url(content: bytes, kind: str) -> str:
    """Returns a data URL of an image file: "png" or "jpeg"."""
    return f"data:image/{kind};base64,{_base64(content)}"


def _image(net: TrainedNet, row: int, evaluation: Evaluation) -> dict[str, Any]:
    columns = evaluation.columns
    likeliest = evaluation.measurements.get("calibration", {})
    top = {name: array[row, :_TOP] for name, array in likeliest.items()}
    return {
        "row": row,
        "name": str(columns["image"][row]) if "image" in columns else "",
        "source": _encode(net.dataset.splits["test"]["image"][row]),
        "label": str(columns["label"][row]),
        "prediction": str(columns["prediction"][row]),
        "top": [
            [net.dataset.class_names[label], _rounded(probability), _rounded(pmi)]
            for label, probability, pmi in zip(
                *(top.get(name, ()) for name in ("classes", "probability", "pmi")),
                strict=True,
            )
        ],
    }


def _items(
    net: TrainedNet,
    chosen: np.ndarray,
    thresholds: Sequence[float],
    measurements: Mapping[str, Any],
) -> list[dict[str, Any]]:
    split = {name: a[chosen] for name, a in net.dataset.splits["test"].items()}
    size = split["image"].shape[1:3]
    targets = find_targets(split, all_images=True)
    truth = targets.boxes
    labels = targets.of(labels_of(split))
    names = target_names(targets, split, net.dataset.class_names)
    right = targets.of(measurements["localization"]["top1"][chosen])
    pmi = measurements["information"]["pmi"][chosen]
    pmi = pmi[targets.rows, labels] if pmi.ndim > 1 else pmi[targets.rows]
    items = [
        {
            "image": int(targets.rows[i]),
            "label": name,
            "pmi": _rounded(pmi[i]),
            "right": bool(right[i]),
            "truth": truth[0][i, : truth[1][i]].tolist(),
            "found": [],
        }
        for i, name in enumerate(names)
    ]
    for array in tracked(
        measurements["localization"]["maps"].values(), "drawing boxes"
    ):
        maps = targets.of(array[chosen])
        boxes = localization.boxes_from_maps(maps, size, thresholds)
        overlaps = np.float64(localization.best_iou(boxes, *truth))
        steps = np.floor(overlaps * _IOU_STEPS)
        values = _to_bytes(maps)
        for i, item in enumerate(items):
            item["found"].append(
                {
                    "shape": maps.shape[1:],
                    "values": _base64(values[i].tobytes()),
                    "boxes": _base64(boxes[i].astype("<u2").tobytes()),
                    "iou": _base64(steps[i].astype("<u2").tobytes()),
                }
            )
    return items


def _encode(image: np.ndarray) -> str:
    """Returns a uint8 image `[H, W, C]` as a data URL."""
    shown = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    file = io.BytesIO()
    if max(shown.size) <= _LOSSLESS:
        shown.save(file, "png")
        return to_url(file.getvalue(), "png")
    for side in _SIDES:
        shown.thumbnail((side, side))
        file = io.BytesIO()
        shown.save(file, "jpeg", quality=75)
        if file.tell() <= _MOST_BYTES:
            break
    return to_url(file.getvalue(), "jpeg")


def _to_bytes(maps: np.ndarray) -> np.ndarray:
    """Scales each map `[B, h, w]` to 0 to 255; a flat or broken one to 0."""
    maps = np.where(np.isfinite(maps).all((1, 2), keepdims=True), maps, 0)
    low, high = (f(maps, axis=(1, 2), keepdims=True) for f in (np.min, np.max))
    scaled = (maps - low) / np.where(high > low, high - low, 1)
    return (255 * scaled).round().astype(np.uint8)


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _rounded(value: float) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None
