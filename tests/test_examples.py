"""Every notebook of `examples/` runs from top to bottom, and its outputs are stored."""

import nbclient
import nbformat
import pytest

from tests.conftest import REPOSITORY

pytestmark = pytest.mark.usefixtures("long_runs")

NOTEBOOKS = sorted((REPOSITORY / "examples").glob("*.ipynb"))


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def shows(cell):
    """Whether a cell has output on the page; progress and warnings do not count."""
    return any(output.get("name") != "stderr" for output in cell.outputs)


@pytest.mark.slow
@pytest.mark.proof
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_what_is_stored(path, monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    stored = nbformat.read(path, as_version=4)
    fresh = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(
        fresh, timeout=300, kernel_name="python3", resources=resources
    ).execute()
    for new, old in zip(code_cells(fresh), code_cells(stored), strict=True):
        assert shows(new) == shows(old), new.source


def test_notebooks_are_stored_whole_and_tell_nothing_of_a_machine():
    assert NOTEBOOKS
    for path in NOTEBOOKS:
        cells = code_cells(nbformat.read(path, as_version=4))
        assert [cell.execution_count for cell in cells] == list(
            range(1, len(cells) + 1)
        )
        outputs = [output for cell in cells for output in cell.outputs]
        assert not [
            o for o in outputs if o.output_type == "error" or "stderr" in str(o)
        ]
        assert "/home/" not in str(outputs) and "/tmp/" not in str(outputs)
