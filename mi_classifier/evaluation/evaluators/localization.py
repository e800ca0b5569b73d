"""Whether maps find the objects in the true boxes (Tables 4, 6 and 7)."""

import dataclasses
import inspect
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
from mi_classifier.evaluation.results import Result, mean
from mi_classifier.evaluation.targets import (
    Targets,
    find_targets,
    labels_of,
    target_names,
)
from mi_classifier.losses import Loss
from mi_classifier.progress import tracked

CORNERS = ("x0", "y0", "x1", "y1")
MAPS_AT_ONCE = 512  # that are resized to the image, to bound memory


@dataclasses.dataclass(frozen=True)
class Setting:
    """A map and the options that it is computed with.

    Attributes:
      map: a key of `activation_maps.MAPS`.
      options: options of that map's function, by name.
    """

    map: str
    options: Mapping[str, Any]

    def __str__(self) -> str:
        options = dict(self.options)
        text, region = MAPS[self.map].title, options.pop("region", 1)
        padding = options.pop("padding", "")
        if region > 1:
            text += f", R={region} {padding}".rstrip()
        if "rival" in options:
            text += f", vs {options.pop('rival')}"
        return text + "".join(f", {name}={value}" for name, value in options.items())

    def maps(self, inference: Inference, labels: jax.typing.ArrayLike) -> jax.Array:
        """Returns the maps `[B, G, h, w]` of labels `[B, G]`."""
        function, output = MAPS[self.map].function, inference.output
        options = dict(self.options)
        if "logits" in inspect.signature(function).parameters:
            options["logits"] = output.logits
        kernel = inference.params["head"]["kernel"]
        return function(output.features, kernel, labels, **options)


def settings(config: Mapping[str, Any]) -> dict[str, Setting]:
    """Returns the setting of every map, by the map's name.

    Args:
      config: the group "localization" of a config.
    """
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


@dataclasses.dataclass(frozen=True)
class Localization(Evaluator):
    """Measures the maps of each label of an image.

    Attributes:
      loss: the net's training loss.
      settings: the maps to evaluate, by the map's name.
      threshold: the threshold of `localization.boxes_from_maps`.
    """

    loss: Loss
    settings: Mapping[str, Setting]
    threshold: float

    def measure(self, inference: Inference) -> Measurements:
        """Returns the result of `measure_maps`."""
        return measure_maps(inference, self.loss, self.settings)

    def summarize(
        self, measurements: dict[str, Any], split: Split, priors: Priors
    ) -> LocalizationResult:
        """Returns the accuracy of each map; an image counts once for each label."""
        del priors
        targets, size = find_targets(split), split["image"].shape[1:3]
        measured = {k: v for k, v in measurements.items() if k in ("top1", "top5")}
        correct = {name: targets.of(values) for name, values in measured.items()}
        # With several labels, the padding of an image does not count.
        counted = correct if "box_label" in split else measured
        maps = self.settings if len(targets.rows) else ()
        return LocalizationResult(
            num_labels=len(targets.rows),
            num_images=len(split["image"]),
            threshold=self.threshold,
            classification={k: mean(v) for k, v in counted.items() if len(v)},
            maps={
                name: map_accuracy(
                    targets.of(measurements["maps"][name]),
                    size,
                    targets,
                    correct,
                    self.threshold,
                )
                for name in tracked(maps, "localizing")
            },
        )

    def columns(
        self,
        measurements: dict[str, Any],
        split: Split,
        class_names: Sequence[str],
    ) -> dict[str, Sequence[Any]]:
        """Returns the box of each map for each label, and its IoU with the true box.

        With several labels an image, there are columns for each label: "label1",
        "label1_cam_x0" and so on.
        """
        targets = find_targets(split, all_images=True)
        several = "box_label" in split
        found = self._of_targets(measurements, split, targets, class_names)
        columns: dict[str, np.ndarray] = {}
        for place in range(labels_of(split).shape[1]):
            own = targets.columns == place
            for name, values in found.items():
                if several:
                    name = f"label{place + 1}_{name}".removesuffix("_")
                columns[name] = np.full(len(split["image"]), None, object)
                columns[name][targets.rows[own]] = values[own].tolist()
        return columns

    def _of_targets(
        self,
        measurements: dict[str, Any],
        split: Split,
        targets: Targets,
        class_names: Sequence[str],
    ) -> dict[str, np.ndarray]:
        """Returns the values of each target, `[I]`, by the name of their column."""
        values: dict[str, np.ndarray] = {}
        if "box_label" in split:
            values[""] = np.array(target_names(targets, split, class_names), object)
        if targets.num_boxes.any():
            pairs = zip(*targets.boxes, strict=True)
            values["true_boxes"] = np.array(
                [_box_text(b[:count]) for b, count in pairs]
            )
        size = split["image"].shape[1:3]
        for name in self.settings:
            maps = targets.of(measurements["maps"][name])
            boxes = localization.boxes_from_maps(maps, size, self.threshold)
            for corner, numbers in zip(CORNERS, boxes.T, strict=True):
                values[f"{name}_{corner}"] = numbers.astype(int)
            overlaps = localization.best_iou(boxes, *targets.boxes)
            values[f"{name}_iou"] = np.where(targets.num_boxes > 0, overlaps, None)
        return values


def create(subject: Subject) -> Localization | None:
    """Applies if the config has a group "localization"."""
    config = subject.localization
    if config is None:
        return None
    return Localization(subject.loss, settings(config), config.threshold)


def measure_maps(
    inference: Inference, loss: Loss, chosen: Mapping[str, Setting]
) -> Measurements:
    """Computes maps of the labels in a batch, and whether the net decides for them.

    Returns:
      "maps", by the setting's name `[B, G, h, w]`; "top1" and, with one label an image,
      "top5", whether the label is the likeliest or among the five likeliest, booleans
      `[B, G]`.
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


def map_accuracy(
    maps: np.ndarray,
    size: tuple[int, int],
    targets: Targets,
    correct: Mapping[str, np.ndarray],
    threshold: float,
) -> MapAccuracy:
    """Returns how well maps find their targets.

    Args:
      maps: the map of each target, `[I, h, w]`.
      size: (height, width) of the images.
      targets: I targets, at least one.
      correct: "top1" and "top5" of `measure_maps` for each target, `[I]`.
      threshold: the threshold of `localization.boxes_from_maps`.
    """
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
    """Returns the curve of the public WSOL evaluation for each kind of true box."""
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


def _box_text(boxes: np.ndarray) -> str:
    """Returns boxes as "x0 y0 x1 y1", with semicolons between several."""
    return "; ".join(" ".join(f"{value:g}" for value in box) for box in boxes)
