"""The evaluator of maps: whether they find what the boxes bound (Tables 4 to 8)."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mi_classifier import activation_maps, information, localization
from mi_classifier.data import Split
from mi_classifier.evaluation import evaluators, multi_label
from mi_classifier.evaluation.evaluators import Evaluator, Inference, Measures, Priors
from mi_classifier.progress import tracked

CORNERS = ("x0", "y0", "x1", "y1")
_CHUNK = 512  # maps that are at the size of the image at once


@dataclasses.dataclass(frozen=True)
class Setting:
    """How a map is made.

    Attributes:
      map: a name among `activation_maps.MAPS`.
      region: R, cells on a side.
      padding: "full" or "same".
      rival: of infoCAM+, "region" or "image".
    """

    map: str
    region: int = 1
    padding: str = "full"
    rival: str = "region"

    def __str__(self) -> str:
        region = f", R={self.region} {self.padding}" if self.region > 1 else ""
        rival = f", vs {self.rival}" if self.map == "info_cam_plus" else ""
        return activation_maps.TITLES[self.map] + region + rival

    def maps(self, inference: Inference, labels: jnp.ndarray) -> jnp.ndarray:
        """Returns the maps of labels `[B, G]`, `[B, G, h, w]`."""
        options = {"rival": self.rival, "logits": inference.output.logits}
        return activation_maps.MAPS[self.map](
            inference.output.features,
            inference.params["head"]["kernel"],
            labels,
            self.region,
            self.padding,
            **options if self.map == "info_cam_plus" else {},
        )


def settings(config: Mapping[str, Any]) -> dict[str, Setting]:
    """The three maps of a config's "localization": CAM alone is without a region."""
    region = (config["region"], config["padding"], config["rival"])
    return {
        name: Setting(name) if name == "cam" else Setting(name, *region)
        for name in activation_maps.MAPS
    }


def ablation(config: Mapping[str, Any]) -> dict[str, Setting]:
    """What each part of infoCAM brings: settings that differ from a config's in one.

    Args:
      config: "localization" of a config.
    """
    region, padding, rival = config["region"], config["padding"], config["rival"]
    rows = [
        Setting(name, r, padding, rival)
        for name in activation_maps.MAPS
        for r in sorted({*range(1, 7), region})
    ]
    other_padding = next(p for p in activation_maps.PADDINGS if p != padding)
    other_rival = next(r for r in activation_maps.RIVALS if r != rival)
    rows += [
        Setting(name, region, other_padding, rival) for name in activation_maps.MAPS
    ]
    rows.append(Setting("info_cam_plus", region, padding, other_rival))
    return {str(row): row for row in rows}


@dataclasses.dataclass(frozen=True)
class Localization(Evaluator):
    """Whether the box of each label of an image meets one of its true boxes.

    Attributes:
      loss: the net's training loss.
      settings: the maps to evaluate, by name.
      threshold: of `localization.boxes_from_maps`.
    """

    loss: str
    settings: Mapping[str, Setting]
    threshold: float
    name: str = "localization"

    def measure(self, inference: Inference) -> Measures:
        """The maps, and whether the net decides for their label."""
        return _measure(inference, self.loss, self.settings)

    def summarize(
        self, measures: dict[str, Any], split: Split, priors: Priors
    ) -> dict[str, Any]:
        """Figures of each map; an image counts once for each of its labels.

        Where no box is known, there are none.
        """
        del priors
        targets = find_targets(split)
        if not len(targets.rows):
            return {"num_labels": 0, "threshold": self.threshold, "maps": {}}
        size = split["image"].shape[1:3]
        correct = {
            name: measures[name][targets.rows, targets.columns]
            for name in ("top1", "top5")
            if name in measures
        }
        maps = {
            name: measures["maps"][name][targets.rows, targets.columns]
            for name in self.settings
        }
        figures = {
            name: _figures(chosen, size, targets, correct, self.threshold)
            for name, chosen in tracked(maps.items(), "localizing")
        }
        return {
            "num_labels": len(targets.rows),
            "threshold": self.threshold,
            "num_images": len(split["image"]),
            # Of all images, with boxes or not; of several labels, of all labels.
            "classification": {
                name: (right if "box_label" in split else measures[name]).mean()
                for name, right in correct.items()
            },
            "maps": figures,
        }

    def columns(
        self,
        measures: dict[str, Any],
        split: Split,
        class_names: Sequence[str],
    ) -> dict[str, Sequence[Any]]:
        """The box that each map gives each label, and its IoU with the true one.

        An image with several labels has columns for each of them: "label1",
        "label1_cam_x0" and so on.
        """
        targets = find_targets(split, all_images=True)
        size = split["image"].shape[1:3]
        several = "box_label" in split
        columns: dict[str, np.ndarray] = {}

        def fill(name: str, values: np.ndarray) -> None:
            """Gives each image the value of its target; none to those without."""
            for slot in range(split["box_label"].shape[1] if several else 1):
                title = f"label{slot + 1}_{name}".removesuffix("_") if several else name
                column = columns.setdefault(title, np.full(num_images, None, object))
                own = targets.columns == slot
                column[targets.rows[own]] = values[own].tolist()

        num_images = len(split["image"])
        if several:
            labels = labels_of(split)[targets.rows, targets.columns]
            fill("", np.asarray(class_names)[labels])
        if targets.num_boxes.any():
            boxes = zip(targets.truths["boxes"], targets.num_boxes, strict=True)
            fill("true_boxes", np.array([_box_text(b[:count]) for b, count in boxes]))
        for name in self.settings:
            maps = measures["maps"][name][targets.rows, targets.columns]
            boxes = localization.boxes_from_maps(maps, size, self.threshold)
            for corner, values in zip(CORNERS, boxes.T, strict=True):
                fill(f"{name}_{corner}", values.astype(int))
            overlaps = localization.best_iou(
                boxes, targets.truths["boxes"], targets.num_boxes
            )
            known = np.where(targets.num_boxes > 0, overlaps, None)
            fill(f"{name}_iou", known)
        if several:  # all of the first label, then all of the second
            ordered = sorted(columns, key=lambda title: title.partition("_")[0])
            return {title: columns[title] for title in ordered}
        return columns


@dataclasses.dataclass(frozen=True)
class Ablation(Evaluator):
    """GT-known localization of many settings at many thresholds (Table 8).

    Attributes:
      loss: the net's training loss.
      settings: the maps to evaluate, by name.
      thresholds: of `localization.boxes_from_maps`.
      threshold: the config's own, one of them.
      region: the config's own.
    """

    loss: str
    settings: Mapping[str, Setting]
    thresholds: Sequence[float]
    threshold: float
    region: int
    name: str = "ablation"

    def measure(self, inference: Inference) -> Measures:
        """The maps of each setting, and whether the net decides for their label."""
        return _measure(inference, self.loss, self.settings)

    def summarize(
        self, measures: dict[str, Any], split: Split, priors: Priors
    ) -> dict[str, Any]:
        """For each setting the accuracies at each threshold, and the pointing game."""
        del priors
        targets = find_targets(split)
        size = split["image"].shape[1:3]
        truth = (targets.truths["boxes"], targets.num_boxes)
        right = measures["top1"][targets.rows, targets.columns]
        figures = {}
        for name in tracked(self.settings, "ablation"):
            maps = measures["maps"][name][targets.rows, targets.columns]
            boxes = localization.boxes_from_maps(maps, size, self.thresholds)
            boxes = np.moveaxis(boxes, 1, 0)
            peaks = localization.peaks_from_maps(maps, size)
            figures[name] = {
                **dataclasses.asdict(self.settings[name]),
                "gt_known": [
                    localization.localization_accuracy(b, *truth) for b in boxes
                ],
                "top1": [
                    localization.localization_accuracy(b, *truth, right) for b in boxes
                ],
                "pointing": localization.pointing_accuracy(peaks, *truth),
            }
        return {
            "thresholds": self.thresholds,
            "threshold": self.threshold,
            "region": self.region,
            "settings": figures,
        }


def _measure(
    inference: Inference, loss: str, settings: Mapping[str, Setting]
) -> dict[str, Any]:
    batch, log_prior = inference.batch, inference.priors.training
    logits = inference.output.logits
    if "box_label" in batch:
        labels = batch["box_label"]
        right = multi_label.decide(logits, loss, log_prior)[evaluators.paper_rule(loss)]
        # That of a label out of range belongs to padding, and is not looked at.
        correct = {"top1": jnp.take_along_axis(right, labels, axis=-1)}
    else:
        labels = batch["label"][:, None]
        # By either rule, the paper's decision is for the largest of the net's logits.
        decided = information.optimal_decision(
            evaluators.pc_logits(logits, loss, log_prior),
            log_prior,
            evaluators.paper_rule(loss),
        )
        top1 = decided[:, None] == labels
        seen = jnp.where(jnp.isneginf(log_prior), -jnp.inf, logits)
        _, likeliest = jax.lax.top_k(seen, min(5, logits.shape[-1]))
        among = (likeliest == labels).any(-1, keepdims=True)
        known = ~jnp.isnan(jnp.take_along_axis(logits, labels, axis=-1))
        correct = {"top1": top1, "top5": top1 | (among & known)}
    maps = {name: setting.maps(inference, labels) for name, setting in settings.items()}
    return correct | {"maps": maps}


@dataclasses.dataclass(frozen=True)
class Targets:
    """What is to be found: I labels of images, and the boxes of each.

    Attributes:
      rows: `[I]`, the image's.
      columns: `[I]`, which of the image's labels.
      truths: for each kind of true box `[I, G, 4]`, padded.
      num_boxes: `[I]`, how many of the G are true.
    """

    rows: np.ndarray
    columns: np.ndarray
    truths: Mapping[str, np.ndarray]
    num_boxes: np.ndarray


def find_targets(split: Split, all_images: bool = False) -> Targets:
    """Returns what is to be found in the images of a split.

    Of an image with one label all boxes are that label's. With several labels, each is
    a target, once, and has the boxes that bear it.

    Args:
      split: with or without boxes.
      all_images: whether images of one label, but without a true box, count too.
    """
    kinds = [name for name in ("boxes", "cells") if name in split]
    if "box_label" not in split:
        counts = split.get("num_boxes", np.zeros(len(split["label"]), np.int32))
        rows = np.arange(len(counts)) if all_images else np.flatnonzero(counts)
        none = np.zeros((len(counts), 1, 4), np.float32)
        truths = {"boxes": none} | {name: split[name] for name in kinds}
        truths = {name: array[rows] for name, array in truths.items()}
        return Targets(rows, np.zeros_like(rows), truths, counts[rows])
    labels = split["box_label"]
    real = np.arange(labels.shape[1]) < split["num_boxes"][:, None]
    same = (labels[:, :, None] == labels[:, None]) & real[:, None]  # [N, G, G]
    first = real & (same.argmax(-1) == np.arange(labels.shape[1]))
    rows, columns = np.nonzero(first)
    bears = same[rows, columns]
    order = np.argsort(~bears, axis=1, kind="stable")[..., None]
    truths = {name: np.take_along_axis(split[name][rows], order, 1) for name in kinds}
    return Targets(rows, columns, truths, bears.sum(1))


def _box_text(boxes: np.ndarray) -> str:
    """Returns boxes as "x0 y0 x1 y1", with semicolons between several."""
    return "; ".join(" ".join(f"{value:g}" for value in box) for box in boxes)


def labels_of(split: Split) -> np.ndarray:
    """Returns the labels that may be looked for in each image, `[N, G]`."""
    return split["box_label"] if "box_label" in split else split["label"][:, None]


def _figures(
    maps: np.ndarray,
    size: tuple[int, int],
    targets: Targets,
    correct: Mapping[str, np.ndarray],
    threshold: float,
) -> dict[str, Any]:
    truth = (targets.truths["boxes"], targets.num_boxes)
    boxes = localization.boxes_from_maps(maps, size, threshold)
    figures = {"gt_known": localization.localization_accuracy(boxes, *truth)}
    for name, right in correct.items():
        figures[name] = localization.localization_accuracy(boxes, *truth, right)
    peaks = localization.peaks_from_maps(maps, size)
    figures["pointing"] = localization.pointing_accuracy(peaks, *truth)
    figures["mean_iou"] = localization.best_iou(boxes, *truth).mean()
    curves = _curves(maps, size, targets)
    half = localization.IOUS.index(0.5)
    if "cells" in curves:
        figures["cell"] = curves["cells"][half].max()
    figures["max_box_accuracy"] = curves["boxes"][half].max()
    figures["max_box_accuracy_v2"] = curves["boxes"].max(1).mean()
    return figures | {"box_accuracy_curve": curves["boxes"]}


def _curves(
    maps: np.ndarray, size: tuple[int, int], targets: Targets
) -> dict[str, np.ndarray]:
    """The public evaluation's curve for each kind of true box, a few maps at a time."""
    last = np.array([size[1], size[0]] * 2) - 1  # where its boxes end, at most
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
