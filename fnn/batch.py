"""What a batch is, what may be done to one before the network sees it, and how many an epoch has.

Rooms that work with batches without needing each other meet here: to train loads no reader and no
augmentation, and to augment loads no training.
"""

from collections.abc import Callable

import jax

from fnn.arguments import check_takes, is_public
from fnn.layer import Array, PyTree

Batch = tuple[PyTree, PyTree] | tuple[PyTree, PyTree, Array]  # x, target, and a weight an example
Augmentation = Callable[[Array, Batch], Batch]  # of a key and a batch


def check_input(x: PyTree, where: str) -> None:
    """Refuse what holds no arrays, such as the shape of one.

    Raises:
      TypeError: saying what came, and what to write for it.
    """
    wrong = [
        leaf
        for leaf in jax.tree.leaves(x)
        if not (hasattr(leaf, "shape") and hasattr(leaf, "dtype"))
    ]
    if not wrong:
        return
    got, mend = (
        f"{type(wrong[0]).__name__} {wrong[0]!r:.40}",
        "numpy.asarray(…) makes one of numbers",
    )
    if isinstance(x, tuple | list) and all(type(leaf) is int for leaf in x):
        got = f"a {type(x).__name__} of integers"
        mend = f"for a shape write jax.ShapeDtypeStruct({tuple(x)}, jnp.float32)"
    raise TypeError(f"{where}: expected x of arrays or jax.ShapeDtypeStruct, got {got}; {mend}")


def check_augmentation(given: object, where: str) -> None:
    """Refuse what is no augmentation, such as the function that makes one.

    Raises:
      TypeError: saying what came, and what to do about it.
    """
    if not callable(given):
        raise TypeError(
            f"{where}: expected a function (key, batch) -> batch, such as "
            "augment.affine(augment.rotate(10)), in which random transforms become one, or "
            f"augment.compose(…), got {given!r:.80}"
        )
    if is_public(given, "fnn.augment"):
        name = getattr(given, "__name__", "")
        raise TypeError(
            f"{where}: expected a function (key, batch) -> batch, got augment.{name}, which makes one; "
            f"call it: augment.{name}(…)"
        )
    check_takes(given, ("key", "batch"), where)


def steps_per_epoch(count: int, batch_size: int) -> int:
    """How many whole batches `count` examples make; what is left over differs from epoch to epoch.

    Raises:
      ValueError: there is no example, or not even one batch of them; or more than 2³¹ - 1.
    """
    if count > 0x7FFFFFFF:
        raise ValueError(f"expected at most 2³¹ - 1 examples, got {count}")
    if count < 1:
        raise ValueError(f"expected at least one example, got {count}")
    if not 1 <= batch_size <= count:
        raise ValueError(f"expected a batch size from 1 to the {count} examples, got {batch_size}")
    return count // batch_size
