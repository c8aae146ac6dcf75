"""A tree of arrays as orbax writes and reads it, and what is kept beside it to give back the same tree.

Orbax stores arrays of numbers by their place in nested dicts. What it does not keep is described in a
`Leaf` each: typed random keys (their data is stored), weak types, and arrays without elements. Nodes
without leaves (a `Static`, an empty tuple) come from the tree that is restored onto.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, Sharding

from fnn.extras import require
from fnn.layer import PyTree
from fnn.tree import paths

_SHOWN = 40  # lines of a difference


class Leaf(NamedTuple):
    """What a leaf is, without its values."""

    shape: tuple[int, ...]
    dtype: str
    weak: bool  # whether its dtype gives way to another's
    implementation: str | None  # of a random key

    def __str__(self) -> str:
        """As `float32[3,5]`."""
        kind = self.dtype if self.implementation is None else f"key<{self.implementation}>"
        return f"{kind}[{','.join(map(str, self.shape))}]"


def described(tree: PyTree) -> dict[str, Leaf]:
    """Every leaf by its path; those of arrays, or of `jax.ShapeDtypeStruct`.

    Raises:
      ValueError: two leaves have the same path.
      TypeError: a leaf is no array and no number.
    """
    leaves: dict[str, Leaf] = {}
    for path, leaf in paths(tree):
        if path in leaves:
            raise ValueError(f"expected one leaf at each path, got two at {path!r}")
        try:
            aval = leaf if isinstance(leaf, jax.ShapeDtypeStruct) else jax.typeof(leaf)
        except TypeError as error:
            raise TypeError(f"{path}: expected an array, got {type(leaf).__name__}") from error
        leaves[path] = Leaf(
            tuple(aval.shape),
            str(aval.dtype),
            bool(getattr(aval, "weak_type", False)),
            _implementation(leaf) if _is_key(aval.dtype) else None,
        )
    return leaves


def check_structure(place: Path, given: Mapping[str, Leaf], saved: Mapping[str, Leaf]) -> None:
    """Refuse a checkpoint of another structure than the given tree's.

    Raises:
      ValueError: with a line for every leaf that is missing, extra, or of another shape or dtype.
    """
    lines = [f"  missing in the checkpoint: {path} {given[path]}" for path in given.keys() - saved]
    lines += [f"  extra in the checkpoint: {path} {saved[path]}" for path in saved.keys() - given]
    lines += [
        f"  {path}: expected {given[path]}, the checkpoint holds {saved[path]}"
        for path in given.keys() & saved.keys()
        if str(given[path]) != str(saved[path])
    ]
    if not lines:
        return
    hint = ""
    if all(" optimizer/" in line for line in lines):
        hint = "\nAll of it lies in the optimizer's state: is it another optimizer?"
    if len(lines) > _SHOWN:
        lines = [*sorted(lines)[:_SHOWN], f"  … and {len(lines) - _SHOWN} more"]
    listed = "\n".join(sorted(lines))
    raise ValueError(f"{place}: expected the structure of the given train state:\n{listed}{hint}")


def arrays_of(tree: PyTree, *, copied: bool) -> PyTree:
    """What orbax is to store: nested dicts of arrays of numbers, with at least one element each.

    Arrays of one device come to the host, where each process has them; others stay in their shards.
    With `copied` all is memory of its own, which the donation of the tree to a step does not touch.
    """
    flat: list[tuple[tuple[Any, ...], Any]] = []
    for place, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        numbers = jax.random.key_data(leaf) if _is_key(jax.typeof(leaf).dtype) else leaf
        if np.size(numbers) == 0:
            continue
        if isinstance(numbers, jax.Array) and len(numbers.sharding.device_set) > 1:
            array = jax.device_put(numbers, may_alias=False) if copied else numbers
        else:
            # Through jax, which says what a NumPy or a Python number is under its settings.
            array = np.array(jnp.asarray(numbers), copy=copied or None)
        flat.append((place, array))
    return _nested(flat)


def write(folder: Path, arrays: PyTree) -> None:
    """Store what `arrays_of` gave in the new folder `folder`."""
    ocp = require("orbax.checkpoint", "runs")
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as writer:
        writer.save(folder.absolute(), args=ocp.args.PyTreeSave(arrays))


def read(folder: Path, like: PyTree, saved: Mapping[str, Leaf]) -> PyTree:
    """The tree that was stored, of the structure of `like`, on its devices and in its shards.

    An array that is bound to no device in `like` is bound to none here.
    """
    ocp = require("orbax.checkpoint", "runs")
    flat, structure = jax.tree_util.tree_flatten_with_path(like)
    places = [place for place, _ in flat]
    leaves = [leaf for _, leaf in flat]
    names = [path for path, _ in paths(like)]
    stored = [name for name in names if 0 not in saved[name].shape]
    shardings = {name: _sharding(leaf) for name, leaf in zip(names, leaves, strict=True)}

    def how(name: str, leaf: Any) -> Any:
        sharding = shardings[name]
        one = sharding is None or len(sharding.device_set) == 1
        # That of a key fits its data, whose last axis it leaves whole, if it goes by axes.
        if one or (_is_key(leaf.dtype) and not isinstance(sharding, NamedSharding)):
            return ocp.RestoreArgs(restore_type=np.ndarray)
        return ocp.ArrayRestoreArgs(restore_type=jax.Array, sharding=sharding)

    arguments = _nested(
        [
            (place, how(name, leaf))
            for place, name, leaf in zip(places, names, leaves, strict=True)
            if name in stored
        ]
    )
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as reader:
        tree = reader.restore(
            folder.absolute(), args=ocp.args.PyTreeRestore(restore_args=arguments)
        )
    found = {
        name: _at(tree, place) for name, place in zip(names, places, strict=True) if name in stored
    }
    restored = [_as_it_was(found.get(name), saved[name], shardings[name]) for name in names]
    return jax.tree.unflatten(structure, restored)


def _as_it_was(array: Any, leaf: Leaf, sharding: Sharding | None) -> jax.Array:
    """The leaf from what was stored of it, which is nothing where it has no elements."""
    if leaf.implementation is not None:
        if array is None:
            whole = jax.random.split(jax.random.key(0, impl=leaf.implementation), leaf.shape)
        else:
            whole = jax.random.wrap_key_data(jnp.asarray(array), impl=leaf.implementation)
    elif isinstance(array, jax.Array):
        whole = array
    else:
        owned = np.zeros(leaf.shape, leaf.dtype) if array is None else array
        whole = _weak(owned) if leaf.weak else jax.device_put(owned, may_alias=False)
    if sharding is None or (whole.committed and whole.sharding == sharding):
        return whole
    return jax.device_put(whole, sharding)


def _weak(array: np.ndarray) -> jax.Array:
    """The same numbers as jax takes Python's: by Python's, for which alone there is a public way."""
    if array.size == 0:
        return jnp.full(array.shape, array.dtype.type(0).item())
    weak = jnp.stack([jnp.asarray(number) for number in array.ravel().tolist()])
    return weak.reshape(array.shape)


def _sharding(leaf: Any) -> Sharding | None:
    """Where a leaf is bound to be; None where jax may choose."""
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return leaf.sharding
    if isinstance(leaf, jax.Array) and (leaf.committed or len(leaf.sharding.device_set) > 1):
        return leaf.sharding
    return None


def _nested(flat: list[tuple[tuple[Any, ...], Any]]) -> dict[str, Any]:
    """Dicts by the names on the way, as `fnn.tree.paths` spells them."""
    tree: dict[str, Any] = {}
    for place, leaf in flat:
        inner = tree
        *above, last = _names(place)
        for name in above:
            inner = inner.setdefault(name, {})
        inner[last] = leaf
    return tree


def _at(tree: Any, place: tuple[Any, ...]) -> Any:
    for name in _names(place):
        tree = tree[name]
    return tree


def _names(place: tuple[Any, ...]) -> list[str]:
    return [jax.tree_util.keystr((entry,), simple=True) for entry in place] or [""]


def _is_key(dtype: Any) -> bool:
    return bool(jnp.issubdtype(dtype, jax.dtypes.prng_key))


def _implementation(keys: Any) -> str:
    """The name by which `jax.random.wrap_key_data` knows it; of a shape alone, only a trace tells."""
    names: list[str] = []
    jax.eval_shape(lambda keys: names.append(str(jax.random.key_impl(keys))), keys)
    return names[0]
