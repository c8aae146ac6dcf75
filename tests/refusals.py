"""Bad inputs of one row of the tables: what it does not take, it refuses with a reason.

A row stands in a chain, as ``chain(inner=layer)``, and gets inputs of other ranks and widths than
those that its parameters were made for, numbers without axes, and integers. What it does not take, it
refuses with a ValueError or TypeError, whose note has the path. Which kinds do not apply to a layer (an
elementwise one takes every shape, a linear one every rank) is not listed here, it follows: what a layer
takes, `init` must take, too, and give the same parameters for. A silent broadcast to a width that the
parameters do not have is therefore found.
"""

from collections.abc import Callable, Iterator

import jax
import numpy as np
from tables import LayerRow, floating

from fnn import chain
from fnn.layer import PyTree
from fnn.tree import paths

Leaf = np.ndarray


def wider(leaf: Leaf) -> Leaf:
    """One number more along the last axis."""
    return np.concatenate([leaf, leaf[..., -1:]], axis=-1) if leaf.ndim else leaf


def bad_inputs(x: PyTree) -> Iterator[tuple[str, PyTree]]:
    """Inputs that differ from x in rank or width: the whole, and where x has several leaves, one."""

    def every(change: Callable[[Leaf], Leaf]) -> PyTree:
        return jax.tree.map(change, x)

    def one(change: Callable[[Leaf], Leaf]) -> PyTree:
        leaves, tree = jax.tree.flatten(x)
        return jax.tree.unflatten(tree, [change(leaves[0]), *leaves[1:]])

    yield "a number without axes", every(lambda leaf: leaf.reshape(-1)[0])
    yield "an axis less", every(lambda leaf: leaf[0] if leaf.ndim else leaf)
    yield "an axis more", every(lambda leaf: leaf[None])
    yield "another width", every(wider)
    yield "a width of 1", every(lambda leaf: leaf[..., :1] if leaf.ndim else leaf)
    if len(jax.tree.leaves(x)) > 1:
        yield "another width of one leaf", one(wider)
        yield "one leaf with an axis less", one(lambda leaf: leaf[0] if leaf.ndim else leaf)


def signature(tree: PyTree) -> list[tuple[str, tuple[int, ...], str]]:
    return [(path, leaf.shape, str(leaf.dtype)) for path, leaf in paths(tree)]


def refusal(function: Callable[..., PyTree], *arguments: PyTree) -> str | None:
    """What the function says against its arguments, which is only traced; None if it takes them."""
    try:
        jax.eval_shape(function, *arguments)
    except (ValueError, TypeError) as error:
        message = str(error)
        assert "expected" in message, message
        assert "got" in message, message
        notes = getattr(error, "__notes__", [])
        assert any("in layer inner" in note and "given" in note for note in notes), notes
        return message
    return None


def refuses_or_is_right(row: LayerRow, rng: np.random.Generator, key: jax.Array) -> None:
    """Fail for a bad input that is taken as if it were right, or refused without a reason."""
    x, net = row.draw(rng), chain(inner=row.build())
    params, state = net.init(key, x)
    integers = jax.tree.map(lambda leaf: leaf.astype(np.int32) if floating(leaf) else leaf, x)
    refused = refusal(lambda x: net.forward(params, state, x, key)[0], integers)
    if any(map(floating, jax.tree.leaves(x))) and not row.takes_integers:
        assert refused is not None
        assert "floating" in refused
        assert "int32" in refused
    else:
        assert refused is None
    for kind, bad in bad_inputs(x):
        passes = {
            "forward": lambda bad: net.forward(params, state, bad, key),
            "predict": lambda bad: net.predict(params, state, bad),
        }
        refused = {name: refusal(function, bad) for name, function in passes.items()}
        assert len({words is None for words in refused.values()}) == 1, (kind, refused)
        if refused["forward"] is not None:
            continue
        assert refusal(lambda bad: net.init(key, bad), bad) is None, kind
        made = jax.eval_shape(lambda bad: net.init(key, bad), bad)
        assert signature(made) == signature((params, state)), f"{kind}: taken as if it were right"

        def gradients(bad):
            y, _, cache = net.forward(params, state, bad, key)
            return y, net.backward(params, cache, y)

        y, (dparams, dx) = jax.eval_shape(gradients, bad)
        assert signature(y) == signature(jax.eval_shape(passes["predict"], bad)), kind
        assert signature(dparams) == signature(params), kind
        directions = jax.tree.map(lambda leaf: leaf if floating(leaf) else None, bad)
        assert signature(dx) == signature(directions), kind
