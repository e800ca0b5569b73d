"""The entry points train, evaluate, and tell mistakes in one line with status 2.

Mistakes in fields and files are tested where they are found: test_overrides.py,
test_config.py, commands/.
"""

import json
import shutil

import pytest

import mi_classifier as mi
from mi_classifier import commands
from mi_classifier.errors import UserError
from tests.conftest import REPOSITORY

TINY = (
    "--config.num_epochs=1",
    "--config.model.hidden=(8,)",
    "--config.batch_size=4000",
    "--config.data.fresh=False",  # a million examples
)
# Appends a line to a file each time that it is executed.
COUNTING = """
from pathlib import Path
with (Path(__file__).parent / "executions").open("a") as file:
    print("executed", file=file)
from ml_collections import ConfigDict
def get_config(): return ConfigDict({"seed": 0, "data": {"name": "nowhere"}})
"""
# Asks a script for help, and prints which modules that took.
HELP = """
import runpy, sys
sys.argv = [sys.argv[1], "--help"]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit:
    print(list(sys.modules))
"""


def fails(result, *words):
    """Checks for exit status 2, and one line that says what and where."""
    assert result.returncode == 2, result.stderr
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    for word in words:
        assert word in lines[0]


@pytest.mark.slow
def test_train_then_evaluate_as_in_the_readme(
    run_script, tmp_path, monkeypatch, capsys
):
    for name in ("train.py", "evaluate.py", "configs"):
        source = REPOSITORY / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, tmp_path / name)
    trained = run_script("train.py", "--config=configs/gmm.py", *TINY, cwd=tmp_path)
    assert "mutual information, nats" in trained.stdout
    assert "Monte-Carlo truth" in trained.stdout
    assert "ours above the truth" in trained.stdout
    path = tmp_path / "runs" / "gmm" / "evaluation" / "metrics.json"
    results = json.loads(path.read_text())
    path.unlink()
    evaluated = run_script("evaluate.py", "--workdir=runs/gmm", cwd=tmp_path)
    assert json.loads(path.read_text()) == results
    assert evaluated.stdout in trained.stdout

    monkeypatch.chdir(tmp_path)
    config = mi.get_config("gmm")
    config.model.hidden, config.data.fresh = (8,), False
    config.num_epochs, config.batch_size = 1, 4_000
    commands.train_and_evaluate(config, "runs/gmm")
    again = capsys.readouterr().out
    assert "is finished" in again and evaluated.stdout in again
    config.data.balanced = False
    words = "runs/gmm .*data.balanced is True there and False here.*--workdir"
    with pytest.raises(UserError, match=words):
        mi.train(config, "runs/gmm")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--config=configs/gmn.py"], ["configs/gmn.py", "'configs/gmm.py'"]),
        (["--config.seed=1"], ["--config.seed", "--config=FILE"]),
        (["--workdir=x"], ["--config: missing; give a config's name or file"]),
        (["--config=configs/gmm.py", "--workdr=x"], ["--workdr", "'workdir'"]),
        (["--config=configs/gmm.py", "balanced"], ["'balanced'"]),
        (["--config"], ["config"]),
    ],
)
def test_mistakes_of_training_are_told_in_one_line(run_script, tmp_path, flags, words):
    script = REPOSITORY / "train.py"
    flags = [flag.replace("configs/", f"{REPOSITORY}/configs/") for flag in flags]
    result = run_script(script, *flags, cwd=tmp_path, check=False)
    fails(result, *(w.replace("'configs/", f"'{REPOSITORY}/configs/") for w in words))
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_mistake_in_a_field_is_told_in_one_line(run_script, tmp_path):
    workdir = tmp_path / "run"
    config = ("--config=configs/cub_vgg.py", "--config.model.adl_treshold=1")
    result = run_script("train.py", *config, f"--workdir={workdir}", check=False)
    fails(result, "--config.model.adl_treshold", "'model.adl_threshold'")
    assert not workdir.exists()


@pytest.mark.slow
def test_a_command_executes_the_config_file_once(run_script, tmp_path):
    (tmp_path / "mine.py").write_text(COUNTING)
    command = ("train.py", f"--config={tmp_path}/mine.py", "--config.seed=1")
    result = run_script(*command, f"--workdir={tmp_path / 'run'}", check=False)
    fails(result, "the config lacks this field")
    assert (tmp_path / "executions").read_text() == "executed\n"


def test_help_lists_our_flags_and_imports_no_jax(run_script):
    for script, flag in (("train.py", "--config"), ("evaluate.py", "--compare")):
        result = run_script("-c", HELP, script)
        *text, modules = result.stdout.splitlines()
        assert any(flag in line for line in text)
        assert "mi_classifier.commands" in modules
        for name in ("jax", "flax", "optax", "matplotlib", "grain", "scipy"):
            assert f"'{name}'" not in modules


@pytest.mark.slow
def test_batch_size_not_divisible_by_the_devices(run_script, tmp_path):
    result = run_script(
        "train.py",
        "--config=configs/gmm.py",
        "--config.batch_size=1001",
        f"--workdir={tmp_path / 'run'}",
        devices=2,
        check=False,
    )
    fails(result, "batch_size", "1001", "2 devices", "1000 or 1002")


def test_mistakes_of_evaluation_are_told_in_one_line(run_script, tmp_path):
    workdir = f"--workdir={tmp_path}"
    fails(run_script("evaluate.py", check=False), "--workdir: missing; give a folder")
    both = run_script("evaluate.py", workdir, "--ablation", "--images=a", check=False)
    fails(both, "--ablation, --images: give one of these at a time")
    result = run_script("evaluate.py", "--features=", check=False)
    fails(result, "--features: is empty; give a path")
    result = run_script("evaluate.py", workdir, "--label=cat", check=False)
    fails(result, "--label: give images too")


@pytest.mark.slow
def test_a_second_start_compiles_nothing(run_script, tmp_path, monkeypatch):
    for name in ("DIR", "MAX_SIZE"):
        monkeypatch.delenv(f"JAX_COMPILATION_CACHE_{name}", raising=False)
    for name in ("MIN_COMPILE_TIME_SECS", "MIN_ENTRY_SIZE_BYTES"):
        monkeypatch.delenv(f"JAX_PERSISTENT_CACHE_{name}", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    programs = []
    for name in ("one", "two"):
        workdir = f"--workdir={tmp_path / name}"
        run_script("train.py", "--config=configs/gmm.py", *TINY, workdir)
        programs.append({path.name for path in tmp_path.rglob("*-cache")})
    assert len(programs[0]) > 10 and programs[1] == programs[0]
    rows = [
        [
            {k: v for k, v in json.loads(line).items() if k != "seconds"}
            for line in (tmp_path / name / "metrics.jsonl").open()
        ]
        for name in ("one", "two")
    ]
    assert rows[0] == rows[1]
