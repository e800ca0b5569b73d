"""Runs side by side, from their files alone."""

import json
import shutil

import pytest

from mi_classifier.errors import UserError
from mi_classifier.reporting.comparison import compare, comparison


def rows(table):
    return {row[0]: row[1:] for row in table.rows}


def test_what_differs_and_what_came_of_it(trained_images, trained_digits, tmp_path):
    for name, source in (("a", trained_images), ("b", trained_digits)):
        copy = tmp_path / name
        shutil.copytree(source, copy, ignore=shutil.ignore_patterns("checkpoints"))
    table = comparison([tmp_path / "a", tmp_path / "b"])
    assert table.columns == ("", "a", "b") and str(tmp_path) in table.title
    shown = rows(table)
    for column, name in enumerate("ab"):
        text = (tmp_path / name / "evaluation" / "metrics.json").read_text()
        test = json.loads(text)["splits"]["test"]
        bound = test["information"]["mutual_information"]
        expected = f"{bound['nats']:.4f} ± {bound['standard_error']:.4f}"
        each = " a label" if name == "b" else ""
        assert shown[f"mutual information{each}, nats"][column] == expected
        micro = 100 * test["accuracy"]["prior"]["micro"]
        assert shown["prior rule, micro %"][column] == f"{micro:.2f}"
        known = 100 * test["localization"]["maps"]["info_cam"]["gt_known"]
        assert shown["infoCAM, GT-known %"][column] == f"{known:.2f}"
    assert shown["data.name"] == ("image_folder", "double_mnist")
    assert list(shown)[:3] == ["data.name", "loss", "num_epochs"]
    assert "evaluation_batch_size" in table.notes[-1] and "paper" not in table.notes[-1]


def test_a_cross_fit_is_compared_too(tmp_path):
    (tmp_path / "evaluation").mkdir()
    config = {"method": "cross_fit", "seed": 0, "data": {"path": "x.csv"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    estimate = {"nats": 0.5, "standard_error": None, "label_entropy": 0.69}
    estimate |= {"accuracy": 0.8, "num_examples": 1234}
    figures = json.dumps({"estimate": estimate, "most_surprising": []})
    (tmp_path / "evaluation" / "metrics.json").write_text(figures)
    shown = rows(comparison([tmp_path]))
    assert shown["examples"] == ("1,234",)
    assert shown["mutual information, nats"] == ("0.5000",)
    assert shown["prior rule, micro %"] == ("80.00",)


def test_patterns_and_mistakes(trained_images, tmp_path, capsys):
    for name in ("one", "two"):
        copy = tmp_path / name
        shutil.copytree(
            trained_images, copy, ignore=shutil.ignore_patterns("checkpoints")
        )
    compare([f"{tmp_path}/*", f"{tmp_path}/one"])
    printed = capsys.readouterr().out
    assert "one" in printed and "two" in printed
    (tmp_path / "two" / "evaluation" / "metrics.json").write_text("{}")
    with pytest.raises(
        UserError, match=r"two.*not what was written; evaluate it again"
    ):
        compare([f"{tmp_path}/*"])
    (tmp_path / "two" / "evaluation" / ".metrics.json.sha256").unlink()
    with pytest.raises(UserError, match=r"two.*not of an evaluation"):
        compare([f"{tmp_path}/*"])
    (tmp_path / "two" / "evaluation" / "metrics.json").unlink()
    compare([f"{tmp_path}/*"])
    assert "two: left out, not evaluated yet" in capsys.readouterr().out
    with pytest.raises(UserError, match="no such workdir"):
        compare([str(tmp_path / "three")])
    (tmp_path / "one" / "evaluation" / "metrics.json").unlink()
    with pytest.raises(UserError, match="one: not evaluated yet"):
        compare([str(tmp_path / "one")])
