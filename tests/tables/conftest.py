"""Reruns of tables on small settings, and finished runs that were never trained."""

import dataclasses
import json

import pytest

from mi_classifier import config as configs, tables
from mi_classifier.storage.files import to_json, write_text


@dataclasses.dataclass(frozen=True)
class Rerun:
    text: str  # of the Markdown file
    results: dict  # of the JSON file
    printed: str

    def row(self, *starts):
        """The cells of the first row whose first cells are these."""
        rows = [line.strip("| ").split(" | ") for line in self.text.splitlines()]
        return next(row for row in rows if row[: len(starts)] == [*starts])


@pytest.fixture
def rerun(tmp_path, archive, capsys):
    """Reruns a table below tmp_path, one cell at a time."""

    def rerun(name, **options):
        defaults = {
            "root": tmp_path / name,
            "archive_dir": str(archive),
            "data_dir": str(tmp_path / "tfds"),
            "processes": 1,
        }
        capsys.readouterr()
        tables.rerun(name, tables.Options(**defaults | options))
        path = tmp_path / name
        written = json.loads(path.with_suffix(".json").read_text())
        text = path.with_suffix(".md").read_text()
        return Rerun(text, written, capsys.readouterr().out)

    return rerun


def write_run(workdir, reference, test, authors_test=None, **changes):
    """Writes what a finished run of a config would have left."""
    config = configs.get_config(reference)
    config.update_from_flattened_dict(changes)
    epochs = "".join(f'{{"step": {i}}}\n' for i in range(config.num_epochs))
    write_text(workdir / "config.json", configs.to_json(config))
    write_text(workdir / "metrics.jsonl", epochs)
    splits = {"test": test, "authors_test": authors_test}
    results = {"class_names": [str(i) for i in range(200)], "splits": splits}
    write_text(workdir / "evaluation" / "metrics.json", to_json(results))
