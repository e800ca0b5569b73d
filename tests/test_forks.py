"""A forked worker is told at once that it would hang; a spawned one computes."""

import os
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

POOL = """
import multiprocessing, sys, warnings
import numpy as np
import mi_classifier as mi

def work(seed):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, 100)
    try:
        x = y[:, None] + rng.normal(size=(100, 1))
        return mi.estimate_mutual_information(x, y).nats
    except mi.UserError as error:
        return str(error)

if __name__ == "__main__":
    warnings.simplefilter("ignore")  # JAX's own, in the parent
    if sys.argv[1] == "fork":
        mi.log_pc_softmax(np.zeros(2), np.log([0.5, 0.5]))  # starts JAX
    with multiprocessing.get_context(sys.argv[1]).Pool(1) as pool:
        print(*pool.map_async(work, [0]).get(timeout=60))
"""


@pytest.mark.slow
def test_a_forked_worker_is_told_and_a_spawned_one_computes(tmp_path):
    script = tmp_path / "pool.py"
    script.write_text(POOL)
    said = {}
    for method in ("fork", "spawn"):
        result = subprocess.run(
            [sys.executable, script, method],
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        said[method] = result.stdout
    assert "in which JAX had started" in said["fork"] and "'spawn'" in said["fork"]
    assert 0 < float(said["spawn"]) < 0.7
