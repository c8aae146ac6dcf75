"""NumPy's files, .npy and .npz, of plain numbers: no pickle is ever loaded, no header evaluated.

An .npy file is a magic string, a version, the length of a header, the header (a Python dictionary
literal with the type, the order and the shape), then the numbers. An .npz file is a zip of them.
NumPy's own reader allocates what the header claims before it looks how long the file is.

Format: R. Kern, NumPy Enhancement Proposal 1, 2007. PKWARE, ".ZIP File Format Specification".
"""

import math
import re
import struct
import zipfile
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fnn.data.bounded import DEFLATE_MAX_RATIO, MAX_BYTES, Opened, Source, opened, read_up_to

MAX_HEADER = 1 << 12  # bytes
MAX_DIMENSIONS = 32
MAX_MEMBERS = 256
MAX_NAME = 255  # characters

TYPES = (
    *("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"),
    *("f2", "f4", "f8", "c8", "c16"),
)
_MAGIC = b"\x93NUMPY"
_ITEM = (
    r" *(?:'descr' *: *'([^']*)'|'fortran_order' *: *(True|False)"
    r"|'shape' *: *\(([\d, ]*)\)) *"
)
_HEADER = re.compile(rf"\{{{_ITEM},{_ITEM},{_ITEM},? *\}} *\n?", re.ASCII)
_SIZE = r"(?:0|[1-9]\d{0,14})"
_SHAPE = re.compile(rf"(?:|{_SIZE},|{_SIZE}(?:,{_SIZE})+,?)", re.ASCII)
_ZIP_END = struct.Struct("<4s4H2LH")
_ZIP_ENTRY = 46  # bytes, and the name
_ENCRYPTED = 1
_ZIP_FAULTS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    NotImplementedError,
    RuntimeError,
)


def read_npy(source: Source, *, max_bytes: int = MAX_BYTES) -> NDArray[Any]:
    """The array of an .npy file of booleans, integers, real or complex numbers.

    Args:
        source: a path, or an open binary file.
        max_bytes: the largest array that is accepted.

    Returns:
        A new, writable array in the machine's byte order, in C or Fortran order as the file says.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not .npy, holds Python objects (a pickle), structures, strings or
            dates, claims more than `max_bytes` or than it can hold, is cut short or has bytes left
            over.
    """
    with opened(source) as file:
        return _read(file, max_bytes)


def read_npz(source: Source, *, max_bytes: int = MAX_BYTES) -> dict[str, NDArray[Any]]:
    """The arrays of an .npz file by their names, stored or compressed.

    Args:
        source: a path, or an open binary file.
        max_bytes: the largest sum of the arrays that is accepted.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no zip of .npy files, has more than 256 of them or two of one name,
            is damaged or encrypted; or one of them is as `read_npy` refuses it.
    """
    with opened(source) as file:
        _check_directory(file)
        try:
            archive = zipfile.ZipFile(file.binary)
        except (*_ZIP_FAULTS, ValueError) as error:
            raise ValueError(f"{file.name}: expected a whole .npz file, got: {error}") from error
        with archive:
            entries = archive.infolist()
            _check_entries(file, entries, max_bytes)
            return {
                entry.filename.removesuffix(".npy"): _member(file, archive, entry, max_bytes)
                for entry in entries
            }


def _member(
    file: Opened, archive: zipfile.ZipFile, entry: zipfile.ZipInfo, max_bytes: int
) -> NDArray[Any]:
    name = f"{file.name}[{entry.filename}]"
    try:
        stream = archive.open(entry)
    except (*_ZIP_FAULTS, ValueError) as error:
        raise ValueError(f"{name}: expected a whole member, got: {error}") from error
    member = Opened(name, stream, entry.file_size, entry.compress_size, file.binary)
    with stream:
        try:
            return _read(member, max_bytes)
        except _ZIP_FAULTS as error:
            raise ValueError(f"{name}: expected a whole member, got: {error}") from error


def _check_directory(file: Opened) -> None:
    """Bound what the zip's directory can cost before it is read: objects ten times its size."""
    start = file.binary.tell()
    head = file.binary.read(4)
    file.binary.seek(start + max(file.stored - _ZIP_END.size - 20, 0))
    end = file.binary.read(_ZIP_END.size + 20)
    file.binary.seek(start)
    if (
        len(end) < _ZIP_END.size
        or head not in (b"PK\3\4", b"PK\5\6")
        or end[-_ZIP_END.size :][:4] != b"PK\5\6"
        or b"PK\6\7" in end[: -_ZIP_END.size]  # zip64, for files beyond 4 GB
    ):
        raise ValueError(f"{file.name}: expected a whole .npz file, got no zip, or one that is cut")
    entries, size = _ZIP_END.unpack(end[-_ZIP_END.size :])[4:6]
    if entries > MAX_MEMBERS or size > MAX_MEMBERS * (_ZIP_ENTRY + MAX_NAME):
        raise ValueError(
            f"{file.name}: expected at most {MAX_MEMBERS} arrays, "
            f"got {entries} in a directory of {size} bytes"
        )


def _check_entries(file: Opened, entries: list[zipfile.ZipInfo], max_bytes: int) -> None:
    names = [entry.filename for entry in entries]
    if len(entries) > MAX_MEMBERS or len({*names}) < len(names):
        raise ValueError(
            f"{file.name}: expected at most {MAX_MEMBERS} arrays of different names, got {len(names)}"
        )
    for entry in entries:
        name = f"{file.name}[{entry.filename[:80]}]"
        if not entry.filename.endswith(".npy") or len(entry.filename) > MAX_NAME:
            raise ValueError(f"{name}: expected names that end in .npy, got another")
        if entry.flag_bits & _ENCRYPTED:
            raise ValueError(f"{name}: expected plain members, got an encrypted one")
        ratio = {zipfile.ZIP_STORED: 1, zipfile.ZIP_DEFLATED: DEFLATE_MAX_RATIO}
        if entry.compress_type not in ratio:
            raise ValueError(
                f"{name}: expected a stored or deflated member, got type {entry.compress_type}"
            )
        if entry.file_size > entry.compress_size * ratio[entry.compress_type]:
            raise ValueError(
                f"{name}: expected {entry.file_size} bytes, "
                f"got {entry.compress_size} that cannot hold them"
            )
    # Members may not overlap: one deflated block that is listed many times is a bomb.
    if sum(entry.compress_size for entry in entries) > file.stored:
        raise ValueError(f"{file.name}: expected members that fit into the file, got larger ones")
    total = sum(entry.file_size for entry in entries)
    if total > max_bytes + MAX_MEMBERS * MAX_HEADER:
        raise ValueError(f"{file.name}: expected at most {max_bytes} bytes, got {total}")


def _read(file: Opened, max_bytes: int) -> NDArray[Any]:
    start = file.stream.read(8)
    wide = start[6:] in (b"\2\0", b"\3\0")
    if start[:6] != _MAGIC or not (wide or start[6:] == b"\1\0"):
        raise ValueError(f"{file.name}: expected an .npy file of version 1 to 3, got {start!r}")
    counted = file.stream.read(4 if wide else 2)
    length = int.from_bytes(counted, "little")
    if length > MAX_HEADER:
        raise ValueError(f"{file.name}: expected a header of at most {MAX_HEADER} bytes: {length}")
    header = file.stream.read(length)
    if len(header) < length:
        raise ValueError(f"{file.name}: truncated: expected {length} bytes of header")
    dtype, fortran, shape = _parse(file.name, header.decode("utf-8", "replace"))
    # Of an empty array too: a shape with a zero in it may claim to be as long as it likes.
    extent = math.prod(max(n, 1) for n in shape) * dtype.itemsize
    if extent > max_bytes:
        raise ValueError(
            f"{file.name}: expected at most {max_bytes} bytes, got shape {shape} of {dtype}"
        )
    size = math.prod(shape) * dtype.itemsize
    left = file.capacity - len(start) - len(counted) - length
    if size > left:
        raise ValueError(
            f"{file.name}: truncated: expected {size} bytes for shape {shape} of {dtype}, "
            f"got a file that can hold {max(left, 0)}"
        )
    body = read_up_to(file.stream, size, file.stored)
    if len(body) < size:
        raise ValueError(f"{file.name}: truncated: expected {size} bytes, got {len(body)}")
    # At the end of a member of a zip, this read is also what compares its checksum.
    if file.stream.read(1):
        raise ValueError(
            f"{file.name}: expected the end after {size} bytes for shape {shape} of {dtype}, got more"
        )
    if dtype.kind == "b" and size and body.max() > 1:
        raise ValueError(f"{file.name}: expected booleans 0 and 1, got a byte {body.max()}")
    numbers = body.view(dtype)
    if not dtype.isnative:
        numbers = numbers.byteswap(inplace=True).view(dtype.newbyteorder("="))
    return numbers.reshape(shape[::-1]).T if fortran else numbers.reshape(shape)


def _parse(name: str, header: str) -> tuple[np.dtype[Any], bool, tuple[int, ...]]:
    """The type, whether the order is Fortran's, and the shape."""
    found = _HEADER.fullmatch(header)
    items = found.groups() if found else ()
    descrs, orders, shapes = ([i for i in items[k::3] if i is not None] for k in range(3))
    if not (len(descrs) == len(orders) == len(shapes) == 1):
        raise ValueError(
            f"{name}: expected a header with descr (of plain numbers), fortran_order and shape, "
            f"got {header[:120]!r}"
        )
    order, code = descrs[0][:1], descrs[0][1:]
    if "O" in descrs[0]:
        raise ValueError(
            f"{name}: expected plain numbers, got Python objects: a pickle, not loaded"
        )
    ordered = order in ("<", ">") or (order == "|" and code.endswith("1"))
    if code not in TYPES or not ordered:
        raise ValueError(
            f"{name}: expected numbers of a type such as '<f4', one of {', '.join(TYPES)}, "
            f"got {descrs[0][:40]!r}"
        )
    shape = shapes[0].replace(" ", "")
    if not _SHAPE.fullmatch(shape) or shape.count(",") > MAX_DIMENSIONS:
        raise ValueError(f"{name}: expected a shape of whole numbers, got ({shapes[0][:80]})")
    sizes = tuple(int(n) for n in shape.split(",") if n)
    return np.dtype(order.replace("|", "=") + code), orders[0] == "True", sizes
