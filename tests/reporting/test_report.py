"""The report in a real browser, used as a person uses it."""

import json
import os
import re
import shutil

import numpy as np
import pytest
from playwright.sync_api import sync_playwright

from mi_classifier import commands
from mi_classifier.activation_maps import MAPS
from tests.conftest import MARKUP
from tests.reporting.galleries import numbers_of, read_gallery

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
    """Opens the report of a workdir; the second result lists errors and requests."""
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


def status(page):
    return page.locator("#status").inner_text()


@pytest.mark.slow
def test_maps_thresholds_filters_orders_and_details(open_report, trained_images):
    page, wrong = open_report(trained_images)
    metrics = json.loads((trained_images / "evaluation/metrics.json").read_text())
    maps = metrics["splits"]["test"]["localization"]["maps"]
    titles = {MAPS[name].title: name for name in maps}
    assert list(titles)[-1] == "infoCAM+"
    # At the config's threshold the gallery and the table agree.
    for title, name in titles.items():
        page.select_option("#map", label=title)
        known, top1 = (f"{100 * maps[name][k]:.2f}%" for k in ("gt_known", "top1"))
        assert f"GT-known {known}, Top-1 {top1} of 8." in status(page)
    assert page.locator(".card").count() == 8
    assert page.locator("#threshold-value").inner_text() == "0.2"

    # The keyboard sets another threshold, which gives other boxes and their accuracy.
    found = page.locator(".card .found").first
    before = found.bounding_box()
    page.locator("#threshold").focus()
    for _ in range(30):
        page.keyboard.press("ArrowRight")
    assert page.locator("#threshold-value").inner_text() == "0.8"
    assert found.bounding_box() != before
    items = read_gallery(trained_images)["items"]
    index = read_gallery(trained_images)["thresholds"].index(0.8)
    hits = [numbers_of(item["found"][-1]["iou"])[index] >= 32_767 for item in items]
    assert f"GT-known {100 * np.mean(hits):.2f}%" in status(page)

    # Each filter and order shows the cards that it names.
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
    page.select_option("#map", label="image only")
    assert page.locator(".card canvas").count() == 0
    assert page.locator("#threshold").is_disabled()

    # The keyboard opens and closes the details of a picture.
    page.locator(".card").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("#detail").is_visible()
    assert page.locator("#detail canvas").count() == len(maps)
    assert page.locator("#detail tbody tr").count() == 3
    page.keyboard.press("Escape")
    assert not page.locator("#detail").is_visible()
    assert page.title() != "1"  # no name became markup
    assert wrong == []


def test_on_a_phone_nothing_is_wider_than_the_screen(open_report, trained_images):
    page, wrong = open_report(trained_images)
    page.set_viewport_size({"width": 360, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.locator(".card").first.is_visible()
    assert wrong == []


def test_a_name_that_became_markup_could_not_run_or_load(open_report, trained_images):
    page, _ = open_report(trained_images)
    found = page.evaluate("""async () => {
        const bad = document.createElement("div");
        bad.innerHTML = "<img src=x onerror='document.title = 1'>";
        document.body.append(bad);
        const script = document.createElement("script");
        script.textContent = "document.title = 1";
        document.body.append(script);
        await new Promise(r => setTimeout(r, 300));
        const answer = await fetch("http://127.0.0.1:9/").catch(e => "refused");
        return [document.title, answer];
    }""")
    assert found[0] != "1" and found[1] == "refused"
    said = page.evaluate("""() => new Promise(r => {
        document.addEventListener("securitypolicyviolation", e => r(e.blockedURI));
        document.body.append(Object.assign(new Image(), {src: "http://127.0.0.1:9/"}));
        setTimeout(() => r("loaded"), 2000);
    })""")
    assert said == "http://127.0.0.1:9/"


@pytest.mark.slow
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
    # A new threshold keeps the page, a new order starts at page 1.
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


@pytest.mark.slow
def test_images_without_maps(open_report, tiny_config, tmp_path):
    config = tiny_config("mnist", "unbalanced,pc_softmax", num_epochs=1)
    commands.train_and_evaluate(config, tmp_path)
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


@pytest.mark.slow
def test_the_tables_are_those_of_the_terminal(open_report, trained_images, capsys):
    commands.evaluate(trained_images)
    printed = " ".join(capsys.readouterr().out.split())
    page, _ = open_report(trained_images)
    tables = page.locator("#tables table")
    metrics = json.loads((trained_images / "evaluation/metrics.json").read_text())
    confused = metrics["splits"]["test"]["accuracy"]["confused"]
    assert tables.count() == 4 if confused else 3
    for cell in page.locator("#tables td, #tables tbody th").all_inner_texts():
        assert " ".join(cell.split()) in printed
    caption = page.locator("#figures figcaption").first.inner_text()
    sentence = caption.partition("The verdict: ")[2].removesuffix(".")
    assert sentence and f"training: {sentence}" in printed
    images = page.locator("#figures img")
    assert images.count() == 3
    for i in range(3):
        assert images.nth(i).evaluate("image => image.naturalWidth") > 400
