"""Updates that are not finite: skipped and counted, or the end of a run that names the culprit."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.dtypes import accumulation_dtype
from fnn.layer import Array, PyTree
from fnn.optimizers.leafwise import check_alike, check_kind, check_real
from fnn.optimizers.optimizer import Optimizer, check_transform
from fnn.tree import paths


class GuardState(NamedTuple):
    """What the guard remembers besides the optimizer's own state."""

    consecutive: Array  # (), int32: skips in a row up to now; 0 after an update that was made
    total: Array  # (), int32: all skips
    # (), int32: what the last skip met first, -1 if there was none. Of n parameters, i for the gradient
    # of parameter i, n + i for its update.
    first: Array
    covered: Array  # (), int32: n, the parameters that it guards
    inner: PyTree  # the optimizer's state


def skip_nonfinite(optimizer: Optimizer) -> Optimizer:
    """The optimizer, but where something is not finite: an update of zero, and its state as it was.

    Something is a gradient's sum of squares (squares that overflow would poison an optimizer's means,
    with updates of 0 for ever) or an update. `non_finite_leaf` names it, `stop_after` ends a run.

        guarded = skip_nonfinite(adam())
        for batch in batches:
            params, state = step(params, state, batch)
            stop_after(3, state, params)

    The steps of `fnn.train` make no such update in the first place: there, the whole step is skipped,
    and `train.fit` ends with a `NonFiniteError`. This is for a loop of one's own, which goes on.
    It looks at the gradients that it is given: of ``compose(scale=scale(1e9), moments=…)``, guard the
    moments. The update is computed twice, once to look at it, which costs less than to keep both
    outcomes.

    Raises:
      TypeError: what is guarded is no optimizer of one gradient a step.
    """
    check_transform(optimizer, "skip_nonfinite")

    # Made once, so that outside of `jit` a branch is compiled once.
    def make(operands: tuple[PyTree, PyTree, PyTree]) -> tuple[PyTree, PyTree]:
        updates, inner = optimizer.update(*operands)
        return jax.tree.map(_like, updates, operands[2]), inner

    def keep(operands: tuple[PyTree, PyTree, PyTree]) -> tuple[PyTree, PyTree]:
        _, inner, params = operands
        return jax.tree.map(_no_update, params), inner

    def init(params: PyTree) -> GuardState:
        def count(value: int) -> Array:
            return jnp.asarray(np.asarray(value, np.int32))

        covered = count(len(jax.tree.leaves(params)))
        return GuardState(count(0), count(0), count(-1), covered, optimizer.init(params))

    def update(grads: PyTree, state: GuardState, params: PyTree) -> tuple[PyTree, GuardState]:
        check_alike(grads, params, "gradients")
        check_real(grads, "gradients")
        check_kind(state, GuardState)
        looked_at, _ = optimizer.update(grads, state.inner, params)
        good = [_square_is_finite(g) for g in jax.tree.leaves(grads)]
        good += [jnp.isfinite(u).all() for u in jax.tree.leaves(looked_at)]
        bad = ~jnp.stack(good) if good else jnp.zeros(1, bool)
        skip = bad.any()
        # In this order of the branches, XLA:CPU updates the state in place; in the other, in a copy.
        updates, inner = jax.lax.cond(~skip, make, keep, (grads, state.inner, params))
        consecutive = jnp.where(skip, state.consecutive + 1, jnp.zeros_like(state.consecutive))
        first = jnp.where(skip, jnp.argmax(bad).astype(np.int32), state.first)
        total = state.total + skip.astype(np.int32)
        return updates, GuardState(consecutive, total, first, state.covered, inner)

    return Optimizer(init, update)


def non_finite_leaf(state: PyTree, params: PyTree) -> str | None:
    """What the last skip met first, such as "the gradient of hidden/w"; None if nothing was skipped.

    `state` is that of `skip_nonfinite`, or of an optimizer that it is a part of. Outside of `jit`.

    Raises:
      ValueError: the state has no guard, or one of other parameters than these, such as one group's.
    """
    for guard in _guards(state):
        index = int(guard.first)
        if index < 0:
            continue
        names = [path for path, _ in paths(params)]
        if len(names) != int(guard.covered):
            raise ValueError(
                f"expected the {int(guard.covered)} parameters that the guard covers, got "
                f"{len(names)}; around `groups`, instead of in it, a guard covers all"
            )
        found = [f"the gradient of {name}" for name in names]
        found += [f"the update of {name}" for name in names]
        return found[index]
    return None


def stop_after(skips: int, state: PyTree, params: PyTree) -> None:
    """End a run that skips so many updates in a row; to be called outside of `jit`.

    Raises:
      FloatingPointError: so many updates in a row were not finite; it says what was first.
      ValueError: the state has no guard, or less than one skip is given.
    """
    if skips < 1:
        raise ValueError(f"expected to stop after at least one skip, got {skips}")
    row = max(int(guard.consecutive) for guard in _guards(state))
    if row >= skips:
        raise FloatingPointError(
            f"{row} updates in a row were not finite; first in the last one: "
            f"{non_finite_leaf(state, params)}"
        )


def _guards(state: PyTree) -> list[GuardState]:
    def is_guard(part: Any) -> bool:
        return isinstance(part, GuardState)

    found = [part for part in jax.tree.leaves(state, is_leaf=is_guard) if is_guard(part)]
    if not found:
        raise ValueError("expected the state of an optimizer with skip_nonfinite, got none in it")
    return found


def _square_is_finite(g: Array) -> Array:
    return jnp.isfinite(jnp.square(g.astype(accumulation_dtype(g.dtype))).sum())


def _like(u: Array, p: Array) -> Array:
    """Both branches have to agree, whatever the gradients are of, and whosever optimizer it is."""
    return u.astype(accumulation_dtype(p.dtype))


def _no_update(p: Array) -> Array:
    return jnp.zeros(p.shape, accumulation_dtype(p.dtype))
