"""Run every benchmark: print their tables, and write their results to one file.

    pip install torch && python benchmarks [--json=FILE] [--only=nets,start]

Each benchmark is a script of this folder and runs in a process of its own. PyTorch is
what nets, maps and the input pipeline are compared with.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import common

# The script and its options by name; the docs say how to run them on a GPU.
BENCHMARKS = {
    "nets": ("training_step.py",),
    "maps": ("localization.py", "--images=64"),
    "input": ("data_pipeline.py",),
    "information": ("mutual_information.py",),
    "start": ("start.py",),
    "scaling": ("scaling.py",),
}


def main() -> None:
    parser = common.parser(__doc__)
    names = ",".join(BENCHMARKS)
    parser.add_argument("--only", default=names, help=f"some of {names}")
    arguments = parser.parse_args()
    chosen = arguments.only.split(",")
    for name in chosen:
        if name not in BENCHMARKS:
            parser.error(f"--only: no benchmark {name!r}; choose from {names}")
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in chosen:
            script, *options = BENCHMARKS[name]
            path = Path(folder) / f"{name}.json"
            command = [sys.executable, Path(__file__).parent / script, *options]
            subprocess.run([*command, f"--json={path}"], check=True)
            results[name] = json.loads(path.read_text())
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
