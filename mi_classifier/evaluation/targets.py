"""The targets of localization: labels of images, and the true boxes of each."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from mi_classifier import localization
from mi_classifier.data import Split

_PIXELS_AT_ONCE = 2**25  # of maps whose boxes at all thresholds are held


@dataclasses.dataclass(frozen=True)
class Targets:
    """I pairs of an image and a label that a map should find in it.

    The kinds of true boxes are "boxes" around the objects and, where known, "cells"
    around the part of the image that an object stands in.
    """

    rows: np.ndarray  # the image of each target, as a row of the split, [I]
    columns: np.ndarray  # its label, as a position among the image's labels, [I]
    truths: Mapping[str, np.ndarray]  # true boxes [I, G, 4], padded, by their kind
    num_boxes: np.ndarray  # how many of the G boxes are true ones, [I]

    @property
    def boxes(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the true boxes and their number, as `localization` takes them."""
        return self.truths["boxes"], self.num_boxes

    def of(self, array: np.ndarray) -> np.ndarray:
        """Return the values `[I, ...]` of the targets from an array `[N, G, ...]`."""
        return array[self.rows, self.columns]

    def accuracy(self, boxes: np.ndarray, correct: np.ndarray | None = None) -> float:
        """Return `localization_accuracy` of a box for each target, `[I, 4]`."""
        return float(localization.localization_accuracy(boxes, *self.boxes, correct))

    def pointing(self, maps: np.ndarray, size: tuple[int, int]) -> float:
        """Return `pointing_accuracy` of maps `[I, h, w]` in images of a size."""
        peaks = localization.peaks_from_maps(maps, size)
        return float(localization.pointing_accuracy(peaks, *self.boxes))

    def curves(
        self, boxes_of: Callable[[slice], np.ndarray], size: tuple[int, int]
    ) -> dict[str, np.ndarray]:
        """Return the `box_accuracy_curve` against each kind of true boxes.

        Args:
          boxes_of: maps a slice of the targets to their boxes at each threshold,
            `[S, T, 4]`, as `localization.boxes_at_thresholds` gives them.
          size: (height, width) of the images in pixels.
        """
        last = (
            np.array([size[1], size[0]] * 2) - 1
        )  # WSOL boxes include their last pixel
        curves: dict[str, np.ndarray] = dict.fromkeys(self.truths, np.zeros(()))
        step = max(_PIXELS_AT_ONCE // (size[0] * size[1]), 1)
        for start in range(0, len(self.rows), step):
            some = slice(start, start + step)
            boxes = boxes_of(some)
            for kind, truth in self.truths.items():
                true, count = np.minimum(truth[some], last), self.num_boxes[some]
                curve = localization.protocol_accuracy(boxes, true, count)
                curves[kind] = curves[kind] + len(boxes) * curve
        return {kind: curve / len(self.rows) for kind, curve in curves.items()}


def find_targets(split: Split, all_images: bool = False) -> Targets:
    """Return the targets of a split with or without boxes.

    If an image has one label, that label is its target and has all of its boxes; with
    `all_images`, even if it has none. If each box has a label of its own, each
    different label is a target and has the boxes with that label.
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


def target_names(
    targets: Targets, split: Split, class_names: Sequence[str]
) -> list[str]:
    """Return the name of each target's label."""
    labels = split["box_label"] if "box_label" in split else split["label"][:, None]
    return [class_names[label] for label in targets.of(labels)]
