"""What every reader of files shares: the size is known before a byte is believed, and memory follows it.

A file is material from outside. Whatever its bytes say, a read ends in what the file holds or in a
ValueError that names it. At no moment does it take more memory than twice the file, twice what came
out of it, and 1 MiB; what a header claims is not allocated. (Pillow's buffers come on top while an
image is decoded: see `fnn.data.decode`.)
"""

import contextlib
import gzip
import os
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

# Where bytes are read from: a path, or an open binary file that can be rewound (an io.BytesIO).
Source = str | os.PathLike[str] | BinaryIO

MAX_BYTES = 2**30
# One DEFLATE match yields at most 258 bytes and takes at least 2 bits.
DEFLATE_MAX_RATIO = 258 * 4
PIECE = 1 << 17  # bytes; a stream first builds what it returns as an object of its own

_GZIP_MAGIC = b"\x1f\x8b"


class Stream(Protocol):
    """What readers ask of a file; those of `open`, `io`, `gzip` and `zipfile` have it."""

    def read(self, size: int = -1, /) -> bytes: ...


class Opened(NamedTuple):
    """A source that is being read."""

    name: str  # what messages call it
    stream: Stream
    capacity: int  # the stream cannot yield more bytes than these
    stored: int  # bytes in the file itself; the capacity, unless it is packed
    binary: BinaryIO  # the file itself


@contextlib.contextmanager
def opened(source: Source, hint: str = "") -> Iterator[Opened]:
    """The source, open at its start (at its present position where it is open already).

    Args:
        source: a path, or a binary file that can be rewound; one that is given open stays open.
        hint: how to get the file, for the message when there is none.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is a folder, a pipe or a device, whose size nobody knows.
    """
    if not isinstance(source, str | os.PathLike):
        start = source.tell()
        size = source.seek(0, os.SEEK_END) - start
        source.seek(start)
        yield Opened(
            str(getattr(source, "name", type(source).__name__)), source, size, size, source
        )
        return
    path = Path(source)
    try:
        # Before it is opened: to open a pipe that nobody writes to is to wait for ever.
        if not stat.S_ISREG(path.stat().st_mode):
            raise ValueError(f"{path}: expected a file, got a folder, a pipe or a device")
        file = path.open("rb")
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no file {path}" + (f": {hint}" if hint else "")) from error
    with file:
        size = os.fstat(file.fileno()).st_size
        yield Opened(str(path), file, size, size, file)


@contextlib.contextmanager
def unpacked(file: Opened) -> Iterator[Opened]:
    """The file, or what it holds if it is packed with gzip (told by its first two bytes).

    Raises:
        ValueError: the gzip is damaged.
    """
    raw = file.binary
    start = raw.tell()
    packed = raw.read(2) == _GZIP_MAGIC
    raw.seek(start)
    if not packed:
        yield file
        return
    try:
        with gzip.GzipFile(fileobj=raw) as stream:
            yield file._replace(stream=stream, capacity=file.stored * DEFLATE_MAX_RATIO)
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise ValueError(f"{file.name}: expected a whole gzip file, got: {error}") from error


def read_up_to(stream: Stream, size: int, stored: int) -> NDArray[np.uint8]:
    """The next `size` bytes of the stream, or fewer where it ends, in an array of their own.

    `stored` bytes are there for sure and are allocated at once. More than these can only come out
    of a packed stream, which may break its promise: for them the array grows by halves as they come.
    """
    buffer, got = np.empty(min(size, stored), np.uint8), 0
    while got < size:
        piece = stream.read(min(size - got, PIECE))
        if not piece:
            break
        end = got + len(piece)
        if end > len(buffer):
            buffer.resize(min(size, max(end, len(buffer) * 3 // 2)), refcheck=False)
        buffer[got:end] = np.frombuffer(piece, np.uint8)
        got = end
    return buffer if got == len(buffer) else buffer[:got]


def read_bytes(file: Opened, max_bytes: int) -> bytes:
    """The whole file.

    Raises:
        ValueError: it is longer than `max_bytes`.
    """
    if file.stored > max_bytes:
        raise ValueError(
            f"{file.name}: expected at most {max_bytes} bytes (max_bytes), got {file.stored}"
        )
    return file.stream.read(file.stored)
