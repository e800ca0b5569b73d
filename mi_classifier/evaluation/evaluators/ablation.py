"""What each part of infoCAM adds to localization (Table 8)."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mi_classifier import localization
from mi_classifier.activation_maps import MAPS, PADDINGS, RIVALS
from mi_classifier.data import Split
from mi_classifier.evaluation.evaluators.base import (
    Evaluator,
    Inference,
    Measurements,
    Priors,
    Subject,
)
from mi_classifier.evaluation.evaluators.localization import Setting, measure_maps
from mi_classifier.evaluation.results import Result
from mi_classifier.evaluation.targets import find_targets
from mi_classifier.losses import Loss
from mi_classifier.progress import tracked

THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
_REGIONS = range(1, 7)


@dataclasses.dataclass(frozen=True)
class SettingAccuracy:
    """How well the maps of one setting find the labels.

    Attributes:
      setting: the map and its options.
      gt_known: GT-known localization at each threshold, `[T]` in [0, 1].
      top1: Top-1 localization at each threshold, `[T]` in [0, 1].
      pointing: the pointing game, in [0, 1].
    """

    setting: Setting
    gt_known: Sequence[float]
    top1: Sequence[float]
    pointing: float


@dataclasses.dataclass(frozen=True)
class AblationResult(Result):
    """Localization accuracy of many settings at many thresholds.

    Attributes:
      thresholds: thresholds of `localization.boxes_from_maps`, `[T]`.
      threshold: the threshold of the config, one of `thresholds`.
      region: the region R of the config.
      settings: the accuracies of each setting, by its title.
    """

    thresholds: Sequence[float]
    threshold: float
    region: int
    settings: Mapping[str, SettingAccuracy]


def ablation_settings(config: Mapping[str, Any]) -> dict[str, Setting]:
    """Returns the settings of a config and those that differ in one option, by title.

    Args:
      config: the group "localization" of a config.
    """
    regions = sorted({*_REGIONS, config["region"]})
    changes = [{"region": region} for region in regions]
    changes += [{"padding": p} for p in PADDINGS if p != config["padding"]]
    changes += [{"rival": r} for r in RIVALS if r != config["rival"]]
    changes.append({})  # the only row of a map without these options
    rows = []
    for name, entry in MAPS.items():
        free = dataclasses.replace(entry, fixed={})  # CAM with a region, too
        base = free.options(config)
        rows += [Setting(name, base | c) for c in changes if c.keys() <= base.keys()]
    return {str(row): row for row in rows}


@dataclasses.dataclass(frozen=True)
class Ablation(Evaluator):
    """Measures the maps of many settings.

    Attributes:
      loss: the net's training loss.
      settings: the settings to evaluate, by title.
      thresholds: thresholds of `localization.boxes_from_maps`.
      threshold: the threshold of the config, one of `thresholds`.
      region: the region R of the config.
    """

    loss: Loss
    settings: Mapping[str, Setting]
    thresholds: Sequence[float]
    threshold: float
    region: int

    def measure(self, inference: Inference) -> Measurements:
        """Returns the result of `measure_maps`."""
        return measure_maps(inference, self.loss, self.settings)

    def summarize(
        self, measurements: dict[str, Any], split: Split, priors: Priors
    ) -> AblationResult:
        """Returns the accuracies of each setting."""
        del priors
        targets = find_targets(split)
        size = split["image"].shape[1:3]
        correct = targets.of(measurements["top1"])
        found = {}
        for title, setting in tracked(self.settings.items(), "ablation"):
            maps = targets.of(measurements["maps"][title])
            boxes = localization.boxes_from_maps(maps, size, self.thresholds)
            peaks = localization.peaks_from_maps(maps, size)
            gt_known, top1 = (
                [
                    float(
                        localization.localization_accuracy(b, *targets.boxes, counted)
                    )
                    for b in np.moveaxis(boxes, 1, 0)
                ]
                for counted in (None, correct)
            )
            pointing = float(localization.pointing_accuracy(peaks, *targets.boxes))
            found[title] = SettingAccuracy(setting, gt_known, top1, pointing)
        return AblationResult(self.thresholds, self.threshold, self.region, found)


def create(subject: Subject) -> Ablation | None:
    """Applies if the config has a group "localization"."""
    config = subject.localization
    if config is None:
        return None
    return Ablation(
        subject.loss,
        ablation_settings(config),
        sorted({*THRESHOLDS, config.threshold}),
        config.threshold,
        config.region,
    )
