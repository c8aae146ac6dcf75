"""Examples that come twice: the same bytes, or nearly the same image."""

import hashlib
import math
from collections import defaultdict
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_BLOCK = 1 << 23  # numbers of a block of examples, in float32
# Of vectors with few entries, many are alike by chance.
LEAST_FEATURES = 32


class Alike(NamedTuple):
    """Test examples, and the training example that each is most like."""

    test: NDArray[np.int64]  # (M,) positions in the test part
    train: NDArray[np.int64]  # (M,) positions in the training part
    correlation: NDArray[np.float32]  # (M,)


def digests(x: NDArray[Any]) -> list[bytes]:
    """A hash of 128 bits (BLAKE2b) of the bytes of each example."""
    return [
        hashlib.blake2b(np.ascontiguousarray(row).tobytes(), digest_size=16).digest() for row in x
    ]


def groups(hashes: list[bytes]) -> list[list[int]]:
    """The positions of each example that comes more than once."""
    places = defaultdict(list)
    for position, digest in enumerate(hashes):
        places[digest].append(position)
    return [found for found in places.values() if len(found) > 1]


def common(train: list[bytes], test: list[bytes]) -> list[tuple[int, int]]:
    """(test position, first training position) of each test example that is in the training part."""
    first: dict[bytes, int] = {}
    for position, digest in enumerate(train):
        first.setdefault(digest, position)
    return [(position, first[digest]) for position, digest in enumerate(test) if digest in first]


def most_alike(train_x: NDArray[Any], test_x: NDArray[Any], least: float) -> Alike:
    """The test examples whose correlation with a training example is `least` or more.

    The mean training image is subtracted, then each example's own mean, and the rest is scaled to length
    1: the correlation is the product of two such rows. An example that has no contrast is left near 0 and
    is like nothing. Both parts pass in blocks, so that memory is bounded whatever their size.
    """
    features = math.prod(train_x.shape[1:])
    step = max(1, _BLOCK // features)
    mean = train_x.mean(axis=0, dtype=np.float64).reshape(-1).astype(np.float32)
    best = np.full(len(test_x), -np.inf, np.float32)
    where = np.zeros(len(test_x), np.int64)
    for start in range(0, len(test_x), min(step, 1024)):
        ours = _directions(test_x[start : start + min(step, 1024)], mean)
        here = slice(start, start + len(ours))
        for other in range(0, len(train_x), step):
            theirs = _directions(train_x[other : other + step], mean)
            products = ours @ theirs.T
            found = products.argmax(axis=1)
            value = np.take_along_axis(products, found[:, None], axis=1)[:, 0]
            better = value > best[here]
            best[here] = np.where(better, value, best[here])
            where[here] = np.where(better, found + other, where[here])
    test = np.flatnonzero(best >= least)
    test = test[np.argsort(-best[test], kind="stable")]
    return Alike(test, where[test], best[test])


def _directions(x: NDArray[Any], mean: NDArray[np.float32]) -> NDArray[np.float32]:
    rows = x.reshape(len(x), -1).astype(np.float32)
    largest = np.maximum(np.abs(rows).max(axis=1, keepdims=True), np.abs(mean).max())
    rows -= mean
    rows -= rows.mean(axis=1, keepdims=True)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    # What rounding leaves of a flat example is not its direction.
    flat = length <= 1e-6 * np.sqrt(rows.shape[1]) * largest
    rows /= np.where(flat, 1, length)
    return rows
