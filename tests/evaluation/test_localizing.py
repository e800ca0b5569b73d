"""The localization evaluator on maps whose boxes are known."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from mi_classifier import evaluation, localization
from mi_classifier.evaluation.evaluators import Classification, Inference, Priors
from mi_classifier.evaluation.localizing import (
    Ablation,
    Localization,
    Setting,
    ablation,
    find_targets,
    settings,
)
from mi_classifier.models import ModelOutput

CONFIG = {"region": 2, "padding": "full", "rival": "region", "threshold": 0.3}


def split_of_two():
    """Images of 8 x 16: class 1 left and 0 right; class 2 on both sides; 2 right."""
    left, right = (1, 2, 5, 6), (10, 2, 14, 6)
    none = (0, 0, 0, 0)
    cells = {left: (0, 0, 8, 8), right: (8, 0, 16, 8), none: none}
    boxes = [[left, right], [left, right], [right, none]]
    return {
        "image": np.zeros((3, 8, 16, 1), np.uint8),
        "label": np.array([[1, 1, 0], [0, 0, 1], [0, 0, 1]], np.float32),
        "box_label": np.array([[1, 0], [2, 2], [2, -1]], np.int32),
        "boxes": np.array(boxes, np.float32),
        "cells": np.array([[cells[b] for b in row] for row in boxes], np.float32),
        "num_boxes": np.array([2, 2, 1], np.int32),
    }


def features_of(split, wrong=()):
    """One channel a class, bright where the class's boxes are; `wrong` elsewhere."""
    features = np.zeros((3, 8, 16, 3), np.float32)
    for i, count in enumerate(split["num_boxes"]):
        for k in range(count):
            x0, y0, x1, y1 = split["boxes"][i, k].astype(int)
            label = split["box_label"][i, k]
            if (i, label) in wrong:
                x0, x1 = 15, 16
            features[i, y0:y1, x0:x1, label] = 1
    return features


def run(evaluator, split, features, logits):
    priors = Priors(np.log(np.full(3, 0.4)), np.log(np.full(3, 0.4)))
    params = {"head": {"kernel": jnp.eye(3)}}
    inference = Inference(ModelOutput(logits, features), split, priors, params)
    measures = evaluator.measure(inference)
    measures = {
        k: {n: np.asarray(m) for n, m in v.items()} if k == "maps" else np.asarray(v)
        for k, v in measures.items()
    }
    return evaluator.summarize(measures, split, priors)


def test_each_label_of_an_image_is_a_target_once():
    targets = find_targets(split_of_two())
    pairs = list(zip(targets.rows.tolist(), targets.columns.tolist(), strict=True))
    assert pairs == [(0, 0), (0, 1), (1, 0), (2, 0)]
    np.testing.assert_array_equal(targets.num_boxes, [1, 1, 2, 1])
    boxes = targets.truths["boxes"]
    np.testing.assert_array_equal(boxes[0, 0], (1, 2, 5, 6))
    np.testing.assert_array_equal(boxes[1, 0], (10, 2, 14, 6))
    np.testing.assert_array_equal(boxes[2], [(1, 2, 5, 6), (10, 2, 14, 6)])
    np.testing.assert_array_equal(targets.truths["cells"][1, 0], (8, 0, 16, 8))


def test_an_image_without_a_digit_has_no_target():
    split = split_of_two()
    split["box_label"][0], split["num_boxes"][0] = -1, 0
    targets = find_targets(split)
    np.testing.assert_array_equal(targets.rows, [1, 2])


def test_with_one_label_every_image_with_a_box_is_a_target():
    split = {
        "label": np.array([2, 0, 1]),
        "boxes": np.arange(3)[:, None, None] * np.ones((3, 3, 4)),
        "num_boxes": np.array([3, 0, 1]),
    }
    targets = find_targets(split)
    np.testing.assert_array_equal(targets.rows, [0, 2])
    np.testing.assert_array_equal(targets.num_boxes, [3, 1])
    np.testing.assert_array_equal(targets.truths["boxes"][:, 0, 0], [0, 2])
    assert targets.truths.keys() == {"boxes"}


def test_maps_that_are_right_score_all():
    split = split_of_two()
    logits = np.where(split["label"] > 0, 5.0, -5.0)
    evaluator = Localization("pc_sigmoid", {"cam": Setting("cam")}, 0.3)
    result = run(evaluator, split, features_of(split), logits)
    assert result["num_labels"] == 4
    figures = result["maps"]["cam"]
    for name in ("gt_known", "top1", "pointing", "max_box_accuracy"):
        assert figures[name] == 1, name
    # The boxes of the ink are a quarter of their cells, at any threshold but 0: then
    # what the resizing leaves of the other side counts, too.
    assert figures["cell"] < 1
    assert figures["mean_iou"] == 1


def test_a_wrong_map_and_a_missed_label_are_told_apart():
    split = split_of_two()
    logits = np.where(split["label"] > 0, 5.0, -5.0)
    logits[2, 2] = -1  # found, but not decided for
    evaluator = Localization("pc_sigmoid", {"cam": Setting("cam")}, 0.3)
    result = run(evaluator, split, features_of(split, wrong={(0, 1)}), logits)
    figures = result["maps"]["cam"]
    assert figures["gt_known"] == figures["pointing"] == 3 / 4
    assert figures["top1"] == 2 / 4


def test_one_label_an_image_has_top1_and_top5():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 8, 40)
    split = {
        "image": np.zeros((40, 6, 6, 1), np.uint8),
        "label": labels,
        "boxes": np.tile(np.array([[[2, 2, 4, 4]]], np.float32), (40, 1, 1)),
        "num_boxes": np.ones(40, int),
    }
    logits = generator.normal(size=(40, 8)).astype(np.float32)
    features = np.zeros((40, 6, 6, 8), np.float32)
    features[:20, 2:4, 2:4] = 1  # every class's map is right in half of the images
    features[20:, 0, 0] = 1
    params = {"head": {"kernel": jnp.eye(8)}}
    prior = np.log(np.full(8, 1 / 8))
    evaluator = Localization("softmax", {"cam": Setting("cam")}, 0.5)
    output = ModelOutput(logits, features)
    measures = evaluator.measure(Inference(output, split, Priors(prior, prior), params))
    measures["maps"] = {k: np.asarray(v) for k, v in measures["maps"].items()}
    for name in ("top1", "top5"):
        measures[name] = np.asarray(measures[name])
    figures = evaluator.summarize(measures, split, Priors(prior, prior))["maps"]["cam"]
    ranks = (-logits).argsort(1).argsort(1)[np.arange(40), labels]
    assert figures["gt_known"] == 0.5
    assert figures["top1"] == (ranks[:20] < 1).sum() / 40
    assert figures["top5"] == (ranks[:20] < 5).sum() / 40
    assert "cell" not in figures


def test_the_curve_is_that_of_the_whole_split(monkeypatch):
    monkeypatch.setattr("mi_classifier.evaluation.localizing._CHUNK", 3)
    split = split_of_two()
    logits = np.where(split["label"] > 0, 5.0, -5.0)
    chosen = {"info_cam": Setting("info_cam", 3)}
    evaluator = Localization("pc_sigmoid", chosen, 0.3)
    features = features_of(split, wrong={(2, 2)})
    figures = run(evaluator, split, features, logits)["maps"]["info_cam"]
    targets = find_targets(split)
    inference = Inference(
        ModelOutput(logits, features), split, None, {"head": {"kernel": jnp.eye(3)}}
    )
    maps = np.asarray(Setting("info_cam", 3).maps(inference, split["box_label"]))
    scores = localization.score_maps(maps[targets.rows, targets.columns], (8, 16))
    whole = localization.box_accuracy_curve(
        scores, targets.truths["boxes"], targets.num_boxes
    )
    np.testing.assert_allclose(figures["box_accuracy_curve"], whole)
    assert figures["max_box_accuracy"] == whole[1].max()
    np.testing.assert_allclose(figures["max_box_accuracy_v2"], whole.max(1).mean())


def test_cam_alone_is_without_a_region():
    chosen = settings(CONFIG)
    assert chosen["cam"] == Setting("cam")
    assert chosen["info_cam"] == Setting("info_cam", 2)
    assert str(chosen["info_cam_plus"]) == "infoCAM+, R=2 full, vs region"


def test_the_ablation_varies_one_thing_at_a_time():
    rows = list(ablation(CONFIG).values())
    base = {name: Setting(name, 2) for name in ("cam", "info_cam", "info_cam_plus")}
    for row in rows:
        whole = base[row.map]
        differing = [
            field
            for field in ("region", "padding", "rival")
            if getattr(row, field) != getattr(whole, field)
        ]
        assert len(differing) <= 1
    assert {r.region for r in rows} == {1, 2, 3, 4, 5, 6}
    assert {r.padding for r in rows} == {"full", "same"}
    assert {r.rival for r in rows} == {"region", "image"}


def test_the_ablation_scores_as_the_evaluator_does():
    split = split_of_two()
    logits = np.where(split["label"] > 0, 5.0, -5.0)
    features = features_of(split, wrong={(0, 0)})
    chosen = settings(CONFIG)
    both = run(Localization("pc_sigmoid", chosen, 0.3), split, features, logits)
    rows = run(
        Ablation("pc_sigmoid", chosen, (0.3, 0.6), 0.3, 2), split, features, logits
    )
    for name, figures in both["maps"].items():
        row = rows["settings"][name]
        assert row["gt_known"][0] == figures["gt_known"]
        assert row["pointing"] == figures["pointing"]
        assert len(row["gt_known"]) == 2


def test_double_digits_are_evaluated_and_drawn(trained_digits, capsys):
    figures = evaluation.evaluate(trained_digits)
    printed = capsys.readouterr().out
    for word in ("infoCAM+", "GT-known", "Top-1", "pointing", "all labels right"):
        assert word in printed
    written = json.loads((trained_digits / "evaluation/metrics.json").read_text())
    maps = written["splits"]["test"]["localization"]["maps"]
    assert maps.keys() == {"cam", "info_cam", "info_cam_plus"}
    ours = figures["splits"]["test"]["localization"]["maps"]
    assert maps["info_cam"]["gt_known"] == pytest.approx(ours["info_cam"]["gt_known"])
    assert written["splits"]["test"]["num_examples"] == 100
    result = evaluation.evaluate(trained_digits, ablation=True)
    printed = capsys.readouterr().out
    assert "vs image" in printed and "R=3 same" in printed
    written = json.loads((trained_digits / "evaluation/ablation.json").read_text())
    rows = written["splits"]["validation"]["ablation"]["settings"]
    assert rows.keys() == result["splits"]["validation"]["ablation"]["settings"].keys()
    # What was chosen there is what was evaluated.
    row = rows["infoCAM, R=3 full"]
    at = written["splits"]["validation"]["ablation"]["thresholds"].index(0.3)
    validation = figures["splits"]["validation"]["localization"]["maps"]["info_cam"]
    assert row["gt_known"][at] == pytest.approx(validation["gt_known"])


def test_a_users_own_images_to_table_8(trained_images, capsys):
    figures = evaluation.evaluate(trained_images)["splits"]["test"]["localization"]
    printed = capsys.readouterr().out
    assert "own, 64 px" in printed and "59.43" in printed and "44.40" in printed
    assert "paper's 73.97 / 91.83" in " ".join(printed.split())
    assert figures["num_labels"] == 8
    assert figures["classification"].keys() == {"top1", "top5"}
    assert figures["classification"]["top5"] == 1  # of four classes
    for row in figures["maps"].values():
        assert row["top1"] <= min(row["gt_known"], figures["classification"]["top1"])
        assert row["top5"] == row["gt_known"]
    result = evaluation.evaluate(trained_images, ablation=True)
    printed = capsys.readouterr().out
    assert "region R and subtraction" in printed and "35.01" in printed
    rows = result["splits"]["validation"]["ablation"]["settings"].values()
    for row in rows:
        assert (np.array(row["top1"]) <= np.array(row["gt_known"])).all()


def test_top1_is_the_decision_whatever_the_logits():
    """Ties, broken nets and classes that training never had."""
    prior = np.array([0.5, 0.5, 0.0])
    with np.errstate(divide="ignore"):
        priors = Priors(np.log(prior), np.log(np.full(3, 1 / 3)))
    logits = np.array(
        [[1, 1, 1], [1, 1, 1], [0, 0, 9], [np.nan] * 3, [0, 2, 1]], np.float32
    )
    split = {"label": np.array([0, 1, 2, 2, 1], np.int32)}
    inference = Inference(
        ModelOutput(logits, np.zeros((5, 2, 2, 3), np.float32)),
        split,
        priors,
        {"head": {"kernel": jnp.eye(3)}},
    )
    for loss, rule in (("softmax", "prior"), ("pc_softmax", "balanced")):
        measures = Localization(loss, {}, 0.3).measure(inference)
        decided = Classification(loss).measure(inference)[rule]
        right = np.asarray(decided) == split["label"]
        np.testing.assert_array_equal(measures["top1"][:, 0], right)
        assert right.tolist() == [True, False, False, False, True]
        assert not measures["top5"][3, 0]  # of a net that broke down


def test_without_true_boxes_there_are_boxes_and_no_figures():
    split = {
        "image": np.zeros((3, 8, 16, 1), np.uint8),
        "label": np.array([1, 0, 2], np.int32),
    }
    features = features_of(split_of_two())
    evaluator = Localization("softmax", {"cam": Setting("cam")}, 0.3)
    inference = Inference(
        ModelOutput(np.eye(3, dtype=np.float32), features),
        split,
        Priors(np.zeros(3), np.zeros(3)),
        {"head": {"kernel": jnp.eye(3)}},
    )
    measures = evaluator.measure(inference)
    measures = {"maps": {"cam": np.asarray(measures["maps"]["cam"])}} | {
        name: np.asarray(measures[name]) for name in ("top1", "top5")
    }
    result = evaluator.summarize(measures, split, None)
    assert result["num_labels"] == 0 and result["maps"] == {}
    columns = evaluator.columns(measures, split, ("a", "b", "c"))
    # Label 1 is on the left of the first image, label 2 on the right of the third.
    left, _, right = zip(
        *(columns[f"cam_{c}"] for c in ("x0", "y0", "x1", "y1")), strict=True
    )
    assert left == (1, 2, 5, 6) and right == (10, 2, 14, 6)
    assert set(columns["cam_iou"]) == {None}
