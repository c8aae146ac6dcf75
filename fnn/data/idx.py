"""The IDX file format of MNIST and Fashion-MNIST, read with every field checked.

An IDX file is big-endian: two zero bytes, a type byte (8: uint8), a byte with the number of
dimensions, one uint32 for each dimension, then the numbers in row-major order, and nothing more.
It may be packed with gzip. A file is material from outside: whatever its bytes say, a read ends in
the right array or in a ValueError, and takes no more memory than the file can really fill.

Format: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits", 1998.
"""

import math
import struct
from typing import Any, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from fnn.data.bounded import MAX_BYTES, Opened, Source, Stream, opened, read_up_to, unpacked

MAX_DIMENSIONS = 4
TYPES: dict[int, type[np.generic]] = {
    0x08: np.uint8,
    0x09: np.int8,
    0x0B: np.int16,
    0x0C: np.int32,
    0x0D: np.float32,
    0x0E: np.float64,
}

_HINT = (
    "name the folder that holds the data sets by the argument data_dir or the variable FNN_DATA_DIR, "
    "or fetch the file with download=True"
)

Number = TypeVar("Number", np.uint8, np.int8, np.int16, np.int32, np.float32, np.float64)


@overload
def read_idx(source: Source, *, max_bytes: int = MAX_BYTES) -> NDArray[np.uint8]: ...
@overload
def read_idx(
    source: Source, *, dtype: type[Number], max_bytes: int = MAX_BYTES
) -> NDArray[Number]: ...
def read_idx(
    source: Source, *, dtype: type[np.generic] = np.uint8, max_bytes: int = MAX_BYTES
) -> NDArray[Any]:
    """The array of an IDX file, plain or gzip (told apart by the first two bytes).

    Args:
        source: a path, or an open binary file.
        dtype: the type of the numbers, which the file must declare: uint8, int8, int16, int32,
            float32 or float64.
        max_bytes: the largest array that is accepted.

    Returns:
        `dtype` in the machine's byte order, with the 1 to 4 dimensions that the file declares; a
        new, writable array.

    Raises:
        FileNotFoundError: there is no such file. The message says how to get it.
        ValueError: the file is not IDX, is of another type than `dtype`, declares no dimension, an
            empty one, too many or too large ones, is cut short, has bytes left over, or is a
            corrupt gzip. The message names the file, the expected and the got.
    """
    codes = [code for code, known in TYPES.items() if known is dtype]
    if not codes:
        names = ", ".join(known.__name__ for known in TYPES.values())
        raise ValueError(f"expected a dtype of IDX, one of {names}, got {dtype!r}")
    with opened(source, _HINT) as file, unpacked(file) as content:
        return _read(content, codes[0], np.dtype(dtype), max_bytes)


def _read(file: Opened, code: int, dtype: np.dtype[Any], max_bytes: int) -> NDArray[Any]:
    shape = _read_shape(file.name, file.stream, code)
    size = math.prod(shape) * dtype.itemsize
    if size > max_bytes:
        raise ValueError(
            f"{file.name}: expected at most {max_bytes} bytes, got shape {shape}: {size}"
        )
    header = 4 + 4 * len(shape)
    # Before anything is allocated: a header of 16 bytes must not be able to claim a gigabyte.
    if header + size > file.capacity:
        raise ValueError(
            f"{file.name}: truncated: expected {size} bytes for shape {shape}, "
            f"got a file that can hold {max(file.capacity - header, 0)}"
        )
    body = read_up_to(file.stream, size, file.stored)
    if len(body) < size:
        raise ValueError(
            f"{file.name}: truncated: expected {size} bytes for shape {shape}, got {len(body)}"
        )
    # At the end of a gzip stream, this read is also what compares its checksum.
    if file.stream.read(1):
        raise ValueError(
            f"{file.name}: expected the end after {size} bytes for shape {shape}, got more"
        )
    numbers = body.view(dtype).reshape(shape)
    return numbers if dtype == dtype.newbyteorder(">") else numbers.byteswap(inplace=True)


def _read_shape(name: str, stream: Stream, code: int) -> tuple[int, ...]:
    start = stream.read(4)
    if len(start) < 4:
        raise ValueError(f"{name}: truncated: expected 4 bytes of IDX header, got {len(start)}")
    if start[:2] != b"\0\0":
        raise ValueError(f"{name}: not an IDX file: expected two zero bytes, got {start[:2].hex()}")
    if start[2] != code:
        raise ValueError(
            f"{name}: expected IDX type byte {code} ({TYPES[code].__name__}), got {start[2]}"
            + (f" ({TYPES[start[2]].__name__})" if start[2] in TYPES else "")
        )
    rank = start[3]
    if not 1 <= rank <= MAX_DIMENSIONS:
        raise ValueError(f"{name}: expected 1 to {MAX_DIMENSIONS} dimensions, got {rank}")
    sizes = stream.read(4 * rank)
    if len(sizes) < 4 * rank:
        raise ValueError(f"{name}: truncated: expected {rank} dimensions, got {len(sizes) // 4}")
    shape = struct.unpack(f">{rank}I", sizes)
    if 0 in shape:
        raise ValueError(f"{name}: expected no empty dimension, got shape {shape}")
    return shape
