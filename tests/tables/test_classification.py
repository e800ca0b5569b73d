"""Table 3 shows the accuracy of both losses by each rule, and tests the difference."""

import pytest
from scipy import stats

from tests.tables.conftest import write_run

SHARES = {"softmax": (0.70, 0.72, 0.74), "pc_softmax": (0.80, 0.82, 0.84)}


def test_table_3_compares_the_losses_over_seeds(rerun, tmp_path):
    for loss, shares in SHARES.items():
        rules = ("prior", "balanced") if loss == "softmax" else ("balanced", "prior")
        for seed, share in enumerate(shares):
            accuracy = {
                "paper_rule": rules[0],
                rules[0]: {"micro": share, "macro": share - 0.1},
                rules[1]: {"micro": 0.5, "macro": 0.5},
            }
            workdir = tmp_path / "runs" / f"{loss}{seed}"
            test = {"accuracy": accuracy}
            reference = f"mnist:unbalanced,{loss}"
            write_run(workdir, reference, test, authors_test=test, seed=seed)
    table = rerun("3", collect=True)
    row = table.row("unbalanced", "authors'", "micro")
    p = stats.mannwhitneyu(*SHARES.values()).pvalue
    assert row[3:5] == ["72.00 ± 2.00", "82.00 ± 2.00"]
    assert row[5].startswith(f"{p:.4f}") and row[6] == "96.81/96.86"
    row = table.row("unbalanced", "standard", "macro")
    assert row[3:5] == ["62.00 ± 2.00", "72.00 ± 2.00"]
    assert len(row) == 6  # the paper has the other test set
    _, by_prior, by_balanced = table.text.split("**Table 3")[1:]
    assert "| 72.00 ± 2.00 | 50.00 ± 0.00 |" in by_prior
    assert "| 50.00 ± 0.00 | 82.00 ± 2.00 |" in by_balanced
    assert "3 seeds a cell" in table.text and "| balanced |" not in table.text


def test_table_3_on_cub_tells_the_protocols_apart(rerun, tmp_path):
    for words, share in (("authors,", 0.8), ("", 0.7)):
        accuracy = {"paper_rule": "prior", "prior": {"micro": share, "macro": share}}
        accuracy["balanced"] = accuracy["prior"]
        reference = f"cub_inception:{words}unbalanced,softmax"
        write_run(tmp_path / f"runs{share}", reference, {"accuracy": accuracy})
    table = rerun("3-cub", collect=True)
    row = table.row("authors, unbalanced", "half of the protocol's", "macro")
    assert row[3] == "80.00" and row[-1] == "84.63/87.69"
    row = table.row("text, unbalanced", "half of the protocol's", "macro")
    assert row[3] == "70.00" and "84.63" not in row[-1]


@pytest.mark.slow
def test_table_3_trains_both_losses(rerun):
    changes = ("num_epochs=1", "batch_size=20")
    table = rerun("3", only=("unbalanced",), changes=changes)
    (run,) = table.results["unbalanced,pc_softmax,test"]
    row = table.row("unbalanced", "standard", "macro")
    assert row[4] == f"{100 * run[run['paper_rule']]['macro']:.2f}"
    assert table.row("unbalanced", "authors'", "macro")[-1] == "95.05/96.30"
    assert "prior rule" in table.text and "balanced rule" in table.text
