"""The two passes of a subject behind a door: what comes back is of the right form, or says what is not.

A layer that is being written may return anything. What cannot be compared at all raises here, in words
of the contract; what can (a wrong shape, a missing leaf, a NaN) is left to the methods.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import jax
import numpy as np

from fnn.check.precision import is_real
from fnn.check.subject import Subject
from fnn.layer import PyTree
from fnn.tree import paths

Phase = Literal["forward", "backward"]
_ARGUMENTS = {
    "forward": ("params", "state", "x", "key"),
    "backward": ("params", "cache", "dy"),
}
_RESULTS = {"forward": ("y", "state", "cache"), "backward": ("dparams", "dx")}


def guarded(subject: Subject) -> Subject:
    """The subject with both passes guarded; a guarded one is returned as it is.

    Raises:
      TypeError: a leaf of params or x is complex, or is no array at all.
    """
    for path, leaf in paths({"params": subject.params, "x": subject.x}):
        try:
            is_real(leaf)
        except TypeError as error:
            error.add_note(f"{subject.name}: at '{path}'")
            raise
    return subject._replace(
        forward=_guard(subject.name, "forward", subject.forward),
        backward=_guard(subject.name, "backward", subject.backward),
    )


def _guard(name: str, phase: Phase, function: Callable[..., Any]) -> Guarded:
    return function if isinstance(function, Guarded) else Guarded(name, phase, function)


@dataclasses.dataclass(frozen=True)
class Guarded:
    """One pass; equal to another guard of the same function, so that `jit` compiles it once.

    Raises:
      TypeError: the forward pass does not return (y, state, cache), or backward (dparams, dx).
      ValueError: the pass changed a tree that it was given.
    """

    name: str
    phase: Phase
    function: Callable[..., Any]

    def __call__(self, *arguments: PyTree) -> tuple[PyTree, ...]:
        # New containers around the same leaves: what a pass does to them stays here.
        own = jax.tree.map(_read_only, arguments)
        before, tree = jax.tree.flatten(own)
        try:
            result = self.function(*own)
        except Exception as error:
            error.add_note(f"{self.name}: raised in its {self.phase} pass, {_described(arguments)}")
            raise
        self._unchanged(own, before, tree)
        expected = _RESULTS[self.phase]
        if not isinstance(result, tuple | list) or len(result) != len(expected):
            raise TypeError(
                f"{self.name}: expected {self.phase} to return ({', '.join(expected)}), "
                f"got {_form(result)}"
            )
        return tuple(result)

    def _unchanged(self, own: tuple[PyTree, ...], before: list[Any], tree: Any) -> None:
        if _identities(own) == (tree, [id(leaf) for leaf in before]):
            return
        changed = [
            what
            for what, given, now in zip(
                _ARGUMENTS[self.phase], jax.tree.unflatten(tree, before), own, strict=True
            )
            if _identities(given) != _identities(now)
        ]
        raise ValueError(
            f"{self.name}: its {self.phase} pass changed the {' and '.join(changed)} it was given; "
            "a pass is a pure function: make a new tree and return that"
        )


def _identities(tree: PyTree) -> tuple[Any, list[int]]:
    leaves, structure = jax.tree.flatten(tree)
    return structure, [id(leaf) for leaf in leaves]


def _read_only(leaf: Any) -> Any:
    """A NumPy array as one that cannot be written to: the probes are used more than once."""
    if not isinstance(leaf, np.ndarray):
        return leaf
    view = leaf.view()
    view.setflags(write=False)
    return view


def _described(arguments: tuple[PyTree, ...]) -> str:
    leaves = jax.tree.leaves(arguments)
    dtypes = dict.fromkeys(str(getattr(leaf, "dtype", type(leaf).__name__)) for leaf in leaves)
    numpy = any(isinstance(leaf, np.ndarray) for leaf in leaves)
    return f"on arrays of {', '.join(dtypes) or 'no dtype'}" + (
        "; NumPy's are read-only, and `fnn.layer.as_arrays` makes jax arrays of them"
        if numpy
        else ""
    )


def _form(result: Any) -> str:
    """What came back, in few words."""
    if isinstance(result, tuple | list):
        return f"a {type(result).__name__} of {len(result)}"
    if isinstance(result, jax.Array | np.ndarray):
        return f"one array of shape {result.shape}"
    return f"a {type(result).__name__}"
