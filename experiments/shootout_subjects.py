"""What the checkers are tried on: functions with a hand-written derivative, right or with one fault.

A `Subject` is a plain JAX function of arrays, its right backward, and faults. A fault takes (args, dy,
the right gradients) and gives the wrong ones, of the same shapes and dtypes. The same backward is bound
in two ways: as a `jax.custom_vjp`, and, for checkers of forward mode, as a `jax.custom_jvp` whose rule
is the transpose of that backward, so that it has the same fault.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array
Arrays = tuple[Array, ...]
Backward = Callable[[Arrays, Array], Arrays]
Fault = Callable[[Arrays, Array, Arrays], Arrays]
Function = Callable[..., Array]


class Shapes(NamedTuple):
    """Those of the arguments, for a toy and for a layer of a network that people train."""

    tiny: tuple[tuple[int, ...], ...]
    real: tuple[tuple[int, ...], ...]


class Subject(NamedTuple):
    """A function, its derivative by hand, and the mistakes that people make in it."""

    name: str
    plain: Function
    backward: Backward
    faults: Mapping[str, Fault]
    shapes: Shapes
    draw: Callable[[np.random.Generator, tuple[tuple[int, ...], ...]], list[np.ndarray]]


def normal(
    rng: np.random.Generator, shapes: tuple[tuple[int, ...], ...]
) -> list[np.ndarray[Any, Any]]:
    """Standard normal arguments."""
    return [rng.standard_normal(shape) for shape in shapes]


def arguments(subject: Subject, size: str, dtype: Any, seed: int) -> Arrays:
    """Seeded arguments, drawn in float64 and rounded to `dtype`."""
    drawn = subject.draw(np.random.default_rng(seed), getattr(subject.shapes, size))
    return tuple(jnp.asarray(array).astype(dtype) for array in drawn)


def backward_of(subject: Subject, fault: str | None) -> Backward:
    """The right backward, or the one with `fault`."""

    def backward(args: Arrays, dy: Array) -> Arrays:
        args, dy = jax.tree.map(jnp.asarray, (args, dy))  # `check_grads` hands over NumPy arrays
        grads = subject.backward(args, dy)
        return grads if fault is None else subject.faults[fault](args, dy, grads)

    return backward


class Bound(NamedTuple):
    """One derivative in both forms; None where the fault is not linear in dy, so has no transpose."""

    reverse: Function
    forward: Function | None


def bind(subject: Subject, fault: str | None) -> Bound:
    """The subject with the right derivative, or with a faulty one."""
    backward = backward_of(subject, fault)
    reverse = jax.custom_vjp(subject.plain)
    reverse.defvjp(lambda *args: (subject.plain(*args), args), backward)
    forward = jax.custom_jvp(subject.plain)

    @forward.defjvp
    def rule(args: Arrays, tangents: Arrays) -> tuple[Array, Array]:
        y = subject.plain(*args)
        pushed = jax.linear_transpose(lambda dy: backward(args, dy), y)(tangents)
        return y, pushed[0]

    return Bound(reverse, forward if _is_linear(subject, backward) else None)


def _is_linear(subject: Subject, backward: Backward) -> bool:
    """Whether the backward of zero is zero, so that it can be the transpose of a forward rule."""
    args = arguments(subject, "tiny", jnp.float32, 0)
    zero = jnp.zeros_like(subject.plain(*args))
    return all(not np.any(np.asarray(leaf)) for leaf in backward(args, zero))


# Faults that any gradient can have. `i` is the argument whose gradient is spoiled.


def changed(i: int, change: Callable[[Array], Array]) -> Fault:
    """The gradient of argument i put through `change`."""
    return lambda args, dy, grads: (*grads[:i], change(grads[i]), *grads[i + 1 :])


def scaled(i: int, factor: float) -> Fault:
    """A constant factor: a mean taken for a sum, a forgotten 2, a wrong sign, nothing at all."""
    return changed(i, lambda g: g * factor)


def without_row(i: int, row: int) -> Fault:
    """One row of the first axis is never written: an index that is off by one."""
    return changed(i, lambda g: g * jnp.ones_like(g).at[row].set(0))


def one_element(i: int, factor: float = 1.1) -> Fault:
    """One element in the middle times a factor."""

    def change(g: Array) -> Array:
        weights = jnp.ones(g.size, g.dtype).at[g.size // 2].set(factor)
        return g * weights.reshape(g.shape)

    return changed(i, change)


def reversed_along(i: int, axis: int) -> Fault:
    """The order along one axis turned round, as by a kernel that is not flipped."""
    return changed(i, lambda g: jnp.flip(g, axis))


def transposed(i: int) -> Fault:
    """The last two axes read in the other order, where their layout in memory is taken for it."""
    return changed(i, lambda g: jnp.swapaxes(g, -1, -2).reshape(g.shape))


def held_fixed(backward: Backward) -> Fault:
    """Right, but its own derivative is not: the arguments are constants to autodiff."""
    return lambda args, dy, grads: backward(jax.lax.stop_gradient(args), dy)
