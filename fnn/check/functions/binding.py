"""Any JAX function in a layer's form: a forward, and a backward that is the function's own `jax.vjp`.

`Forward` has the function's values and the derivatives of its reference, so that every method that
differentiates a subject's forward pass differentiates the reference, and every method that only
evaluates it evaluates the function. Both are equal to another one of the same functions, so that `jit`
compiles them once for all seeds.
"""

import dataclasses
import inspect
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from fnn.check.jaxprs import without_custom_rules
from fnn.check.precision import is_real
from fnn.layer import Key, PyTree
from fnn.tree import paths

Function = Callable[..., PyTree]


@dataclasses.dataclass(frozen=True)
class Binding:
    """f(*args) as a function of two trees: the arguments that are differentiated, and the others.

    With `inline`, the custom derivatives inside of f are left out of it: see `without_custom_rules`.
    """

    function: Function
    names: tuple[str, ...]  # of all arguments
    argnums: tuple[int, ...]  # those that are differentiated
    inline: bool = False

    def split(
        self, arguments: Sequence[PyTree]
    ) -> tuple[tuple[PyTree, ...], OrderedDict[str, Any]]:
        """(the other arguments, those that are differentiated by name)."""
        others = tuple(arg for i, arg in enumerate(arguments) if i not in self.argnums)
        return others, OrderedDict((self.names[i], arguments[i]) for i in self.argnums)

    def __call__(self, others: Sequence[PyTree], x: OrderedDict[str, Any]) -> PyTree:
        """f's outputs, with None for those that are of integers and so have no gradient."""
        remaining = iter(others)
        arguments = [
            x[name] if i in self.argnums else next(remaining) for i, name in enumerate(self.names)
        ]
        function = without_custom_rules(self.function) if self.inline else self.function
        return jax.tree.map(
            lambda leaf: jnp.asarray(leaf) if is_real(leaf) else None, function(*arguments)
        )


@dataclasses.dataclass(frozen=True)
class Forward:
    """The function's values and, where there is a reference, the reference's derivatives."""

    function: Binding
    reference: Binding | None

    def __call__(
        self, params: PyTree, others: PyTree, x: PyTree, key: Key
    ) -> tuple[PyTree, PyTree, PyTree]:
        del key  # one that the function takes is among its arguments
        if self.reference is None:
            return self.function(others, x), others, (others, x)
        return _with_derivatives_of(self.reference, self.function)(others, x), others, (others, x)


@dataclasses.dataclass(frozen=True)
class Backward:
    """`jax.vjp` of the function as it is, by its own rules."""

    function: Binding

    def __call__(self, params: PyTree, cache: PyTree, dy: PyTree) -> tuple[PyTree, PyTree]:
        others, x = cache
        _, pull_back = vjp(self.function, others, x)
        return params, pull_back(dy)


def vjp(function: Binding, others: PyTree, x: PyTree) -> tuple[PyTree, Callable[[PyTree], PyTree]]:
    """(y, dy -> dx) by `jax.vjp` with respect to x's real leaves; dx has None in place of the others."""
    leaves, tree = jax.tree.flatten(x)

    def output(real: list[jax.Array]) -> PyTree:
        following = iter(real)
        merged = [next(following) if is_real(leaf) else leaf for leaf in leaves]
        return function(others, jax.tree.unflatten(tree, merged))

    y, pull_back = jax.vjp(output, [leaf for leaf in leaves if is_real(leaf)])

    def gradient(dy: PyTree) -> PyTree:
        cotangent = jax.tree.map(lambda leaf, like: jnp.asarray(leaf, like.dtype), dy, y)
        following = iter(pull_back(cotangent)[0])
        return jax.tree.unflatten(
            tree, [next(following) if is_real(leaf) else None for leaf in leaves]
        )

    return y, gradient


def jvp(
    function: Binding, others: PyTree, x: PyTree, tangents: Sequence[Any]
) -> tuple[PyTree, PyTree]:
    """(y, J t) by `jax.jvp` for tangents on x's real leaves."""
    leaves, tree = jax.tree.flatten(x)

    def output(real: list[jax.Array]) -> PyTree:
        following = iter(real)
        merged = [next(following) if is_real(leaf) else leaf for leaf in leaves]
        return function(others, jax.tree.unflatten(tree, merged))

    real = [leaf for leaf in leaves if is_real(leaf)]
    directions = [jnp.asarray(t, leaf.dtype) for t, leaf in zip(tangents, real, strict=True)]
    return jax.jvp(output, (real,), (directions,))


def _with_derivatives_of(reference: Binding, function: Binding) -> Function:
    """The values of one function, the derivatives of another: of all orders, in both modes."""
    value = jax.custom_jvp(function.__call__)

    @value.defjvp
    def rule(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[PyTree, PyTree]:
        return jax.jvp(reference, primals, tangents)

    return value


def hashable(function: Function) -> Function:
    """The function itself, or another that calls it: `jit` keeps what it compiled under a hash.

    A callable object, such as a layer with arrays in its fields, may have none.
    """
    try:
        hash(function)
    except TypeError:
        return lambda *arguments: function(*arguments)
    return function


def name_of(function: Function) -> str:
    """What a function is called: its own name, that of what a `functools.partial` holds, its type."""
    inner = getattr(function, "func", function)
    return str(getattr(inner, "__name__", type(inner).__name__))


def argument_names(function: Function, arguments: Sequence[PyTree]) -> tuple[str, ...]:
    """The parameters' names, ``xs/0`` for those in ``*xs``; ``args/0`` where there is no signature.

    Raises:
      TypeError: the function does not take so many arguments.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # of a builtin: its parameters have no names
        return tuple(f"args/{i}" for i in range(len(arguments)))
    try:
        bound = signature.bind(*arguments)
    except TypeError as error:
        error.add_note(
            f"{name_of(function)}{signature} was given {len(arguments)} arguments; bind those that "
            "are fixed or go by keyword with functools.partial"
        )
        raise
    names: list[str] = []
    for name, value in bound.arguments.items():
        several = signature.parameters[name].kind is inspect.Parameter.VAR_POSITIONAL
        names += [f"{name}/{i}" for i in range(len(value))] if several else [name]
    return tuple(names)


def differentiated(
    name: str,
    names: Sequence[str],
    arguments: Sequence[PyTree],
    argnums: int | Sequence[int] | None,
) -> tuple[int, ...]:
    """The positions of the arguments that have a real leaf, all of them or those in `argnums`.

    Raises:
      TypeError: a leaf is no array (a string, a function), or is complex, or none is real.
      ValueError: `argnums` names an argument that was not given.
    """
    wanted = range(len(arguments)) if argnums is None else argnums
    wanted = (wanted,) if isinstance(wanted, int) else tuple(wanted)
    for i in wanted:
        if not 0 <= i < len(arguments):
            raise ValueError(f"{name}: expected argnums in 0..{len(arguments) - 1}, got {i}")
    found = {
        i
        for i, argument in enumerate(arguments)
        for path, leaf in paths(argument)
        if _is_real(name, names[i], path, leaf)
    }
    real = sorted(found.intersection(wanted))
    if not real:
        checked = ", ".join(names[i] for i in wanted) or "no arguments"
        raise TypeError(
            f"{name}: expected an argument with floating leaves, got none among {checked}; "
            "a function of integers has no gradient"
        )
    return tuple(real)


def _is_real(function: str, argument: str, path: str, leaf: Any) -> bool:
    try:
        return is_real(leaf)
    except TypeError as error:
        where = "/".join(filter(None, (argument, path)))
        error.add_note(
            f"{function}: at '{where}'. Arguments are trees of arrays; bind anything else, such as a "
            "string, a function or a shape, with functools.partial"
        )
        raise
