"""Whether maps find the objects that boxes bound (Tables 4 to 8)."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mi_classifier import localization
from mi_classifier.activation_maps import MAPS
from mi_classifier.data import Split
from mi_classifier.evaluation.evaluators.accuracy import decide
from mi_classifier.evaluation.evaluators.base import (
    Evaluator,
    Inference,
    Measurements,
    Priors,
    Subject,
)
from mi_classifier.evaluation.results import Result
from mi_classifier.evaluation.targets import Targets, find_targets, target_names
from mi_classifier.losses import Loss
from mi_classifier.progress import tracked

CORNERS = ("x0", "y0", "x1", "y1")
_CHUNK = 512  # maps that are at the size of the image at once


@dataclasses.dataclass(frozen=True)
class Setting:
    """How a map is made.

    Attributes:
      map: a name among `activation_maps.MAPS`.
      options: of that map's function.
    """

    map: str
    options: Mapping[str, Any]

    @classmethod
    def of(cls, name: str, config: Mapping[str, Any]) -> "Setting":
        """Returns the setting of a map in a config's "localization"."""
        return cls(name, MAPS[name].options(config))

    def __str__(self) -> str:
        options = {"region": 1} | self.options
        text = MAPS[self.map].title
        padding = options.pop("padding", "")
        if (region := options.pop("region")) > 1:
            text += f", R={region} {padding}".rstrip()
        if "rival" in options:
            text += f", vs {options.pop('rival')}"
        return text + "".join(f", {name}={value}" for name, value in options.items())

    def maps(self, inference: Inference, labels: jax.Array) -> jax.Array:
        """Returns the maps of labels `[B, G]`, `[B, G, h, w]`."""
        entry = MAPS[self.map]
        logits = entry.options({"logits": inference.output.logits})
        kernel = inference.params["head"]["kernel"]
        features = inference.output.features
        options = self.options | {k: v for k, v in logits.items() if k == "logits"}
        return entry.function(features, kernel, labels, **options)


def settings(config: Mapping[str, Any]) -> dict[str, Setting]:
    """Returns the setting of every map, by the map's name.

    Args:
      config: "localization" of a config.
    """
    return {name: Setting.of(name, config) for name in MAPS}


@dataclasses.dataclass(frozen=True)
class MapAccuracy:
    """How well one map finds labels; shares of labels in [0, 1].

    Attributes:
      gt_known: its box meets a true one at IoU 0.5.
      top1: and the net decides for the label.
      pointing: its peak lies in a true box.
      mean_iou: the mean IoU of its box with the best true one.
      max_box_accuracy: MaxBoxAcc of the public WSOL evaluation.
      max_box_accuracy_v2: its MaxBoxAccV2.
      box_accuracy_curve: its curve, IoU thresholds by thresholds.
      top5: as `top1`, for the five likeliest labels; None with several labels.
      cell: MaxBoxAcc for the digit's half of the image, where that is known.
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
    """How well each map finds what is to be found.

    Attributes:
      num_labels: how many labels with a true box there are, over all images.
      threshold: of `localization.boxes_from_maps`.
      maps: by the map's name; none where no box is known.
      num_images: N.
      classification: "top1" and, with one label an example, "top5" accuracy over all
        images, with boxes or not; with several labels, over all labels.
    """

    num_labels: int
    threshold: float
    maps: Mapping[str, MapAccuracy]
    num_images: int = 0
    classification: Mapping[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Localization(Evaluator):
    """Measures the maps of each label of an image.

    Attributes:
      loss: the net's training loss.
      settings: the maps to evaluate, by name.
      threshold: of `localization.boxes_from_maps`.
    """

    loss: Loss
    settings: Mapping[str, Setting]
    threshold: float

    def measure(self, inference: Inference) -> Measurements:
        """Returns the maps, and whether the net decides for their label."""
        return measure_maps(inference, self.loss, self.settings)

    def summarize(
        self, measurements: dict[str, Any], split: Split, priors: Priors
    ) -> LocalizationResult:
        """Returns the accuracy of each map; an image counts once for each label."""
        del priors
        targets = find_targets(split)
        if not len(targets.rows):
            return LocalizationResult(0, self.threshold, {})
        size = split["image"].shape[1:3]
        measured = [name for name in ("top1", "top5") if name in measurements]
        right = {name: targets.of(measurements[name]) for name in measured}
        several = "box_label" in split
        maps = {name: targets.of(measurements["maps"][name]) for name in self.settings}
        return LocalizationResult(
            num_labels=len(targets.rows),
            threshold=self.threshold,
            maps={
                name: map_accuracy(chosen, size, targets, right, self.threshold)
                for name, chosen in tracked(maps.items(), "localizing")
            },
            num_images=len(split["image"]),
            classification={
                name: float((right[name] if several else measurements[name]).mean())
                for name in measured
            },
        )

    def columns(
        self,
        measurements: dict[str, Any],
        split: Split,
        class_names: Sequence[str],
    ) -> dict[str, Sequence[Any]]:
        """Returns the box that each map gives each label, and its best IoU.

        An image with several labels has columns for each of them: "label1",
        "label1_cam_x0" and so on.
        """
        targets = find_targets(split, all_images=True)
        several = "box_label" in split
        slots = split["box_label"].shape[1] if several else 1
        found = self._of_targets(measurements, split, targets, class_names)
        columns: dict[str, np.ndarray] = {}
        for slot in range(slots):  # all columns of the first label, then of the second
            own = targets.columns == slot
            for name, values in found.items():
                title = f"label{slot + 1}_{name}".removesuffix("_") if several else name
                column = np.full(len(split["image"]), None, object)
                column[targets.rows[own]] = values[own].tolist()
                columns[title] = column
        return columns

    def _of_targets(
        self,
        measurements: dict[str, Any],
        split: Split,
        targets: Targets,
        class_names: Sequence[str],
    ) -> dict[str, np.ndarray]:
        """Returns what is known of each target, `[I]` by name."""
        values: dict[str, np.ndarray] = {}
        if "box_label" in split:
            values[""] = np.array(target_names(targets, split, class_names), object)
        if targets.num_boxes.any():
            pairs = zip(*targets.boxes, strict=True)
            values["true_boxes"] = np.array(
                [_box_text(b[:count]) for b, count in pairs]
            )
        for name in self.settings:
            maps = targets.of(measurements["maps"][name])
            size = split["image"].shape[1:3]
            boxes = localization.boxes_from_maps(maps, size, self.threshold)
            for corner, numbers in zip(CORNERS, boxes.T, strict=True):
                values[f"{name}_{corner}"] = numbers.astype(int)
            overlaps = localization.best_iou(boxes, *targets.boxes)
            values[f"{name}_iou"] = np.where(targets.num_boxes > 0, overlaps, None)
        return values


def create(subject: Subject) -> Localization | None:
    """Applies where the config has a group "localization"."""
    config = subject.localization
    if config is None:
        return None
    return Localization(subject.loss, settings(config), config.threshold)


def measure_maps(
    inference: Inference, loss: Loss, chosen: Mapping[str, Setting]
) -> Measurements:
    """Returns maps of the labels in a batch, and whether the net decides for them.

    Returns:
      "maps" `[B, G, h, w]` by the setting's name; "top1" and, with one label an
      example, "top5", booleans `[B, G]`.
    """
    batch, log_prior = inference.batch, inference.priors.training
    logits = inference.output.logits
    decided = decide(logits, loss, log_prior)[loss.rule]
    if loss.multi_label:
        labels = batch["box_label"]
        # Padding has a label out of range, whose value nobody looks at.
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


def map_accuracy(
    maps: np.ndarray,
    size: tuple[int, int],
    targets: Targets,
    right: Mapping[str, np.ndarray],
    threshold: float,
) -> MapAccuracy:
    """Returns how well maps find their targets.

    Args:
      maps: of the targets, `[I, h, w]`.
      size: (height, width) of the images.
      targets: I labels to find.
      right: by "top1" and "top5", whether the net decides for the label, `[I]`.
      threshold: of `localization.boxes_from_maps`.
    """
    boxes = localization.boxes_from_maps(maps, size, threshold)
    hit = {
        name: float(localization.localization_accuracy(boxes, *targets.boxes, correct))
        for name, correct in {"gt_known": None, **right}.items()
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
    """Returns the public evaluation's curve for each kind of true box."""
    last = np.array([size[1], size[0]] * 2) - 1  # its boxes end there at most
    total = dict.fromkeys(targets.truths, 0.0)
    for start in range(0, len(maps), _CHUNK):
        some = slice(start, start + _CHUNK)
        scores = localization.score_maps(maps[some], size)
        boxes = localization.boxes_at_thresholds(scores)
        for kind, truth in targets.truths.items():
            true, count = np.minimum(truth[some], last), targets.num_boxes[some]
            curve = localization.protocol_accuracy(boxes, true, count)
            total[kind] += len(boxes) * curve
    return {kind: curve / len(maps) for kind, curve in total.items()}


def _box_text(boxes: np.ndarray) -> str:
    """Returns boxes as "x0 y0 x1 y1", with semicolons between several."""
    return "; ".join(" ".join(f"{value:g}" for value in box) for box in boxes)
