"""The console command calls what the scripts call, and tells mistakes in one line."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from tests.conftest import REPOSITORY
from tests.test_cli import fails

ENTRY = """
import sys
sys.argv = ["mi-classifier", *sys.argv[1:]]
from mi_classifier.console import main
main()
"""


def call(*arguments, cwd=REPOSITORY):
    return subprocess.run(
        [sys.executable, "-c", ENTRY, *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def test_no_command_lists_the_commands():
    for arguments in ((), ("--help",)):
        result = call(*arguments)
        assert result.returncode == 0
        for name in ("train", "evaluate", "estimate", "explain", "tables"):
            assert f"\n  {name} " in result.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["estimat"], ["no such command: estimat", "estimate"]),
        (["estimate"], ["give one file"]),
        (["estimate", "data.csv"], ["no such file", "/data.csv"]),
        (["explain"], ["give photos or folders"]),
        (["train", "--config=gmn"], ["did you mean 'gmm'"]),
        (["tables", "9"], ["unknown value '9'"]),
    ],
)
def test_mistakes_are_told_in_one_line(tmp_path, arguments, words):
    fails(call(*arguments, cwd=tmp_path), *words)
    assert not list(tmp_path.iterdir())


def test_help_of_a_command_tells_its_flags():
    result = call("explain", "--help")
    assert "mi-classifier explain PHOTO FOLDER" in result.stdout
    assert "--workdir=imagenet" in result.stdout and "--rival=VALUE" in result.stdout
    assert "--config" not in result.stdout


def test_help_of_a_config_tells_words_values_and_meanings():
    result = call("train", "--config=gmm:unbalanced", "--config.seed=3", "--help")
    text = " ".join(result.stdout.split())
    assert "Words: balanced (default) or unbalanced; softmax or pc_softmax." in text
    assert "seed = 3 decides the initial net" in text
    assert "data.dim = 2 number of coordinates D, at least 1." in text
    assert "model.frequencies = 0 number of random Fourier features" in text


def test_the_flags_of_an_estimate_are_named_as_they_are(tmp_path):
    (tmp_path / "zoo.csv").write_text("kind,size\nape,1\nbee,2\nape,3\nbee,4\n")
    result = call("estimate", "zoo.csv", "--labels=kin", cwd=tmp_path)
    fails(result, "--labels", "kin", "did you mean 'kind'")
    assert "config" not in result.stderr and "data." not in result.stderr


@pytest.mark.slow
def test_a_table_is_estimated_by_its_columns(tmp_path):
    rng = np.random.default_rng(0)
    kind = rng.choice(["ape", "bee"], 200)
    sizes = rng.normal(size=200) + 3 * (kind == "bee")
    frame = pd.DataFrame({"id": np.arange(200), "kind": kind, "size": sizes})
    frame.to_csv(tmp_path / "zoo.csv", index=False)
    flags = ("--labels=kind", "--leave_out=id", "--rank=False", "--seed=1")
    result = call("estimate", "zoo.csv", *flags, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    found = json.loads((tmp_path / "runs/zoo/evaluation/metrics.json").read_text())
    assert 0.3 < found["estimate"]["nats"] < np.log(2)
    config = json.loads((tmp_path / "runs/zoo/config.json").read_text())
    assert config["data"]["leave_out"] == "id" and config["seed"] == 1
