"""Batches and sets of examples as trees: how many there are, some of them, and a part of a batch."""

import jax
import numpy as np

from fnn.layer import Array, PyTree
from fnn.train.options import Batch

_SHOWN = 4  # shapes, in what is said of examples that do not fit together


def unpacked(batch: Batch) -> tuple[PyTree, PyTree, Array | None]:
    """The batch with its weights, or None where it has none.

    Raises:
      TypeError: it is no tuple, such as a dictionary, whose names would be taken for x and target.
      ValueError: it has neither two entries nor three.
    """
    if not isinstance(batch, tuple | list):
        raise TypeError(
            f"expected a batch (x, target) or (x, target, weights), got {type(batch).__name__}"
        )
    if len(batch) not in (2, 3):
        raise ValueError(
            f"expected a batch (x, target) or (x, target, weights), got {len(batch)} entries"
        )
    x, target, *weights = batch
    return x, target, weights[0] if weights else None


def example_count(examples: Batch) -> int:
    """How many examples there are.

    Raises:
      TypeError: there is text among them.
      ValueError: the leaves of x and target disagree about it.
    """
    leaves = jax.tree.leaves(examples)
    for leaf in leaves:
        _check_numbers(leaf)
    shapes = [np.shape(leaf) for leaf in leaves]
    counts = {shape[0] if shape else -1 for shape in shapes}
    if len(counts) != 1 or -1 in counts:
        more = f" and {len(shapes) - _SHOWN} more" if len(shapes) > _SHOWN else ""
        lists = "; of lists of numbers, make arrays" if -1 in counts else ""
        raise ValueError(
            "expected x and target as arrays with one entry an example, got shapes "
            f"{shapes[:_SHOWN]}{more}{lists}"
        )
    return counts.pop()


def _check_numbers(leaf: object) -> None:
    """Refuse text, such as the names of classes, and objects, which no compiled call takes."""
    if isinstance(leaf, str | bytes):
        found, dtype = leaf, ""
    elif isinstance(leaf, np.ndarray) and leaf.dtype.kind in "OSUT":
        found, dtype = leaf.flat[0] if leaf.size else "", f" in an array of dtype {leaf.dtype}"
    else:
        return
    mend = (
        "of the names of classes make numbers: classes, target = np.unique(names, return_inverse=True)"
        if isinstance(found, str | bytes)
        else "of objects that are numbers make an array of them, as by array.astype(np.float32)"
    )
    raise TypeError(
        f"expected examples of numbers, got {str(found)[:40]!r} of type {type(found).__name__}{dtype}; "
        f"{mend}"
    )


def take(examples: Batch, indices: Array) -> Batch:
    """The examples at `indices`."""
    return jax.tree.map(lambda a: a.at[indices].get(mode="promise_in_bounds"), examples)


def part_size(batch: Batch, parts: int, devices: int = 1) -> int:
    """How many examples each of `parts` equal parts of the batch has, which so many devices share.

    Raises:
      ValueError: the examples cannot be divided so.
    """
    count = example_count(batch)
    check_division(count, parts, devices)
    return count // parts


def check_division(count: int, parts: int, devices: int) -> None:
    """Refuse a batch that does not fall into so many micro-batches, and each of them onto the devices.

    Raises:
      ValueError: with the numbers that came, and the one that must divide the batch.
    """
    whole = parts * devices
    if count % whole == 0 and count >= whole:
        return
    if devices == 1:
        divisors, multiple = f"{parts} micro-batches", f"micro_batches, {parts}"
    elif parts == 1:
        divisors = f"{devices} devices"
        multiple = f"the {devices} devices that share it"
    else:
        divisors = f"{parts} micro-batches, of which {devices} devices share each,"
        multiple = f"micro_batches · devices, {parts} · {devices} = {whole}"
    raise ValueError(
        f"expected a batch that {divisors} divide, got {count} examples; give a batch size that is a "
        f"multiple of {multiple}"
    )


def part(batch: Batch, index: Array | int, parts: int) -> Batch:
    """Part `index`: the examples index, index + parts, index + 2 · parts, ….

    Not neighbours, because a batch that is spread over devices is so by blocks of neighbours: this way,
    each device has its share of every part.
    """
    size = part_size(batch, parts)

    def cut(leaf: Array) -> Array:
        table = leaf.reshape(size, parts, *leaf.shape[1:])
        return jax.lax.dynamic_index_in_dim(table, index, axis=1, keepdims=False)

    return jax.tree.map(cut, batch)


def joined(parts: Array) -> Array:
    """What each part gave an example, (parts, size, …), in the batch's order: (parts · size, …)."""
    if parts.ndim < 2:
        return parts
    return parts.swapaxes(0, 1).reshape(-1, *parts.shape[2:])
