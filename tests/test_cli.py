import json
import shutil

import pytest

from mi_classifier.storage import workdirs
from tests.conftest import REPOSITORY


def fails(result, *words):
    """Exit status 2, and one line that says what and where."""
    assert result.returncode == 2, result.stderr
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    for word in words:
        assert word in lines[0]


TINY = (
    "--config.num_epochs=1",
    "--config.model.hidden=(8,)",
    "--config.batch_size=4000",
)


def test_train_then_evaluate_as_in_the_readme(run_script, tmp_path):
    for name in ("train.py", "evaluate.py", "configs"):
        source = REPOSITORY / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, tmp_path / name)
    trained = run_script("train.py", "--config=configs/gmm.py", *TINY, cwd=tmp_path)
    assert "mutual information, nats" in trained.stdout
    assert "Monte-Carlo truth" in trained.stdout
    assert "ours above the truth" in trained.stdout
    path = tmp_path / "runs" / "gmm" / "evaluation" / "metrics.json"
    figures = json.loads(path.read_text())
    path.unlink()
    evaluated = run_script("evaluate.py", "--workdir=runs/gmm", cwd=tmp_path)
    assert json.loads(path.read_text()) == figures
    assert evaluated.stdout in trained.stdout

    again = run_script("train.py", "--config=configs/gmm.py", *TINY, cwd=tmp_path)
    assert "is finished" in again.stdout and evaluated.stdout in again.stdout
    other = run_script(
        "train.py",
        "--config=configs/gmm.py:unbalanced",
        *TINY,
        cwd=tmp_path,
        check=False,
    )
    fails(other, "runs/gmm", "data.balanced is True there and False here", "--workdir")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--config=configs/gmm.py", "--config.los=softmax"], ["config.los", "'loss'"]),
        (
            ["--config=configs/gmm.py", "--config.data.dims=2"],
            ["config.data.dims", "'data.dim'"],
        ),
        (["--config", "configs/gmm.py", "--config.dim", "2"], ["'data.dim'"]),
        (
            ["--config=configs/gmm.py", "--config.batch_size=many"],
            ["batch_size", "many"],
        ),
        (["--config=configs/gmn.py"], ["configs/gmn.py", "'configs/gmm.py'"]),
        (["--config=configs/gmm.py:unbalancd"], ["'unbalancd'", "'unbalanced'"]),
        (["--config.seed=1"], ["--config=FILE"]),
        (["--workdir=x"], ["config"]),
        (["--config=configs/gmm.py", "--workdr=x"], ["workdr"]),
        (["--config=configs/gmm.py", "balanced"], ["'balanced'"]),
        (
            ["--config=configs/mnist.py", "--config.data.archive_dir=nowhere"],
            ["data.archive_dir", "nowhere"],
        ),
    ],
)
def test_mistakes_of_training(run_script, tmp_path, flags, words):
    if not any("--workdir" in flag for flag in flags):
        flags = [*flags, f"--workdir={tmp_path / 'run'}"]
    fails(run_script("train.py", *flags, check=False), *words)
    assert not (tmp_path / "run").exists()


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


def test_mistakes_of_evaluation(run_script, tmp_path, tiny_config):
    def run(*flags):
        return run_script("evaluate.py", *flags, check=False)

    fails(run(f"--workdir={tmp_path / 'nowhere'}"), "does not exist", "nowhere")
    (tmp_path / "empty").mkdir()
    fails(run(f"--workdir={tmp_path / 'empty'}"), "not a workdir", "config.json")
    workdirs.open_for(tiny_config(), tmp_path / "started")
    fails(run(f"--workdir={tmp_path / 'started'}"), "no checkpoint yet", "train.py")
    fails(run(), "workdir")


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
