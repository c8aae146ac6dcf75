"""How a container calls a child: under the child's name, with the path on whatever it raises."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import jax

from fnn.layer import Layer, PyTree
from fnn.random import name_hash

_NOTE = "in layer "


@contextmanager
def within(name: str, x: PyTree) -> Iterator[None]:
    """Run a child's function as `name`, on the input (or the cotangent) `x`.

    Operations carry the name in profiles and HLO dumps (`jax.named_scope`). An exception gets one
    note, ``in layer encoder/hidden, given float32[8,3]``, whose path grows as it passes outwards.
    """
    try:
        with jax.named_scope(name):
            yield
    except Exception as error:
        notes = getattr(error, "__notes__", [])
        for i, note in enumerate(notes):  # jax adds notes of its own, before or after ours
            if note.startswith(_NOTE):
                notes[i] = f"{_NOTE}{name}/{note.removeprefix(_NOTE)}"
                break
        else:
            error.add_note(f"{_NOTE}{name}, given {describe(x)}")
        raise


def describe(tree: PyTree) -> str:
    """Shapes and dtypes of a tree of arrays, such as ``float32[8,3]``."""

    def leaf(x: object) -> str:
        shape, dtype = getattr(x, "shape", None), getattr(x, "dtype", None)
        if shape is None or dtype is None:
            return type(x).__name__
        return f"{dtype}[{','.join(map(str, shape))}]"

    described = jax.tree.map(leaf, tree)
    return described if isinstance(described, str) else str(described)


def check_children(container: str, what: str, tree: PyTree, parts: Mapping[str, Layer]) -> None:
    """Refuse a params, state or cache tree that was made for other children.

    Raises:
      ValueError: naming the container, what it expected and what came.
    """
    if not isinstance(tree, Mapping) or set(tree) != set(parts):
        got = sorted(tree) if isinstance(tree, Mapping) else type(tree).__name__
        raise ValueError(f"{container}: expected {what} for {sorted(parts)}, got {got}")


def name_children(unnamed: tuple[Layer, ...], named: Mapping[str, Layer]) -> dict[str, Layer]:
    """Children by name, in order: an unnamed ``linear(512)`` becomes ``linear_1``, the next `linear_2`.

    Raises:
      TypeError: a child is no `Layer` (often a constructor that was not called).
      ValueError: a name that a path could not hold, or that two children share; two names of which
        the same random numbers would come.
    """
    count: Counter[str] = Counter()
    children: dict[str, Layer] = {}
    for part in unnamed:
        _check_layer("unnamed child", part)
        kind = part.name.partition("(")[0]
        count[kind] += 1
        children[f"{kind}_{count[kind]}"] = part
        _check_name(kind, "; give this child a name of its own, as in chain(name=layer)")
    for name, part in named.items():
        _check_layer(f"child {name!r}", part)
        _check_name(name, "")
        if name in children:
            raise ValueError(f"two children are called {name!r}; give the named one another name")
        children[name] = part
    by_hash: dict[int, str] = {}
    for name in children:
        other = by_hash.setdefault(name_hash(name), name)
        if other != name:
            raise ValueError(
                f"expected names with different CRC-32s, from which keys are made, got {other!r} and "
                f"{name!r}, whose layers would draw the same numbers; rename one"
            )
    return children


def _check_name(name: str, hint: str) -> None:
    if not name or "/" in name:
        raise ValueError(f"expected a child's name without '/', got {name!r}{hint}")


def _check_layer(what: str, part: object) -> None:
    if not isinstance(part, Layer):
        hint = "; call the constructor" if callable(part) else ""
        raise TypeError(f"{what}: expected a Layer, got {part!r}{hint}")
