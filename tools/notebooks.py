"""Run the notebooks of examples/ and store their outputs.

    python tools/notebooks.py examples/table.ipynb

Without names it runs all. What a cell writes to stderr, such as progress, is left out.
"""

import sys
import tempfile
import time
from pathlib import Path

import nbclient
import nbformat

_EXAMPLES = Path(__file__).parents[1] / "examples"


def run(path: Path) -> None:
    """Run a notebook in an empty folder, and write it with its outputs."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        nbclient.NotebookClient(
            notebook,
            timeout=600,
            kernel_name="python3",
            resources={"metadata": {"path": folder}},
        ).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]
    notebook.metadata.language_info = {"name": "python"}
    nbformat.write(notebook, path)


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:] or sorted(_EXAMPLES.glob("*.ipynb"))):
        started = time.monotonic()
        run(path)
        print(f"{path.name}: {time.monotonic() - started:.0f} s")
