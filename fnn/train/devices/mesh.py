"""A mesh of devices, written as ``data=4,model=2``."""

import math
from collections.abc import Sequence

import jax
from jax.sharding import AxisType, Mesh

# What the axes of a mesh are for. Batches are split over the first two, parameters over the last two:
# "data" for copies of the network, "fsdp" for copies that keep a part of it each, "model" for its parts.
AXES = ("data", "fsdp", "model")
BATCH_AXES = ("data", "fsdp")


def mesh(written: str = "data=-1", devices: Sequence[jax.Device] | None = None) -> Mesh:
    """The devices in a grid with named axes.

        mesh("data=4,model=2")      mesh("data=-1,model=2")      mesh("data=1")

    Neighbours along the last axis are the devices that are nearest to each other, as far as jax knows:
    put the axis that talks most, "model", last. Within `jit`, XLA chooses how what is not constrained is
    split (axes of type Auto).

    Args:
      written: axes with their sizes, of the names "data", "fsdp" and "model"; one size may be -1, for as
        many as are left.
      devices: all that there are, in all processes, by default; in a grid as large as these.

    Raises:
      ValueError: it cannot be read, has an unknown or a repeated name or a size that is none, or its
        sizes do not multiply to the number of devices.
    """
    devices = jax.devices() if devices is None else list(devices)
    sizes: dict[str, int] = {}
    for part in written.split(","):
        name, equals, number = (piece.strip() for piece in part.partition("="))
        if not equals or name not in AXES or name in sizes:
            raise ValueError(
                f"mesh {written!r}: expected NAME=SIZE, ... with each name at most once, of "
                f"{', '.join(AXES)}; got {part.strip()!r}"
            )
        sizes[name] = _size(written, number)
    open_axes = [name for name, size in sizes.items() if size == -1]
    if len(open_axes) > 1:
        raise ValueError(f"mesh {written!r}: expected one size of -1 at most, got {len(open_axes)}")
    known = math.prod(size for size in sizes.values() if size != -1)
    if open_axes:
        if len(devices) % known:
            raise ValueError(
                f"mesh {written!r}: expected sizes that divide the {len(devices)} devices, got {known}"
            )
        sizes[open_axes[0]] = len(devices) // known
    elif known != len(devices):
        raise ValueError(
            f"mesh {written!r}: expected sizes whose product is the number of devices, {len(devices)}, "
            f"got {known}; write -1 for one of them to fill up, or give fewer devices"
        )
    types = (AxisType.Auto,) * len(sizes)
    return jax.make_mesh(tuple(sizes.values()), tuple(sizes), axis_types=types, devices=devices)


def _size(written: str, number: str) -> int:
    try:
        size = int(number)
    except ValueError:
        size = 0
    if size < 1 and size != -1:
        raise ValueError(
            f"mesh {written!r}: expected sizes of at least 1, or -1 to fill up, got {number!r}"
        )
    return size
