"""The results can be computed again from predictions.csv alone."""

import csv
import json

import numpy as np
import pytest

from mi_classifier.activation_maps import MAPS
from mi_classifier.reporting import predictions


def read(workdir):
    with (workdir / "evaluation" / "predictions.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    metrics = json.loads((workdir / "evaluation" / "metrics.json").read_text())
    return rows, metrics, metrics["splits"]["test"]


def mean_pmi(rows):
    return np.mean([float(row["pmi_nats"]) for row in rows])


def test_one_label_an_image(trained_images):
    rows, metrics, test = read(trained_images)
    assert len(rows) == test["num_examples"] == 8
    assert [int(row["row"]) for row in rows] == list(range(8))
    for row in rows:
        assert row["image"].startswith(f"val/{row['label']}/")
    bound = test["information"]["mutual_information"]
    assert mean_pmi(rows) == pytest.approx(bound["nats"], rel=1e-6)
    assert test["accuracy"]["paper_rule"] == "prior"  # softmax
    assert all(row["prediction"] == row["prior_prediction"] for row in rows)
    for rule in ("prior", "balanced"):
        right = [row[f"{rule}_prediction"] == row["label"] for row in rows]
        by_class = [
            np.mean(
                [r for r, row in zip(right, rows, strict=True) if row["label"] == c]
            )
            for c in metrics["class_names"]
        ]
        accuracy = test["accuracy"][rule]
        assert accuracy["micro"] == pytest.approx(np.mean(right))
        assert accuracy["macro"] == pytest.approx(np.mean(by_class))
        np.testing.assert_allclose(accuracy["per_class"], by_class)
    for name in MAPS:
        found = np.array([float(row[f"{name}_iou"]) >= 0.5 for row in rows])
        right = np.array([row["prediction"] == row["label"] for row in rows])
        results = test["localization"]["maps"][name]
        assert results["gt_known"] == pytest.approx(found.mean())
        assert results["top1"] == pytest.approx((found & right).mean())
        ious = [float(row[f"{name}_iou"]) for row in rows]
        assert results["mean_iou"] == pytest.approx(np.mean(ious), rel=1e-6)
        for row in rows:
            x0, y0, x1, y1 = (int(row[f"{name}_{c}"]) for c in ("x0", "y0", "x1", "y1"))
            assert 0 <= x0 < x1 <= 64 and 0 <= y0 < y1 <= 64


@pytest.mark.slow
def test_several_labels_an_image(trained_digits):
    rows, metrics, test = read(trained_digits)
    names = metrics["class_names"]
    bound = test["information"]["mutual_information"]
    assert mean_pmi(rows) == pytest.approx(bound["nats"], rel=1e-6)
    assert all(row["prediction"] == row["balanced_prediction"] for row in rows)

    def present(column):
        return np.array([[n in row[column].split() for n in names] for row in rows])

    for rule in ("prior", "balanced"):
        right = present("label") == present(f"{rule}_prediction")
        accuracy = test["accuracy"][rule]
        np.testing.assert_allclose(accuracy["per_class"], right.mean(0))
        assert accuracy["exact"] == pytest.approx(right.all(1).mean())
    for name in MAPS:
        found, right = [], []
        for row in rows:
            for slot in ("label1", "label2"):
                assert (row[slot] == "") == (row[f"{slot}_{name}_iou"] == "")
                if row[slot]:
                    assert row[slot] in row["label"].split()
                    found.append(float(row[f"{slot}_{name}_iou"]) >= 0.5)
                    right.append(row[slot] in row["prediction"].split())
        results = test["localization"]["maps"][name]
        assert len(found) == test["localization"]["num_labels"]
        assert results["gt_known"] == pytest.approx(np.mean(found))
        assert results["top1"] == pytest.approx(np.mean(np.array(found) & right))


def test_numbers_read_back_as_the_same_bits_and_names_are_quoted():
    values = np.random.default_rng(0).standard_normal(50).astype(np.float32)
    names = ['a,b"c', "line\nbreak", *map(str, range(48))]
    text = predictions.to_csv({"name": names, "value": values, "none": [None] * 50})
    rows = list(csv.DictReader(text.splitlines(keepends=True)))
    assert [row["name"] for row in rows] == names
    read_back = np.array([row["value"] for row in rows], np.float32)
    np.testing.assert_array_equal(read_back, values)
    assert {row["none"] for row in rows} == {""}
