"""The gallery of the report: images, their maps, and their boxes at every threshold."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from mi_classifier import localization
from mi_classifier.activation_maps import TITLES
from mi_classifier.evaluation.localizing import find_targets, labels_of
from mi_classifier.evaluation.trained_net import Run
from mi_classifier.progress import tracked

MOST_IMAGES = 500
_SIDES = (192, 128, 96)  # pixels of an image's longer side, the first that is
_MOST_BYTES = 10_000  # short enough
_LOSSLESS = 64  # pixels of the longer side of images that are kept as they are
_TOP = 3  # classes shown of each image
_IOU_STEPS = 65_534  # so that one half is a step, and a hit stays one


def make_gallery(
    run: Run, columns: Mapping[str, Sequence[Any]], measures: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns what the gallery shows, ready to be written as JSON.

    Of more than 500 test images some from all over the split. There is an item for each
    image and label to be found in it; where there are maps, with the box at each
    threshold, as `localization.boxes_from_maps` has it, and its IoU.

    Args:
      run: the net and its data.
      columns: of the test split, `predictions.collect`.
      measures: of the test split, by evaluator.
    """
    split = run.dataset.splits["test"]
    count = len(split["image"])
    chosen = np.linspace(0, count - 1, min(count, MOST_IMAGES)).astype(int)
    height, width = split["image"].shape[1:3]
    gallery = {
        "count": count,
        "height": height,
        "width": width,
        "images": [_image(run, int(row), columns, measures) for row in chosen],
        "maps": [],
        "thresholds": [],
        "start": 0,
    }
    if "localization" not in measures:
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
    threshold = run.config.localization.threshold
    thresholds = sorted({*np.arange(0, 1, 0.02).round(2).tolist(), threshold})
    return gallery | {
        "maps": [TITLES[name] for name in measures["localization"]["maps"]],
        "thresholds": thresholds,
        "start": thresholds.index(threshold),
        "items": _items(run, chosen, thresholds, measures),
    }


def to_url(content: bytes, kind: str) -> str:
    """Returns a data URL of an image file: "png" or "jpeg"."""
    return f"data:image/{kind};base64,{_base64(content)}"


def _image(
    run: Run,
    row: int,
    columns: Mapping[str, Sequence[Any]],
    measures: Mapping[str, Any],
) -> dict[str, Any]:
    top = {name: array[row, :_TOP] for name, array in measures["calibration"].items()}
    return {
        "row": row,
        "name": str(columns["image"][row]) if "image" in columns else "",
        "source": _encode(run.dataset.splits["test"]["image"][row]),
        "label": str(columns["label"][row]),
        "prediction": str(columns["prediction"][row]),
        "top": [
            [run.dataset.class_names[label], _rounded(probability), _rounded(pmi)]
            for label, probability, pmi in zip(
                top["classes"], top["probability"], top["pmi"], strict=True
            )
        ],
    }


def _items(
    run: Run,
    chosen: np.ndarray,
    thresholds: Sequence[float],
    measures: Mapping[str, Any],
) -> list[dict[str, Any]]:
    split = {name: a[chosen] for name, a in run.dataset.splits["test"].items()}
    size = split["image"].shape[1:3]
    targets = find_targets(split, all_images=True)
    where = targets.rows, targets.columns
    truth = targets.truths["boxes"], targets.num_boxes
    labels = labels_of(split)[where]
    right = measures["localization"]["top1"][chosen][where]
    pmi = measures["information"]["pmi"][chosen]
    pmi = pmi[targets.rows, labels] if pmi.ndim > 1 else pmi[targets.rows]
    items = [
        {
            "image": int(targets.rows[i]),
            "label": run.dataset.class_names[label],
            "pmi": _rounded(pmi[i]),
            "right": bool(right[i]),
            "truth": truth[0][i, : truth[1][i]].tolist(),
            "found": [],
        }
        for i, label in enumerate(labels)
    ]
    for array in tracked(measures["localization"]["maps"].values(), "drawing boxes"):
        maps = array[chosen][where]
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
