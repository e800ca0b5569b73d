"""Tables 4, 6, 7 and 8 share runs, collect finished ones, and train what is missing."""

import dataclasses
import json

import pytest
from scipy import stats

from mi_classifier import tables
from mi_classifier.errors import UserError
from mi_classifier.storage.files import to_json, write_text
from tests.tables.conftest import write_run

MAPS = ("cam", "info_cam", "info_cam_plus")
RULES = ("gt_known", "top1", "pointing", "max_box_accuracy")


def write_localization_run(
    workdir, reference, seed, maps=(0.0, 0.0, 0.0), beside=None, **changes
):
    found = {
        name: dict.fromkeys(RULES, value)
        for name, value in zip(MAPS, maps, strict=True)
    }
    test = {
        "information": {"mutual_information": {"nats": 4.0}},
        "accuracy": {},
        "localization": {
            "classification": {"top1": 0.5, "top5": 0.9},
            "maps": found,
            **(beside or {}),
        },
    }
    write_run(workdir, reference, test, seed=seed, **changes)


@pytest.fixture
def collected(tmp_path):
    """Four finished runs in several folders, and others that must be left out."""
    write_localization_run(tmp_path / "mine" / "vgg", "cub_vgg", 0, (0.4, 0.5, 0.6))
    again = tmp_path / "mine" / "vgg_again"
    write_localization_run(again, "cub_vgg", 1, (0.42, 0.56, 0.6))
    write_localization_run(tmp_path / "theirs", "cub_vgg", 2, (0.44, 0.53, 0.62))
    write_localization_run(tmp_path / "resnet", "cub_resnet:adl", 7, (0.3, 0.2, 0.1))
    write_localization_run(tmp_path / "z_same_seed", "cub_vgg", 2)
    write_localization_run(tmp_path / "unfinished", "cub_vgg", 9)
    (tmp_path / "unfinished" / "metrics.jsonl").write_text('{"step": 1}\n')
    write_localization_run(tmp_path / "shorter", "cub_vgg", 4, num_epochs=3)
    write_text(tmp_path / "of_others" / "config.json", '{"layers": [1]}')
    cross_fit = '{"method": "cross_fit", "data": {"path": "x.npz"}}'
    write_text(tmp_path / "rows" / "config.json", cross_fit)
    write_localization_run(tmp_path / "digits", "mnist", 0)
    return tmp_path


def test_finished_runs_are_collected(collected, rerun):
    table = rerun("4", collect=True)
    assert {name: len(runs) for name, runs in table.results.items()} == {
        "cub200,vgg16_gap,plain": 3,
        "cub200,resnet50,adl": 1,
    }
    row = table.row("VGG16-GAP", "CAM")
    assert row[2:5] == ["42.00 ± 2.00", "42.00 ± 2.00", "42.49/31.38"]
    row = table.row("VGG16-GAP", "infoCAM")
    assert row[2] == "53.00 ± 3.00" and row[4] == "52.96/39.79"
    p = stats.mannwhitneyu((50, 56, 53), (40, 42, 44)).pvalue
    assert row[5].startswith(f"{p:.4f}")
    assert table.text.count("| VGG16") == 3  # these runs lack a map and trivial boxes
    assert table.row("VGG16-GAP", "infoCAM+, rival by region")[2].startswith("60.67")
    assert "do not beat" not in table.text
    assert table.row("ResNet50, ADL", "CAM")[2] == "30.00"
    assert "1 to 3 seeds a cell" in table.text and "Tiny" not in table.text
    printed = table.printed
    assert "unfinished: left out, not finished" in printed
    assert "z_same_seed: left out, it has seed 2 as" in printed
    assert "shorter: left out, num_epochs is 3 there and 200 here" in printed
    assert "left out: seed: the config lacks this field" in printed
    assert "rows" not in printed and "digits" not in printed


def test_classification_is_shown_with_localization(collected, rerun):
    table = rerun("6", collect=True, only=("vgg16_gap",))
    row = table.row("VGG16-GAP", "50.00 ± 0.00")
    assert row[2:] == ["90.00 ± 0.00", "73.97/91.83", "4.000 ± 0.000"]
    assert table.row("VGG16-GAP", "CAM")[6:] == ["42.00 ± 2.00", "42.00 ± 2.00"]
    assert "ResNet50" not in table.text
    with pytest.raises(UserError, match="no finished run of this table below"):
        rerun("7", collect=True)


def test_table_8_is_made_of_ablations(collected, rerun):
    values = {"neither": 0.1, "subtraction": 0.2, "region": 0.3, "both": 0.4}
    values |= {"centered_square": 0.5}
    cells = {k: {"gt_known": v, "top1": v / 2} for k, v in values.items()}
    for name in ("mine/vgg", "theirs"):
        path = collected / name / "evaluation" / "ablation.json"
        write_text(path, to_json({"table_8": cells}))
    of_version_01 = collected / "mine" / "vgg_again" / "evaluation" / "ablation.json"
    write_text(of_version_01, to_json({"splits": {}}))
    table = rerun("8", collect=True)
    assert len(table.results["cub200,vgg16_gap,plain"]) == 2
    net = "CUB-200-2011, VGG16-GAP"
    row = table.row(net, "no", "no")
    assert row[3:] == ["10.00 ± 0.00", "5.00 ± 0.00", "42.49/31.38"]
    assert table.row(net, "no", "yes")[3] == "20.00 ± 0.00"
    assert table.row(net, "yes", "no")[3] == "30.00 ± 0.00"
    assert table.row(net, "yes", "yes")[3:5] == ["40.00 ± 0.00", "20.00 ± 0.00"]
    square = ["50.00 ± 0.00", "25.00 ± 0.00"]
    assert table.row(net, "centered square")[3:] == square
    assert "infoCAM, R = 1 (20.00), CAM, region (30.00) and infoCAM (40" in table.text
    assert "| whole image |" not in table.text
    assert "vgg_again: left out; run evaluate.py --ablation" in table.printed


def test_trivial_boxes_stand_below_the_maps(tmp_path, rerun):
    """Each of the two runs has them; a third, older one is shown without."""
    trivial = {
        "whole_image": {"gt_known": 0.3, "top1": 0.2, "max_box_accuracy": 0.3},
        "centered_square": {"gt_known": 0.5, "top1": 0.3, "max_box_accuracy": 0.55},
        "centered_gaussian": {"max_box_accuracy": 0.7},
        "middle": {"pointing": 0.9},
    }
    for seed, maps in enumerate([(0.4, 0.5, 0.6), (0.4, 0.52, 0.7)]):
        found = {"trivial": trivial, "num_labels": 10_000}
        write_localization_run(tmp_path / f"{seed}", "cub_vgg", seed, maps, found)
    write_localization_run(tmp_path / "old", "cub_resnet", 0, (0.1, 0.1, 0.1))
    table = rerun("6", collect=True)
    square = table.row("VGG16-GAP", "centered square")
    assert square[2:] == ["50.00 ± 0.00", "30.00 ± 0.00", "", "", "", "55.00 ± 0.00"]
    assert table.row("VGG16-GAP", "middle")[6] == "90.00 ± 0.00"
    titles = [line.split(" | ")[1] for line in table.text.splitlines() if " | " in line]
    assert titles.index("centered square") > titles.index("infoCAM+, rival by region")
    lines = [line for line in table.text.splitlines() if "not beat" in line]
    (by_known, by_curve) = lines[0].split("\n") if len(lines) == 1 else lines
    assert (
        "VGG16-GAP: By GT-known at threshold 0.2, CAM (40.00) does not beat" in by_known
    )
    assert "infoCAM+, rival by region (65.00) do not beat" in by_curve
    assert "centered Gaussian (70.00)" in by_curve and "ResNet" not in by_curve
    rows = rerun("4", collect=True).text
    assert "| centered square |" in rows and "| middle |" not in rows


def test_both_rivals_are_named_by_the_setting(tmp_path, rerun):
    write_localization_run(
        tmp_path / "x", "cub_vgg", 0, **{"localization.rival": "image"}
    )
    table = rerun("6", collect=True, changes=("localization.rival=image",))
    assert table.row("VGG16-GAP", "infoCAM+, rival of the image")


@pytest.mark.slow
def test_missing_runs_of_a_cell_are_trained(rehearsal_sets, tmp_path, rerun):
    changes = (
        f"data.archive_path={rehearsal_sets['cub200']}",
        "data.stored_side=40",
        "data.side=32",
        "model.width=4",
        "num_epochs=1",
        "batch_size=20",
    )
    options = {"changes": changes, "only": ("cub200", "vgg16_gap", "adl")}
    table = rerun("8", **options)
    workdir = tmp_path / "localization" / "cub200" / "vgg16_gap_adl" / "seed0"
    ablation = json.loads((workdir / "evaluation" / "ablation.json").read_text())
    settings = ablation["splits"]["validation"]["ablation"]["settings"]
    row = table.row("CUB-200-2011, VGG16-GAP, ADL", "no", "no")
    assert row[3] == f"{100 * settings['CAM']['gt_known'][1]:.2f}"
    assert "71.59/53.01" not in table.text  # not the paper's data and net
    # Another threshold: evaluated and ablated again, not trained.
    log = (workdir / "metrics.jsonl").stat().st_mtime_ns
    options["changes"] = (*changes, "localization.threshold=0.4")
    rerun("8", **options)
    written = json.loads((workdir / "evaluation" / "ablation.json").read_text())
    assert written["splits"]["validation"]["ablation"]["threshold"] == 0.4
    assert (workdir / "metrics.jsonl").stat().st_mtime_ns == log
    # Table 4 is of the same runs, and trains nothing.
    table = rerun("4", **options)
    assert "1/1" not in table.printed
    assert table.row("VGG16-GAP, ADL", "infoCAM+, rival by region")
    assert table.row("VGG16-GAP, ADL", "CAM, region")
    assert table.row("VGG16-GAP, ADL", "centered square")


def test_a_new_root_keeps_the_shared_folder(tmp_path, collected):
    """Tables 4 and 6 find the same runs whatever folder their own files go to."""
    options = tables.Options(tmp_path / "4", collect=True)
    _, of_4 = tables.TABLES["4"](options)
    _, of_6 = tables.TABLES["6"](dataclasses.replace(options, root=tmp_path / "6"))
    assert of_4 == of_6
