"""The IDX file format of MNIST and Fashion-MNIST, read with every field checked.

An IDX file is big-endian: two zero bytes, a type byte (8: uint8), a byte with the number of
dimensions, one uint32 for each dimension, then the numbers in row-major order, and nothing more.
It may be packed with gzip. A file is material from outside: whatever its bytes say, a read ends in
the right array or in a ValueError, and takes no more memory than the file can really fill.

Format: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits", 1998.
"""

import gzip
import io
import math
import os
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

UINT8 = 8
MAX_DIMENSIONS = 4
MAX_BYTES = 2**30

_GZIP_MAGIC = b"\x1f\x8b"
# One DEFLATE match yields at most 258 bytes and takes at least 2 bits.
_GZIP_MAX_RATIO = 258 * 4


def read_idx(path: str | os.PathLike[str], *, max_bytes: int = MAX_BYTES) -> NDArray[np.uint8]:
    """The array of an IDX file of bytes, plain or gzip (told apart by the first two bytes).

    Args:
        path: the file.
        max_bytes: the largest array that is accepted.

    Returns:
        uint8, with the 1 to 4 dimensions that the file declares; a new, writable array.

    Raises:
        FileNotFoundError: there is no such file. The message says how to get it.
        ValueError: the file is not IDX, is of another type than uint8, declares no dimension, an
            empty one, too many or too large ones, is cut short, has bytes left over, or is a
            corrupt gzip. The message names the file, the expected and the got.
    """
    path = Path(path)
    try:
        file = path.open("rb")
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"no file {path}: name the folder that holds the data sets with --data-dir or the "
            "variable FNN_DATA_DIR, or fetch the file with --download"
        ) from error
    with file:
        stored = os.fstat(file.fileno()).st_size
        packed = file.read(2) == _GZIP_MAGIC
        file.seek(0)
        if not packed:
            return _read(path, file, stored, max_bytes)
        try:
            with gzip.GzipFile(fileobj=file) as stream:
                return _read(path, stream, stored * _GZIP_MAX_RATIO, max_bytes)
        except (gzip.BadGzipFile, zlib.error, EOFError) as error:
            raise ValueError(f"{path}: expected a whole gzip file, got: {error}") from error


def _read(
    path: Path, stream: io.BufferedIOBase, capacity: int, max_bytes: int
) -> NDArray[np.uint8]:
    """The array that `stream` holds, which can yield at most `capacity` bytes."""
    shape = _read_shape(path, stream)
    size = math.prod(shape)
    if size > max_bytes:
        raise ValueError(f"{path}: expected at most {max_bytes} bytes, got shape {shape}: {size}")
    header = 4 + 4 * len(shape)
    # Before the array is allocated: a header of 16 bytes must not be able to claim a gigabyte.
    if header + size > capacity:
        raise ValueError(
            f"{path}: truncated: expected {size} bytes for shape {shape}, "
            f"got a file that can hold {max(capacity - header, 0)}"
        )
    body = np.empty(shape, np.uint8)
    got = _fill(stream, body.reshape(-1))
    if got < size:
        raise ValueError(f"{path}: truncated: expected {size} bytes for shape {shape}, got {got}")
    # At the end of a gzip stream, this read is also what compares its checksum.
    if stream.read(1):
        raise ValueError(f"{path}: expected the end after {size} bytes for shape {shape}, got more")
    return body


def _read_shape(path: Path, stream: io.BufferedIOBase) -> tuple[int, ...]:
    start = stream.read(4)
    if len(start) < 4:
        raise ValueError(f"{path}: truncated: expected 4 bytes of IDX header, got {len(start)}")
    if start[:2] != b"\0\0":
        raise ValueError(f"{path}: not an IDX file: expected two zero bytes, got {start[:2].hex()}")
    if start[2] != UINT8:
        raise ValueError(f"{path}: expected IDX type byte {UINT8} (uint8), got {start[2]}")
    rank = start[3]
    if not 1 <= rank <= MAX_DIMENSIONS:
        raise ValueError(f"{path}: expected 1 to {MAX_DIMENSIONS} dimensions, got {rank}")
    sizes = stream.read(4 * rank)
    if len(sizes) < 4 * rank:
        raise ValueError(f"{path}: truncated: expected {rank} dimensions, got {len(sizes) // 4}")
    shape = struct.unpack(f">{rank}I", sizes)
    if 0 in shape:
        raise ValueError(f"{path}: expected no empty dimension, got shape {shape}")
    return shape


def _fill(stream: io.BufferedIOBase, buffer: NDArray[np.uint8]) -> int:
    """Fill the row `buffer` from `stream`; how many bytes there were to put into it."""
    got = 0
    while got < len(buffer):
        # Pieces, because a gzip stream first builds what it returns as an object of its own.
        piece = stream.read(min(len(buffer) - got, 1 << 20))
        if not piece:
            break
        buffer[got : got + len(piece)] = np.frombuffer(piece, np.uint8)
        got += len(piece)
    return got
