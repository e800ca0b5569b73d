"""Table 2 compares our bound with every registered baseline and with the paper's."""

import numpy as np
import pytest
from PIL import Image

from mi_classifier.baselines import BASELINES, Baseline
from mi_classifier.storage.files import to_json, write_text
from tests.tables.conftest import write_run

TINY = ("num_epochs=1", "model.hidden=(16,)", "batch_size=4000")


def write_mixture_run(folder, dim, seed, nats, **baselines):
    test = {
        "information": {
            "mutual_information": {"nats": nats},
            "paper_softmax_plus_log_m": nats,
        },
        "truth": {"mutual_information": {"nats": 1.0}},
        "accuracy": {"paper_rule": "prior", "prior": {"micro": 0.75, "macro": 0.5}},
    }
    workdir = folder / f"D{dim}_{seed}"
    changes = {"data.dim": dim, "data.seed": seed, "seed": seed}
    write_run(workdir, "gmm:balanced", test, **changes)
    write_text(workdir / "evaluation" / "baselines.json", to_json(baselines))


@pytest.mark.slow
def test_collected_runs_become_tables_and_curves(rerun, tmp_path):
    for dim in (1, 2, 5, 10):
        for seed in (0, 1):
            values = {"mine": 0.8, "mine_all_pairs": 0.7, "nearest_neighbors": 1.5}
            write_mixture_run(tmp_path / "runs", dim, seed, 0.9 + 0.2 * seed, **values)
    table = rerun("2", collect=True)
    mean = f"{0:+.4f} ± {np.std([-0.1, 0.1], ddof=1):.4f}"
    row = table.row("balanced", "1", "1.0000")
    # The paper's net and MINE, 0.99 and 1.00, less its Monte Carlo's 1.03.
    assert row[3:] == [mean, "-0.2000 ± 0.0000", "-0.04, -0.03"]
    row = table.row("balanced", "1", mean)
    assert row[3:] == ["-0.3000 ± 0.0000", "+0.5000 ± 0.0000"]
    row = table.row("balanced, softmax", "10")
    assert row[2:5] == ["75.00 ± 0.00", "50.00 ± 0.00", "98"]
    assert row[6:] == ["1.0000", "1.54"]
    assert "2 seeds a cell" in table.text
    assert "| Monte Carlo | ours | MINE | paper's net, MINE |" in table.text
    assert "| ours | MINE, all pairs | nearest neighbors |" in table.text
    assert "Ours is nearer to Monte Carlo than MINE in 4 of 4 cells" in table.text
    assert "This command took" not in table.text
    for name in ("2_estimates.png", "figure_8.png"):
        image = Image.open(tmp_path / name)
        assert min(image.size) > 300
        assert len(np.unique(np.asarray(image).reshape(-1, 4), axis=0)) > 10


@pytest.mark.slow
def test_cells_are_trained_once_and_a_new_baseline_shows(rerun, tmp_path, monkeypatch):
    scores = iter(np.arange(100) / 10)

    def mine(*samples, seed):
        assert [len(y) for _, y in samples] == [72_000, 9_000, 9_000]
        value = next(scores)
        return value, value + 0.5

    fake = Baseline(BASELINES["mine"].titles, mine)
    monkeypatch.setitem(BASELINES, "mine", fake)
    new = Baseline({"coin": "coin toss"}, lambda *samples, seed: [seed / 2], False)
    monkeypatch.setitem(BASELINES, "coin", new)
    options = {"only": ("unbalanced", "pc_softmax", "1"), "changes": TINY}
    table = rerun("2", seeds=2, **options)
    runs = table.results["unbalanced,pc_softmax,1"]
    assert len(runs) == 2 and runs[0]["ours"] != runs[1]["ours"]
    errors = [run["ours"] - run["monte_carlo"] for run in runs]
    cell = f"{np.mean(errors):+.4f} ± {np.std(errors, ddof=1):.4f}"
    assert table.row("unbalanced", "1")[3] == cell
    assert [run["coin"] for run in runs] == [0.0, 0.5]
    assert "| nearest neighbors | coin toss |" in table.text
    assert "Ours is nearer" in table.text and "This command took" in table.text
    assert abs(runs[0]["nearest_neighbors"] - runs[0]["monte_carlo"]) < 0.03

    # Finished cells are not run again, and missing ones are.
    later = Baseline({"later": "later"}, lambda *samples, seed: [0.25], False)
    monkeypatch.setitem(BASELINES, "later", later)
    table = rerun("2", **options)
    assert "1/1: " not in table.printed
    (run,) = table.results["unbalanced,pc_softmax,1"]
    assert run == runs[0] | {"later": 0.25}
    folder = tmp_path / "2" / "unbalanced" / "pc_softmax" / "D1" / "seed0"
    (folder / "evaluation" / "metrics.json").unlink()
    table = rerun("2", **options)
    assert f"1/1: {folder}" in table.printed
