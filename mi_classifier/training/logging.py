"""What a run records and shows: one row an epoch, and a progress bar."""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from tensorboardX import SummaryWriter

from mi_classifier import parallel
from mi_classifier import workdir as workdirs


def write_rows(workdir: Path, rows: Sequence[Mapping[str, float]]) -> Path:
    """Makes metrics.jsonl what a checkpoint says that it was; returns its path."""
    path = workdir / "metrics.jsonl"
    workdirs.write_text(path, "".join(map(workdirs.to_json, rows)))
    return path


class MetricsLog:
    """Appends rows to metrics.jsonl and TensorBoard events.

    Args:
      workdir: the run's folder.
      rows: of a checkpoint that the run goes on from; they replace what is there, which
        may be more, or cut off by a kill.

    Attributes:
      rows: all so far.
    """

    def __init__(self, workdir: Path, rows: Sequence[Mapping[str, float]] = ()) -> None:
        self.rows = list(rows)
        self._path = write_rows(workdir, rows)
        step = int(self.rows[-1]["step"]) if self.rows else 0
        self._writes = parallel.is_first()
        if self._writes:
            self._writer = SummaryWriter(str(workdir), purge_step=step + 1)

    def write(self, row: Mapping[str, float]) -> None:
        """Writes one epoch's numbers; "step" places them on TensorBoard's axis."""
        self.rows.append(json.loads(workdirs.to_json(dict(row))))
        if not self._writes:
            return
        with self._path.open("a") as file:
            file.write(workdirs.to_json(dict(row)))
        for name, value in row.items():
            self._writer.add_scalar(name, value, int(row["step"]))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._writes:
            self._writer.close()


class ProgressBar:
    """A progress bar on the terminal; in a log file, a line now and then."""

    _SECONDS = 10  # between two lines of a log

    def __init__(self, total: int, completed: int) -> None:
        self._console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("training", total=total, completed=completed)
        self._printed = time.monotonic()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.stop()

    def advance(self, steps: int) -> None:
        """Moves on by a number of steps."""
        self._bar.advance(self._task, steps)

    def warn(self, text: str) -> None:
        """Prints a line above the bar."""
        self._console.print(f"warning: {text}", highlight=False, soft_wrap=True)

    def describe(self, text: str) -> None:
        """Shows the latest figures."""
        self._bar.update(self._task, description=text)
        last = self._bar.finished
        due = time.monotonic() - self._printed >= self._SECONDS
        if not self._console.is_terminal and (last or due):
            self._console.print(text, highlight=False, soft_wrap=True)
            self._printed = time.monotonic()
