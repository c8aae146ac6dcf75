"""Path rules: which parameters something is for, by shell globs over their paths.

A pattern is matched against the whole path (`fnn.tree.paths`), as in ``hidden/w``, ``*/b``,
``blocks/*/norm/*``: ``*`` stands for any characters, slashes among them, ``?`` for one, ``[ab]`` for
one of these. A pattern that matches nothing is most likely mistyped, and refused with the paths that
there are.
"""

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase

import jax

from fnn.dtypes import accumulation_dtype
from fnn.layer import Array, PyTree
from fnn.optimizers.leafwise import check_alike, check_real
from fnn.optimizers.optimizer import Optimizer, check_transform
from fnn.tree import paths

# One pattern; or several, of which the first that matches a path decides, against it where it begins with
# "!", so that the narrow ones come first and a "*" last; or a function of (path, parameter).
Where = str | Sequence[str] | Callable[[str, Array], bool]


def masked(transform: Optimizer, where: Where) -> Optimizer:
    """The transform for the parameters that a path rule selects; other gradients pass as they came.

        masked(clip_by_value(1.0), "embedding/*")
        masked(decay_weights(0.01), ("!*/b", "!*/scale", "*"))     all but biases and scales
        masked(centralize(), lambda path, p: p.ndim > 1)

    Of several patterns the first that matches a path decides, and "!" before it decides against the path.
    The state is the transform's own, over the selected parameters alone: the others hold no slots. To
    leave parameters where they are, see `freeze`.

    Raises:
      TypeError: the transform is no optimizer of one gradient a step.
    Raises (by `init` and `update`):
      ValueError: a pattern matches no path, or only such as earlier ones have decided; or all patterns
        begin with "!", so that nothing is selected.
    """
    check_transform(transform, "masked")

    def init(params: PyTree) -> PyTree:
        return transform.init(subtree(params, selected(where, params)))

    def update(grads: PyTree, state: PyTree, params: PyTree) -> tuple[PyTree, PyTree]:
        check_alike(grads, params, "gradients")
        check_real(grads, "gradients")
        chosen = selected(where, params)
        inner, state = transform.update(subtree(grads, chosen), state, subtree(params, chosen))
        updates = iter(jax.tree.leaves(inner))
        leaves, structure = jax.tree.flatten(grads)
        merged = [
            next(updates) if mine else leaf.astype(accumulation_dtype(leaf.dtype))
            for leaf, mine in zip(leaves, chosen, strict=True)
        ]
        return jax.tree.unflatten(structure, merged), state

    return Optimizer(init, update)


def selected(where: Where, params: PyTree) -> list[bool]:
    """Whether the rule selects each leaf, in the order of `jax.tree.leaves`.

    Raises:
      ValueError: there are parameters, and a pattern matches none of them or decides none; or all
        patterns begin with "!".
    """
    named = paths(params)
    if callable(where):
        return [bool(where(path, leaf)) for path, leaf in named]
    patterns = [where] if isinstance(where, str) else list(where)
    for pattern in patterns:
        check_matches(pattern.removeprefix("!"), [path for path, _ in named])
    if patterns and all(pattern.startswith("!") for pattern in patterns):
        raise ValueError(
            f"expected a pattern of what to select, got only {patterns}; a last '*' selects the rest"
        )

    def deciding(path: str) -> str:
        return next((p for p in patterns if fnmatchcase(path, p.removeprefix("!"))), "!")

    decided = [deciding(path) for path, _ in named]
    idle = [pattern for pattern in patterns if pattern not in (*decided, "*")]
    if named and idle:
        raise ValueError(
            f"expected patterns that decide a parameter each, got {idle} after others that take all that "
            f"they match, in {patterns}: the first that matches wins, so put the narrow ones first"
        )
    return [not pattern.startswith("!") for pattern in decided]


def check_matches(pattern: str, known: Sequence[str]) -> None:
    """Refuse a pattern that matches none of the paths, unless there are no paths at all.

    Raises:
      ValueError: naming the pattern and the paths.
    """
    if known and not any(fnmatchcase(path, pattern) for path in known):
        raise ValueError(
            f"expected a pattern that matches a parameter, got {pattern!r}; the paths are "
            f"{', '.join(map(repr, known))}"
        )


def subtree(tree: PyTree, chosen: Sequence[bool]) -> PyTree:
    """The tree with None, which is no leaf, where a leaf is not chosen; the paths stay."""
    leaves, structure = jax.tree.flatten(tree)
    kept = [leaf if mine else None for leaf, mine in zip(leaves, chosen, strict=True)]
    return jax.tree.unflatten(structure, kept)
