"""A recurrence: one cell, with one set of parameters, at every step of a time axis.

(c_{t+1}, y_t) = f(θ, c_t, x_t)

(dc_t, dx_t) = f_tᵀ(dc_{t+1}, dy_t)        dθ = Σ_t (∂f_t/∂θ)ᵀ(dc_{t+1}, dy_t)
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from fnn.compose.child import check_children, describe, within
from fnn.compose.cotangent import Outline, cotangent, outline
from fnn.compose.ends import active, ends_of, or_nan, or_zero, padded, where
from fnn.compose.stacking import Distinct, distinct, needed, restored
from fnn.compose.watch import Looped, unwatched, watched
from fnn.compose.wrapper import check_layer
from fnn.dtypes import accumulation_dtype
from fnn.layer import Array, Key, Layer, PyTree, Static, as_arrays, output_shape
from fnn.layers.lengths import Counted
from fnn.random import child_key


class Ends(NamedTuple):
    """What the loop's backward has to know of its x and y."""

    y: Static[Outline]  # of the last carry and the outputs
    carry: Static[tuple[tuple[tuple[int, ...], ...], Any]]  # its shapes and its tree
    lengths: Counted | None  # None if every sequence is as long as the axis


def over_time(
    cell: Layer,
    *,
    axis: int = 1,
    reverse: bool = False,
    lengths: bool = False,
    initial: Callable[[PyTree], PyTree] | None = None,
) -> Layer:
    """`cell` at every step of a sequence; what it carries goes from step to step.

    A cell is a layer that takes (carry, x_t) and returns (carry, y_t); so is the result, with sequences
    in place of x_t and y_t. Forward: a `lax.scan` over the steps. Backward, through time: the scan in the
    other direction, which carries dcarry and the sum of the dparams, in float32 at least.

    Shapes: x = (carry, xs), y = (carry, ys); the leaves of xs and ys have the time at `axis`, which may
    be of length zero. The cell must return the carry in the shapes and dtypes in which it takes it. Its
    state goes from step to step as its carry does; its key in step t is
    ``fold_in(key of "cell", t)``.
    Cache: the cell's caches, stacked, each array once; what is cut out of xs is not kept again.
    Source: Werbos (1990).

    Args:
      cell: the layer.
      axis: that of time, not negative; 1 for (batch, time, features).
      reverse: from the last step to the first.
      lengths: whether x ends with the sequences' lengths too, integers (N,) from 0 to the number of
        steps: x = (carry, xs, lengths). Beyond its length a sequence leaves the carry as it is, has
        outputs and gradients of 0, and what xs holds there, be it NaN, is not looked at. All leaves then
        have the batch for their first axis (but time, if `axis` is 0).
      initial: the carry at the start, made from one x_t, as in
        ``lambda x_t: jnp.zeros((x_t.shape[0], 32))``. Then x = xs, or (xs, lengths), and y = ys.

    Raises:
      TypeError: `cell` is no Layer, or the lengths are not integers.
      ValueError: x has another form, its leaves have no such axis or another length along it, the cell
        returns another carry than it takes, or with lengths a leaf has another batch, or a length is out
        of range. Inside `jit`, where its value cannot be looked at, such a sequence gives NaN, and its
        gradients are 0.
    """
    check_layer("over_time", cell)
    if axis < 0:
        raise ValueError(f"over_time: expected the time axis from the front, got {axis}")
    parts = {"cell": cell}
    form = [name for name, given in (("carry", initial is None), ("xs", True)) if given]
    form += ["lengths"] if lengths else []

    def taken_apart(x: PyTree) -> tuple[PyTree, PyTree, Any, int]:
        """The carry, the sequences, the lengths, and how many steps there are."""
        if len(form) == 1:
            x = (x,)
        if not isinstance(x, tuple | list) or len(x) != len(form):
            raise ValueError(
                f"over_time: expected x = ({', '.join(form)}), a tuple, got {describe(x)}"
            )
        given = dict(zip(form, x, strict=True))
        xs, ends = given["xs"], given.get("lengths")
        leaves = jax.tree.leaves(xs)
        steps = {leaf.shape[axis] if leaf.ndim > axis else None for leaf in leaves}
        if len(steps) != 1 or None in steps:
            raise ValueError(
                f"over_time: expected xs with equally many steps along axis {axis}, got {describe(xs)}"
            )
        if ends is not None and not jnp.issubdtype(ends.dtype, jnp.integer):
            raise TypeError(f"over_time: expected lengths of integers, got {describe(ends)}")
        if ends is not None and ends.shape != leaves[0].shape[int(axis == 0) :][:1]:
            raise ValueError(
                f"over_time: expected a length for each of the batch in {describe(xs)}, got "
                f"{describe(ends)}"
            )
        one = jax.tree.map(lambda leaf: _without(leaf, axis), xs)
        carry = given["carry"] if initial is None else as_arrays(initial(one))
        return carry, xs, ends, leaves[0].shape[axis]

    def looked_at(x: PyTree) -> tuple[PyTree, PyTree, Counted | None, int]:
        """The same of arrays, and where the sequences end."""
        carry, xs, ends, steps = taken_apart(as_arrays(x))
        return carry, xs, ends_of("over_time", ends, steps), steps

    def time_first(xs: PyTree, ends: Counted | None) -> PyTree:
        first = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, axis, 0), xs)
        return first if ends is None else padded(ends, first)

    def advance(ends: Counted | None, t: Array, new: PyTree, old: PyTree) -> tuple[PyTree, PyTree]:
        """(carry, y_t) after a step: of the sequences that have ended, the carry from before, and 0."""
        carry, y = new
        _check_carry(carry, old)
        if ends is None:
            return carry, y
        made = active(ends, t)
        carry = jax.tree.map(lambda n, o: where(made, n, o), carry, old)
        y = jax.tree.map(lambda leaf: where(made, leaf, jnp.zeros_like(leaf)), y)
        return carry, or_nan(ends, y)

    def result(carry: PyTree, ys: PyTree) -> PyTree:
        ys = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, axis), ys)
        return (carry, ys) if initial is None else ys

    def init(key: Key, x: PyTree) -> tuple[PyTree, PyTree]:
        carry, xs, _, _ = taken_apart(x)
        one = (carry, jax.tree.map(lambda leaf: _without(leaf, axis), xs))
        with within("cell", one):
            params, state = cell.init(child_key(key, "cell"), one)
            y = output_shape(cell, params, state, one)
            _check_carry(_pair(y)[0], jax.eval_shape(as_arrays, carry))
        return {"cell": params}, {"cell": state}

    def forward(
        params: PyTree, state: PyTree, x: PyTree, key: Key
    ) -> tuple[PyTree, PyTree, Looped]:
        check_children("over_time", "params", params, parts)
        check_children("over_time", "state", state, parts)
        carry, xs, ends, steps = looked_at(x)
        xs, key, own = time_first(xs, ends), child_key(key, "cell"), params["cell"]
        state_leaves, state_tree = jax.tree.flatten(state["cell"])
        # Of a frozen cell's state, most stays: carried, it would be cached anew in every step.
        stays = _unchanged(cell, own, state["cell"], (carry, xs), key)
        constants = [leaf for leaf, same in zip(state_leaves, stays, strict=True) if same]

        def whole(moving: list[Array]) -> PyTree:
            still, rest = iter(constants), iter(moving)
            return jax.tree.unflatten(state_tree, [next(still if same else rest) for same in stays])

        def moving_of(state: PyTree) -> list[Array]:
            leaves = jax.tree.leaves(state)
            return [leaf for leaf, same in zip(leaves, stays, strict=True) if not same]

        fixed = [*jax.tree.leaves(own), *constants]

        def step(
            before: tuple[PyTree, list[Array]], each: tuple[PyTree, Array]
        ) -> tuple[tuple[PyTree, list[Array]], tuple[PyTree, Distinct]]:
            (carry, moving), (x, t) = before, each
            key_now = None if key is None else jax.random.fold_in(key, t)
            with within("cell", (carry, x)):
                new, state, cache = cell.forward(own, whole(moving), (carry, x), key_now)
                carry, y = advance(ends, t, _pair(new), carry)
            known = [*fixed, *jax.tree.leaves((x, y))]
            return (carry, moving_of(state)), (y, distinct({"cell": cache}, known))

        (carry, moving), (ys, collected) = lax.scan(
            step, (carry, moving_of(state["cell"])), (xs, jnp.arange(steps)), reverse=reverse
        )
        carry = or_nan(ends, carry)
        stacked = [*jax.tree.leaves((xs, ys)), *collected.kept]
        needs = needed(collected, [*fixed, *stacked])
        kept = Looped(
            Distinct(needs[len(fixed) :], collected.plan),
            needs[: len(fixed)],
            Static(steps),
            Static(reverse),
            _ends(carry, ys, ends),
        )
        return result(carry, ys), {"cell": whole(moving)}, kept

    def backward(params: PyTree, cache: Looped, dy: PyTree) -> tuple[PyTree, PyTree]:
        check_children("over_time", "params", params, parts)
        own, ends, steps = params["cell"], cache.own.lengths, cache.rounds.value
        if initial is not None:  # the last carry is no output, so nothing comes back for it
            shapes, structure = cache.own.carry.value
            dy = (structure.unflatten([jnp.zeros(shape) for shape in shapes]), dy)
        dcarry, dys = cotangent(dy, cache.own.y)
        dcarry = or_zero(ends, dcarry)
        dys = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, axis, 0), dys)
        nothing = jax.tree.map(lambda p: jnp.zeros(p.shape, accumulation_dtype(p.dtype)), own)

        def step(
            after: tuple[PyTree, PyTree], each: tuple[PyTree, Distinct, Array]
        ) -> tuple[tuple[PyTree, PyTree], tuple[PyTree, PyTree]]:
            (dcarry, total), (dy, kept, t) = after, each
            passed, cached = None, restored(kept, known=cache.fixed)["cell"]
            if ends is not None:
                made = active(ends, t)
                zeros = jax.tree.map(jnp.zeros_like, (dcarry, dy))
                passed = jax.tree.map(lambda z, d: where(made, z, d), zeros[0], dcarry)
                dcarry, dy = jax.tree.map(lambda z, d: where(made, d, z), zeros, (dcarry, dy))
            with within("cell", (dcarry, dy)):
                dparams, (dcarry, dx) = cell.backward(own, cached, (dcarry, dy))
            if passed is not None:
                dcarry = jax.tree.map(jnp.add, dcarry, passed)
            total = jax.tree.map(lambda s, d: s + d.astype(s.dtype), total, unwatched(dparams))
            return (dcarry, total), (dx, dparams if watched(dparams) else None)

        (dcarry, total), (dxs, told) = lax.scan(
            step,
            (dcarry, nothing),
            (dys, cache.children, jnp.arange(steps)),
            reverse=not reverse,
        )
        dparams = jax.tree.map(lambda s, p: s.astype(p.dtype), total, own)
        dxs = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, axis), dxs)
        dx = {"carry": dcarry, "xs": dxs, "lengths": None}
        whole = tuple(dx[name] for name in form)
        return {"cell": dparams if told is None else told}, whole if len(form) > 1 else whole[0]

    def predict(params: PyTree, state: PyTree, x: PyTree) -> PyTree:
        check_children("over_time", "params", params, parts)
        check_children("over_time", "state", state, parts)
        carry, xs, ends, steps = looked_at(x)

        def step(carry: PyTree, each: tuple[PyTree, Array]) -> tuple[PyTree, PyTree]:
            x, t = each
            with within("cell", (carry, x)):
                new = cell.predict(params["cell"], state["cell"], (carry, x))
                return advance(ends, t, _pair(new), carry)

        steps_and_times = (time_first(xs, ends), jnp.arange(steps))
        carry, ys = lax.scan(step, carry, steps_and_times, reverse=reverse)
        return result(or_nan(ends, carry), ys)

    def rebuild(parts: Mapping[str, Layer]) -> Layer:
        return over_time(
            parts["cell"], axis=axis, reverse=reverse, lengths=lengths, initial=initial
        )

    name = f"over_time({cell.name})"
    return Layer(name, init, forward, backward, predict, MappingProxyType(parts), rebuild)


def _without(leaf: Any, axis: int) -> jax.ShapeDtypeStruct:
    shape = (*leaf.shape[:axis], *leaf.shape[axis + 1 :])
    return jax.ShapeDtypeStruct(shape, jax.dtypes.canonicalize_dtype(leaf.dtype))


def _pair(y: PyTree) -> tuple[PyTree, PyTree]:
    if not isinstance(y, tuple) or len(y) != 2:
        raise ValueError(f"over_time: expected the cell to return (carry, y), got {describe(y)}")
    return y


def _check_carry(new: PyTree, old: PyTree) -> None:
    if describe(new) != describe(old):
        raise ValueError(
            f"over_time: expected the cell to return the carry as it takes it, {describe(old)}, got "
            f"{describe(new)}"
        )


def _ends(carry: PyTree, ys: PyTree, lengths: Counted | None) -> Ends:
    leaves, structure = jax.tree.flatten(carry)
    shapes = Static((tuple(leaf.shape for leaf in leaves), structure))
    return Ends(outline((carry, ys)), shapes, lengths)


def _unchanged(cell: Layer, params: PyTree, state: PyTree, x: PyTree, key: Key) -> list[bool]:
    """Which leaves of its state the cell returns as they came."""
    found: list[bool] = []

    def one_step(state: PyTree, x: PyTree, key: Key) -> tuple[()]:
        _, new_state, _ = cell.forward(params, state, x, key)
        pairs = zip(jax.tree.leaves(new_state), jax.tree.leaves(state), strict=True)
        found.extend(new is old for new, old in pairs)
        return ()

    if jax.tree.leaves(state):
        carry, xs = x
        first = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), xs)
        with within("cell", (carry, first)):
            jax.eval_shape(one_step, state, (carry, first), key)
    return found
