"""What each part of infoCAM adds to localization (Table 8)."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

from mi_classifier import localization
from mi_classifier.activation_maps import MAPS, PADDINGS, RIVALS
from mi_classifier.data import Split
from mi_classifier.evaluation.evaluators import base
from mi_classifier.evaluation.evaluators.localization import Setting, measure_maps
from mi_classifier.evaluation.results import Result
from mi_classifier.evaluation.targets import find_targets
from mi_classifier.evaluation.trivial import (
    TrivialAccuracy,
    trivial_accuracies,
    unbeaten,
)
from mi_classifier.progress import tracked

THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)


@dataclasses.dataclass(frozen=True)
class SettingAccuracy:
    """How well the maps of one setting find the labels, in [0, 1]."""

    setting: Setting  # the map and its options
    gt_known: Sequence[float]  # GT-known localization at each threshold, [T]
    top1: Sequence[float]  # Top-1 localization at each threshold, [T]
    pointing: float  # the pointing game


@dataclasses.dataclass(frozen=True)
class AblationResult(Result):
    """Localization accuracy of many settings at many thresholds."""

    thresholds: Sequence[float]  # of `localization.boxes_from_maps`, [T]
    threshold: float  # of the config, one of `thresholds`
    region: int  # R of the config
    settings: Mapping[str, SettingAccuracy]  # by the setting's title
    # By the names of `trivial.TITLES`; the square is the best of this split.
    trivial: Mapping[str, TrivialAccuracy] = dataclasses.field(default_factory=dict)
    warnings: Sequence[str] = ()  # sentences; none if nothing is odd


def ablation_settings(config: Mapping[str, Any]) -> dict[str, Setting]:
    """Return, by title, a config's settings and those that differ in one option.

    `config` is the group "localization".
    """
    regions = sorted({*range(1, 7), config["region"]})
    changes = [{"region": region} for region in regions]
    changes += [{"padding": p} for p in PADDINGS if p != config["padding"]]
    changes += [{"rival": r} for r in RIVALS if r != config["rival"]]
    changes.append({})  # the only row of a map without these options
    rows: dict[tuple[Any, ...], Setting] = {}
    for name, entry in MAPS.items():
        free = dataclasses.replace(entry, fixed={})  # CAM with a region, too
        own = free.options(config)
        for change in changes:
            if change.keys() <= own.keys():
                row = Setting(name, own | change)
                # Two maps of one function, such as CAM with and without the region,
                # have the same settings here.
                rows.setdefault((entry.function, *row.details), row)
    return {str(row): row for row in rows.values()}


def create(subject: base.Subject) -> base.Evaluator | None:
    """Create the evaluator of many settings, if the config has "localization"."""
    config = subject.localization
    if config is None:
        return None
    threshold, region = config["threshold"], config["region"]
    validation = subject.validation
    settings = ablation_settings(config)
    thresholds = sorted({*THRESHOLDS, threshold})

    def summarize(measured: base.Measured, split: Split, priors: base.Priors) -> Result:
        targets, size = find_targets(split), split["image"].shape[1:3]
        correct = targets.of(measured["top1"])
        if not len(targets.rows):
            return AblationResult(thresholds, threshold, region, {})
        found = {}
        for title, setting in tracked(settings.items(), "ablation"):
            maps = targets.of(measured["maps"][title])
            boxes = localization.boxes_from_maps(maps, size, thresholds).swapaxes(0, 1)
            found[title] = SettingAccuracy(
                setting,
                gt_known=[targets.accuracy(each) for each in boxes],
                top1=[targets.accuracy(each, correct) for each in boxes],
                pointing=targets.pointing(maps, size),
            )
        of_split = split if validation is None else validation
        trivial = trivial_accuracies(targets, size, {"top1": correct}, of_split)
        warnings = unbeaten(
            "GT-known at its best threshold",
            {title: max(row.gt_known) for title, row in found.items()},
            {t.title: t.gt_known for t in trivial.values() if t.gt_known is not None},
            len(targets.rows),
        )
        fields = thresholds, threshold, region, found, trivial, warnings
        return AblationResult(*fields)

    measure = functools.partial(measure_maps, loss=subject.loss, chosen=settings)
    return base.Evaluator(measure, summarize)
