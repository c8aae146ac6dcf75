"""Groups of parameters, each with an optimizer of its own, chosen by path rules."""

import math
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn.layer import Array, PyTree
from fnn.optimizers.hyperparameters import Given
from fnn.optimizers.leafwise import check_alike, leafwise
from fnn.optimizers.optimizer import Optimizer, check_parts, check_transform
from fnn.optimizers.rules import check_matches, subtree
from fnn.tree import paths


class Parameter(NamedTuple):
    """One parameter, and the group that a set of rules puts it into."""

    path: str
    group: str  # the pattern that took it
    shape: tuple[int, ...]
    size: int  # its elements


class Resolved(NamedTuple):
    """Which group each parameter is in; `str` of it is a table to read."""

    parameters: tuple[Parameter, ...]

    def __str__(self) -> str:
        lines = [("parameter", "group", "shape", "elements")]
        lines += [(p.path, p.group, str(p.shape), f"{p.size:,}") for p in self.parameters]
        groups: dict[str, int] = {}
        for p in self.parameters:
            groups[p.group] = groups.get(p.group, 0) + p.size
        lines += [("", group, "", f"{count:,}") for group, count in groups.items()]
        lines += [("all", "", "", f"{sum(groups.values()):,}")]
        path, group, shape, count = (max(map(len, column)) for column in zip(*lines, strict=True))
        return "\n".join(
            f"{a:<{path}}  {b:<{group}}  {c:<{shape}}  {d:>{count}}" for a, b, c, d in lines
        )


def groups(rules: Mapping[str, Optimizer]) -> Optimizer:
    """An optimizer for each group of parameters; the first pattern that matches a path takes it.

        groups({"*/b": sgd(0.1), "embedding/*": freeze(), "*": adam()})

    A pattern is a shell glob over the paths (see `fnn.optimizers.rules`). Every parameter must be taken
    by a rule, and every rule must take one, except ``"*"``, which means the rest. The state is a
    dictionary by pattern of the optimizers' states, each over its own parameters alone. `resolve` shows
    the groups; ``with_hyperparameters(state, **{"*/b/rate/hyper/rate": 0.05})`` changes one group's rate
    (`hyperparameters` lists the paths).

    Raises:
      TypeError: a rule's optimizer is none of one gradient a step.
      ValueError: there are no rules.
    Raises (by `init` and `update`):
      ValueError: a rule takes no parameter, no rule takes a parameter, or the state is another one's.
    """
    if not rules:
        raise ValueError("expected at least one rule, such as {'*': adam()}, got none")
    rules = dict(rules)
    for pattern, optimizer in rules.items():
        check_transform(optimizer, f"groups, {pattern!r}")

    return partition(rules, lambda params: resolve(rules, params))


def partition(parts: Mapping[str, Optimizer], resolved: Callable[[PyTree], Resolved]) -> Optimizer:
    """Each part for the parameters of the group of its name; the state is a dictionary by part.

    Raises (by `update`):
      ValueError: gradients of another structure, or another optimizer's state.
    """

    def members(params: PyTree) -> dict[str, list[bool]]:
        taken = [parameter.group for parameter in resolved(params).parameters]
        return {name: [group == name for group in taken] for name in parts}

    def init(params: PyTree) -> PyTree:
        chosen = members(params)
        return {name: part.init(subtree(params, chosen[name])) for name, part in parts.items()}

    def update(grads: PyTree, state: PyTree, params: PyTree) -> tuple[PyTree, PyTree]:
        check_alike(grads, params, "gradients")
        check_parts(state, parts)
        merged: list[Any] = [None] * len(jax.tree.leaves(params))
        new_state = {}
        for name, chosen in members(params).items():
            updates, new_state[name] = parts[name].update(
                subtree(grads, chosen), state[name], subtree(params, chosen)
            )
            places = [place for place, mine in enumerate(chosen) if mine]
            for place, u in zip(places, jax.tree.leaves(updates), strict=True):
                merged[place] = u
        return jax.tree.unflatten(jax.tree.structure(params), merged), new_state

    return Optimizer(init, update)


def resolve(rules: Mapping[str, object], params: PyTree) -> Resolved:
    """Which rule takes each parameter; ``print(resolve(rules, params))`` shows it as a table.

    Raises:
      ValueError: a rule takes no parameter, or no rule takes a parameter; with the paths that there are.
    """
    named = paths(params)
    known = [path for path, _ in named]
    for pattern in rules:
        if pattern != "*":  # the rest, which may be nothing
            check_matches(pattern, known)
    found = []
    for path, leaf in named:
        takers = [pattern for pattern in rules if fnmatchcase(path, pattern)]
        if not takers:
            raise ValueError(
                f"expected a rule for every parameter, got none for {path!r} in {list(rules)}; "
                "a last rule '*' takes the rest"
            )
        found.append(Parameter(path, takers[0], tuple(leaf.shape), math.prod(leaf.shape)))
    idle = rules.keys() - {parameter.group for parameter in found} - {"*"}
    if found and idle:
        raise ValueError(
            f"expected rules that take a parameter each, got {sorted(idle)} after rules that take all "
            f"that they match, in {list(rules)}: the first that matches wins, so put the narrow ones "
            "first"
        )
    return Resolved(tuple(found))


def freeze() -> Optimizer:
    """Updates of zero, whatever the gradient is; it remembers nothing."""

    def rule(h: Any, g: Array, p: Array) -> tuple[Array]:
        del h, p
        return (jnp.zeros_like(g),)

    return leafwise(rule, hyper={})


def scale(scale: Given) -> Optimizer:
    """``u = scale · g``: after an optimizer, a multiple of its rate.

        compose(adam=adam(), lower=groups({"stem/*": scale(0.1), "*": scale(1.0)}))

    Hyperparameter: scale.

    Raises:
      ValueError: the scale is a number that is negative or not finite.
    """

    def rule(h: Any, g: Array, p: Array) -> tuple[Array]:
        del p  # the step depends on the update alone
        return (h.scale * g,)

    return leafwise(rule, hyper={"scale": scale})
