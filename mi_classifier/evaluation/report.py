"""report.html: summary, tables, figures and a gallery, in one file without network."""

import base64
import io
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from rich.console import Console
from rich.progress import track

from mi_classifier import localization
from mi_classifier import workdir as workdirs
from mi_classifier.activation_maps import TITLES
from mi_classifier.data import Dataset
from mi_classifier.evaluation import figures as drawing
from mi_classifier.evaluation import pictures
from mi_classifier.evaluation.evaluators import RULES
from mi_classifier.evaluation.localizing import find_targets
from mi_classifier.evaluation.run import Run
from mi_classifier.evaluation.table import Table

# Of the figures that the report shows; of images with their maps the gallery has more.
CAPTIONS = {
    "training": "Training: the loss, and what the validation split says, by epoch.",
    "calibration": "Is a pointwise mutual information of 2 nats worth 2 nats? Above "
    "the line a class is more frequent than claimed, below it less.",
    "recall": "Recall of each class by its share of training. The prior rule is what "
    "an ordinary softmax decides, the balanced rule what PC-softmax does.",
    "threshold": "Localization at every threshold, by the public WSOL evaluation; the "
    "peak is MaxBoxAcc.",
}
MOST_IMAGES = 500  # in the gallery
_MOST_PIXELS = 192  # of an image's longer side in the gallery
_LOSSLESS = 64  # pixels of the longer side of images that are kept as they are
_TOP = 3  # classes shown of each image
_IOU_STEPS = 65_534  # so that one half is a step, and a hit stays one


def write(
    run: Run,
    figures: Mapping[str, Any],
    tables: Sequence[Table],
    columns: Mapping[str, Sequence[Any]],
    measures: Mapping[str, Any],
) -> Path:
    """Draws the figures of an evaluation, and writes its report.

    Args:
      run: the net and its data.
      figures: what `evaluate` returns.
      tables: of `summary.evaluation_tables`.
      columns: of the test split, `predictions.collect`.
      measures: of the test split, by evaluator.

    Returns:
      The path of report.html.

    Raises:
      UserError: the folder cannot be written to.
    """
    folder = run.workdir / "evaluation"
    drawn = draw(run, figures, measures)
    for name, figure in drawn.items():
        drawing.save(figure, folder / "figures" / f"{name}.png")
    test = figures["splits"]["test"]
    shown = [
        (_embed((folder / "figures" / f"{name}.png").read_bytes(), "png"), caption)
        for name, caption in CAPTIONS.items()
        if name in drawn
    ]
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mi_classifier.evaluation", "assets"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    assets = resources.files("mi_classifier.evaluation") / "assets"
    html = environment.get_template("report.html").render(
        title=f"{figures['dataset']}: {figures['loss']}",
        epoch=figures["epoch"],
        information=test["information"]["mutual_information"],
        label_entropy=test["information"]["label_entropy"],
        each_label=run.dataset.multi_label,
        accuracy=test["accuracy"][test["accuracy"]["paper_rule"]],
        num_examples=test["num_examples"],
        tables=tables,
        figures=shown,
        gallery=make_gallery(run, columns, measures) if _has_images(run) else None,
        style=(assets / "report.css").read_text(),
        script=(assets / "report.js").read_text(),
    )
    path = folder / "report.html"
    workdirs.write_text(path, html)
    return path


def draw(
    run: Run, figures: Mapping[str, Any], measures: Mapping[str, Any]
) -> dict[str, Figure]:
    """Returns the figures that there is something to show in, by name."""
    test = figures["splits"]["test"]
    title = figures["dataset"]
    drawn = {}
    if rows := _training_rows(run.workdir):
        drawn["training"] = drawing.training_curves(rows, run.epoch)
    if bins := test["calibration"]["bins"]:
        drawn["calibration"] = drawing.reliability(bins, f"{title}: reliability")
    recall = {f"{rule} rule": _recall(test["accuracy"][rule]) for rule in RULES}
    drawn["recall"] = drawing.recall_by_frequency(
        figures["class_frequencies"], recall, f"{title}: recall"
    )
    if "localization" not in test:
        return drawn
    threshold, maps = (test["localization"][name] for name in ("threshold", "maps"))
    if maps:
        half = localization.IOUS.index(0.5)
        curves = {
            TITLES[name]: np.asarray(row["box_accuracy_curve"])[half]
            for name, row in maps.items()
        }
        drawn["threshold"] = drawing.threshold_curves(
            curves, localization.THRESHOLDS, f"{title}: public WSOL evaluation"
        )
    drawn["localization"] = pictures.draw_test_images(
        run.dataset, measures["localization"]["maps"], threshold
    )
    return drawn


def make_gallery(
    run: Run, columns: Mapping[str, Sequence[Any]], measures: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns what the gallery shows, ready to be written as JSON.

    Of more than 500 test images some from all over the split. There is an item for each
    image and label to be found in it; where there are maps, with the box at each
    threshold, as `localization.boxes_from_maps` has it, and its IoU.
    """
    dataset, split = run.dataset, run.dataset.splits["test"]
    count = len(split["image"])
    chosen = np.linspace(0, count - 1, min(count, MOST_IMAGES)).astype(int)
    top = measures["calibration"]
    images = [
        {
            "row": int(row),
            "name": str(columns["image"][row]) if "image" in columns else "",
            "source": _encode(split["image"][row]),
            "label": str(columns["label"][row]),
            "prediction": str(columns["prediction"][row]),
            "pmi": _rounded(columns["pmi_nats"][row]),
            "top": [
                [dataset.class_names[c], _rounded(p), _rounded(s)]
                for c, p, s in zip(
                    top["classes"][row, :_TOP].tolist(),
                    top["probability"][row],
                    top["pmi"][row],
                    strict=False,
                )
            ],
        }
        for row in chosen
    ]
    height, width = split["image"].shape[1:3]
    gallery = {
        "count": count,
        "height": height,
        "width": width,
        "images": images,
        "maps": [],
        "thresholds": [],
        "start": 0,
        "items": [
            {"image": i, "label": image["label"], "truth": [], "found": []}
            for i, image in enumerate(images)
        ],
    }
    if "localization" not in measures:
        return gallery
    threshold = run.config.localization.threshold
    thresholds = sorted({*np.arange(0, 1, 0.02).round(2).tolist(), threshold})
    return gallery | {
        "maps": [TITLES[name] for name in measures["localization"]["maps"]],
        "thresholds": thresholds,
        "start": thresholds.index(threshold),
        "items": _items(dataset, chosen, thresholds, measures["localization"]),
    }


def _items(
    dataset: Dataset,
    chosen: np.ndarray,
    thresholds: Sequence[float],
    measures: Mapping[str, Any],
) -> list[dict[str, Any]]:
    split = {name: a[chosen] for name, a in dataset.splits["test"].items()}
    size = split["image"].shape[1:3]
    targets = find_targets(split, all_images=True)
    labels = split["box_label"] if "box_label" in split else split["label"][:, None]
    names = [dataset.class_names[i] for i in labels[targets.rows, targets.columns]]
    right = measures["top1"][chosen][targets.rows, targets.columns]
    items = [
        {
            "image": int(row),
            "label": name,
            "right": bool(correct),
            "truth": boxes[:count].tolist(),
            "found": [],
        }
        for row, name, correct, boxes, count in zip(
            targets.rows,
            names,
            right,
            targets.truths["boxes"],
            targets.num_boxes,
            strict=True,
        )
    ]
    order = np.argsort(targets.rows, kind="stable")
    console = Console(stderr=True)
    for array in track(
        measures["maps"].values(), "drawing boxes", console=console, transient=True
    ):
        maps = array[chosen][targets.rows, targets.columns]
        boxes = localization.boxes_from_maps(maps, size, thresholds)
        overlaps = localization.best_iou(
            boxes, targets.truths["boxes"], targets.num_boxes
        )
        steps = np.floor(np.float64(overlaps) * _IOU_STEPS).astype("<u2")
        values = _to_bytes(maps)
        for i, item in enumerate(items):
            item["found"].append(
                {
                    "shape": maps.shape[1:],
                    "values": _base64(values[i].tobytes()),
                    "boxes": _base64(boxes[i].astype("<u2").tobytes()),
                    "iou": _base64(steps[i].tobytes()),
                }
            )
    return [items[i] for i in order]


def _recall(accuracy: Mapping[str, Any]) -> np.ndarray:
    """Of a single label, the accuracy of a class is its recall."""
    return np.asarray(accuracy.get("recall", accuracy["per_class"]), np.float64)


def _has_images(run: Run) -> bool:
    return run.dataset.read_image is not None


def _training_rows(workdir: Path) -> list[dict[str, Any]]:
    path = workdir / "metrics.jsonl"
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(errors="replace").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:  # that a kill cut off
            continue
    return rows


def _encode(image: np.ndarray) -> str:
    """Returns a uint8 image `[H, W, C]` as a data URL."""
    shown = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    file = io.BytesIO()
    if max(shown.size) <= _LOSSLESS:
        shown.save(file, "png")
        return _embed(file.getvalue(), "png")
    shown.thumbnail((_MOST_PIXELS, _MOST_PIXELS))
    shown.save(file, "jpeg", quality=75)
    return _embed(file.getvalue(), "jpeg")


def _to_bytes(maps: np.ndarray) -> np.ndarray:
    """Scales each map `[B, h, w]` to 0 to 255; a flat or broken one to 0."""
    maps = np.where(np.isfinite(maps).all((1, 2), keepdims=True), maps, 0)
    low, high = (f(maps, axis=(1, 2), keepdims=True) for f in (np.min, np.max))
    scaled = (maps - low) / np.where(high > low, high - low, 1)
    return (255 * scaled).round().astype(np.uint8)


def _embed(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{_base64(content)}"


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _rounded(value: float) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None
