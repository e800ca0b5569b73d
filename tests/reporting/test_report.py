"""The report in a real browser, with what a person would do."""

import base64
import io
import json
import os
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import sync_playwright

from mi_classifier import evaluation, localization
from mi_classifier.storage import files
from mi_classifier.evaluation import gallery
from mi_classifier.evaluation.trained_net import load_run
from tests.evaluation.conftest import MARKUP

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome", "msedge")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="module")
def browser():
    """A browser of this machine; `.ci/run` installs one, and requires it by CI."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None and not os.environ.get("CI"):
        pytest.skip("no Chromium or Chrome on this machine")
    assert path, "no Chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_report(browser):
    """Opens the report of a workdir; what went wrong in it is the second result."""
    context = browser.new_context(viewport={"width": 1_000, "height": 800})

    def open_report(workdir):
        page, wrong = context.new_page(), []
        page.on("console", lambda m: wrong.append(f"{m.type}: {m.text}"))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda r: wrong.append(r.url) if "http" in r.url else None)
        page.goto((workdir / "evaluation" / "report.html").as_uri())
        return page, wrong

    yield open_report
    context.close()


def read_gallery(workdir):
    text = (workdir / "evaluation" / "report.html").read_text(encoding="utf-8")
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])


def numbers(text):
    return np.frombuffer(base64.b64decode(text), "<u2").astype(int)


def status(page):
    return page.locator("#status").inner_text()


def test_the_reader_picks_moves_filters_and_looks(open_report, trained_images):
    page, wrong = open_report(trained_images)
    metrics = json.loads((trained_images / "evaluation/metrics.json").read_text())
    maps = metrics["splits"]["test"]["localization"]["maps"]
    titles = {"CAM": "cam", "infoCAM": "info_cam", "infoCAM+": "info_cam_plus"}
    # At the config's threshold the gallery says what the table says.
    for title, name in titles.items():
        page.select_option("#map", label=title)
        known, top1 = (f"{100 * maps[name][k]:.2f}%" for k in ("gt_known", "top1"))
        assert f"GT-known {known}, Top-1 {top1} of 8." in status(page)
    assert page.locator(".card").count() == 8
    assert page.locator("#threshold-value").inner_text() == "0.2"

    # Another threshold, by keyboard: other boxes, and the accuracy that they have.
    found = page.locator(".card .found").first
    before = found.bounding_box()
    page.locator("#threshold").focus()
    for _ in range(30):
        page.keyboard.press("ArrowRight")
    assert page.locator("#threshold-value").inner_text() == "0.8"
    assert found.bounding_box() != before
    items = read_gallery(trained_images)["items"]
    index = read_gallery(trained_images)["thresholds"].index(0.8)
    hits = [numbers(item["found"][2]["iou"])[index] >= 32_767 for item in items]
    assert f"GT-known {100 * np.mean(hits):.2f}%" in status(page)

    # Filters and orders.
    page.select_option("#show", "hit")
    assert page.locator(".card").count() == sum(hits)
    page.select_option("#show", "miss")
    assert page.locator(".card").count() == 8 - sum(hits)
    page.select_option("#show", "wrong")
    assert page.locator(".card .wrong").count() == page.locator(".card").count()
    page.select_option("#show", "right")
    assert page.locator(".card .wrong").count() == 0
    page.select_option("#show", "all")
    page.select_option("#class", MARKUP)
    assert page.locator(".card").count() == 2
    assert MARKUP in page.locator(".card").first.inner_text()
    page.select_option("#class", "")
    for order, pattern in (("pmi", r"PMI (-?[\d.]+)"), ("iou", r"IoU ([\d.]+)")):
        page.select_option("#order", order)
        texts = page.locator(".card").all_inner_texts()
        shown = [float(re.search(pattern, text)[1]) for text in texts]
        assert shown == sorted(shown)
    page.select_option("#map", label="image alone")
    assert page.locator(".card canvas").count() == 0
    assert page.locator("#threshold").is_disabled()

    # A picture, by keyboard.
    page.locator(".card").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("#detail").is_visible()
    assert page.locator("#detail canvas").count() == 3
    assert page.locator("#detail tbody tr").count() == 3
    page.keyboard.press("Escape")
    assert not page.locator("#detail").is_visible()
    assert page.title() != "1"  # no name has become markup
    assert wrong == []


def test_on_a_phone_nothing_is_wider_than_the_screen(open_report, trained_images):
    page, wrong = open_report(trained_images)
    page.set_viewport_size({"width": 360, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.locator(".card").first.is_visible()
    assert wrong == []


def test_several_labels_an_image(open_report, trained_digits):
    page, wrong = open_report(trained_digits)
    metrics = json.loads((trained_digits / "evaluation/metrics.json").read_text())
    test = metrics["splits"]["test"]["localization"]
    row = test["maps"]["info_cam_plus"]
    known, top1 = (f"{100 * row[k]:.2f}%" for k in ("gt_known", "top1"))
    assert f"GT-known {known}, Top-1 {top1} of {test['num_labels']}." in status(page)
    assert page.locator(".card").count() == 24
    assert page.locator("#previous").is_disabled()
    first = page.locator(".card").first.inner_text()
    page.click("#next")
    assert "page 2 of" in page.locator("#page").inner_text()
    # Another threshold is looked at on the same pictures, another order from page 1.
    page.locator("#threshold").focus()
    page.keyboard.press("ArrowRight")
    assert "page 2 of" in page.locator("#page").inner_text()
    page.keyboard.press("ArrowLeft")
    page.click("#previous")
    assert page.locator(".card").first.inner_text() == first
    page.click("#next")
    page.select_option("#order", "pmi-high")
    assert "page 1 of" in page.locator("#page").inner_text()
    label = page.locator("#threshold").evaluate("slider => slider.labels[0].innerText")
    assert label == "Threshold"
    assert wrong == []


def test_images_without_maps(open_report, tiny_config, tmp_path):
    from mi_classifier.training import train

    train(tiny_config("mnist", "unbalanced,pc_softmax", num_epochs=1), tmp_path)
    evaluation.evaluate(tmp_path)
    page, wrong = open_report(tmp_path)
    assert page.locator("#map").count() == page.locator("#threshold").count() == 0
    assert status(page) == "100 of 100 match."
    page.select_option("#show", "wrong")
    page.select_option("#order", "pmi")
    page.locator(".card").first.click()
    assert page.locator("#detail").is_visible()
    assert wrong == []
    drawn = {path.name for path in (tmp_path / "evaluation" / "figures").iterdir()}
    assert drawn == {"training.png", "calibration.png", "recall.png"}


def test_the_tables_are_those_of_the_terminal(open_report, trained_images, capsys):
    evaluation.evaluate(trained_images)
    printed = " ".join(capsys.readouterr().out.split())
    page, _ = open_report(trained_images)
    tables = page.locator("#tables table")
    assert tables.count() == 3
    for cell in page.locator("#tables td, #tables tbody th").all_inner_texts():
        assert " ".join(cell.split()) in printed
    figures = page.locator("#figures img")
    assert figures.count() == 3
    for i in range(3):
        assert figures.nth(i).evaluate("image => image.naturalWidth") > 400


def test_boxes_at_every_threshold_are_those_of_the_library(trained_images):
    shown = read_gallery(trained_images)
    run = load_run(trained_images)
    split = run.dataset.splits["test"]
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
            boxes = numbers(found["boxes"]).reshape(-1, 4)
            overlaps = numbers(found["iou"]) / 65_534
            assert len(boxes) == len(overlaps) == len(shown["thresholds"])
            expected = localization.iou(boxes[:, None], truth[None]).max(1)
            np.testing.assert_allclose(overlaps, expected, atol=2e-5)


def test_a_long_split_is_sampled_and_the_file_stays_small(monkeypatch, trained_digits):
    size = (trained_digits / "evaluation" / "report.html").stat().st_size
    assert size < 2_000_000
    monkeypatch.setattr(gallery, "MOST_IMAGES", 10)
    evaluation.evaluate(trained_digits)
    shown = read_gallery(trained_digits)
    assert shown["count"] == 100 and len(shown["images"]) == 10
    rows = [image["row"] for image in shown["images"]]
    assert rows[0] == 0 and rows[-1] == 99 and rows == sorted(rows)


def test_what_is_interrupted_leaves_no_half(monkeypatch, trained_images, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(trained_images, workdir)
    shutil.rmtree(workdir / "evaluation")
    write = files.write_with

    def interrupted(path, make):
        if path.name == "report.html":
            raise KeyboardInterrupt
        write(path, make)

    monkeypatch.setattr(files, "write_with", interrupted)
    with pytest.raises(KeyboardInterrupt):
        evaluation.evaluate(workdir)
    names = {path.name for path in (workdir / "evaluation").iterdir()}
    assert names == {"predictions.csv", "figures"}  # whole ones; metrics.json is last


@pytest.mark.parametrize(("side", "kind"), [(28, "png"), (64, "png"), (299, "jpeg")])
def test_even_noise_is_kept_short(side, kind):
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    head, _, content = gallery._encode(noise).partition(",")
    assert head == f"data:image/{kind};base64"
    content = base64.b64decode(content)
    shown = Image.open(io.BytesIO(content))
    if kind == "png":
        np.testing.assert_array_equal(np.asarray(shown), noise)
    else:
        assert len(content) < 13_000 and max(shown.size) in gallery._SIDES
