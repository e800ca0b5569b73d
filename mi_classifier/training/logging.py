"""Record a run: one row per epoch in metrics.jsonl and in TensorBoard events."""

import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto import event_pb2

from mi_classifier import parallel
from mi_classifier.errors import UserError
from mi_classifier.storage.files import append_text, to_json, write_text


def write_rows(workdir: Path, rows: Sequence[Mapping[str, float]]) -> Path:
    """Write the rows of a checkpoint to metrics.jsonl, and return its path."""
    path = workdir / "metrics.jsonl"
    text = "".join(map(to_json, rows))
    # Leave an unchanged file alone: its mtime must stay older than the evaluation's.
    if not path.is_file() or path.read_bytes() != text.encode():
        write_text(path, text)
    return path


class MetricsLog:
    """Append rows to metrics.jsonl and TensorBoard events.

    Args:
      workdir: the run's folder.
      rows: the rows of the checkpoint that the run resumes from. They replace those in
        the file, because a kill may have cut it, and it may have later rows.

    Attributes:
      rows: all rows so far.
    """

    def __init__(self, workdir: Path, rows: Sequence[Mapping[str, float]] = ()) -> None:
        self.rows = list(rows)
        self._path = write_rows(workdir, rows)
        step = int(self.rows[-1]["step"]) if self.rows else 0
        self._events = _Events(workdir, step + 1) if parallel.is_first() else None

    def write(self, row: Mapping[str, float]) -> None:
        """Write the row of an epoch; "step" is its place on TensorBoard's axis."""
        self.rows.append(json.loads(to_json(dict(row))))
        if not self._events:
            return
        append_text(self._path, to_json(dict(row)))
        self._events.write(row)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._events:
            # Do not let close() hide the original error.
            with contextlib.suppress(*[UserError] if exception[0] else []):
                self._events.close()


class _Events:
    """Write TensorBoard events in the calling thread.

    tensorboardX's SummaryWriter writes them in a thread of its own. At the first error,
    such as a full disk, that thread ends, and its caller blocks forever.

    Args:
      workdir: the folder of the file.
      first_step: TensorBoard ignores events of earlier files from this step on.
    """

    _SECONDS = 10  # between two writes to disk

    def __init__(self, workdir: Path, first_step: int) -> None:
        self._workdir = workdir
        with self._reported():
            # The name holds the time in seconds; the process id makes it unique.
            self._writer = EventsWriter(str(workdir / "events"), f".{os.getpid()}")
            start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            self._add(first_step, session_log=start)
        self._flushed = time.monotonic()

    def write(self, row: Mapping[str, float]) -> None:
        with self._reported():
            for name, value in row.items():
                self._add(int(row["step"]), summary=summary.scalar(name, value))
            if time.monotonic() - self._flushed >= self._SECONDS:
                self._writer.flush()
                self._flushed = time.monotonic()

    def close(self) -> None:
        with self._reported():
            self._writer.close()

    def _add(self, step: int, **content: object) -> None:
        event = event_pb2.Event(wall_time=time.time(), step=step, **content)
        self._writer.write_event(event)

    @contextlib.contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            where = f"{self._workdir}: TensorBoard's events"
            raise UserError(f"{where} cannot be written: {error.strerror}") from error
