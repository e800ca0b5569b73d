"""What a run records: one row an epoch, in metrics.jsonl and TensorBoard."""

import json
from collections.abc import Mapping
from pathlib import Path

from tensorboardX import SummaryWriter

from mi_classifier import workdir as workdirs


class MetricsLog:
    """Appends rows to metrics.jsonl and TensorBoard events.

    Opening it after a kill drops the rows that the resumed run will write again.
    """

    def __init__(self, workdir: Path, step: int) -> None:
        self._path = workdir / "metrics.jsonl"
        rows = self._path.read_text().splitlines() if self._path.exists() else []
        workdirs.write_text(
            self._path, "".join(row + "\n" for row in rows if _step(row) <= step)
        )
        self._writer = SummaryWriter(str(workdir), purge_step=step + 1)

    def write(self, row: Mapping[str, float]) -> None:
        """Writes one epoch's numbers; "step" places them on TensorBoard's axis."""
        with self._path.open("a") as file:
            file.write(json.dumps(dict(row)) + "\n")
        for name, value in row.items():
            self._writer.add_scalar(name, value, int(row["step"]))

    def close(self) -> None:
        """Flushes TensorBoard's events."""
        self._writer.close()


def _step(row: str) -> float:
    try:
        return json.loads(row)["step"]
    except (ValueError, KeyError):
        return float("inf")  # a line that the kill cut off
