"""The gallery's boxes are those of the library, and its images are short."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from mi_classifier import localization
from mi_classifier.evaluation import evaluate_net, load_net
from mi_classifier.reporting import gallery
from tests.reporting.galleries import numbers_of, read_gallery


def test_boxes_at_every_threshold_are_those_of_the_library(trained_images):
    shown = read_gallery(trained_images)
    net = load_net(trained_images)
    split = net.dataset.splits["test"]
    assert len(shown["items"]) == shown["count"] == len(split["label"])
    assert 0.2 in shown["thresholds"] and shown["thresholds"][shown["start"]] == 0.2
    source = shown["images"][3]["source"].partition(",")[2]
    image = Image.open(io.BytesIO(base64.b64decode(source)))
    np.testing.assert_array_equal(np.asarray(image), split["image"][3])
    for item in shown["items"]:
        truth = np.array(item["truth"])
        row = item["image"]
        assert truth.tolist() == split["boxes"][row, : split["num_boxes"][row]].tolist()
        for found in item["found"]:
            boxes = numbers_of(found["boxes"]).reshape(-1, 4)
            overlaps = numbers_of(found["iou"]) / 65_534
            assert len(boxes) == len(overlaps) == len(shown["thresholds"])
            expected = localization.iou(boxes[:, None], truth[None]).max(1)
            np.testing.assert_allclose(overlaps, expected, atol=2e-5)


@pytest.mark.parametrize(
    "workdir",
    ["trained_images", pytest.param("trained_digits", marks=pytest.mark.slow)],
)
def test_an_item_counts_as_correct_if_the_net_decides_for_its_label(workdir, request):
    several, workdir = workdir == "trained_digits", request.getfixturevalue(workdir)
    shown = read_gallery(workdir)
    known = [item for item in shown["items"] if item["truth"]]
    for item in shown["items"]:
        image = shown["images"][item["image"]]
        predicted = image["prediction"].split() if several else [image["prediction"]]
        assert item["right"] == (item["label"] in predicted)
    metrics = json.loads((workdir / "evaluation" / "metrics.json").read_text())
    found = metrics["splits"]["test"]["localization"]
    assert len(known) == found["num_labels"]
    right = np.mean([item["right"] for item in known])
    assert right == pytest.approx(found["classification"]["top1"])


@pytest.mark.slow
def test_a_long_split_is_sampled_and_the_file_stays_small(monkeypatch, trained_digits):
    size = (trained_digits / "evaluation" / "report.html").stat().st_size
    assert size < 2_000_000
    monkeypatch.setattr(gallery, "MOST_IMAGES", 10)
    net = load_net(trained_digits)
    shown = gallery.make_gallery(net, evaluate_net(net))
    assert shown["count"] == 100 and len(shown["images"]) == 10
    rows = [image["row"] for image in shown["images"]]
    assert rows[0] == 0 and rows[-1] == 99 and rows == sorted(rows)


@pytest.mark.parametrize(("side", "kind"), [(28, "png"), (64, "png"), (299, "jpeg")])
def test_even_an_image_of_noise_is_short(side, kind):
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    head, _, content = gallery.encode_image(noise).partition(",")
    assert head == f"data:image/{kind};base64"
    content = base64.b64decode(content)
    shown = Image.open(io.BytesIO(content))
    if kind == "png":
        np.testing.assert_array_equal(np.asarray(shown), noise)
    else:
        assert len(content) < 13_000 and max(shown.size) in gallery.SIDES
