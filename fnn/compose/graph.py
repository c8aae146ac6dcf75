"""A directed acyclic graph of named layers.

y_v = f_v(y_u, y_w, …) for every node v        dy_u = Σ over all v that take u of (∂f_v/∂y_u)ᵀ dy_v
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import jax

from fnn.compose.child import check_children, describe, name_children, within
from fnn.compose.cotangent import Outline, cotangent, outline
from fnn.compose.parallel import add_trees
from fnn.layer import Key, Layer, PyTree, Static, as_arrays, output_shape
from fnn.random import child_key

# Where the cache holds `Ends`, beside the nodes' caches: a node can have no such name.
_ENDS = "/ends"
Node = tuple[Any, ...]  # a Layer and the names of its inputs


class Form(NamedTuple):
    """How x was given: the tree of its inputs (None if there is one), and their names in order."""

    tree: Any  # jax.tree_util.PyTreeDef | None
    names: tuple[str, ...]


class Ends(NamedTuple):
    """What the graph's backward has to know of its x and y."""

    x: Static[Form]
    y: Static[Outline]


def graph(
    nodes: Mapping[str, Node],
    *,
    inputs: str | Sequence[str] = "x",
    outputs: str | Sequence[str] | None = None,
) -> Layer:
    """Layers that take the outputs of others by name; any order, no cycles.

        graph({
            "h1": (chain(linear(8), sigmoid()), "x"),
            "h2": (chain(linear(8), relu()), "x"),
            "h3": (chain(linear(8), sigmoid()), "h1"),
            "y": (add(), "h3", "h2"),
        })

    Forward: each node is applied to what its inputs gave; one with several gets them as a tuple.
    Backward: each node is asked once, after all that take its output, for the sum of what they send
    back: the sum over all paths from the output, without walking any edge twice. Shapes: those of the
    nodes. Cache: the nodes' caches, by name. Source: Bauer (1974), for the sum over paths.

    Args:
      nodes: by name, the layer and the names of its inputs, which are nodes or inputs of the graph.
      inputs: the name of x; or several names, for an x that is a tuple of as many or a dictionary.
      outputs: the node whose output is y; or several, for a y that is a dictionary. Default: the last.

    Raises:
      TypeError, ValueError: a node is no (layer, inputs), an input's name is unknown or in a cycle, or
        an input or a node has no way to an output.
    """
    nodes, named = dict(nodes), _names(inputs)
    if not nodes:
        raise ValueError("graph: expected at least one node, got none")
    wanted = _names(next(reversed(nodes)) if outputs is None else outputs)
    parts, edges = _taken_apart(nodes)
    order = _ordered(edges, named, wanted)

    def gathered(values: Mapping[str, PyTree], name: str) -> PyTree:
        taken = tuple(values[source] for source in edges[name])
        return taken if len(taken) > 1 else taken[0]

    def start(x: PyTree) -> tuple[dict[str, PyTree], Static[Form]]:
        """The inputs by name, and how to put as many gradients together again."""
        if isinstance(inputs, str):
            return {inputs: x}, Static(Form(None, named))
        given, tree = jax.tree.flatten(x, is_leaf=lambda part: part is not x)
        if isinstance(x, Mapping) and set(x) == set(named):
            names = tuple(jax.tree.leaves({name: name for name in x}))  # in the order of `given`
        elif isinstance(x, tuple | list) and len(x) == len(named):
            names = named
        else:
            raise ValueError(
                f"graph: expected x as a tuple or a dictionary of {list(named)}, got {describe(x)}"
            )
        return dict(zip(names, given, strict=True)), Static(Form(tree, names))

    def end(values: Mapping[str, PyTree]) -> PyTree:
        if outputs is None or isinstance(outputs, str):
            return values[wanted[0]]
        return {name: values[name] for name in wanted}

    def init(key: Key, x: PyTree) -> tuple[PyTree, PyTree]:
        values, _ = start(x)
        params, state = {}, {}
        for name in order:
            part, x = parts[name], gathered(values, name)
            with within(name, x):
                params[name], state[name] = part.init(child_key(key, name), x)
                values[name] = output_shape(part, params[name], state[name], x)
        return params, state

    def forward(
        params: PyTree, state: PyTree, x: PyTree, key: Key
    ) -> tuple[PyTree, PyTree, PyTree]:
        check_children("graph", "params", params, parts)
        check_children("graph", "state", state, parts)
        values, form = start(as_arrays(x))
        new_state, cache = {}, {}
        for name in order:
            taken = gathered(values, name)
            with within(name, taken):
                values[name], new_state[name], cache[name] = parts[name].forward(
                    params[name], state[name], taken, child_key(key, name)
                )
        y = end(values)
        return y, new_state, {**cache, _ENDS: Ends(form, outline(y))}

    def backward(params: PyTree, cache: PyTree, dy: PyTree) -> tuple[PyTree, PyTree]:
        of_nodes = {name: kept for name, kept in cache.items() if name != _ENDS}
        check_children("graph", "cache", of_nodes, parts)
        form, of_y = cache[_ENDS]
        dy = cotangent(dy, of_y)  # it is added to what comes from inside, which has y's dtype
        due: dict[str, PyTree] = {}

        def send(name: str, contribution: PyTree) -> None:
            due[name] = add_trees(due[name], contribution) if name in due else contribution

        for name in wanted:
            send(name, dy if outputs is None or isinstance(outputs, str) else dy[name])
        dparams = {}
        for name in reversed(order):
            with within(name, due[name]):
                dparams[name], dx = parts[name].backward(params[name], cache[name], due[name])
            contributions = dx if len(edges[name]) > 1 else (dx,)
            for source, contribution in zip(edges[name], contributions, strict=True):
                send(source, contribution)
        tree, names = form.value
        return dparams, due[names[0]] if tree is None else tree.unflatten([due[n] for n in names])

    def predict(params: PyTree, state: PyTree, x: PyTree) -> PyTree:
        check_children("graph", "params", params, parts)
        check_children("graph", "state", state, parts)
        values, _ = start(as_arrays(x))
        for name in order:
            taken = gathered(values, name)
            with within(name, taken):
                values[name] = parts[name].predict(params[name], state[name], taken)
        return end(values)

    def rebuild(parts: Mapping[str, Layer]) -> Layer:
        again = {name: (parts[name], *edges[name]) for name in nodes}
        return graph(again, inputs=inputs, outputs=wanted[0] if outputs is None else outputs)

    return Layer("graph", init, forward, backward, predict, MappingProxyType(parts), rebuild)


def _names(given: str | Sequence[str]) -> tuple[str, ...]:
    names = (given,) if isinstance(given, str) else tuple(given)
    if not names or len(set(names)) != len(names):
        raise ValueError(f"graph: expected different names, one at least, got {list(names)}")
    return names


def _taken_apart(nodes: Mapping[str, Node]) -> tuple[dict[str, Layer], dict[str, tuple[str, ...]]]:
    """The layers, and the names of their inputs."""
    for name, node in nodes.items():
        if not isinstance(node, tuple) or isinstance(node, Layer) or len(node) < 2:
            raise TypeError(
                f"graph: expected node {name!r} as (layer, name of its input, …), got {node!r}"
            )
        if not all(isinstance(source, str) for source in node[1:]):
            raise TypeError(f"graph: expected the inputs of {name!r} by name, got {node[1:]!r}")
    parts = name_children((), {name: node[0] for name, node in nodes.items()})
    return parts, {name: tuple(node[1:]) for name, node in nodes.items()}


def _ordered(
    edges: Mapping[str, tuple[str, ...]], inputs: Sequence[str], outputs: Sequence[str]
) -> tuple[str, ...]:
    """The nodes so that each follows its inputs; among those that may come next, the first given."""
    known = [*edges, *inputs]
    for name in inputs:
        if name in edges:
            raise ValueError(f"graph: {name!r} is both an input and a node; rename one")
    asked = [(f"node {node!r} takes", name) for node, taken in edges.items() for name in taken]
    for who, name in (*asked, *(("the output is", name) for name in outputs)):
        if name not in known:
            raise ValueError(f"graph: {who} {name!r}, which is none of {known}")
    order: list[str] = []
    while len(order) < len(edges):
        ready = (
            name
            for name, taken in edges.items()
            if name not in order and all(t in order or t in inputs for t in taken)
        )
        following = next(ready, None)
        if following is None:
            raise ValueError(f"graph: expected no cycle, got {' -> '.join(_cycle(edges, order))}")
        order.append(following)
    used = set(outputs)
    for name in reversed(order):
        used.update(edges[name] if name in used else ())
    if unused := [name for name in known if name not in used]:
        raise ValueError(
            f"graph: from {unused} no way leads to the outputs {list(outputs)}; remove them, or "
            "name them as outputs"
        )
    return tuple(order)


def _cycle(edges: Mapping[str, tuple[str, ...]], order: Sequence[str]) -> list[str]:
    """A way from a node to itself, in the direction in which values flow."""
    walked = [next(name for name in edges if name not in order)]
    while walked[-1] not in walked[:-1]:
        walked.append(next(t for t in edges[walked[-1]] if t in edges and t not in order))
    return walked[walked.index(walked[-1]) :][::-1]
