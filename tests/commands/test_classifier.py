"""The commands train and evaluate a classifier, also on data from memory."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

import mi_classifier as mi
from mi_classifier import commands
from mi_classifier.errors import UserError
from mi_classifier.reporting.options import ExplainOptions
from mi_classifier.storage import workdirs


@pytest.fixture(scope="module")
def dataset():
    config = mi.get_config("gmm").data
    config.fresh = False
    return mi.load_dataset(config)


@pytest.mark.slow
def test_a_run_from_memory_asks_for_its_data_again(tiny_config, tmp_path, dataset):
    config, workdir = tiny_config(num_epochs=1), tmp_path / "run"
    state = mi.train(config, workdir, dataset=dataset)
    assert int(state.step) == 48_000 // 4_000
    assert json.loads((workdir / "config.json").read_text())["data"] == {
        "name": "memory"
    }
    assert config.data.name == "gaussian_mixture"  # not changed
    with pytest.raises(UserError, match="its data came from memory; give dataset="):
        mi.evaluate(workdir)
    results = mi.evaluate(workdir, dataset=dataset, quiet=True)
    assert list(results.splits) == ["validation", "test"]
    rows, classes = dataset.splits["test"]["image"][:3], dataset.num_classes
    assert mi.load(workdir, dataset).predict(rows).pmi.shape == (3, classes)
    other = dataclasses.replace(
        dataset, splits={**dataset.splits, "train": dataset.splits["test"]}
    )
    with pytest.raises(UserError, match="other data"):
        mi.evaluate(workdir, dataset=other)
    with pytest.raises(UserError, match=r"--ablation: .* has no boxes to find"):
        mi.evaluate(workdir, ablation=True)


def test_evaluation_says_which_workdir_cannot_be_evaluated(tmp_path, tiny_config):
    with pytest.raises(UserError, match="nowhere does not exist"):
        mi.evaluate(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty: not a workdir: no config\.json"):
        mi.evaluate(tmp_path / "empty")
    workdirs.open_for(tiny_config(), tmp_path / "started")
    with pytest.raises(UserError, match=r"no checkpoint yet.*train\.py"):
        mi.evaluate(tmp_path / "started")


def test_mistakes_of_training_leave_no_workdir(tmp_path):
    config = mi.get_config("mnist")
    config.data.archive_dir = "nowhere"
    with pytest.raises(UserError, match=r"data\.archive_dir.*nowhere"):
        commands.train_and_evaluate(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_compare_names_what_it_cannot_show(tmp_path, tiny_config):
    with pytest.raises(UserError, match=r"--compare: .*: no such workdir"):
        commands.compare([str(tmp_path / "none*")])
    workdirs.open_for(tiny_config(), tmp_path / "started")
    with pytest.raises(UserError, match=r"--compare: .*started: not evaluated yet"):
        commands.compare([str(tmp_path / "started")])
    (tmp_path / "started" / "evaluation").mkdir()
    old = tmp_path / "started" / "evaluation" / "metrics.json"
    old.write_text('{"splits": {}}')  # as version 0.1 wrote it
    with pytest.raises(UserError, match="not written by this version's evaluation"):
        commands.compare([str(tmp_path / "started")])


@pytest.mark.parametrize(
    "content",
    [
        {"rows": 3},
        {"rows": ["abc"]},
        {"rows": [{"title": 1, "value": "x"}]},
        {"rows": [{"title": "t", "value": "x"}]},
        {},
    ],
)
def test_results_of_another_kind_are_not_compared(tmp_path, tiny_config, content):
    workdirs.open_for(tiny_config(), tmp_path)
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation" / "metrics.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="not written by this version's evaluation"):
        commands.compare([str(tmp_path)])


def test_the_number_of_classes_is_not_a_choice(tmp_path, tiny_config):
    config = tiny_config()
    with config.unlocked():
        config.model.num_classes = 7
    with pytest.raises(UserError, match=r"model.num_classes: the data set decides it"):
        mi.train(config, tmp_path / "run")


@pytest.mark.slow
def test_old_names_of_fields_are_understood(tmp_path, tiny_config, dataset):
    config = tiny_config(num_epochs=1)
    with config.unlocked():
        del config["pipeline"]
        config.feed, config.paper = "stream", {}
    mi.train(config, tmp_path / "run", dataset=dataset)
    assert workdirs.load_config(tmp_path / "run").pipeline == "stream"
    mi.train(config, tmp_path / "run", dataset=dataset)  # the same run, finished


def test_imagenet_stands_for_a_net_without_a_workdir(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.full((30, 40, 3), 200, np.uint8)).save("gray.png")
    commands.explain("imagenet", ["gray.png"], ExplainOptions(label="tench"))
    assert "tench" in capsys.readouterr().out
    folder = tmp_path / "runs" / "imagenet" / "evaluation" / "images" / "1"
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["boxes.json", "gray.png.png", "predictions.csv"]
    with pytest.raises(
        UserError, match=r"--workdir=imagenet: .* give photos, --images"
    ):
        commands.evaluate("imagenet")
