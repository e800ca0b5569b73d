"""A cross-fit by the commands says what `cross_fit` says, and is never done twice."""

import csv
import json

import numpy as np
import pytest

import mi_classifier as mi
from mi_classifier import commands
from mi_classifier.errors import UserError
from mi_classifier.overrides import override
from mi_classifier.reporting.options import ExplainOptions
from mi_classifier.storage import workdirs


@pytest.fixture(scope="module")
def arrays():
    generator = np.random.default_rng(0)
    label = generator.integers(0, 3, 120)
    x = generator.standard_normal((120, 2)) + 3 * np.eye(3)[label][:, :2]
    return x, np.array(["ant", "[b]ee", "cow"])[label]


@pytest.mark.slow
def test_the_shell_does_what_the_call_does(arrays, run_script, tmp_path, capsys):
    x, y = arrays
    data, workdir = tmp_path / "a.npz", tmp_path / "run"
    np.savez(data, x=x, y=y)
    fields = {"data.path": str(data), "seed": 3}
    flags = [f"--config.{name}={value}" for name, value in fields.items()]
    command = ("train.py", "--config=configs/arrays.py", f"--workdir={workdir}")
    first = run_script(*command, *flags)
    fit = mi.cross_fit(x, y, seed=3)
    found = fit.summary()
    assert str(found) in first.stdout and "[b]ee" in first.stdout
    metrics = workdir / "evaluation" / "metrics.json"
    written = json.loads(metrics.read_text())["estimate"]
    assert written["nats"] == found.nats
    assert written["standard_error"] == found.standard_error
    assert tuple(written["confidence_interval"]) == found.confidence_interval
    with metrics.with_name("predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == y.tolist()
    pmi = [float(row["pmi_nats"]) for row in rows]
    np.testing.assert_allclose(pmi, fit.pmi, atol=1e-6)

    config = mi.get_config("arrays")
    config.update_from_flattened_dict(fields)
    commands.train_and_evaluate(config, workdir)
    again = capsys.readouterr().out
    assert "is finished" in again and again.endswith(first.stdout)
    assert mi.evaluate(workdir).nats == found.nats
    assert capsys.readouterr().out == first.stdout
    assert mi.evaluate(workdir, quiet=True).nats == found.nats
    assert capsys.readouterr().out == ""
    commands.compare([str(workdir)])
    assert "mutual information, nats" in capsys.readouterr().out

    np.savez(data, x=x + 1, y=y)
    with pytest.raises(UserError, match=r"other data \(x\)"):
        mi.train(config, workdir)
    metrics.with_name("predictions.csv").unlink()
    with pytest.raises(UserError, match=r"predictions\.csv is missing; remove"):
        mi.evaluate(workdir)
    with pytest.raises(UserError, match=r"--images: .* holds a cross-fit of rows"):
        commands.explain(workdir, ["a.png"], ExplainOptions())
    with pytest.raises(UserError, match=r"--ablation: .* has no boxes"):
        mi.evaluate(workdir, ablation=True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "data.path: give a file"),
        (["--config.data.path=none.csv"], "/none.csv"),
        (["--config.method=fit"], "method: unknown value 'fit'"),
        (["--config.method=classifier"], "model: the config lacks this field"),
        (["--config.seed=-1"], "seed: must be in"),
    ],
)
def test_mistakes_leave_no_workdir(tmp_path, arguments, words):
    workdir = tmp_path / "run"
    config = mi.get_config("arrays")
    config, _ = override(config, arguments, commands.known_options)
    with pytest.raises(UserError, match=words):
        mi.train(config, workdir)
    assert not workdir.exists()


def test_a_data_set_in_memory_is_refused(tmp_path, arrays):
    with pytest.raises(UserError, match="dataset: a cross-fit takes arrays"):
        mi.train(mi.get_config("arrays"), tmp_path / "run", dataset=arrays)


@pytest.mark.parametrize("content", [{}, {"estimate": {}}, {"estimate": 3}])
def test_results_of_another_kind_are_refused(tmp_path, content):
    config = mi.get_config("arrays")
    workdirs.open_for(config, tmp_path)
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation" / "metrics.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="not that of a cross-fit; remove"):
        commands.evaluate(tmp_path, quiet=True)
