"""Decode images in other processes while an archive is being recorded."""

import collections
import os
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path

import numpy as np

from mi_classifier import processes
from mi_classifier.decoding import Decoded, decode_all

_BATCH = 64  # images that are sent to a process at once, at most
_BYTES = 1 << 24  # of them, about: large photos are sent one by one
_FEW = 1_024  # images that are decoded here, because processes take a second to start
_WAITING = 4  # batches that wait, for each process
Member = tuple[str, bytes]  # name and content of a file


class Ahead:
    """Images that are decoded in the order in which they come, kept in a file.

    Args:
      side: of the decoded images, in pixels; see `decoding.decode`.
      count: of the images; few are decoded in this process.
      folder: where the file lies; it has no name, and is freed with this object.

    Examples:
      >>> ahead = Ahead(16, 1, Path("."))
      >>> list(ahead.decoded([("a.png", b"no image")]))
      [('a.png', b'no image', None, 0)]
      >>> ahead.pixels([0])
      [ValueError('not an image')]
    """

    def __init__(self, side: int, count: int, folder: Path) -> None:
        self._side = side
        self._alone = processes.count() == 1 or count < _FEW
        self._file, path = tempfile.mkstemp(dir=folder)
        os.unlink(path)
        weakref.finalize(self, os.close, self._file)
        self._broken: dict[int, str] = {}
        self._written = 0

    def decoded(
        self, members: Iterable[Member]
    ) -> Iterator[tuple[str, bytes, tuple[int, int] | None, int]]:
        """Decode images, and yield them in their order, some time later.

        Args:
          members: names and contents of files.

        Yields:
          Name and content, (width, height) if it is an image, and its number here.
        """
        running: collections.deque[tuple[list[Member], Future]] = collections.deque()
        try:
            for some in _batches(members):
                if self._alone:
                    yield from self._keep(some, decode_all(_contents(some), self._side))
                    continue
                call = processes.submit(decode_all, _contents(some), self._side)
                running.append((some, call))
                if len(running) > _WAITING * processes.count():
                    some, call = running.popleft()
                    yield from self._keep(some, call.result())
            while running:
                some, call = running.popleft()
                yield from self._keep(some, call.result())
        finally:
            for _, call in running:
                call.cancel()

    def pixels(self, numbers: Sequence[int]) -> list[np.ndarray | ValueError]:
        """Return uint8 `[side, side, 3]` of images, or why one cannot be decoded."""
        shape = (self._side, self._side, 3)
        size, found = int(np.prod(shape)), []
        for number in numbers:
            if number in self._broken:
                found.append(ValueError(self._broken[number]))
                continue
            content = os.pread(self._file, size, number * size)
            found.append(np.frombuffer(content, np.uint8).reshape(shape))
        return found

    def _keep(
        self, members: Sequence[Member], decoded: Decoded
    ) -> Iterator[tuple[str, bytes, tuple[int, int] | None, int]]:
        content, start = memoryview(decoded.pixels).cast("B"), self._written
        while content:  # a large one may be written in parts
            content = content[os.write(self._file, content) :]
        self._broken |= {start + i: why for i, why in decoded.broken.items()}
        self._written += len(members)
        for index, (member, size) in enumerate(
            zip(members, decoded.sizes, strict=True)
        ):
            yield *member, size, start + index


def _batches(members: Iterable[Member]) -> Iterator[list[Member]]:
    """Yield some members at a time, few if they are large."""
    some, size = [], 0
    for member in members:
        some.append(member)
        size += len(member[1])
        if len(some) == _BATCH or size >= _BYTES:
            yield some
            some, size = [], 0
    if some:
        yield some


def _contents(members: Sequence[Member]) -> list[bytes]:
    return [content for _, content in members]
