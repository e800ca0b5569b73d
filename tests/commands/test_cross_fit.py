import csv
import json

import numpy as np
import pytest

import mi_classifier as mi


@pytest.fixture(scope="module")
def arrays():
    generator = np.random.default_rng(0)
    label = generator.integers(0, 3, 120)
    x = generator.standard_normal((120, 2)) + 3 * np.eye(3)[label][:, :2]
    return x, np.array(["ant", "[b]ee", "cow"])[label]


def test_the_shell_does_what_the_call_does(arrays, run_script, tmp_path):
    x, y = arrays
    np.savez(tmp_path / "a.npz", x=x, y=y)
    command = ("--config=configs/arrays.py", f"--workdir={tmp_path / 'run'}")
    path = f"--config.data.path={tmp_path / 'a.npz'}"
    first = run_script("train.py", *command, path, "--config.seed=3")
    fit = mi.cross_fit(x, y, seed=3)
    found = fit.summary()
    assert str(found) in first.stdout and "[b]ee" in first.stdout
    metrics = tmp_path / "run" / "evaluation" / "metrics.json"
    written = json.loads(metrics.read_text())["estimate"]
    assert written["nats"] == found.nats
    assert written["standard_error"] == found.standard_error
    assert tuple(written["confidence_interval"]) == found.confidence_interval
    with metrics.with_name("predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == y.tolist()
    pmi = [float(row["pmi_nats"]) for row in rows]
    np.testing.assert_allclose(pmi, fit.pmi, atol=1e-6)

    again = run_script("train.py", *command, path, "--config.seed=3")
    assert "is finished" in again.stdout and str(found) in again.stdout
    shown = run_script("evaluate.py", f"--workdir={tmp_path / 'run'}")
    assert shown.stdout == first.stdout

    np.savez(tmp_path / "a.npz", x=x + 1, y=y)
    other = run_script("train.py", *command, path, "--config.seed=3", check=False)
    assert other.returncode == 2 and "other data (x)" in other.stderr


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "data.path: give a file"),
        (["--config.data.path=none.csv"], "/none.csv"),
        (["--config.data.pat=a.csv"], "did you mean 'data.path'"),
        (["--config.method=fit"], "method: unknown value 'fit'"),
        (["--config.seed=-1"], "seed: must be in"),
    ],
)
def test_mistakes(run_script, tmp_path, flags, words):
    workdir = tmp_path / "run"
    result = run_script(
        "train.py",
        "--config=configs/arrays.py",
        f"--workdir={workdir}",
        *flags,
        check=False,
    )
    assert result.returncode == 2
    assert len(result.stderr.strip().splitlines()) == 1
    assert words in result.stderr
    assert not workdir.exists()
