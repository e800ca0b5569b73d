import dataclasses
import json

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from mi_classifier import baselines, tables
from mi_classifier import config as configs
from mi_classifier.errors import UserError
from mi_classifier.storage.files import to_json, write_text
from mi_classifier.tables import channel, classification, mutual_information, reruns


@pytest.fixture
def run(tiny_config, tmp_path, monkeypatch, capsys):
    """Runs a table on tiny configs, and returns what it wrote and printed."""

    def config(reference, seed, options):
        name, _, words = reference.partition(":")
        made = tiny_config(name.removesuffix(".py"), words, seed=seed)
        made.num_epochs = 1
        return made

    def run(name, seeds=2, only=()):
        root = tmp_path / "tables" / name
        tables.rerun(name, tables.Options(root, seeds, only=only))
        text = root.with_suffix(".md").read_text()
        written = json.loads(root.with_suffix(".json").read_text())
        return text, written, capsys.readouterr().out

    monkeypatch.setattr(reruns, "config", config)
    monkeypatch.setattr(reruns, "num_processes", lambda: 1)
    return run


def test_table_2(run, tmp_path, monkeypatch):
    monkeypatch.setattr(mutual_information, "DIMS", (1,))
    scores = iter(np.arange(100) / 10)

    def mine(*samples, seed):
        assert [len(y) for _, y in samples] in (
            [48_000, 6_000, 6_000],
            [72_000, 9_000, 9_000],
        )
        value = next(scores)
        return baselines.DonskerVaradhan(value, value + 0.5)

    monkeypatch.setattr(baselines, "mine", mine)
    text, written, printed = run("2")
    runs = written["unbalanced,pc_softmax,1"]
    assert len(runs) == 2 and runs[0] != runs[1]
    errors = [r["ours"] - r["monte_carlo"] for r in runs]
    cell = f"{np.mean(errors):+.4f} ± {np.std(errors, ddof=1):.4f}"
    rows = [
        row.split(" | ") for row in text.splitlines() if "| unbalanced | 1 |" in row
    ]
    assert rows[0][3] == rows[1][2] == cell and "2 seeds" in text
    # The paper's 0.96 and 0.99 less its Monte Carlo's 1.02.
    assert rows[0][5].startswith("-0.06, -0.03")
    assert "Ours is nearer" in text and "nearest" in printed
    assert abs(runs[0]["nearest_neighbors"] - runs[0]["monte_carlo"]) < 0.03
    for name in ("2_estimates.png", "figure_8.png"):
        image = Image.open(tmp_path / "tables" / name)
        assert min(image.size) > 300
        assert len(np.unique(np.asarray(image).reshape(-1, 4), axis=0)) > 10

    # Finished cells are not run again, and missing ones are.
    monkeypatch.setattr(
        mutual_information, "_baselines", lambda *_: {"nearest_neighbors": 0.0}
    )
    *_, printed = run("2", seeds=1)
    assert "1/1: " not in printed
    (tmp_path / "tables/2/balanced/softmax/D1/seed0/evaluation/metrics.json").unlink()
    *_, printed = run("2", seeds=1)
    assert "1/1: " in printed and "D1/seed0" in printed


def test_table_3(run, monkeypatch):
    paper = {"unbalanced": classification.PAPER_3["unbalanced"]}
    monkeypatch.setattr(classification, "PAPER_3", paper)
    text, written, _ = run("3")
    runs = {loss: written[f"unbalanced,{loss},test"] for loss in classification.LOSSES}
    ours = [[100 * r[r["paper_rule"]]["macro"] for r in runs[loss]] for loss in runs]
    p = stats.mannwhitneyu(*ours).pvalue
    row = next(r for r in text.splitlines() if "| unbalanced | standard | macro" in r)
    assert f"{np.mean(ours[1]):.2f} ± {np.std(ours[1], ddof=1):.2f}" in row
    assert f"{p:.4f}" in row
    assert "95.05/96.30" in text and "prior rule" in text and "balanced rule" in text


def test_channel(run, tmp_path, monkeypatch):
    monkeypatch.setattr(channel, "FLIPS", (0.0, 0.9))
    text, written, _ = run("channel", seeds=1)
    assert written["0"][0]["truth"] > 2 and abs(written["0.9"][0]["truth"]) < 1e-6
    assert f"{written['0'][0]['nats']:.4f}" in text
    assert Image.open(tmp_path / "tables" / "channel.png").size[0] > 300


def test_table_5(run):
    text, written, _ = run("5", seeds=1, only=("pc_sigmoid",))
    (ours,) = written["pc_sigmoid"]
    row = next(r for r in text.splitlines() if r.startswith("| 3 |")).split(" | ")
    assert row[4] == f"{100 * ours['accuracy']['balanced']['per_class'][3]:.2f}"
    assert row[5] == "94/100 |"
    box = ours["localization"]["maps"]["info_cam"]["gt_known"]
    row = next(r for r in text.splitlines() if r.startswith("| infoCAM, PC-sigmoid"))
    assert f"| {100 * box:.1f} |" in row
    assert row.endswith("| 98 |")


def write_run(workdir, config, maps, top1=0.5):
    """Writes what a finished run of a config would have left, of given figures."""
    epochs = "".join(f'{{"step": {i}}}\n' for i in range(config.num_epochs))
    write_text(workdir / "config.json", configs.to_json(config))
    write_text(workdir / "metrics.jsonl", epochs)
    names = ("cam", "info_cam", "info_cam_plus")
    rules = ("gt_known", "top1", "pointing", "max_box_accuracy")
    test = {
        "information": {"mutual_information": {"nats": 4.0}},
        "accuracy": {},
        "localization": {
            "classification": {"top1": top1, "top5": 0.9},
            "maps": {
                name: dict.fromkeys(rules, value)
                for name, value in zip(names, maps, strict=True)
            },
        },
    }
    figures = to_json({"splits": {"test": test}})
    write_text(workdir / "evaluation" / "metrics.json", figures)


@pytest.fixture
def collected(tmp_path):
    """Four finished runs, somewhere below a folder, and three that do not count."""
    options = reruns.Options(tmp_path)
    runs = [
        ("mine/vgg", "cub_vgg.py", 0, (0.4, 0.5, 0.6)),
        ("mine/vgg_again", "cub_vgg.py", 1, (0.42, 0.56, 0.6)),
        ("theirs", "cub_vgg.py", 2, (0.44, 0.53, 0.62)),
        ("resnet", "cub_resnet.py:adl", 7, (0.3, 0.2, 0.1)),
        ("z_same_seed", "cub_vgg.py", 2, (0.0, 0.0, 0.0)),
    ]
    for name, file, seed, maps in runs:
        write_run(tmp_path / name, reruns.config(file, seed, options), maps)
    config = reruns.config("cub_vgg.py", 9, options)
    write_run(tmp_path / "unfinished", config, (0.0, 0.0, 0.0))
    (tmp_path / "unfinished" / "metrics.jsonl").write_text('{"step": 1}\n')
    config = reruns.config("cub_vgg.py", 4, options)
    config.num_epochs = 3
    write_run(tmp_path / "shorter", config, (0.0, 0.0, 0.0))
    write_text(tmp_path / "of_others" / "config.json", '{"layers": [1]}')
    write_run(tmp_path / "digits", reruns.config("mnist.py", 0, options), (0, 0, 0))
    return tmp_path


def collect(folder, name, **options):
    root = folder / name
    tables.rerun(name, tables.Options(root, collect=True, **options))
    return root.with_suffix(".md").read_text(), json.loads(
        root.with_suffix(".json").read_text()
    )


def test_finished_runs_are_collected(collected, capsys):
    text, figures = collect(collected, "4")
    assert {name: len(runs) for name, runs in figures.items()} == {
        "cub200,vgg16_gap,plain": 3,
        "cub200,resnet50,adl": 1,
    }
    rows = [row.split(" | ") for row in text.splitlines() if row.startswith("| VGG16")]
    assert rows[0][1:5] == ["CAM", "42.00 ± 2.00", "42.00 ± 2.00", "42.49/31.38"]
    assert rows[1][1:3] == ["infoCAM", "53.00 ± 3.00"] and rows[1][4] == "52.96/39.79"
    p = stats.mannwhitneyu((50, 56, 53), (40, 42, 44)).pvalue
    assert rows[1][5].startswith(f"{p:.4f}")
    assert len(rows) == 3 and "| ResNet50, ADL | CAM | 30.00 |" in text
    assert "1 to 3 seeds a cell" in text and "Tiny" not in text
    printed = capsys.readouterr().out
    assert "unfinished: left out, not finished" in printed
    assert "z_same_seed: left out, of seed 2 as" in printed
    assert "shorter: left out, num_epochs is 3 there and 200 in this table" in printed
    assert "left out: seed: the config lacks this field" in printed

    text, _ = collect(collected, "6", only=("vgg16_gap",))
    row = next(r for r in text.splitlines() if "73.97/91.83" in r)
    assert row.startswith("| VGG16-GAP | 50.00 ± 0.00 | 90.00 ± 0.00 |")
    assert "4.000" in row and "ResNet50" not in text
    with pytest.raises(UserError, match="no finished run of this table below"):
        collect(collected, "7")


def test_table_8_is_made_of_ablations(collected, capsys):
    rows = {
        f"{name}{region}": {
            "map": name,
            "region": region,
            "gt_known": [0.9, value],
            "top1": [0.9, value / 2],
        }
        for name, region, value in (
            ("cam", 1, 0.1),
            ("info_cam", 1, 0.2),
            ("cam", 5, 0.3),
            ("info_cam", 5, 0.4),
        )
    }
    ablation = {"thresholds": [0.1, 0.2], "threshold": 0.2, "region": 5}
    figures = {"splits": {"validation": {"ablation": ablation | {"settings": rows}}}}
    for name in ("mine/vgg", "theirs"):
        path = collected / name / "evaluation" / "ablation.json"
        write_text(path, to_json(figures))
    text, written = collect(collected, "8")
    assert len(written["cub200,vgg16_gap,plain"]) == 2
    lines = [r for r in text.splitlines() if r.startswith("| CUB")]
    assert lines[0].endswith("no | no | 10.00 ± 0.00 | 5.00 ± 0.00 | 42.49/31.38 |")
    assert lines[3].endswith("yes | yes | 40.00 ± 0.00 | 20.00 ± 0.00 |  |")
    assert "vgg_again: left out; run evaluate.py --ablation" in capsys.readouterr().out


def test_missing_runs_of_a_cell_are_trained(rehearsal_sets, tmp_path, capsys):
    changes = (
        f"data.archive_path={rehearsal_sets['cub200']}",
        "data.stored_side=40",
        "data.side=32",
        "model.width=4",
        "num_epochs=1",
        "batch_size=20",
    )
    only = ("cub200", "vgg16_gap", "adl")
    options = tables.Options(
        tmp_path / "8", data_dir=str(tmp_path), changes=changes, only=only
    )
    tables.rerun("8", options)
    text = (tmp_path / "8.md").read_text()
    assert "CUB-200-2011, VGG16-GAP, ADL" in text and "71.59/53.01" in text
    workdir = tmp_path / "localization" / "cub200" / "vgg16_gap_adl" / "seed0"
    ablation = json.loads((workdir / "evaluation" / "ablation.json").read_text())
    rows = ablation["splits"]["validation"]["ablation"]["settings"]
    cam = 100 * rows["CAM"]["gt_known"][1]
    assert f"| no | no | {cam:.2f} |" in text
    # Another threshold: evaluated and ablated again, not trained.
    tables.rerun(
        "8",
        dataclasses.replace(options, changes=(*changes, "localization.threshold=0.4")),
    )
    written = json.loads((workdir / "evaluation" / "ablation.json").read_text())
    assert written["splits"]["validation"]["ablation"]["threshold"] == 0.4
    tables.rerun("8", options)
    # Table 4 is of the same runs, and trains nothing.
    capsys.readouterr()
    tables.rerun("4", dataclasses.replace(options, root=tmp_path / "4"))
    assert "1/1" not in capsys.readouterr().out
    assert "| VGG16-GAP, ADL | infoCAM+ |" in (tmp_path / "4.md").read_text()


@pytest.mark.parametrize(
    ("changes", "only", "words"),
    [
        (("num_epoch=3",), (), "--set: no field 'num_epoch', did you mean"),
        (("num_epochs",), (), "--set: must be FIELD=VALUE, not 'num_epochs'"),
        (("num_epochs=2.5",), (), "--set: num_epochs must be int, not '2.5'"),
        (("num_epochs=many",), (), "--set: num_epochs must be int, not 'many'"),
        (("data.balanced=1",), (), "--set: data.balanced must be bool"),
        (("seed=5",), (), "--set: seeds are the table's; --seeds says how many"),
        (("loss=pc_softmax",), (), "--set: makes another cell of it"),
        (("num_epochs=0",), (), "num_epochs: must be at least 1"),
        ((), ("cub201",), "--only: no cell has all of cub201"),
    ],
)
def test_changes_that_cannot_be(tmp_path, changes, only, words):
    options = tables.Options(tmp_path / "3", changes=changes, only=only)
    with pytest.raises(UserError) as caught:
        tables.rerun("3", options)
    assert words in str(caught.value)


def test_changes_keep_their_kind(tmp_path):
    config = reruns.config("cub_vgg.py", 0, reruns.Options(tmp_path))
    changes = ("optimizer.learning_rate=1", "data.balanced=False", "pretrained=a=b")
    changed = reruns._changed(config, changes)
    assert changed.optimizer.learning_rate == 1.0
    assert type(changed.optimizer.learning_rate) is float
    assert changed.data.balanced is False and changed.pretrained == "a=b"
    assert config.data.balanced is True


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), ["give one table", "2, 3, 3-cub, 4"]),
        (("33",), ["'33'", "2, 3, 3-cub, 4"]),
        (("2", "--seeds=0"), ["--seeds: must be at least 1"]),
        (("2", "--seed=3"), ["--seed", "seeds"]),
    ],
)
def test_mistakes(run_script, arguments, words):
    result = run_script("-m", "mi_classifier.tables", *arguments, check=False)
    assert result.returncode == 2
    assert len(result.stderr.strip().splitlines()) == 1
    for word in words:
        assert word in result.stderr


def test_config_files_that_are_not_there(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="in a clone of the repository"):
        reruns.config("gmm.py", 0, reruns.Options(tmp_path))
