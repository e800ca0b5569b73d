"""The ablation varies one option at a time, and scores as the localization does."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from mi_classifier.activation_maps import MAPS, Map, class_activation_map
from mi_classifier.evaluation.evaluators import ablation, localization
from mi_classifier.evaluation.evaluators.ablation import ablation_settings
from mi_classifier.evaluation.evaluators.localization import settings
from tests.evaluation.evaluators.digits import (
    CONFIG,
    KERNEL,
    PRIORS,
    features_of,
    split_of_three,
    sure_logits,
)
from tests.evaluation.evaluators.on_arrays import run, subject_of


def test_each_setting_differs_from_the_config_in_one_option():
    rows = list(ablation_settings(CONFIG).values())
    for row in rows:
        changed = [name for name, value in row.options.items() if value != CONFIG[name]]
        assert len(changed) <= 1
    # CAM with a region is a setting of CAM; a map of its own would repeat these rows.
    assert {row.map for row in rows} == {"cam", "info_cam", "info_cam_plus"}
    for name in set(MAPS) - {"cam_region"}:
        own = [row.options for row in rows if row.map == name]
        assert {options["region"] for options in own} == {1, 2, 3, 4, 5, 6}
        assert {options["padding"] for options in own} == {"full", "same"}
    rivals = {row.options["rival"] for row in rows if row.map == "info_cam_plus"}
    assert rivals == {"region", "image"}
    assert len(rows) == 6 + 6 + 6 + 3 + 1


def test_a_region_of_the_config_beyond_six_is_included():
    rows = ablation_settings(CONFIG | {"region": 9}).values()
    assert {row.options["region"] for row in rows} == {1, 2, 3, 4, 5, 6, 9}


def test_a_map_without_these_options_has_one_setting(monkeypatch):
    def plain(features, head_kernel, labels):
        return class_activation_map(features, head_kernel, labels)

    monkeypatch.setitem(MAPS, "plain", Map(plain, "plain"))
    assert [
        t for t, row in ablation_settings(CONFIG).items() if row.map == "plain"
    ] == ["plain"]


@pytest.mark.slow
def test_the_ablation_scores_as_the_localization_does():
    split, chosen = split_of_three(), settings(CONFIG)
    dataset = SimpleNamespace(splits={"validation": split})
    subject = subject_of("pc_sigmoid", dataset, **CONFIG)
    logits = sure_logits(split)
    logits[1] = -5
    arrays = (split, logits, PRIORS, features_of(split, wrong={(0, 0)}), KERNEL)
    expected = run(localization.create(subject), *arrays)
    result = run(ablation.create(subject), *arrays)
    assert (result.threshold, result.region) == (0.3, 2)
    assert result.thresholds == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    for name, found in expected.maps.items():
        setting = chosen[name]
        if name == "cam_region":
            setting = dataclasses.replace(setting, map="cam")
        row = result.settings[str(setting)]
        assert row.setting == setting
        assert (row.gt_known[2], row.top1[2]) == (found.gt_known, found.top1)
        assert row.pointing == found.pointing
        assert len(row.gt_known) == len(row.top1) == 6
        assert (np.array(row.top1) <= np.array(row.gt_known)).all()
    assert result.trivial.keys() == expected.trivial.keys()
    for name, each in expected.trivial.items():
        assert result.trivial[name].gt_known == each.gt_known
        assert result.trivial[name].pointing == each.pointing
