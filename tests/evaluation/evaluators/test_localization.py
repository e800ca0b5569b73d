"""The localization of maps whose boxes are known."""

from types import SimpleNamespace

import numpy as np
import pytest

from mi_classifier import localization
from mi_classifier.activation_maps import MAPS, Map, info_cam
from mi_classifier.evaluation import Priors, targets as targets_of_maps
from mi_classifier.evaluation.evaluators import Inference, accuracy
from mi_classifier.evaluation.evaluators.localization import (
    Setting,
    create,
    settings,
)
from mi_classifier.evaluation.targets import find_targets
from mi_classifier.evaluation.trivial import TITLES
from mi_classifier.models import ModelOutput
from tests.evaluation.evaluators.digits import (
    CONFIG,
    KERNEL,
    PRIORS,
    features_of,
    split_of_three,
    sure_logits,
)
from tests.evaluation.evaluators.on_arrays import measure, priors_of, run, subject_of

CAM = {"cam": Setting("cam", {"region": 1})}


def of_three(logits, wrong=(), chosen=CAM):
    split = split_of_three()
    evaluator = create(subject_of("pc_sigmoid", threshold=0.3), chosen)
    return run(evaluator, split, logits, PRIORS, features_of(split, wrong), KERNEL)


def test_correct_maps_find_every_label():
    result = of_three(sure_logits(split_of_three()))
    assert (result.num_labels, result.num_images) == (4, 3)
    assert result.classification == {"top1": 1}
    found = result.maps["cam"]
    for name in ("gt_known", "top1", "pointing", "max_box_accuracy", "mean_iou"):
        assert getattr(found, name) == 1, name
    assert found.top5 is None
    # A box of the ink is a quarter of its cell. Only at threshold 0, where resizing
    # leaves something on the other side, is a box larger.
    assert found.cell < 1


def test_a_wrong_map_and_a_wrong_decision_count_apart():
    logits = sure_logits(split_of_three())
    logits[2, 2] = -1  # the map finds it, but the net does not decide for it
    result = of_three(logits, wrong={(0, 1)})
    found = result.maps["cam"]
    assert found.gt_known == found.pointing == 3 / 4
    assert found.top1 == 2 / 4
    assert result.classification == {"top1": 3 / 4}


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
    features[:20, 2:4, 2:4] = 1  # the maps of half of the images are right
    features[20:, 0, 0] = 1
    evaluator = create(subject_of("softmax", threshold=0.5), CAM)
    priors = priors_of(np.full(8, 1 / 8))
    result = run(evaluator, split, logits, priors, features, np.eye(8))
    found = result.maps["cam"]
    ranks = (-logits).argsort(1).argsort(1)[np.arange(40), labels]
    assert found.gt_known == 0.5
    assert found.top1 == (ranks[:20] < 1).sum() / 40
    assert found.top5 == (ranks[:20] < 5).sum() / 40
    assert result.classification == {
        "top1": pytest.approx((ranks < 1).mean()),
        "top5": pytest.approx((ranks < 5).mean()),
    }
    assert found.cell is None


def test_the_curve_of_chunks_is_the_curve_of_the_whole_split(monkeypatch):
    monkeypatch.setattr(targets_of_maps, "_PIXELS_AT_ONCE", 1)
    split, wrong = split_of_three(), {(2, 2)}
    setting = Setting("info_cam", {"region": 3, "padding": "full"})
    logits = sure_logits(split)
    found = of_three(logits, wrong, {"info_cam": setting}).maps["info_cam"]
    output = ModelOutput(logits, features_of(split, wrong))
    inference = Inference(output, split, PRIORS, {"head": {"kernel": KERNEL}})
    maps = np.asarray(setting.maps(inference, split["box_label"]))
    targets = find_targets(split)
    scores = localization.score_maps(targets.of(maps), (8, 16))
    whole = localization.box_accuracy_curve(scores, *targets.boxes)
    np.testing.assert_allclose(found.box_accuracy_curve, whole)
    assert found.max_box_accuracy == whole[1].max()
    np.testing.assert_allclose(found.max_box_accuracy_v2, whole.max(1).mean())


def test_only_cam_has_no_region():
    chosen = settings(CONFIG)
    assert chosen["cam"].options["region"] == 1
    assert str(chosen["cam"]) == "CAM"
    assert str(chosen["info_cam"]) == "infoCAM, R=2 full"
    assert str(chosen["cam_region"]) == "CAM, region, R=2 full"
    assert str(chosen["info_cam_plus"]) == "infoCAM+, R=2 full, rival by region"
    titles = [each.title for each in chosen.values()]
    assert titles == ["CAM", "CAM, region", "infoCAM", "infoCAM+, rival by region"]
    image = settings(CONFIG | {"rival": "image"})["info_cam_plus"]
    assert image.title == "infoCAM+, rival of the image"


def test_the_rival_of_the_image_is_the_class_of_its_lowest_logit():
    """`Setting.maps` passes the net's logits to a map that takes them."""
    split = split_of_three()
    features = np.random.default_rng(0).random((3, 8, 16, 3)).astype(np.float32)
    logits = np.array([[9, 0, 5], [0, 9, 5], [5, 9, 0]], np.float32)
    inference = Inference(
        ModelOutput(logits, features), split, PRIORS, {"head": {"kernel": KERNEL}}
    )
    options = {"region": 1, "padding": "full", "rival": "image"}
    labels = np.array([[2], [2], [1]])
    maps = Setting("info_cam_plus", options).maps(inference, labels)
    rows = np.arange(3)
    expected = features[rows, ..., [2, 2, 1]] - features[rows, ..., [1, 0, 2]]
    np.testing.assert_allclose(maps[:, 0], expected, atol=1e-6)


def test_a_new_map_names_its_own_options(monkeypatch):
    def power(features, head_kernel, labels, exponent=2.0):
        return info_cam(features, head_kernel, labels) ** exponent

    monkeypatch.setitem(MAPS, "power", Map(power, "power CAM"))
    setting = settings(CONFIG | {"exponent": 3.0})["power"]
    assert str(setting) == "power CAM, exponent=3.0"
    split = split_of_three()
    result = of_three(sure_logits(split), chosen={"power": setting})
    assert result.maps["power"].gt_known == 1


def test_top1_is_the_decision_for_any_logits():
    """Ties, logits that are not finite, and a class that training never had."""
    priors = priors_of(np.array([0.5, 0.5, 0.0]), np.full(3, 1 / 3))
    logits = np.array(
        [[1, 1, 1], [1, 1, 1], [0, 0, 9], [np.nan] * 3, [0, 2, 1]], np.float32
    )
    split = {"label": np.array([0, 1, 2, 2, 1], np.int32)}
    features = np.zeros((5, 2, 2, 3), np.float32)
    for name, rule in (("softmax", "prior"), ("pc_softmax", "balanced")):
        evaluator = create(subject_of(name, threshold=0.3), {})
        measured = measure(evaluator, split, logits, priors, features, KERNEL)
        decisions = accuracy.create(subject_of(name))
        decided = measure(decisions, split, logits, priors)[rule]
        right = decided == split["label"]
        np.testing.assert_array_equal(measured["top1"][:, 0], right)
        assert right.tolist() == [True, False, False, False, True]
        assert not measured["top5"][3, 0]  # NaN ranks nothing


def test_without_true_boxes_there_are_boxes_but_no_accuracies():
    split = {
        "image": np.zeros((3, 8, 16, 1), np.uint8),
        "label": np.array([1, 0, 2], np.int32),
    }
    logits = np.eye(3, dtype=np.float32)[[1, 0, 0]]
    priors = Priors(np.zeros(3), np.zeros(3))
    evaluator = create(subject_of("softmax", threshold=0.3), CAM)
    features = features_of(split_of_three())
    measured = measure(evaluator, split, logits, priors, features, KERNEL)
    result = evaluator.summarize(measured, split, priors)
    assert (result.num_labels, result.num_images, result.maps) == (0, 3, {})
    assert result.classification == {"top1": pytest.approx(2 / 3), "top5": 1}
    columns = evaluator.columns(measured, split, ("a", "b", "c"))
    # Label 1 is on the left of the first image, label 2 on the right of the third.
    left, _, right = zip(
        *(columns[f"cam_{c}"] for c in ("x0", "y0", "x1", "y1")), strict=True
    )
    assert left == (1, 2, 5, 6) and right == (10, 2, 14, 6)
    assert set(columns["cam_iou"]) == {None}


def test_predictions_have_columns_for_each_label_of_an_image():
    split = split_of_three()
    evaluator = create(subject_of("pc_sigmoid", threshold=0.3), CAM)
    measured = measure(
        evaluator, split, sure_logits(split), PRIORS, features_of(split), KERNEL
    )
    columns = evaluator.columns(measured, split, ("a", "b", "c"))
    names = ["", "_true_boxes", "_cam_x0", "_cam_y0", "_cam_x1", "_cam_y1", "_cam_iou"]
    assert list(columns) == [f"label{place}{n}" for place in (1, 2) for n in names]
    assert columns["label1"].tolist() == ["b", "c", "c"]
    assert columns["label2"].tolist() == ["a", None, None]
    assert columns["label1_true_boxes"][1] == "1 2 5 6; 10 2 14 6"
    assert columns["label1_cam_x0"][0] == 1 and columns["label2_cam_x0"][0] == 10
    assert columns["label1_cam_iou"][0] == 1 and columns["label2_cam_iou"][1] is None


def test_trivial_boxes_stand_beside_the_maps():
    """Several labels an image share them; the square is chosen on validation."""
    split = split_of_three()
    validation = {name: array[2:] for name, array in split.items()}
    validation["boxes"] = np.array([[[6, 2, 10, 6]]], np.float32)  # in the middle
    validation["box_label"] = np.array([[2]], np.int32)
    dataset = SimpleNamespace(splits={"validation": validation})
    subject = subject_of("pc_sigmoid", dataset, **CONFIG)
    arrays = split, sure_logits(split), PRIORS, features_of(split), KERNEL
    result = run(create(subject), *arrays)
    assert list(result.trivial) == list(TITLES)
    assert result.trivial["centered_square"].box == [6, 2, 10, 6]
    assert result.trivial["centered_square"].gt_known == 0
    assert result.trivial["whole_image"].top1 == 0
    assert result.maps["cam"].title == "CAM"
    assert result.warnings == []  # the maps are right, and R = 2 of 8 cells is small
    wrong = features_of(split, wrong={(0, 0), (0, 1), (1, 2), (2, 2)})
    losing = run(create(subject), *arrays[:3], wrong, KERNEL).warnings
    start = "By GT-known at threshold 0.3, CAM (0.00), CAM, region (0.00), infoCAM"
    assert losing[0].startswith(start)
    assert len(losing) == 2 and losing[1].startswith("By MaxBoxAcc, CAM (0.00)")


def test_without_true_boxes_there_are_no_trivial_rows():
    split = {"image": np.zeros((2, 4, 4, 1), np.uint8), "label": np.array([0, 1])}
    logits, features = np.eye(2, 3, dtype=np.float32), np.ones((2, 4, 4, 3), np.float32)
    result = run(
        create(subject_of("softmax", **CONFIG)), split, logits, PRIORS, features, KERNEL
    )
    assert result.maps == result.trivial == {}


@pytest.mark.parametrize("padding", ["full", "same"])
def test_a_large_region_is_told_once(padding):
    """Three maps have it; the shape of the map is known from the maps themselves."""
    split = split_of_three()
    subject = subject_of("pc_sigmoid", **CONFIG | {"region": 3, "padding": padding})
    result = run(
        create(subject), split, sure_logits(split), PRIORS, features_of(split), KERNEL
    )
    told = [text for text in result.warnings if "localization.region" in text]
    assert len(told) == 1 and "R = 3 covers 3 of the map's 8 cells" in told[0]
