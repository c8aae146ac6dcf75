"""Newton's method by conjugate gradients: the Hessian is only multiplied with, never formed."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.layer import Array, PyTree
from fnn.optimizers.hyperparameters import (
    Given,
    Hyper,
    check_hyper,
    current_hyper,
    first_step_if_scheduled,
    initial_hyper,
    next_step,
)
from fnn.optimizers.minimizers.line_search import check_wolfe, line_search
from fnn.optimizers.minimizers.minimizer import Minimizer, Objective, Reached, somewhere
from fnn.optimizers.minimizers.vectors import (
    add_scaled,
    choose,
    dot,
    norm,
    scalar_dtype,
    scaled,
    wide,
)


class NewtonState(NamedTuple):
    """What `newton_cg` remembers: numbers, and the last gradient for who wants it."""

    steps: Array | None  # (), int32, made so far; None where nothing depends on it
    hyper: Hyper  # rate, damping, c1, c2, as far as they were given as numbers
    reached: Reached
    products: Array  # (), int32, of the Hessian with a vector, made so far


class Solution(NamedTuple):
    """Where the conjugate gradients ended."""

    direction: PyTree  # like params, at least float32; it always goes down
    products: Array  # (), int32, of the Hessian with a vector
    convex: Array  # (), bool: no direction was met along which the curvature is not positive


class _Carry(NamedTuple):
    z: PyTree  # the solution so far of H z = -g
    residual: PyTree  # H z + g
    towards: PyTree  # the conjugate direction to go on in
    square: Array  # residual · residual
    products: Array
    convex: Array
    done: Array


def newton_cg(
    rate: Given = 1.0,
    damping: Given = 0.0,
    c1: Given = 1e-4,
    c2: Given = 0.9,
    *,
    max_products: int = 50,
    max_evaluations: int = 20,
) -> Minimizer:
    """Newton's direction, as far as conjugate gradients get to it, and a line search along it.

        solve (H + damping) z = -g, until ‖(H + damping) z + g‖ <= min(1/2, √‖g‖) · ‖g‖
        params ← params + length · z, with the length from the strong-Wolfe line search

    H v is forward mode over the objective's own gradient, so over the hand-written one. Far from the
    minimum the solution is rough and cheap; near it, it is as exact as the convergence needs that is
    faster than linear. Where the curvature along a conjugate direction is not positive, the solution so
    far is taken; if it is the very first direction, -g, as long as the size of the curvature says.

    Hyperparameters: rate (the first step length looked at), damping, c1, c2. The state holds the last
    gradient. Source: Nocedal, Wright (2006), algorithm 7.1.

    Args:
      rate: the first step length of each search; 1 is Newton's.
      damping: added to every curvature.
      c1: see `line_search`.
      c2: see `line_search`.
      max_products: of the Hessian with a vector, in one step.
      max_evaluations: of the objective, by one search.

    Raises:
      ValueError: no product, constants of the search that make no sense, or a rate or a damping out of
        range.
    """
    if max_products < 1:
        raise ValueError(f"expected max_products of newton_cg at least 1, got {max_products}")
    hyper = {"rate": rate, "damping": damping, "c1": c1, "c2": c2}
    check_hyper(**hyper)
    check_wolfe(c1, c2, max_evaluations)

    def init(params: PyTree) -> NewtonState:
        return NewtonState(
            first_step_if_scheduled(*hyper.values()),
            initial_hyper(**hyper),
            somewhere(params),
            jnp.asarray(np.zeros((), np.int32)),
        )

    def update(
        objective: Objective, value: Array, grads: PyTree, state: NewtonState, params: PyTree
    ) -> tuple[PyTree, NewtonState]:
        now = current_hyper(state.hyper, state.steps, **hyper)
        found = newton_direction(
            objective, grads, params, damping=now["damping"], max_products=max_products
        )
        search = line_search(
            objective, value, grads, params, found.direction, now["rate"], c1=now["c1"],
            c2=now["c2"], max_evaluations=max_evaluations,
        )  # fmt: skip
        reached = Reached(
            state.reached.evaluations + search.evaluations,
            ~search.decreased,
            search.value,
            search.grads,
        )
        return scaled(search.step, found.direction), NewtonState(
            next_step(state.steps), state.hyper, reached, state.products + found.products
        )

    return Minimizer(init, update)


def newton_direction(
    objective: Objective,
    grads: PyTree,
    params: PyTree,
    *,
    damping: Array | float = 0.0,
    max_products: int = 50,
) -> Solution:
    """The truncated solution z of ``(H + damping) z = -g``: see `newton_cg`."""
    dtype = scalar_dtype(params)
    damping = jnp.asarray(damping).astype(dtype)

    # Forward mode, with what does not depend on the vector computed once: `jax.jvp` in the loop below
    # would leave it to the compiler to find that out.
    _, hessian = jax.linearize(lambda p: objective(p)[1], params)

    def product(v: PyTree) -> PyTree:
        """(H + damping) v."""
        h = hessian(jax.tree.map(lambda a, p: a.astype(p.dtype), v, params))
        return add_scaled(wide(h), damping, v)

    start = wide(grads)
    size = norm(grads, dtype)
    tolerance = jnp.minimum(0.5, jnp.sqrt(size)) * size
    eps = jnp.finfo(dtype).eps

    def unfinished(carry: _Carry) -> Array:
        return ~carry.done & (carry.products < max_products)

    def body(carry: _Carry) -> _Carry:
        bent = product(carry.towards)
        curvature = dot(carry.towards, bent, dtype)
        length = dot(carry.towards, carry.towards, dtype)
        # What rounding alone may leave of a sum that is 0, in the objective's own unit.
        nothing = eps * dot(_sizes(carry.towards), _sizes(bent), dtype)
        convex = curvature > nothing
        first = carry.products == 0
        # -g is as long as Newton's step would be, were the curvature turned around.
        bend = jnp.where(jnp.abs(curvature) > nothing, jnp.abs(curvature), length)
        a = carry.square / jnp.where(convex, curvature, bend)
        forward = add_scaled(carry.z, a, carry.towards)
        residual = add_scaled(carry.residual, a, bent)
        square = dot(residual, residual, dtype)
        towards = add_scaled(
            scaled(jnp.asarray(-1.0, dtype), residual), square / carry.square, carry.towards
        )
        return _Carry(
            choose(convex | first, forward, carry.z),
            residual,
            towards,
            square,
            carry.products + 1,
            convex,
            ~convex | ~(jnp.sqrt(square) > tolerance),
        )

    downhill = scaled(jnp.asarray(-1.0, dtype), start)
    begin = _Carry(
        jax.tree.map(jnp.zeros_like, start),
        start,
        downhill,
        jnp.square(size),
        jnp.zeros((), jnp.int32),
        jnp.ones((), bool),
        ~(size > 0),
    )
    end = jax.lax.while_loop(unfinished, body, begin)
    # A gradient of NaN, or of 0, is its own direction: what is not finite must show.
    direction = choose(end.products > 0, end.z, downhill)
    return Solution(direction, end.products, end.convex)


def _sizes(tree: PyTree) -> PyTree:
    return jax.tree.map(jnp.abs, tree)
