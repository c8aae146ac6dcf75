"""One set of parameters at several places of a network.

θ_b = θ_a (or its transpose)        dθ_a = what a's use sends back + what b's use does
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn.compose.child import describe
from fnn.compose.watch import watched
from fnn.compose.wrapper import check_layer, wrapper
from fnn.layer import Array, Key, Layer, PyTree


class Transposed(NamedTuple):
    """The parameter at a path, with its axes in reverse order."""

    path: str


def transposed(path: str) -> Transposed:
    """For `shared`: the transpose of the parameter at `path`. Source: Press, Wolf (2017)."""
    return Transposed(path)


def shared(net: Layer, places: Mapping[str, str | Transposed]) -> Layer:
    """`net` with the parameters at some paths taken from other paths.

        gpt = shared(
            chain(embed=embedding(…), blocks=…, head=linear(vocabulary)),
            {"head/w": transposed("embed/table")},
        )
        twins = shared(parallel(left=encoder, right=encoder), {"right": "left"})

    Forward: the net's, with each shared parameter put in at every place. Backward: the net's; then the
    gradients of the places add up, since a parameter that is used twice moves the loss by both uses.

    Shapes: the net's. The parameters are the net's without those taken from elsewhere: None is in their
    place, so they are stored, counted and trained once. State is not shared. Cache: the net's.
    Source: Press, Wolf (2017) for the transposed use.

    Args:
      net: the network.
      places: path of what is replaced -> path of what replaces it, one parameter or a whole subtree;
        paths as in every report, such as ``head/w``.

    Raises:
      TypeError: `net` is no Layer.
      ValueError: a path that does not exist (it lists those that do) or lies within another one, a source
        that is itself replaced, or shapes or trees that differ.
    """
    check_layer("shared", net)
    _check_paths(places)

    def filled(params: PyTree) -> PyTree:
        for place, source in places.items():
            params = _with(params, place, _used(_at(params, _path(source)), source))
        return params

    def emptied(params: PyTree) -> PyTree:
        for place in places:
            params = _with(params, place, None)
        return params

    def init(key: Key, x: PyTree) -> tuple[PyTree, PyTree]:
        params, state = net.init(key, x)
        for place, source in places.items():
            drawn, given = _at(params, place), _used(_at(params, _path(source)), source)
            if _shapes(drawn) != _shapes(given):
                raise ValueError(
                    f"shared: expected for {place!r} what it has alone, {describe(drawn)}, got "
                    f"{describe(given)} from {source!r}"
                )
        return emptied(params), state

    def forward(
        params: PyTree, state: PyTree, x: PyTree, key: Key
    ) -> tuple[PyTree, PyTree, PyTree]:
        return net.forward(filled(params), state, x, key)

    def backward(params: PyTree, cache: PyTree, dy: PyTree) -> tuple[PyTree, PyTree]:
        dparams, dx = net.backward(filled(params), cache, dy)
        if watched(dparams):
            return dparams, dx
        for place, source in places.items():
            sent_back = _used(_at(dparams, place), source)  # a transpose is its own inverse
            total = jax.tree.map(jnp.add, _at(dparams, _path(source)), sent_back)
            dparams = _with(dparams, _path(source), total)
        return emptied(dparams), dx

    def predict(params: PyTree, state: PyTree, x: PyTree) -> PyTree:
        return net.predict(filled(params), state, x)

    return wrapper(
        lambda inner: shared(inner, places),
        net,
        f"shared({net.name})",
        init,
        forward,
        backward,
        predict,
    )


def _path(source: str | Transposed) -> str:
    return source.path if isinstance(source, Transposed) else source


def _used(tree: PyTree, source: str | Transposed) -> PyTree:
    """The parameters in the form in which they are used at the other place."""
    return jax.tree.map(_reversed, tree) if isinstance(source, Transposed) else tree


def _reversed(leaf: Array) -> Array:
    return leaf.T


def _shapes(tree: PyTree) -> tuple[Any, list[Any]]:
    leaves, structure = jax.tree.flatten(tree)
    return structure, [leaf.shape for leaf in leaves]


def _check_paths(places: Mapping[str, str | Transposed]) -> None:
    if not places:
        raise ValueError("shared: expected at least one place to share a parameter with")
    for place in places:
        for other in (*(p for p in places if p != place), *map(_path, places.values())):
            if f"{other}/".startswith(f"{place}/") or f"{place}/".startswith(f"{other}/"):
                raise ValueError(
                    f"shared: {place!r} is replaced, so it can be no source, nor lie in {other!r} or "
                    "hold it; name the one that keeps its parameters as the source of all others"
                )


def _steps(tree: PyTree) -> dict[str, PyTree]:
    """The subtrees one step down, by the names that they have in paths."""
    if isinstance(tree, Mapping):
        return {str(name): part for name, part in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return dict(zip(tree._fields, tree, strict=True))
    if isinstance(tree, tuple | list):
        return {str(i): part for i, part in enumerate(tree)}
    return {}


def _at(tree: PyTree, path: str) -> PyTree:
    for name in path.split("/"):
        below = _steps(tree)
        if name not in below:
            raise ValueError(f"shared: no {name!r} of {path!r} among {sorted(below)}")
        tree = below[name]
    return tree


def _with(tree: PyTree, path: str, value: PyTree) -> PyTree:
    """The tree with `value` at `path`."""
    name, _, rest = path.partition("/")
    below = _steps(tree)
    if name not in below:
        raise ValueError(f"shared: no {name!r} of {path!r} among {sorted(below)}")
    below[name] = _with(below[name], rest, value) if rest else value
    if isinstance(tree, Mapping):
        return {key: below[str(key)] for key in tree}
    if hasattr(tree, "_fields"):
        return type(tree)(**below)
    return type(tree)(below.values())
