"""Trivial boxes are scored as maps are, and a sentence tells which maps lose."""

import dataclasses

import numpy as np
import pytest

from mi_classifier import localization
from mi_classifier.evaluation import targets
from mi_classifier.evaluation.evaluators.localization import MapAccuracy
from mi_classifier.evaluation.targets import find_targets
from mi_classifier.evaluation.trivial import (
    TITLES,
    TrivialAccuracy,
    trivial_accuracies,
    unbeaten,
)
from tests.evaluation.evaluators.digits import split_of_three

SIZE = (8, 8)


def split_of(*boxes, size=SIZE):
    """One image for each tuple of boxes."""
    most = max(map(len, boxes))
    padded = [[*own, *[(0, 0, 0, 0)] * (most - len(own))] for own in boxes]
    return {
        "image": np.zeros((len(boxes), *size, 1), np.uint8),
        "label": np.zeros(len(boxes), np.int32),
        "boxes": np.array(padded, np.float32),
        "num_boxes": np.array([len(own) for own in boxes]),
    }


VALIDATION = split_of([(2, 2, 6, 6)], [(2, 2, 6, 6)], [(0, 0, 8, 8)])
TEST = split_of([(2, 2, 6, 6)], [(0, 0, 8, 7)], [(7, 7, 8, 8)], [(0, 0, 8, 8)], [])


def found_in(split, validation=VALIDATION, correct=None):
    own = find_targets(split)
    correct = {"top1": correct} if correct is not None else {}
    size = split["image"].shape[1:3]
    return trivial_accuracies(own, size, correct, validation)


def test_the_boxes_are_scored_by_hand():
    right = np.array([True, False, True, True])
    found = found_in(TEST, correct=right)
    assert list(found) == list(TITLES)
    whole, square = found["whole_image"], found["centered_square"]
    assert whole.box == [0, 0, 8, 8] and square.box == [2, 2, 6, 6]
    assert (whole.gt_known, whole.top1) == (2 / 4, 1 / 4)
    assert (square.gt_known, square.top1) == (1 / 4, 1 / 4)
    np.testing.assert_allclose(whole.mean_iou, (16 + 56 + 1 + 64) / 64 / 4)
    assert found["middle"].pointing == 3 / 4
    assert whole.cell is whole.top5 is whole.pointing is None
    assert found["middle"].gt_known is found["centered_gaussian"].gt_known is None


def test_a_box_has_the_curve_of_a_map_that_is_one_inside_it():
    """So that MaxBoxAcc means the same in all rows of a table."""
    found, of_test = found_in(TEST), find_targets(TEST)
    truth, counts = np.minimum(of_test.boxes[0], 7), of_test.num_boxes
    for name in ("whole_image", "centered_square"):
        x0, y0, x1, y1 = map(int, found[name].box)
        scores = np.zeros((4, *SIZE))
        scores[:, y0:y1, x0:x1] = 1
        curve = localization.box_accuracy_curve(scores, truth, counts)
        assert found[name].max_box_accuracy == curve[1].max()
        np.testing.assert_allclose(
            found[name].max_box_accuracy_v2, curve.max(1).mean(), rtol=1e-12
        )
    gaussian = np.tile(localization.centered_gaussian(SIZE), (4, 1, 1))
    curve = localization.box_accuracy_curve(gaussian, truth, counts)
    assert found["centered_gaussian"].max_box_accuracy == curve[1].max()


def test_the_square_is_chosen_on_validation_not_on_test():
    bad = split_of([(0, 0, 8, 8)])
    assert found_in(TEST, bad)["centered_square"].box == [0, 0, 8, 8]
    best = found_in(TEST, TEST)["centered_square"].gt_known
    assert best > found_in(TEST)["centered_square"].gt_known


@pytest.mark.parametrize(
    "validation",
    [None, {"image": TEST["image"], "label": TEST["label"]}, split_of([], size=(4, 4))],
)
def test_without_validation_boxes_there_is_no_square(validation):
    assert set(found_in(TEST, validation)) == set(TITLES) - {"centered_square"}


def test_several_labels_share_the_boxes_of_the_image():
    split = split_of_three()
    found = found_in(split, split)
    # Each digit is a sixteenth of the image, and its cell a half.
    assert found["whole_image"].gt_known == 0
    assert found["whole_image"].mean_iou == pytest.approx(16 / 128)
    assert found["whole_image"].cell == 1  # IoU 0.5
    assert found["middle"].pointing == 0


def test_the_boxes_of_a_part_of_the_targets_are_those_of_all(monkeypatch):
    whole = found_in(TEST)
    monkeypatch.setattr(targets, "_PIXELS_AT_ONCE", 1)
    for name, accuracy in found_in(TEST).items():
        ours, theirs = map(dataclasses.asdict, (accuracy, whole[name]))
        assert ours.keys() == theirs.keys()
        for field, value in ours.items():
            if isinstance(value, float):
                assert value == pytest.approx(theirs[field]), field


BOXES = {"whole image": 0.345, "centered square": 0.619}


@pytest.mark.parametrize(
    ("maps", "starts", "whose"),
    [
        ({"CAM": 0.9}, None, None),
        (
            {"CAM": 0.345, "infoCAM": 0.9},
            "By GT-known, CAM (34.50) does not beat the centered square (61.90):",
            "its boxes",
        ),
        (
            {"CAM": 0.345, "infoCAM": 0.5, "infoCAM+": 0.9},
            "By GT-known, CAM (34.50) and infoCAM (50.00) do not beat the centered",
            "their boxes",
        ),
        (
            {"a": 0.1, "b": 0.2, "c": 0.3},
            "By GT-known, a (10.00), b (20.00) and c (30.00) do not beat",
            "their boxes",
        ),
        # A standard error of the square is sqrt(0.619 * 0.381 / 100) = 0.0486.
        (
            {"CAM": 0.66},
            "By GT-known, CAM (66.00) does not beat the centered square (61.90) by",
            "than one standard error (4.86): as far as this data can tell, its boxes",
        ),
        ({"CAM": 0.67}, None, None),
        ({"CAM": float("nan")}, None, None),
        (
            {str(i): 0.1 * i for i in range(9)},
            "By GT-known, 7 of 9 maps do not",
            "their",
        ),
    ],
)
def test_the_sentence_names_the_maps_that_lose(maps, starts, whose):
    sentences = unbeaten("GT-known", maps, BOXES, 100)
    if starts is None:
        assert sentences == []
        return
    (sentence,) = sentences
    assert sentence.startswith(starts) and f" {whose}" in sentence


def test_without_trivial_boxes_or_a_count_nothing_breaks():
    assert unbeaten("GT-known", {"CAM": 0.1}, {}, 100) == []
    (sentence,) = unbeaten("GT-known", {"CAM": 0.619}, BOXES, float("nan"))
    assert "CAM (61.90) does not beat the centered square (61.90):" in sentence
    # Nothing is better than finding every label, and a map that does is no better.
    assert unbeaten("GT-known", {"CAM": 1.0}, {"whole image": 1.0}, 10)


def test_every_field_is_one_that_tables_know():
    fields = {field.name for field in dataclasses.fields(TrivialAccuracy)}
    of_maps = {field.name for field in dataclasses.fields(MapAccuracy)}
    assert fields - {"box"} <= of_maps
