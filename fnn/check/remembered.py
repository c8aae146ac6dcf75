"""What depends on functions and shapes alone is found once: a second check repeats none of it."""

import functools
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import jaxpr_as_fun

from fnn.check.guard import Guarded
from fnn.check.jaxprs import trace

P = ParamSpec("P")
R = TypeVar("R")

MOST = 256  # answers kept of one function, with the functions that they are about


def by_shapes(static: int) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Remember ``function(*static, *trees)`` by its static arguments and the shapes of its trees.

    The first `static` arguments are hashable, the others trees of arrays, of which the tree, the shapes
    and the dtypes count; so does the setting of x64. An exception is not remembered.
    """

    def decorated(function: Callable[P, R]) -> Callable[P, R]:
        known: OrderedDict[Hashable, R] = OrderedDict()

        @functools.wraps(function)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
            leaves, tree = jax.tree.flatten((args[static:], kwargs))
            shapes = tuple((np.shape(leaf), _dtype(leaf)) for leaf in leaves)
            key = (args[:static], tree, shapes, jnp.result_type(float))
            if key not in known:
                known[key] = function(*args, **kwargs)
                if len(known) > MOST:
                    known.popitem(last=False)
            return known[key]

        return wrapper

    return decorated


def _dtype(leaf: Any) -> Any:
    return leaf.dtype if hasattr(leaf, "dtype") else type(leaf)


def traced_once(static: int) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Trace ``function(*static, *trees)`` once for trees of the same shapes; run what was traced.

    It runs outside of `jit`, one operation after the other, as the function itself would: see
    `fnn.check.methods.reverse`. But nothing is differentiated again, and the body of a loop is the same
    program every time, so that it is compiled once.
    """

    def decorated(function: Callable[P, R]) -> Callable[P, R]:
        @by_shapes(static)
        def program(*args: Any) -> tuple[Callable[..., list[Any]], Any]:
            found = trace(functools.partial(function, *args[:static]), *args[static:])
            return jaxpr_as_fun(found.jaxpr), found.out_tree

        @functools.wraps(function)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                run, tree = program(*args, **kwargs)
                result: R = jax.tree.unflatten(tree, run(*jax.tree.leaves(args[static:])))
            except jax.errors.UnexpectedTracerError as error:  # found once the pass has returned
                for each in args[:static]:
                    if isinstance(each, Guarded):
                        error.add_note(f"{each.name}: raised in its {each.phase} pass")
                raise
            return result

        return wrapper

    return decorated
