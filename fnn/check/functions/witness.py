"""What a function's derivative is compared with: a given formula, its own primal, or values alone."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax

from fnn.check.functions.binding import Binding, jvp, name_of, vjp
from fnn.check.precision import dtype_of, is_real
from fnn.check.remembered import by_shapes
from fnn.layer import PyTree
from fnn.tree import paths


class Modes(NamedTuple):
    """Which derivatives autodiff can take of a function, and why not, where it cannot."""

    reverse: bool
    forward: bool
    why_not: str = ""


class Witness(NamedTuple):
    """The function that is differentiated in place of the one on trial, and its name in a report."""

    binding: Binding | None  # None: it has no derivative at all, so that only differences are left
    modes: Modes
    label: str


@by_shapes(3)
def witness_of(
    name: str, own: Binding, given: Binding | None, others: PyTree, x: PyTree
) -> Witness:
    """The given reference, or the function's own primal, in the form that has the most modes.

    A given reference that has no forward mode because it has a `custom_vjp` is differentiated through
    its primal.

    Raises:
      TypeError: the given reference has no derivative, or no output of the function is real.
      ValueError: its outputs are not of the tree and shapes of the function's.
    """
    shapes = _outputs(name, own, others, x)
    source = own if given is None else given
    if given is not None:
        _require_same(name, shapes, jax.eval_shape(given, others, x))
    plain = dataclasses.replace(source, inline=True)
    candidates = [plain] if given is None else [given, plain]
    found = [(candidate, modes(candidate, others, x)) for candidate in candidates]
    binding, best = max(found, key=lambda pair: sum(pair[1][:2]))
    label = "its own primal" if given is None else f"the reference {name_of(source.function)}"
    if binding.inline and given is not None:
        label += " without its custom rules"
    if not best.reverse and not best.forward:
        if given is not None:
            raise TypeError(f"{name}: the reference has no derivative ({best.why_not})")
        return Witness(None, best, f"differences alone: autodiff of {label}: {best.why_not}")
    which = (
        ""
        if best.reverse and best.forward
        else "reverse-mode "
        if best.reverse
        else "forward-mode "
    )
    why = f" ({best.why_not})" if which else ""
    return Witness(binding, best, f"{which}autodiff of {label}{why}")


@by_shapes(1)
def modes(function: Binding, others: PyTree, x: PyTree) -> Modes:
    """Whether autodiff refuses reverse mode, which is traced, or forward mode, which is run once.

    It refuses by an exception, which differs: ValueError for a loop of unknown length or a callback,
    NotImplementedError for a kernel, and TypeError for a `custom_vjp` in forward mode, but only when it
    runs. The reason goes into the report.
    """

    def reverse(others: PyTree, x: PyTree) -> PyTree:
        y, pull_back = vjp(function, others, x)
        return pull_back(y)

    def forward(others: PyTree, x: PyTree) -> PyTree:
        return jvp(function, others, x, [leaf for leaf in jax.tree.leaves(x) if is_real(leaf)])

    refusals = [
        _refusal(partial(jax.eval_shape, reverse), others, x),
        _refusal(forward if not function.inline else partial(jax.eval_shape, forward), others, x),
    ]
    return Modes(not refusals[0], not refusals[1], next(filter(None, refusals), ""))


def _refusal(mode: Callable[[PyTree, PyTree], PyTree], others: PyTree, x: PyTree) -> str:
    """Why a mode cannot be taken, in one line; empty where it can."""
    try:
        mode(others, x)
    except (TypeError, ValueError, NotImplementedError) as error:
        return str(error).splitlines()[0].rstrip(".") or type(error).__name__
    return ""


def _outputs(name: str, own: Binding, others: PyTree, x: PyTree) -> PyTree:
    """The shapes of the real outputs of the function on trial, once both of its passes were traced."""

    def backward(others: PyTree, x: PyTree) -> PyTree:
        y, pull_back = vjp(own, others, x)
        return pull_back(y)

    shapes = _shapes(name, "forward pass", own, others, x)
    if not jax.tree.leaves(shapes):
        raise TypeError(
            f"{name}: expected an output of a floating dtype, got none; "
            "a function with integer outputs has no gradient to check"
        )
    _shapes(name, "backward pass, by jax.vjp", backward, others, x)
    return shapes


def _shapes(
    name: str, phase: str, function: Callable[[PyTree, PyTree], PyTree], others: PyTree, x: PyTree
) -> PyTree:
    try:
        return jax.eval_shape(function, others, x)
    except Exception as error:
        dtypes = dict.fromkeys(str(dtype_of(leaf)) for leaf in jax.tree.leaves((others, x)))
        error.add_note(f"{name}: raised in its {phase}, on arrays of {', '.join(dtypes)}")
        raise


def _require_same(name: str, own: PyTree, reference: PyTree) -> None:
    theirs, ours = (
        {f"y/{path}".rstrip("/"): leaf.shape for path, leaf in paths(tree)}
        for tree in (reference, own)
    )
    if theirs != ours:
        raise ValueError(f"{name}: expected a reference with outputs {ours}, got {theirs}")
