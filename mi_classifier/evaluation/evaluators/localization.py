"""Whether maps find the objects in the true boxes (Tables 4, 6 and 7)."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mi_classifier import localization
from mi_classifier.activation_maps import MAPS
from mi_classifier.data import Split
from mi_classifier.evaluation.evaluators import base
from mi_classifier.evaluation.evaluators.accuracy import decide
from mi_classifier.evaluation.results import Result, mean
from mi_classifier.evaluation.targets import Targets, find_targets, target_names
from mi_classifier.losses import Loss
from mi_classifier.progress import tracked

CORNERS = ("x0", "y0", "x1", "y1")
MAPS_AT_ONCE = 512  # that are resized to the image, to bound memory


@dataclasses.dataclass(frozen=True)
class Setting:
    """A map and the options that it is computed with."""

    map: str  # a key of `activation_maps.MAPS`
    options: Mapping[str, Any]  # of that map's function, by name

    def __str__(self) -> str:
        options = dict(self.options)
        text, region = MAPS[self.map].title, options.pop("region", 1)
        padding = options.pop("padding", "")
        if region > 1:
            text += f", R={region} {padding}".rstrip()
        if "rival" in options:
            text += f", vs {options.pop('rival')}"
        return text + "".join(f", {name}={value}" for name, value in options.items())

    def maps(
        self, inference: base.Inference, labels: jax.typing.ArrayLike
    ) -> jax.Array:
        """Return the maps `[B, G, h, w]` of labels `[B, G]`."""
        entry, output, options = MAPS[self.map], inference.output, dict(self.options)
        if entry.needs_logits:
            options["logits"] = output.logits
        kernel = inference.params["head"]["kernel"]
        return entry.function(output.features, kernel, labels, **options)


def settings(config: Mapping[str, Any]) -> dict[str, Setting]:
    """Return each map's setting by a config's group "localization", by map name."""
    return {name: Setting(name, entry.options(config)) for name, entry in MAPS.items()}


@dataclasses.dataclass(frozen=True)
class MapAccuracy:
    """How well one map finds the labels, as shares of the labels in [0, 1].

    Attributes:
      gt_known: the map's box meets a true box at IoU 0.5.
      top1: and the net decides for the label.
      pointing: the map's peak is inside a true box.
      mean_iou: the mean IoU of the map's box with the true box that it meets best.
      max_box_accuracy: MaxBoxAcc of the public WSOL evaluation.
      max_box_accuracy_v2: MaxBoxAccV2 of the public WSOL evaluation.
      box_accuracy_curve: the accuracies that both are computed from, IoU thresholds by
        thresholds of the map.
      top5: as `top1`, if the label is among the five likeliest; None with several
        labels.
      cell: MaxBoxAcc of the half of the image that the digit stands in, or None if that
        is not known.
    """

    gt_known: float
    top1: float
    pointing: float
    mean_iou: float
    max_box_accuracy: float
    max_box_accuracy_v2: float
    box_accuracy_curve: np.ndarray
    top5: float | None = None
    cell: float | None = None


@dataclasses.dataclass(frozen=True)
class LocalizationResult(Result):
    """How well each map finds the labels.

    Attributes:
      num_labels: number of labels with a true box, over all images.
      num_images: number of images, with or without a true box.
      threshold: the threshold of `localization.boxes_from_maps`.
      classification: accuracies "top1" and, with one label an image, "top5" of all
        images; with several labels, "top1" of all labels.
      maps: the accuracy of each map, by its name; empty if there is no true box.
    """

    num_labels: int
    num_images: int
    threshold: float
    classification: Mapping[str, float]
    maps: Mapping[str, MapAccuracy]


def create(
    subject: base.Subject, chosen: Mapping[str, Setting] | None = None
) -> base.Evaluator | None:
    """Create the evaluator of the maps, if the config has a group "localization".

    The maps are `chosen`, by name, or by default those of the config.
    """
    config = subject.localization
    if config is None:
        return None
    threshold = config["threshold"]
    chosen = settings(config) if chosen is None else chosen

    def measure(inference: base.Inference) -> base.Measurements:
        return measure_maps(inference, subject.loss, chosen)

    def summarize(
        measured: base.Measurements, split: Split, priors: base.Priors
    ) -> LocalizationResult:
        targets, size = find_targets(split), split["image"].shape[1:3]
        decided = {name: v for name, v in measured.items() if name != "maps"}
        correct = {name: targets.of(values) for name, values in decided.items()}
        # With several labels, the padding of an image does not count.
        counted = correct if "box_label" in split else decided
        maps = {}
        for name in tracked(chosen if len(targets.rows) else (), "localizing"):
            own = targets.of(measured["maps"][name])
            maps[name] = _map_accuracy(own, size, targets, correct, threshold)
        return LocalizationResult(
            len(targets.rows),
            len(split["image"]),
            threshold,
            {name: mean(values) for name, values in counted.items() if len(values)},
            maps,
        )

    def columns(
        measured: base.Measurements, split: Split, class_names: Sequence[str]
    ) -> base.Columns:
        maps = {name: measured["maps"][name] for name in chosen}
        return _box_columns(maps, split, class_names, threshold)

    return base.Evaluator(measure, summarize, columns)


def measure_maps(
    inference: base.Inference, loss: Loss, chosen: Mapping[str, Setting]
) -> base.Measurements:
    """Compute maps of the labels in a batch, and whether the net decides for them.

    "maps" `[B, G, h, w]` are by the setting's name; "top1" and, with one label an
    image, "top5" `[B, G]` tell if the label is the decision or among the five
    likeliest.
    """
    batch, log_prior = inference.batch, inference.priors.training
    logits = inference.output.logits
    decided = decide(logits, loss, log_prior)[loss.rule]
    if loss.multi_label:
        labels = batch["box_label"]
        # The padding's label is out of range; its values are not used.
        correct = {"top1": jnp.take_along_axis(decided, labels, axis=-1)}
    else:
        labels = batch["label"][:, None]
        top1 = decided[:, None] == labels
        seen = jnp.where(jnp.isneginf(log_prior), -jnp.inf, logits)
        _, likeliest = jax.lax.top_k(seen, min(5, logits.shape[-1]))
        among = (likeliest == labels).any(-1, keepdims=True)
        known = ~jnp.isnan(jnp.take_along_axis(logits, labels, axis=-1))
        correct = {"top1": top1, "top5": top1 | (among & known)}
    maps = {name: setting.maps(inference, labels) for name, setting in chosen.items()}
    return correct | {"maps": maps}


def _map_accuracy(
    maps: np.ndarray,
    size: tuple[int, int],
    targets: Targets,
    correct: Mapping[str, np.ndarray],
    threshold: float,
) -> MapAccuracy:
    """Score the maps `[I, h, w]` of at least one target, in images of `size`."""
    boxes = localization.boxes_from_maps(maps, size, threshold)
    hit = {
        name: float(localization.localization_accuracy(boxes, *targets.boxes, counted))
        for name, counted in {"gt_known": None, **correct}.items()
    }
    peaks = localization.peaks_from_maps(maps, size)
    curves = _curves(maps, size, targets)
    half = localization.IOUS.index(0.5)
    return MapAccuracy(
        **hit,
        pointing=float(localization.pointing_accuracy(peaks, *targets.boxes)),
        mean_iou=float(localization.best_iou(boxes, *targets.boxes).mean()),
        max_box_accuracy=float(curves["boxes"][half].max()),
        max_box_accuracy_v2=float(curves["boxes"].max(1).mean()),
        box_accuracy_curve=curves["boxes"],
        cell=float(curves["cells"][half].max()) if "cells" in curves else None,
    )


def _curves(
    maps: np.ndarray, size: tuple[int, int], targets: Targets
) -> dict[str, np.ndarray]:
    """Return the curve of the public WSOL evaluation for each kind of true box."""
    last = np.array([size[1], size[0]] * 2) - 1  # its boxes include their last pixel
    total = dict.fromkeys(targets.truths, 0.0)
    for start in range(0, len(maps), MAPS_AT_ONCE):
        some = slice(start, start + MAPS_AT_ONCE)
        scores = localization.score_maps(maps[some], size)
        boxes = localization.boxes_at_thresholds(scores)
        for kind, truth in targets.truths.items():
            true, count = np.minimum(truth[some], last), targets.num_boxes[some]
            curve = localization.protocol_accuracy(boxes, true, count)
            total[kind] += len(boxes) * curve
    return {kind: curve / len(maps) for kind, curve in total.items()}


def _box_columns(
    maps: Mapping[str, np.ndarray],
    split: Split,
    class_names: Sequence[str],
    threshold: float,
) -> dict[str, np.ndarray]:
    """Return the box of each map for each label, and its IoU with the true box.

    With several labels an image, there are columns for each label: "label1",
    "label1_cam_x0" and so on.
    """
    targets = find_targets(split, all_images=True)
    size, several = split["image"].shape[1:3], "box_label" in split
    found = {}  # the values of the targets, [I]
    if several:
        found[""] = np.array(target_names(targets, split, class_names), object)
    if targets.num_boxes.any():
        pairs = zip(*targets.boxes, strict=True)
        found["true_boxes"] = np.array([_box_text(b[:count]) for b, count in pairs])
    for name, array in maps.items():
        boxes = localization.boxes_from_maps(targets.of(array), size, threshold)
        for corner, numbers in zip(CORNERS, boxes.T, strict=True):
            found[f"{name}_{corner}"] = numbers.astype(int)
        overlaps = localization.best_iou(boxes, *targets.boxes)
        found[f"{name}_iou"] = np.where(targets.num_boxes > 0, overlaps, None)
    columns: dict[str, np.ndarray] = {}
    for place in range(split["box_label"].shape[1] if several else 1):
        own = targets.columns == place
        for name, values in found.items():
            if several:
                name = f"label{place + 1}_{name}".removesuffix("_")
            columns[name] = np.full(len(split["image"]), None, object)
            columns[name][targets.rows[own]] = values[own].tolist()
    return columns


def _box_text(boxes: np.ndarray) -> str:
    """Return boxes as "x0 y0 x1 y1", with semicolons between several."""
    return "; ".join(" ".join(f"{value:g}" for value in box) for box in boxes)
