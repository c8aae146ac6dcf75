"""A recurrent cell over a sequence, and back through time by a reverse scan.

What `rnn`, `lstm` and `gru` have in common: the order of time, where gradients are cut, sequences of
different lengths, and states that are handed in and out. The formulas of a step are the cell's.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.dtypes import parameter_dtype
from fnn.layer import Array, Key, Layer, PyTree, pure
from fnn.layers.lengths import check_lengths, counted
from fnn.layers.recurrent_cell import Cell, check_carry, check_features, check_input, prepare


class RecurrentCache(NamedTuple):
    """What backward needs; the gates are computed again from it."""

    x: PyTree  # the input as it came
    y: Array  # (N, T, H)
    # For each part of the carry but h, its value before every step, (T, N, H), at least float32.
    rest: tuple[Array, ...]


class Options(NamedTuple):
    """How a cell is run over time; see `lstm`."""

    reverse: bool
    truncate: int | None
    lengths: bool
    carry_in: bool
    carry_out: bool


class _Inputs(NamedTuple):
    """The parts of x, and what follows from them for every step."""

    x: Array  # (T, N, D)
    carry: Any  # the first one, at least float32
    given: Any  # the same as it came, or None
    runs: Array | None  # (T, N, 1) of bool: whether the step is made
    cut: Array | None  # (T,) of bool: whether no gradient leaves the step to the one before it
    valid: Array | None  # (N, 1) of bool: whether the length means something
    last: Array | None  # (T, N, 1) of bool: the last step of a sequence in the order of time


def recurrent(cell: Cell, options: Options) -> Layer:
    """The layer (N, T, D) -> (N, T, H) that runs `cell` over time.

    Raises:
      ValueError: no feature, or truncation after less than a step.
    """
    check_features(cell.name, cell.features)
    if options.truncate is not None and options.truncate < 1:
        raise ValueError(
            f"{cell.name}: expected truncate of at least one step, got {options.truncate}"
        )

    def init(key: Key, x: PyTree) -> PyTree:
        x, _, _ = unpacked(cell, options, x)
        check_input(cell.name, x, 3, "(N, T, inputs)")
        return cell.init(key, x.shape[-1], parameter_dtype(x))

    def forward(params: PyTree, x: PyTree) -> tuple[PyTree, RecurrentCache]:
        given = x
        x, lengths, carry = unpacked(cell, options, x)
        check_input(cell.name, x, 3, "(N, T, inputs)", params)
        if lengths is not None:
            check_lengths(cell.name, lengths, x.shape[1])
        wide, weights = prepare(params, x, carry)
        inputs = _prepared(cell, options, given, wide)
        zero = jax.tree.map(jnp.zeros_like, inputs.carry)

        def step(before: Any, at: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
            x_t, runs, cut = at
            held = _held(before, cut)
            before = _where(runs, held, zero)  # a step that is not made sees nothing
            after = cell.step(weights, before, x_t)
            y_t = after.h if runs is None else jnp.where(runs, after.h, 0)
            return _where(runs, after, held), (y_t.astype(x.dtype), tuple(before[1:]))

        steps = (inputs.x, inputs.runs, inputs.cut)
        last, (y, rest) = jax.lax.scan(step, inputs.carry, steps, reverse=options.reverse)
        y = y.swapaxes(0, 1)
        cache = RecurrentCache(given, y, rest)
        if not options.carry_out:
            return y, cache
        like = jax.tree.map(lambda _: x, last) if carry is None else carry
        return (jax.tree.map(lambda a, b: a.astype(b.dtype), last, like), y), cache

    def backward(params: PyTree, cache: RecurrentCache, dy: PyTree) -> tuple[PyTree, PyTree]:
        x, _, carry = unpacked(cell, options, cache.x)
        wide, weights = prepare(params, x, carry)
        inputs = _prepared(cell, options, cache.x, wide)
        dlast, dy = dy if options.carry_out else (None, dy)
        zero = jax.tree.map(jnp.zeros_like, inputs.carry)
        dlast = zero if dlast is None else jax.tree.map(lambda d: d.astype(wide), dlast)
        h = cache.y.swapaxes(0, 1).astype(wide)
        before = type(inputs.carry)(_before(h, inputs, options.reverse), *cache.rest)
        before = _held(before, None if inputs.cut is None else inputs.cut[:, None, None])
        before = _where(inputs.runs, before, jax.tree.map(jnp.zeros_like, before))

        def step(dcarry: Any, at: tuple[Any, ...]) -> tuple[Any, PyTree]:
            x_t, runs, cut, before_t, h_t, dy_t = at
            dafter = dcarry._replace(h=dcarry.h + dy_t.astype(wide))
            if runs is not None:
                dafter = _where(runs, dafter, zero)
            dbefore, delta = cell.back(weights, before_t, h_t, x_t, dafter)
            dbefore = _where(runs, dbefore, dcarry)
            return dbefore if cut is None else _where(cut, zero, dbefore), delta

        steps = (inputs.x, inputs.runs, inputs.cut, before, h, dy.swapaxes(0, 1))
        dfirst, delta = jax.lax.scan(step, dlast, steps, reverse=not options.reverse)
        dparams, dx = cell.gradients(weights, before, inputs.x, delta)
        dparams = jax.tree.map(lambda d, p: d.astype(p.dtype), dparams, params)
        dx = dx.swapaxes(0, 1).astype(x.dtype)
        if carry is not None:
            if inputs.valid is not None:
                dfirst = _where(inputs.valid, dfirst, zero)
            carry = jax.tree.map(lambda d, c: d.astype(c.dtype), dfirst, carry)
        return dparams, _packed(options, dx, carry)

    return pure(_name(cell, options), forward, backward, init)


def unpacked(cell: Cell, options: Options, x: PyTree) -> tuple[Array, Array | None, Any]:
    """(x, lengths, carry) of the x that the options ask for; None for what is not there.

    Raises:
      TypeError: lengths that are not of integers.
      ValueError: parts that are missing or too many, or whose shapes do not fit.
    """
    names = [*["carry"] * options.carry_in, "x", *["lengths"] * options.lengths]
    many = isinstance(x, tuple | list)
    if many != (len(names) > 1) or (many and len(x) != len(names)):
        got = f"{len(x)} parts" if many else type(x).__name__
        raise ValueError(
            f"{cell.name}: expected ({', '.join(names)}) by the options it was built with, got {got}"
        )
    parts = list(x) if many else [x]
    carry = parts.pop(0) if options.carry_in else None
    inputs: Array = parts.pop(0)
    lengths: Array | None = parts.pop(0) if options.lengths else None
    if lengths is not None:
        if not jnp.issubdtype(lengths.dtype, jnp.integer):
            raise TypeError(f"{cell.name}: expected lengths of integers, got {lengths.dtype}")
        if lengths.shape != inputs.shape[:1]:
            raise ValueError(
                f"{cell.name}: expected lengths of shape {inputs.shape[:1]}, got {lengths.shape}"
            )
    if carry is not None and inputs.ndim:
        check_carry(cell, carry, inputs.shape[0])
    return inputs, lengths, carry


def _packed(options: Options, dx: Array, dcarry: Any) -> PyTree:
    """dx in the form of x; the lengths have none."""
    if not options.lengths and not options.carry_in:
        return dx
    return *[dcarry] * options.carry_in, dx, *[None] * options.lengths


def _prepared(cell: Cell, options: Options, given: PyTree, wide: Any) -> _Inputs:
    """What forward and backward both need of x."""
    x, lengths, given_carry = unpacked(cell, options, given)
    batch, time, _ = x.shape
    if given_carry is None:
        carry = cell.carry(jnp.zeros((batch, cell.features), wide))
    else:
        carry = jax.tree.map(lambda leaf: leaf.astype(wide), given_carry)
    x = x.swapaxes(0, 1)
    made = np.arange(time)[::-1] if options.reverse else np.arange(time)  # how many steps before it
    cut = None
    if options.truncate is not None and time > options.truncate:
        cut = jnp.asarray((made > 0) & (made % options.truncate == 0))
    if lengths is None:
        return _Inputs(x, carry, given_carry, None, cut, None, None)
    lengths, valid = (a[None, :, None] for a in counted(lengths, time))
    steps = jnp.arange(time, dtype=lengths.dtype)[:, None, None]
    runs = (steps < lengths) | ~valid
    # What stands behind the end may be anything, even a NaN, which 0 times it would let through.
    x = jnp.where(runs, x, 0)
    valid = valid[0]
    carry = jax.tree.map(lambda leaf: jnp.where(valid, leaf, jnp.nan), carry)
    return _Inputs(x, carry, given_carry, runs, cut, valid, steps == lengths - 1)


def _before(h: Array, inputs: _Inputs, reverse: bool) -> Array:
    """The hidden state before each step (T, N, H), from that after each."""
    first = inputs.carry.h[None]
    if not reverse:
        return jnp.concatenate([first, h])[: h.shape[0]]
    before = jnp.concatenate([h, first])[1:]
    # Backwards, a shorter sequence begins at its own last step.
    return before if inputs.last is None else jnp.where(inputs.last, first, before)


def _held(carry: Any, cut: Array | None) -> Any:
    """The carry, of which no derivative is taken where it is cut; its value stays the same."""
    if cut is None:
        return carry
    return jax.tree.map(lambda leaf: jnp.where(cut, jax.lax.stop_gradient(leaf), leaf), carry)


def _where(condition: Array | None, yes: Any, no: Any) -> Any:
    return (
        yes if condition is None else jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)
    )


def _name(cell: Cell, options: Options) -> str:
    return f"{cell.name}({cell.features}{', reverse' * options.reverse})"
