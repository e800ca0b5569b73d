"""Time the start of the commands, and count what a second start compiles.

    python benchmarks/start.py

Each command runs in a process of its own. The folder of compiled programs is empty at
first, and the commands share it. `import torch` is timed too where PyTorch is
installed.
"""

import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import common


def run(arguments: list[str], folder: str) -> dict[str, float]:
    """Runs a command.

    Returns:
      "seconds"; the numbers of programs that it "compiled" and that it "found" in the
      folder of compiled programs.
    """
    environment = os.environ | {
        "JAX_COMPILATION_CACHE_DIR": str(Path(folder) / "compiled"),
        "JAX_DEBUG_LOG_MODULES": "jax._src.compiler",
    }
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=common.REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    seconds = time.perf_counter() - started
    log = done.stdout + done.stderr
    found = log.count("Persistent compilation cache hit")
    compiled = log.count("PERSISTENT COMPILATION CACHE MISS")
    return {"seconds": seconds, "compiled": compiled, "found": found}


def main() -> None:
    arguments = common.parser(__doc__).parse_args()
    rows, results = [], {}
    with tempfile.TemporaryDirectory() as folder:
        train = ["train.py", "--config=configs/gmm.py", "--config.num_epochs=1"]
        evaluate = ["evaluate.py", f"--workdir={folder}/first"]
        commands = {
            "train.py --help": ["train.py", "--help"],
            "evaluate.py --help": ["evaluate.py", "--help"],
            "train.py, one epoch, first": [*train, f"--workdir={folder}/first"],
            "train.py, one epoch, second": [*train, f"--workdir={folder}/second"],
            "evaluate.py, first": evaluate,
            "evaluate.py, second": evaluate,
            "import jax": ["-c", "import jax; jax.devices()"],
        }
        if importlib.util.find_spec("torch"):
            commands["import torch"] = ["-c", "import torch"]
        for name, command in commands.items():
            result = results[name] = run(command, folder)
            counts = [str(result["compiled"]), str(result["found"])]
            rows.append([name, f"{result['seconds']:.2f}", *counts])
    columns = ["start", "s", "compiled", "found compiled"]
    common.report("configs/gmm.py", columns, rows, results, arguments.json)


if __name__ == "__main__":
    main()
