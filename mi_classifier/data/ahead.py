"""Decode images in other processes while an archive is being recorded."""

import collections
import os
import tempfile
import weakref
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

import numpy as np

from mi_classifier import processes
from mi_classifier.decoding import decode_all

_BATCH = 64  # images that are sent to a process at once
_FEW = 1_024  # images that are decoded here, because processes take a second to start
_WAITING = 4  # batches that wait, for each process


class Ahead:
    """Images that are decoded in the order in which they come, kept in a file.

    Args:
      side: of the decoded images, in pixels; see `decoding.decode`.
      folder: where the file lies; it has no name, and is freed with this object.

    Examples:
      >>> ahead = Ahead(16, Path("."))
      >>> ahead.add(b"no image")
      0
      >>> ahead.pixels([0])
      [ValueError('not an image')]
    """

    def __init__(self, side: int, folder: Path) -> None:
        self._side, self._count = side, 0
        self._file, path = tempfile.mkstemp(dir=folder)
        os.unlink(path)
        weakref.finalize(self, os.close, self._file)
        self._contents: list[bytes] = []  # not yet sent to a process
        self._running: collections.deque[Future] = collections.deque()
        self._broken: dict[int, str] = {}
        self._written = 0

    def add(self, content: bytes) -> int:
        """Take the content of a file, to decode it; return the number of the image."""
        self._contents.append(content)
        self._count += 1
        if processes.count() == 1:
            self._write(*decode_all(self._contents, self._side))
            self._contents = []
        elif self._count > _FEW and len(self._contents) >= _BATCH:
            for start in range(0, len(self._contents), _BATCH):
                some = self._contents[start : start + _BATCH]
                self._running.append(processes.submit(decode_all, some, self._side))
            self._contents = []
            while len(self._running) > _WAITING * processes.count():
                self._write(*self._running.popleft().result())
        return self._count - 1

    def pixels(self, numbers: Sequence[int]) -> list[np.ndarray | ValueError]:
        """Return uint8 `[side, side, 3]` of images, or why one cannot be decoded."""
        while self._running:
            self._write(*self._running.popleft().result())
        if self._contents:
            self._write(*decode_all(self._contents, self._side))
            self._contents = []
        shape = (self._side, self._side, 3)
        size, found = int(np.prod(shape)), []
        for number in numbers:
            if number in self._broken:
                found.append(ValueError(self._broken[number]))
                continue
            content = os.pread(self._file, size, number * size)
            found.append(np.frombuffer(content, np.uint8).reshape(shape))
        return found

    def _write(self, pixels: np.ndarray, broken: dict[int, str]) -> None:
        content = memoryview(pixels).cast("B")
        while content:  # a large one may be written in parts
            content = content[os.write(self._file, content) :]
        self._broken |= {self._written + i: reason for i, reason in broken.items()}
        self._written += len(pixels)
