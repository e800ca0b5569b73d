"""Table 5 shows the accuracy of each digit, and how well each map finds it."""

import pytest


@pytest.mark.slow
def test_table_5_shows_digits_and_boxes(rerun):
    changes = ("num_epochs=1", "batch_size=20")
    table = rerun("5", only=("pc_sigmoid",), changes=changes)
    (ours,) = table.results["pc_sigmoid"]
    row = table.row("3")
    assert row[4] == f"{100 * ours['accuracy']['balanced']['per_class'][3]:.2f}"
    assert row[5] == "94/100"
    assert table.row("mean")[1] == table.row("recall and specificity")[1] == ""
    row = table.row("infoCAM, PC-sigmoid")
    found = ours["localization"]["maps"]["info_cam"]
    assert row[1] == f"{100 * found['gt_known']:.1f}"
    assert row[5] == f"{100 * found['max_box_accuracy']:.1f}"
    assert row[6] == "98"
