"""A cross-fit by the commands says what `cross_fit` says, and is never done twice."""

import csv
import dataclasses
import json
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import mi_classifier as mi
from mi_classifier import commands
from mi_classifier.commands import cross_fit as command
from mi_classifier.data import arrays as reader
from mi_classifier.errors import UserError
from mi_classifier.estimate import MutualInformation
from mi_classifier.overrides import override
from mi_classifier.reporting.options import ExplainOptions
from mi_classifier.storage import workdirs

pytestmark = pytest.mark.usefixtures("long_runs")


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
    for name, values in (("pmi_nats", fit.pmi), ("probability", fit.confidence)):
        read = [float(row[name]) for row in rows]
        np.testing.assert_allclose(read, values, atol=1e-6)
    report = (workdir / "evaluation" / "report.html").read_text("utf-8")
    assert "lost without it" in report and "lost without it" in first.stdout

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
    with pytest.raises(UserError, match=r"other data \(data\.path\)"):
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
        (["--config.missing=fill"], "missing: unknown value 'fill'; choose from"),
        (["--config.rank=yes"], "rank: unknown value 'yes'; choose from auto"),
        (["--config.data.leaveout=a"], "did you mean 'data.leave_out'"),
    ],
)
def test_mistakes_leave_no_workdir(tmp_path, arguments, words):
    workdir = tmp_path / "run"
    config = mi.get_config("arrays")
    with pytest.raises(UserError, match=words):
        config, _ = override(config, arguments, commands.known_options)
        mi.train(config, workdir)
    assert not workdir.exists()


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (
            lambda i: f"{'' if i == 1 else i % 7},a",
            "line 3, column 'size'.*config.miss",
        ),
        (lambda i: f"{i % 7},{i}", "column 'kind': 60 different labels.*data.labels="),
    ],
)
def test_mistakes_in_a_file_are_told_in_its_terms(tmp_path, cells, words):
    path = tmp_path / "a.csv"
    lines = [f"{cells(i)}\n" for i in range(60)]
    path.write_text("size,kind\n" + "".join(lines))
    config = mi.get_config("arrays")
    config.data.path = str(path)
    with pytest.raises(UserError, match=words) as error:
        commands.train(config, tmp_path / "run")
    assert str(error.value).startswith(str(path))


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


@dataclasses.dataclass
class Fit:
    """A cross-fit that nobody had to wait for: half of the rows are told rightly."""

    label: np.ndarray
    labels = np.array(["=1+1", "-1", "<b>"])

    def __post_init__(self):
        count = len(self.label)
        self.group = np.arange(count)
        is_right = self.group % 2 == 0
        predicted = np.where(is_right, self.label, (self.label + 1) % 3)
        self.predictions = self.labels[predicted]
        self.pmi = np.where(is_right, 0.5, -0.25) - 0.001 * self.group
        self.confidence = np.full(count, 0.5, np.float32)

    def summary(self):
        nats = float(self.pmi.mean())
        return MutualInformation(
            nats=nats,
            bits=nats / np.log(2),
            standard_error=0.05,
            confidence_interval=(nats - 0.1, nats + 0.1),
            label_entropy=1.1,
            accuracy=0.5,
            majority=0.4,
            num_examples=len(self.pmi),
            num_classes=3,
            warnings=("rows\x1b[2J repeat",),
        )


@pytest.fixture
def quick(tmp_path, monkeypatch):
    """Runs the command on some columns without training; lists the calls."""
    calls = []

    def run(columns=3, images=False, **fields):
        generator = np.random.default_rng(1)
        names = [f"c{i}" for i in range(columns)]
        x = pd.DataFrame(generator.standard_normal((60, columns)), columns=names)
        x = np.zeros((60, 8, 8, 1)) if images else x
        notes = ("2 empty rows are left out",)

        def read(path, inputs="x", labels="", leave_out="", groups=""):
            calls.append(("read", labels, leave_out, groups))
            lines = None if images else 2 + 3 * np.arange(60)
            label = pd.Series(np.arange(60) % 3, name="<i>kind")
            return reader.Table(x, label, None, notes, lines)

        def fit(x, y, **options):
            calls.append(("fit", options))
            return Fit(y.to_numpy())

        def rank(x, y, **options):
            calls.append(("rank", options))
            row = {"alone": 0.1, "alone_error": 0.01, "lost": 0.05, "lost_error": 0.02}
            return [SimpleNamespace(name=name, **row) for name in names[::-1]]

        monkeypatch.setattr(reader, "read", read)
        monkeypatch.setattr(command, "cross_fit", fit)
        ranking = SimpleNamespace(rank_columns=rank)
        monkeypatch.setitem(sys.modules, "mi_classifier.ranking", ranking)
        path, workdir = tmp_path / "table.csv", tmp_path / "run"
        if not path.exists():
            path.write_text("stands for a table")
        config = mi.get_config("arrays")
        config.update_from_flattened_dict({"data.path": str(path), **fields})
        commands.train_and_evaluate(config, workdir)
        return workdir / "evaluation", path

    run.calls = calls
    return run


def test_the_command_prints_and_keeps_what_it_found(quick, capsys):
    folder, path = quick()
    printed = capsys.readouterr().out
    for words in (
        "lost without it",
        "c2  0.1000 ± 0.0100  0.0500 ± 0.0200",
        "line  label  predicted  PMI, nats",
        "note: 2 empty rows are left out",
        "warning: rows\\x1b[2J repeat",
        f"figures, predictions and report: {folder / 'report.html'}",
    ):
        assert " ".join(words.split()) in " ".join(printed.split())
    assert "\x1b" not in printed
    with (folder / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows[:3]] == ["'=1+1", "-1", "<b>"]
    assert [row["line"] for row in rows[:2]] == ["2", "5"]
    assert {row["probability"] for row in rows} == {"0.5"}
    results = json.loads((folder / "metrics.json").read_text())
    surprising = results["most_surprising"]
    assert [row["row"] for row in surprising] == list(range(59, 39, -2))
    assert surprising[0]["line"] == 2 + 3 * 59
    assert list(surprising[0]["values"]) == ["c2", "c1", "c0"]
    assert results["calibration"][0]["rows"] == 60
    page = (folder / "report.html").read_text("utf-8")
    assert "table.csv: information about &lt;i&gt;kind" in page
    assert (
        "&lt;b&gt;" in page
        and "<b>" not in page
        and "<i>" not in page
        and "http" not in page
    )

    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    calls = len(quick.calls)
    quick()
    assert len(quick.calls) == calls  # nothing was read, and nothing fitted
    again = capsys.readouterr().out
    assert "is finished" in again and again.endswith(printed)
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == before
    path.write_text("another table")
    with pytest.raises(UserError, match=r"other data \(data\.path\)"):
        quick()


def test_a_stopped_run_begins_again(quick):
    folder, _ = quick()
    (folder / "metrics.json").unlink()
    (folder / "report.html").write_text("half a pag")
    quick()
    assert (folder / "report.html").read_text("utf-8").startswith("<!DOCTYPE html>")
    assert [call for call, *_ in quick.calls] == ["read", "fit", "rank"] * 2


def test_every_field_reaches_the_estimate_and_the_ranking(quick):
    quick(
        **{
            "seed": 5,
            "missing": "keep",
            "data.labels": "y",
            "data.leave_out": "id,name",
            "data.groups": "site",
        }
    )
    read, fit, rank = quick.calls
    assert read[1:] == ("y", "id,name", "site")
    assert fit[1] == rank[1] == {"groups": None, "missing": "keep", "seed": 5}


@pytest.mark.parametrize(
    ("columns", "images", "choice", "words"),
    [
        (50, False, "auto", None),
        (51, False, "auto", "51 take long; --config.rank=True ranks them"),
        (51, False, "True", None),
        (3, False, "False", "config.rank is False"),
        (1, False, "auto", "the table has one"),
        (1, True, "auto", "images have no columns"),
    ],
)
def test_many_columns_are_ranked_only_if_asked(
    quick, capsys, columns, images, choice, words
):
    folder, _ = quick(columns, images, rank=choice)
    asked = [call for call, *_ in quick.calls]
    assert ("rank" in asked) == (words is None)
    printed = capsys.readouterr().out
    assert ("columns are not ranked" in printed) == (words is not None)
    assert (words or "") in printed
    assert (folder / "figures" / "columns.png").exists() == (words is None)
