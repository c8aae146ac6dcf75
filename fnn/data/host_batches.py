"""One batch on the host: which examples, read from where, changed how, and put together."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import jax
import numpy as np
from numpy.typing import NDArray

from fnn.data import order

_ALIGNMENT = 64  # bytes
Example = Any  # a tree of arrays and numbers, such as (x, label)
Transform = Callable[[Example], Example]
HostAugment = Callable[[np.random.Generator, Example], Example]


class RandomAccess(Protocol):
    """Examples that are read one at a time, by a Python int from 0 on, from several threads at once."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Example: ...


@dataclass(frozen=True)
class Arrays:
    """A tree of arrays with one row an example; those mapped from a file stay there."""

    tree: Any

    def rows(self, indices: NDArray[np.intp]) -> Any:
        """The rows at `indices` of every array, in memory of their own."""

        def taken(leaf: NDArray[Any]) -> NDArray[Any]:
            array = np.asarray(leaf)
            out = empty((len(indices), *array.shape[1:]), _native(array.dtype))
            if array.flags.c_contiguous and array.flags.aligned and array.dtype.isnative:
                # Clipping never happens; without it, NumPy would fill another array first.
                return np.take(array, indices, axis=0, out=out, mode="clip")
            # Of any other array, such as overlapping windows, `take` copies the whole before it begins.
            out[...] = array[indices]
            return out

        return jax.tree.map(taken, self.tree)

    def __len__(self) -> int:
        return len(jax.tree.leaves(self.tree)[0])

    def __getitem__(self, index: int) -> Example:
        return jax.tree.map(lambda leaf: np.asarray(leaf[index]), self.tree)

    def __reduce__(self) -> tuple[Any, ...]:
        """For another process: a mapped file by its name, where NumPy would send all that it holds."""
        leaves, structure = jax.tree.flatten(self.tree)
        return _arrays, (jax.tree.unflatten(structure, [_portable(leaf) for leaf in leaves]),)


class Mapped(NamedTuple):
    """Where a mapped array lies."""

    file: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int  # bytes
    order: Literal["C", "F"]


def _portable(leaf: Any) -> Any:
    # Of a memmap's slices, only the whole file's own offset is right; they are sent as what they hold.
    if not isinstance(leaf, np.memmap) or isinstance(leaf.base, np.memmap) or not leaf.filename:
        return np.asarray(leaf)
    fortran = leaf.flags.f_contiguous and not leaf.flags.c_contiguous
    return Mapped(str(leaf.filename), leaf.dtype, leaf.shape, leaf.offset, "F" if fortran else "C")


def _arrays(tree: Any) -> Arrays:
    def opened(leaf: Any) -> Any:
        if not isinstance(leaf, Mapped):
            return leaf
        return np.memmap(
            leaf.file,
            dtype=leaf.dtype,
            mode="r",
            offset=leaf.offset,
            shape=leaf.shape,
            order=leaf.order,
        )

    return Arrays(jax.tree.map(opened, tree, is_leaf=lambda leaf: isinstance(leaf, Mapped)))


def opened(source: Any) -> RandomAccess:
    """The source as one that is read by index.

    Raises:
        TypeError: it has no length or cannot be indexed, or a tuple or mapping holds no arrays.
        ValueError: its arrays disagree about the number of examples.
    """
    if not isinstance(source, tuple | dict | np.ndarray | jax.Array):
        if not (hasattr(source, "__len__") and hasattr(source, "__getitem__")):
            raise TypeError(
                "expected arrays with one row an example, or a source with __len__ and __getitem__, "
                f"got {type(source).__name__}"
            )
        return source
    leaves = jax.tree.leaves(source)
    for leaf in leaves:
        if isinstance(leaf, np.ndarray) and leaf.dtype.kind not in "biufcV":
            raise TypeError(
                f"expected arrays of numbers, got one of dtype {leaf.dtype}; make numbers of the names "
                "of classes: classes, labels = np.unique(names, return_inverse=True)"
            )
        if not isinstance(leaf, np.ndarray | jax.Array) or not leaf.ndim:
            raise TypeError(
                "expected a tuple or mapping of arrays with one row an example, found "
                f"{'a scalar' if hasattr(leaf, 'ndim') else type(leaf).__name__} in it; give examples "
                "one by one as a list, or as an object with __len__ and __getitem__"
            )
    counts = {len(leaf) for leaf in leaves}
    if len(counts) != 1:
        raise ValueError(
            f"expected arrays with one row an example, got shapes {[leaf.shape for leaf in leaves]}"
        )
    # A mapped file stays one; an array on a device is fetched once, and not row by row.
    host = jax.tree.map(lambda a: a if isinstance(a, np.ndarray) else np.asarray(a), source)
    return Arrays(host)


def stacked(*rows: Any) -> NDArray[Any]:
    """The rows as one array."""
    arrays = [np.asarray(row) for row in rows]
    dtype = _native(np.result_type(*arrays))
    return np.stack(arrays, out=empty((len(arrays), *arrays[0].shape), dtype))


def _native(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The same numbers in the machine's byte order, as a device wants them."""
    return dtype if dtype.isnative else dtype.newbyteorder("=")


def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Memory that a batch is written to once, aligned so that a CPU device takes it over as it is."""
    size = math.prod(shape) * dtype.itemsize
    memory = np.empty(size + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)


@dataclass(frozen=True)
class HostBatches:
    """``batches(step)``: a pure function that can be sent to another process."""

    source: RandomAccess
    count: int
    transform: Transform | None
    augment: HostAugment | None
    words: NDArray[np.uint32]  # of the run's key
    batch_size: int

    def __call__(self, step: int) -> Any:
        """The batch of step `step` as NumPy arrays in memory of their own."""
        try:
            indices = order.batch_indices(self.words, step, self.count, self.batch_size)
            if isinstance(self.source, Arrays) and self.transform is None and self.augment is None:
                return self.source.rows(indices)
            epoch = step // (self.count // self.batch_size)
            examples = [self.example(epoch, int(index)) for index in indices]
            return jax.tree.map(stacked, *examples)
        except Exception as error:
            error.add_note(f"while making the batch of step {step}")
            raise

    def example(self, epoch: int, index: int) -> Example:
        """One example, as epoch `epoch` sees it."""
        try:
            example = self.source[index]
            if self.transform is not None:
                example = self.transform(example)
            if self.augment is not None:
                example = self.augment(example_generator(self.words, epoch, index), example)
            return example
        except Exception as error:
            error.add_note(f"in example {index}")
            raise


def example_generator(words: NDArray[np.uint32], epoch: int, index: int) -> np.random.Generator:
    """The draws of an example in an epoch: Philox (Salmon et al., 2011) keyed by (words, epoch, index).

    Two examples, epochs or runs never share a key, and nothing depends on what was drawn before.
    """
    run = int(words[0]) << 32 | int(words[-1])
    # As uint64: of a list of large and small numbers, NumPy would make floats.
    key = np.array([run, epoch << 32 | index], np.uint64)
    return np.random.Generator(np.random.Philox(key=key))
