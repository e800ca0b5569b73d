"""Table 5 shows the accuracy of each digit, and how well each map finds it."""

import pytest

from tests.tables.conftest import write_run

RULES = ("gt_known", "top1", "cell", "pointing", "max_box_accuracy")


def test_table_5_names_both_maps_of_section_6_3(rerun, tmp_path):
    names = ("cam", "cam_region", "info_cam", "info_cam_plus")
    for seed in (0, 1):
        maps = {
            name: dict.fromkeys(RULES, 0.5 + 0.1 * i + 0.02 * seed)
            for i, name in enumerate(names)
        }
        square = {"gt_known": 0.25, "top1": 0.25, "max_box_accuracy": 0.25}
        accuracy = {"per_class": [0.9] * 10, "macro": 0.8}
        test = {
            "accuracy": {"prior": accuracy, "balanced": accuracy},
            "information": {},
            "localization": {"maps": maps, "trivial": {"centered_square": square}},
        }
        workdir = tmp_path / "runs" / str(seed)
        write_run(workdir, "double_mnist:pc_sigmoid", test, seed=seed)
    table = rerun("5", collect=True)
    rows = {
        "CAM": ("51.0 ± 1.4", "91"),
        "infoCAM of the label alone": ("61.0 ± 1.4", "98"),
        "infoCAM minus the other labels": ("71.0 ± 1.4", ""),
        "infoCAM+, rival by region": ("81.0 ± 1.4", ""),
    }
    for title, (share, theirs) in rows.items():
        row = table.row(f"{title}, PC-sigmoid")
        assert row[1:6] == [share] * 5
        assert row[6:] == ([theirs] if theirs else [])
    assert table.row("centered square, PC-sigmoid")[1] == "25.0 ± 0.0"
    assert "PMI(present) - PMI(absent) is the label's own logit" in table.text


@pytest.mark.slow
def test_table_5_shows_digits_and_boxes(rerun):
    changes = ("num_epochs=1", "batch_size=20")
    table = rerun("5", only=("pc_sigmoid",), changes=changes)
    (ours,) = table.results["pc_sigmoid"]
    row = table.row("3")
    assert row[4] == f"{100 * ours['accuracy']['balanced']['per_class'][3]:.2f}"
    assert row[5] == "94/100"
    assert table.row("mean")[1] == table.row("recall and specificity")[1] == ""
    row = table.row("infoCAM of the label alone, PC-sigmoid")
    found = ours["localization"]["maps"]["cam_region"]
    assert row[1] == f"{100 * found['gt_known']:.1f}"
    assert row[5] == f"{100 * found['max_box_accuracy']:.1f}"
    assert row[6] == "98"
