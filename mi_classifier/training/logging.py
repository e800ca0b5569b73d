"""What a run records and shows: one row an epoch, and a progress bar."""

import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto import event_pb2

from mi_classifier import parallel
from mi_classifier.errors import UserError
from mi_classifier.storage.files import append_text, to_json, write_text


def write_rows(workdir: Path, rows: Sequence[Mapping[str, float]]) -> Path:
    """Makes metrics.jsonl what a checkpoint says that it was; returns its path."""
    path = workdir / "metrics.jsonl"
    text = "".join(map(to_json, rows))
    # What is as it should be keeps its time: evaluations are newer.
    if not path.is_file() or path.read_bytes() != text.encode():
        write_text(path, text)
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
        self._events = _Events(workdir, step + 1) if parallel.is_first() else None

    def write(self, row: Mapping[str, float]) -> None:
        """Writes one epoch's numbers; "step" places them on TensorBoard's axis."""
        self.rows.append(json.loads(to_json(dict(row))))
        if not self._events:
            return
        append_text(self._path, to_json(dict(row)))
        self._events.write(row)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._events:
            # What is already going wrong is what to tell of.
            with contextlib.suppress(*[UserError] if exception[0] else []):
                self._events.close()


class _Events:
    """TensorBoard's events, written here and now.

    tensorboardX would write them in a thread, which ends at the first error; whoever
    hands it more waits for ever.

    Args:
      workdir: where the file goes.
      first_step: from which on earlier files of the run no longer count.
    """

    _SECONDS = 10  # between two writes to disk

    def __init__(self, workdir: Path, first_step: int) -> None:
        self._workdir = workdir
        with self._told():
            # Named by the second, unless it is named by the process as well.
            self._writer = EventsWriter(str(workdir / "events"), f".{os.getpid()}")
            start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            self._add(first_step, session_log=start)
        self._flushed = time.monotonic()

    def write(self, row: Mapping[str, float]) -> None:
        with self._told():
            for name, value in row.items():
                self._add(int(row["step"]), summary=summary.scalar(name, value))
            if time.monotonic() - self._flushed >= self._SECONDS:
                self._writer.flush()
                self._flushed = time.monotonic()

    def close(self) -> None:
        with self._told():
            self._writer.close()

    def _add(self, step: int, **content: object) -> None:
        event = event_pb2.Event(wall_time=time.time(), step=step, **content)
        self._writer.write_event(event)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            where = f"{self._workdir}: TensorBoard's events"
            raise UserError(f"{where} cannot be written: {error.strerror}") from error


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
