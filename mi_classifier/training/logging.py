"""Record a run: one row per epoch in metrics.jsonl and in TensorBoard events."""

import contextlib
import functools
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto import event_pb2

from mi_classifier import parallel
from mi_classifier.errors import UserError, disk_errors_told
from mi_classifier.storage.files import append_text, to_json, write_text

_FLUSH_SECONDS = 10  # between two writes of events to disk


def write_rows(workdir: Path, rows: Sequence[Mapping[str, float]]) -> Path:
    """Write the rows of a checkpoint to metrics.jsonl, and return its path."""
    path = workdir / "metrics.jsonl"
    text = "".join(map(to_json, rows))
    # Leave an unchanged file alone: its mtime must stay older than the evaluation's.
    if not path.is_file() or path.read_bytes() != text.encode():
        write_text(path, text)
    return path


class MetricsLog(contextlib.AbstractContextManager):
    """Append rows to metrics.jsonl and TensorBoard events.

    The rows of the checkpoint that a run resumes from replace those in the file,
    because a kill may have cut it, and it may have later rows. tensorboardX's
    SummaryWriter would write in a thread of its own: at the first error, such as a full
    disk, that thread ends, and its caller blocks forever.
    """

    def __init__(self, workdir: Path, rows: Sequence[Mapping[str, float]] = ()) -> None:
        self.rows = list(rows)  # all rows so far
        self._path = write_rows(workdir, rows)
        self._flushed, self._writer = time.monotonic(), None
        what = f"{workdir}: TensorBoard's events"
        self._told = functools.partial(disk_errors_told, what, "written")
        if not parallel.is_first():
            return
        # TensorBoard ignores the events of earlier files from this step on.
        first_step = int(self.rows[-1]["step"]) + 1 if self.rows else 1
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        with self._told():
            # The name holds the time in seconds; the process id makes it unique.
            self._writer = EventsWriter(str(workdir / "events"), f".{os.getpid()}")
            self._add(first_step, session_log=start)

    def write(self, row: dict[str, float]) -> None:
        """Write the row of an epoch; "step" is its place on TensorBoard's axis."""
        self.rows.append(json.loads(to_json(row)))
        if not self._writer:
            return
        append_text(self._path, to_json(row))
        with self._told():
            for name, value in row.items():
                self._add(int(row["step"]), summary=summary.scalar(name, value))
            if time.monotonic() - self._flushed >= _FLUSH_SECONDS:
                self._writer.flush()
                self._flushed = time.monotonic()

    def __exit__(self, *exception: object) -> None:
        # Do not let close() hide the original error.
        hidden = [UserError] if exception[0] else []
        if self._writer:
            with contextlib.suppress(*hidden), self._told():
                self._writer.close()

    def _add(self, step: int, **content: object) -> None:
        event = event_pb2.Event(wall_time=time.time(), step=step, **content)
        self._writer.write_event(event)
