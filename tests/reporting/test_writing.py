"""Evaluations print and write; what is registered once shows everywhere."""

import csv
import dataclasses
import json
import re
import shutil

import jax
import numpy as np
import pytest

from mi_classifier import commands
from mi_classifier.activation_maps import MAPS, Map, info_cam
from mi_classifier.evaluation import Evaluator, load_net
from mi_classifier.evaluation.evaluators import ALWAYS, EVALUATORS
from mi_classifier.evaluation.results import Result, Row
from mi_classifier.evaluation.trivial import TITLES
from mi_classifier.reporting.summary import Published
from mi_classifier.reporting.writing import evaluate_and_write
from mi_classifier.storage import files

PUBLISHED = Published(
    classification=(73.97, 91.83),
    maps={
        "cam": (42.49, 31.38),
        "info_cam": (52.96, 39.79),
        "info_cam_plus": (59.43, 44.40),
    },
    ablation={"neither": (42.49, 31.38), "subtraction": (47.59, 35.01)},
)


@pytest.fixture
def copied_images(trained_images, tmp_path):
    """A copy of `trained_images` without its evaluation."""
    ignored = shutil.ignore_patterns("evaluation")
    shutil.copytree(trained_images, tmp_path / "run", ignore=ignored)
    return tmp_path / "run"


def read_json(workdir, name):
    return json.loads((workdir / "evaluation" / name).read_text())


def words(capsys):
    return " ".join(capsys.readouterr().out.split())


@pytest.mark.slow
def test_a_workdir_alone_is_enough(tiny_config, tmp_path, capsys):
    config = tiny_config("mnist", "unbalanced,pc_softmax", num_epochs=1)
    commands.train(config, tmp_path)
    results = commands.evaluate(tmp_path)
    written = read_json(tmp_path, "metrics.json")
    assert written["splits"].keys() == {"validation", "test", "authors_test"}
    test = written["splits"]["test"]
    assert test["num_examples"] == 100
    names = {"prior", "balanced", "paper_rule", "equal_rules", "confused"}
    assert set(test["accuracy"]) == names
    assert len(test["accuracy"]["prior"]["per_class"]) == 10
    bound = results.splits["test"]["information"].mutual_information
    assert test["information"]["mutual_information"]["nats"] == pytest.approx(
        bound.nats
    )
    printed = words(capsys)
    assert "mutual information" in printed and "balanced rule *" in printed
    assert "test accuracy by class" in printed and "confused most" in printed
    assert "training: too few epochs" in printed
    assert "calibration error: the test split has 100 labels" in printed


@pytest.mark.slow
def test_metrics_json_keeps_its_names(trained_images, trained_digits):
    """The names that the version before wrote, and "rows"."""
    written = read_json(trained_images, "metrics.json")
    assert list(written) == [
        "dataset",
        "loss",
        "class_names",
        "class_frequencies",
        "epoch",
        "true_mutual_information",
        "splits",
        "rows",
    ]
    test = written["splits"]["test"]
    assert test.keys() == {
        "num_examples",
        "information",
        "calibration",
        "accuracy",
        "activity",
        "localization",
    }
    names = {"mutual_information", "label_entropy", "cross_entropy", "loss"}
    assert test["information"].keys() == names | {"paper_softmax_plus_log_m"}
    assert test["accuracy"]["prior"].keys() == {"micro", "macro", "per_class"}
    names = {"num_labels", "num_images", "threshold", "classification", "maps"}
    assert test["localization"].keys() == names | {"trivial", "warnings"}
    assert list(test["localization"]["trivial"]) == list(TITLES)
    names = {"title", "gt_known", "top1", "pointing", "mean_iou", "max_box_accuracy"}
    names |= {"max_box_accuracy_v2", "box_accuracy_curve"}
    assert test["localization"]["maps"]["cam"].keys() == names | {"top5"}
    test = read_json(trained_digits, "metrics.json")["splits"]["test"]
    assert test["information"].keys() == {
        "mutual_information",
        "per_label",
        "label_entropy",
        "label_entropies",
        "loss",
    }
    several = {"micro", "macro", "exact", "per_class", "recall", "specificity"}
    assert test["accuracy"]["prior"].keys() == several
    assert test["localization"]["maps"]["cam"].keys() == names | {"cell"}


@pytest.mark.slow
def test_a_users_own_images_from_the_tables_to_table_8(copied_images, capsys):
    net = load_net(copied_images)
    found = evaluate_and_write(net, PUBLISHED).splits["test"]["localization"]
    printed = words(capsys)
    assert "own, 64 px" in printed and "59.43" in printed and "44.40" in printed
    assert "paper's 73.97 / 91.83" in printed
    assert found.num_labels == 8
    assert found.classification.keys() == {"top1", "top5"}
    assert found.classification["top5"] == 1  # there are four classes
    for row in found.maps.values():
        assert row.top1 <= min(row.gt_known, found.classification["top1"])
        assert row.top5 == row.gt_known
    before = read_json(copied_images, "metrics.json")
    results = evaluate_and_write(net, PUBLISHED, ablation=True)
    printed = words(capsys)
    assert "region R and subtraction" in printed and "35.01" in printed
    for row in results.splits["validation"]["ablation"].settings.values():
        assert (np.array(row.top1) <= np.array(row.gt_known)).all()
    assert read_json(copied_images, "metrics.json") == before
    table_8 = read_json(copied_images, "ablation.json")["table_8"]
    parts, trivial = {"neither", "subtraction", "region", "both"}, {"whole_image"}
    assert table_8.keys() == parts | trivial | {"centered_square"}


@pytest.mark.slow
def test_the_ablation_of_double_digits_agrees_with_their_evaluation(
    trained_digits, capsys
):
    result = evaluate_and_write(load_net(trained_digits), None, ablation=True)
    printed = words(capsys)
    assert "rival of the image" in printed and "R=3 same" in printed
    ablation = read_json(trained_digits, "ablation.json")["splits"]["validation"]
    rows = ablation["ablation"]["settings"]
    assert rows.keys() == result.splits["validation"]["ablation"].settings.keys()
    at = ablation["ablation"]["thresholds"].index(0.3)
    metrics = read_json(trained_digits, "metrics.json")["splits"]["validation"]
    expected = metrics["localization"]["maps"]["info_cam"]["gt_known"]
    assert rows["infoCAM, R=3 full"]["gt_known"][at] == pytest.approx(expected)
    assert rows["infoCAM, R=3 full"]["setting"] == {
        "map": "info_cam",
        "options": {"region": 3, "padding": "full"},
    }


@pytest.mark.slow
def test_a_fourth_map_shows_everywhere(copied_images, monkeypatch, capsys):
    def squared(features, head_kernel, labels, region=1, padding="full"):
        return info_cam(features, head_kernel, labels, region, padding) ** 2

    monkeypatch.setitem(MAPS, "squared", Map(squared, "squared infoCAM"))
    net = load_net(copied_images)
    evaluate_and_write(net, PUBLISHED)
    printed = words(capsys)
    assert "squared infoCAM" in printed and "59.43" in printed  # beside the paper's
    maps = read_json(copied_images, "metrics.json")["splits"]["test"]["localization"]
    assert list(maps["maps"]) == list(MAPS) and list(MAPS)[-1] == "squared"
    path = copied_images / "evaluation" / "predictions.csv"
    with path.open(encoding="utf-8") as file:
        columns = next(csv.reader(file))
    assert {"squared_x0", "squared_y1", "squared_iou"} <= set(columns)
    html = (copied_images / "evaluation" / "report.html").read_text(encoding="utf-8")
    assert '<th scope="row">squared infoCAM</th>' in html
    gallery = json.loads(re.search(r'id="data">(.*?)</script>', html, re.DOTALL)[1])
    assert gallery["maps"][-1] == "squared infoCAM"
    assert {len(item["found"]) for item in gallery["items"]} == {len(MAPS)}
    evaluate_and_write(net, PUBLISHED, ablation=True)
    assert "squared infoCAM, R=3 full" in words(capsys)
    ablation = read_json(copied_images, "ablation.json")["splits"]["validation"]
    rows = [r["setting"]["map"] for r in ablation["ablation"]["settings"].values()]
    assert rows.count("squared") == rows.count("info_cam") > 0


@dataclasses.dataclass(frozen=True)
class ConfidenceResult(Result):
    """The mean probability of the likeliest class."""

    confidence: float

    def rows(self):
        title = "  mean confidence, %"
        return [
            Row(title, self.confidence, unit="percent", below="cross-entropy, nats")
        ]


def create_confidence(subject):
    """Creates an evaluator of the probability of the likeliest class."""

    def measure(inference):
        return {"confidence": jax.nn.softmax(inference.output.logits).max(-1)}

    def summarize(measured, split, priors):
        return ConfidenceResult(float(measured["confidence"].mean()))

    def columns(measured, split, class_names):
        return {"confidence": measured["confidence"]}

    return Evaluator(measure, summarize, columns)


@pytest.mark.slow
def test_a_new_evaluator_shows_everywhere(tiny_config, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(EVALUATORS, "confidence", create_confidence)
    config = tiny_config(num_epochs=1, evaluators=(*ALWAYS, "confidence"))
    config.data.fresh = False
    commands.train_and_evaluate(config, tmp_path)
    printed = capsys.readouterr().out
    lines = [" ".join(line.split()) for line in printed.splitlines()]
    place = next(i for i, line in enumerate(lines) if "mean confidence" in line)
    assert lines[place - 1].startswith("cross-entropy, nats")
    test = read_json(tmp_path, "metrics.json")["splits"]["test"]
    assert set(test) == {"num_examples", *ALWAYS, "confidence"}
    share = test["confidence"]["confidence"]
    assert 0.2 < share < 1 and f"{100 * share:.2f}" in lines[place]
    html = (tmp_path / "evaluation" / "report.html").read_text(encoding="utf-8")
    assert "mean confidence, %" in html and f"{100 * share:.2f}" in html
    with (tmp_path / "evaluation" / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    mean = np.mean([float(row["confidence"]) for row in rows])
    assert mean == pytest.approx(share, rel=1e-5)
    commands.compare([str(tmp_path)])
    assert "mean confidence" in capsys.readouterr().out


@pytest.mark.slow
def test_an_interrupted_evaluation_leaves_whole_files_only(monkeypatch, copied_images):
    write = files.write_with

    def interrupted(path, make):
        if path.name == "report.html":
            raise KeyboardInterrupt
        write(path, make)

    monkeypatch.setattr(files, "write_with", interrupted)
    with pytest.raises(KeyboardInterrupt):
        evaluate_and_write(load_net(copied_images), None)
    names = {path.name for path in (copied_images / "evaluation").iterdir()}
    assert names == {"predictions.csv", "figures"}  # metrics.json is written last


def test_a_quiet_evaluation_prints_and_draws_nothing(copied_images, capsys):
    net = load_net(copied_images)
    capsys.readouterr()
    evaluate_and_write(net, None, quiet=True)
    assert capsys.readouterr().out == ""
    names = {path.name for path in (copied_images / "evaluation").iterdir()}
    assert {"predictions.csv", "metrics.json"} <= names
    assert not {"figures", "report.html"} & names
