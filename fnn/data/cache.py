"""What is slow to make from a source, kept in an .npz file and trusted only while the source is the same.

The file carries a fingerprint of the source and of what was asked of it, and is renamed into place
when it is whole; whoever reads it sees the arrays of that very source, or makes them anew.
"""

import hashlib
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fnn.data.arrays import read_npz
from fnn.data.bounded import Source, opened

_FINGERPRINT = "fingerprint"


def fingerprint(source: Source, asked: str) -> bytes:
    """32 bytes that another source, or the same with something else asked of it, does not have.

    Of a file, its content counts; of a folder, the name, the size and the time of every file in it.
    """
    digest = hashlib.sha256(asked.encode())
    if isinstance(source, str | os.PathLike) and Path(source).is_dir():
        for path in sorted(Path(source).rglob("*")):
            of = path.lstat()
            digest.update(
                repr((str(path.relative_to(source)), of.st_size, of.st_mtime_ns)).encode()
            )
        return digest.digest()
    with opened(source) as file:
        start = file.binary.tell()
        while piece := file.binary.read(1 << 20):
            digest.update(piece)
        file.binary.seek(start)
    return digest.digest()


def read_cache(
    path: str | os.PathLike[str], key: bytes, *, max_bytes: int
) -> dict[str, NDArray[Any]] | None:
    """The arrays that were kept under the fingerprint `key`; None if there are none.

    Raises:
        ValueError: the file is damaged, or is none of ours, and so must not be written over.
    """
    if not Path(path).exists():
        return None
    try:
        arrays = read_npz(path, max_bytes=max_bytes)
    except ValueError as error:
        raise ValueError(f"{path}: expected a cache; remove the file to make it anew") from error
    stored = arrays.pop(_FINGERPRINT, None)
    if stored is None or stored.shape != (len(key),) or stored.dtype != np.uint8:
        raise ValueError(
            f"{path}: expected a cache with its fingerprint, got the arrays "
            f"{', '.join(sorted(arrays)) or 'none'}; name another file for the cache"
        )
    return arrays if stored.tobytes() == key else None


def write_cache(
    path: str | os.PathLike[str], key: bytes, arrays: Mapping[str, NDArray[Any]]
) -> None:
    """Keep the arrays under the fingerprint `key`: whole, or not at all."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as out:
            np.savez(
                out, allow_pickle=False, **{_FINGERPRINT: np.frombuffer(key, np.uint8)}, **arrays
            )
            out.flush()
            os.fsync(out.fileno())
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


def packed_text(words: tuple[str, ...]) -> NDArray[np.uint8]:
    """Words without newlines as an array of UTF-8 bytes, a line each."""
    return np.frombuffer("\n".join(words).encode(), np.uint8)


def unpacked_text(array: NDArray[np.uint8]) -> tuple[str, ...]:
    """The words again."""
    return tuple(array.tobytes().decode().split("\n"))
