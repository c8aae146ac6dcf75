"""Parameters and state on disk: one safetensors file, whose tensors are named by their paths.

    params/hidden/w      state/norm/mean      constants/mean

The format has no pickle and is read by every framework. A checksum in the file's metadata covers names,
values and metadata, so that what is loaded is what was saved.
"""

import json
import os
import secrets
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.extras import require
from fnn.layer import PyTree
from fnn.tree import paths

_CHECKSUM = "fnn.crc32"
_DTYPES = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": jnp.bfloat16,
    "I64": np.int64, "I32": np.int32, "I16": np.int16, "I8": np.int8,
    "U64": np.uint64, "U32": np.uint32, "U16": np.uint16, "U8": np.uint8,
    "BOOL": np.bool_, "C64": np.complex64,
}  # fmt: skip


class Weights(NamedTuple):
    """What a weights file holds."""

    params: PyTree
    state: PyTree
    constants: PyTree  # what belongs to the network but no step changes, such as the data's mean


def save_weights(
    path: str | os.PathLike[str],
    params: PyTree,
    state: PyTree,
    metadata: Mapping[str, str] | None = None,
    *,
    constants: PyTree = (),
) -> None:
    """Write a network's trees to `path`, all or nothing: a reader sees the old file or the new one.

    Missing folders are made. The same trees and metadata give the same bytes.

    Raises:
      TypeError: a leaf has a dtype that the format does not know (a typed random key), or the metadata
        is not all strings.
      ValueError: two leaves have the same path, or the metadata uses the name of our checksum.
    """
    safetensors = require("safetensors.numpy", "experiments")
    path, metadata = Path(path), dict(metadata or {})
    if not all(isinstance(text, str) for item in metadata.items() for text in item):
        raise TypeError(f"{path}: expected metadata of strings, got {metadata}")
    if _CHECKSUM in metadata:
        raise ValueError(f"{path}: expected metadata without {_CHECKSUM!r}, which is written here")
    tensors: dict[str, np.ndarray] = {}
    for name, leaf in paths(Weights(params, state, constants)):
        if name in tensors:
            raise ValueError(f"{path}: expected one leaf at each path, got two at {name!r}")
        tensors[name] = _as_array(name, leaf)
    metadata[_CHECKSUM] = _checksum(tensors, metadata)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as file:
            file.write(_in_order(safetensors.save(tensors, metadata)))
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def load_weights(
    path: str | os.PathLike[str], params: PyTree, state: PyTree, *, constants: PyTree = ()
) -> Weights:
    """The trees that were saved at `path`, for a network of exactly this structure.

        params, state = jax.eval_shape(net.init, key, x)
        weights = load_weights(path, params, state)

    Args:
      path: the file.
      params: a tree of the parameters' structure; its leaves need a shape and a dtype only.
      state: the same for the state.
      constants: the same for the constants.

    Returns:
      Trees of jax arrays.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the file is damaged, or holds other tensors: the message lists the paths that are
        missing, that are too many, and that differ in shape or dtype; or it holds 64-bit numbers while
        jax keeps 32 bits of them.
    """
    path = Path(path)
    tensors, _ = _read(path)
    expected = Weights(params, state, constants)
    wanted = dict(paths(expected))
    faults = [f"  missing: {name} {_describe(wanted[name])}" for name in wanted.keys() - tensors]
    faults += [f"  extra: {name} {_describe(tensors[name])}" for name in tensors.keys() - wanted]
    faults += [
        f"  {name}: expected {_describe(wanted[name])}, got {_describe(tensors[name])}"
        for name in wanted.keys() & tensors
        if _describe(wanted[name]) != _describe(tensors[name])
    ]
    if faults:
        listed = "\n".join(sorted(faults))
        raise ValueError(f"{path}: holds the weights of another network:\n{listed}")
    leaves = [jnp.asarray(tensors[name]) for name in wanted]
    for name, leaf in zip(wanted, leaves, strict=True):
        if leaf.dtype != tensors[name].dtype:
            raise ValueError(
                f"{path}: {name} is {tensors[name].dtype}, of which jax would keep {leaf.dtype}; "
                "turn on jax_enable_x64 first"
            )
    return jax.tree.unflatten(jax.tree.structure(expected), leaves)


def read_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """The metadata that was saved with the weights at `path`.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the file is damaged.
    """
    return _read(Path(path))[1]


def _read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """(tensors by name, metadata without the checksum), once that agrees."""
    safetensors = require("safetensors", "experiments")
    data = path.read_bytes()
    try:
        stored = safetensors.deserialize(data)
    except safetensors.SafetensorError as error:
        raise ValueError(
            f"{path}: expected a whole safetensors file, got {len(data)} bytes that are not one "
            f"({error}); it is damaged or was cut off"
        ) from error
    tensors = {}
    for name, tensor in stored:
        if tensor["dtype"] not in _DTYPES:
            raise ValueError(f"{path}: {name} has dtype {tensor['dtype']}, which is not supported")
        dtype = _DTYPES[tensor["dtype"]]
        tensors[name] = np.frombuffer(tensor["data"], dtype).reshape(tensor["shape"])
    metadata = _split(data)[0].get("__metadata__", {})
    checksum = metadata.pop(_CHECKSUM, None)  # a file from elsewhere has none
    if checksum is not None and checksum != _checksum(tensors, metadata):
        raise ValueError(f"{path}: its checksum does not agree with its content; it is damaged")
    return tensors, metadata


def _split(data: bytes) -> tuple[dict[str, Any], bytes]:
    """A file's header and the rest: eight bytes that hold its length, JSON, the tensors."""
    end = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:end]), data[end:]


def _in_order(data: bytes) -> bytes:
    """The same file with its header sorted; the library's own order differs from run to run."""
    header, tensors = _split(data)
    text = json.dumps(header, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # the format aligns the tensors
    return len(text).to_bytes(8, "little") + text + tensors


def _as_array(name: str, leaf: Any) -> np.ndarray:
    if jax.dtypes.issubdtype(jax.dtypes.result_type(leaf), jax.dtypes.extended):
        raise TypeError(f"{name}: expected an array of numbers, got {leaf.dtype}")
    array = np.ascontiguousarray(leaf).reshape(np.shape(leaf))  # which makes a scalar a vector
    if array.dtype not in [np.dtype(dtype) for dtype in _DTYPES.values()]:
        raise TypeError(f"{name}: expected a dtype that safetensors knows, got {array.dtype}")
    return array


def _checksum(tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> str:
    described = {name: _describe(tensor) for name, tensor in sorted(tensors.items())}
    total = zlib.crc32(json.dumps([described, sorted(metadata.items())]).encode())
    for name in described:
        total = zlib.crc32(tensors[name].tobytes(), total)
    return f"{total:08x}"


def _describe(leaf: Any) -> str:
    dtype = leaf.dtype if hasattr(leaf, "dtype") else np.result_type(leaf)
    return f"{dtype}[{','.join(map(str, np.shape(leaf)))}]"
