"""What an augmentation is, and the small algebra of them: per example, composed, now and then.

An augmentation is a pure function ``(key, batch) -> batch`` of a batch ``(x, target)`` or ``(x, target,
weights)``, and `jit`, `vmap`, `scan` and sharding apply to it as it is. Each example draws with a key of
its own, ``fold_in(key, i)`` for its place i in the batch, so that no draw depends on the batch's size.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from fnn.augment.checks import checked_probability
from fnn.batch import Augmentation, Batch, check_augmentation
from fnn.layer import Array, PyTree
from fnn.random import child_key, name_hash

Part = TypeVar("Part")


def compose(*unnamed: Augmentation, **named: Augmentation) -> Augmentation:
    """One augmentation after the other, the first one first.

    Each gets a key that is derived from its name, so that to insert one does not change what the others
    draw. An unnamed ``random_crop(4)`` is called `random_crop_1`, the next one `random_crop_2`. Without
    any it is the identity.

    Raises:
      TypeError: what is given is no such function, or an unnamed one has no `__name__`.
      ValueError: two have one name, or names of which the same random numbers would come.
    """
    parts = named_parts("compose", unnamed, named, _kind)

    def composed(key: Array, batch: Batch) -> Batch:
        for name, part in parts.items():
            with within(name):
                batch = part(part_key(key, name), batch)
        return batch

    return called(composed, "compose")


def sometimes(probability: float, augmentation: Augmentation) -> Augmentation:
    """Each example as it is augmented with this probability, and else as it was.

    Both are computed, and one of them is selected for each example: x, target and weight.

    Raises:
      TypeError: `augmentation` is none.
      ValueError: the probability is not in [0, 1], or the augmentation changes a shape or dtype, as
        `mixup` does with labels; such ones have a `probability` of their own.
    """
    checked_probability("sometimes", probability)
    check_augmentation(augmentation, "sometimes")

    def chosen(key: Array, batch: Batch) -> Batch:
        x, *_ = batch = arrays_of("sometimes", batch)
        with within(getattr(augmentation, "__name__", "augmentation")):
            other = augmentation(part_key(key, "augmentation"), batch)
        before, after = (jax.tree.map(_described, b) for b in (batch, other))
        if before != after:
            raise ValueError(
                "sometimes: expected an augmentation that keeps shapes and dtypes, "
                f"got {after} for {before}; one that makes soft targets takes `probability` itself"
            )
        keys = example_keys(part_key(key, "choice"), x.shape[0])
        choice = jax.vmap(lambda key: uniforms(key, 1)[0])(keys) < probability

        def select(new: Array, old: Array) -> Array:
            return jnp.where(choice.reshape(-1, *(1,) * (old.ndim - 1)), new, old)

        return jax.tree.map(select, other, batch)

    return called(chosen, "sometimes")


def per_example(name: str, function: Callable[[Array, Array], Array]) -> Augmentation:
    """The augmentation of every example by ``function(key, image) -> image``, with a key of its own.

    `image` is (H, W, C); all images that come out have one shape. Targets and weights stay as they are.

        invert = augment.per_example("invert", lambda key, image: 1 - image)

    Raises:
      ValueError: of the augmentation: x is no array (N, H, W, C), or the batch has not two or three
        entries.
    """

    def augmented(key: Array, batch: Batch) -> Batch:
        x, *others = arrays_of(name, batch)
        return rebuilt(jax.vmap(function)(example_keys(key, x.shape[0]), x), others)

    return called(augmented, name)


def identity() -> Augmentation:
    """The batch as it is."""
    return called(lambda key, batch: batch, "identity")


def example_keys(key: Array, count: int) -> Array:
    """(count,) keys: ``fold_in(key, i)`` for the example at place i."""
    places = jnp.arange(count, dtype=jnp.uint32)
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, places)


def uniforms(key: Array, count: int) -> Array:
    """(count,) numbers in [0, 1), float32 also where jax has float64, so that draws are the same."""
    return jax.random.uniform(key, (count,), jnp.float32)


def below(unit: Array, ends: Array) -> Array:
    """Whole numbers from 0 to `ends` - 1, int32, of uniform numbers in [0, 1)."""
    # A draw of 23 bits, scaled: `randint` makes two draws and divides. The product may be rounded up.
    scaled = jnp.floor(unit * ends.astype(jnp.float32)).astype(jnp.int32)
    return jnp.minimum(scaled, ends - 1)


def arrays_of(name: str, batch: Batch) -> Batch:
    """The batch with jax arrays, x among them an array of images.

    Raises:
      TypeError: x is a tree of several arrays.
      ValueError: there are not two or three entries, or x is not (N, H, W, C).
    """
    if not isinstance(batch, tuple | list) or len(batch) not in (2, 3):
        got = f"{len(batch)} entries" if isinstance(batch, tuple | list) else type(batch).__name__
        raise ValueError(f"{name}: expected a batch (x, target) or (x, target, weights), got {got}")
    x, *others = batch
    if not hasattr(x, "shape"):
        raise TypeError(
            f"{name}: expected x to be one array of images, got {type(x).__name__}; augment the "
            "array of a tree with a function of your own around this one"
        )
    if len(x.shape) != 4:
        raise ValueError(f"{name}: expected images x of shape (N, H, W, C), got {x.shape}")
    return rebuilt(jnp.asarray(x), jax.tree.map(jnp.asarray, others))


def named_parts(
    container: str,
    unnamed: tuple[Part, ...],
    named: Mapping[str, Part],
    kind_of: Callable[[str, Part], str],
) -> dict[str, Part]:
    """The parts by name, in order: of kind `crop`, an unnamed one is `crop_1`, the next `crop_2`.

    Raises:
      TypeError: an unnamed one is of no kind.
      ValueError: two have one name, or names with one CRC-32, of which keys are made.
    """
    count: Counter[str] = Counter()
    parts: dict[str, Part] = {}
    for part in unnamed:
        kind = kind_of(container, part)
        if not kind:
            raise TypeError(
                f"{container}: expected a function with a name, got {part!r}; "
                f"give it one, as in {container}(crop=…)"
            )
        count[kind] += 1
        parts[f"{kind}_{count[kind]}"] = part
    for name, part in named.items():
        kind_of(container, part)
        if name in parts:
            raise ValueError(f"{container}: two parts are called {name!r}; rename the named one")
        parts[name] = part
    hashes = {name_hash(name): name for name in parts}
    if len(hashes) < len(parts):
        same = sorted(set(parts) - set(hashes.values()))
        raise ValueError(
            f"{container}: expected names with different CRC-32s, from which keys are made; rename {same}"
        )
    return parts


@contextmanager
def within(name: str) -> Iterator[None]:
    """Run a part under its name, in profiles and in a note on whatever it raises."""
    try:
        with jax.named_scope(name):
            yield
    except Exception as error:
        error.add_note(f"in augmentation {name}")
        raise


def called(augmentation: Augmentation, name: str) -> Augmentation:
    """The same function under the name from which `compose` makes its key."""

    def function(key: Array, batch: Batch) -> Batch:
        return augmentation(key, batch)

    function.__name__ = function.__qualname__ = name
    return function


def part_key(key: Array, name: str) -> Array:
    """The key of the part called `name`.

    Raises:
      ValueError: there is no key.
    """
    child = child_key(key, name)
    if child is None:
        raise ValueError("expected a key to augment with, got None")
    return child


def rebuilt(x: PyTree, others: list[Any]) -> Batch:
    """The batch of two or three entries again, for a type checker that counts them."""
    return (x, others[0]) if len(others) == 1 else (x, others[0], others[1])


def _kind(container: str, part: Augmentation) -> str:
    """What an unnamed augmentation is called after; empty if it has no name."""
    check_augmentation(part, container)
    return getattr(part, "__name__", "")


def _described(leaf: Array) -> tuple[tuple[int, ...], str]:
    return leaf.shape, str(leaf.dtype)
