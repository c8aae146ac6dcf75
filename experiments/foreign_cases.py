"""Derivatives written by other people: what `experiments.foreign` and its test put before the checker.

Each has a rule of its own: a `custom_jvp` or `custom_vjp` in optax and `jax.nn`, implicit differentiation
in lineax and optimistix, rules of primitives in `jax.lax.linalg` and `jax.scipy.special`. The expected
finding was looked into by hand; an empty one means that no fault is known.
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.check import METHODS
from fnn.extras import require

Array = jax.Array


class Case(NamedTuple):
    """One function at one point."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    reference: Callable[..., Any] | None = None  # None: the function's own primal
    without: tuple[
        str, ...
    ] = ()  # methods that would put it before what it does not claim to solve
    finding: str = ""


# "kinks" also tries a matrix of ones, at which a solver rightly raises, with pages in the log.
_DENSE = ("kinks",)
# Nor does an iteration reach 1e-13 in bfloat16, or expect complex numbers.
_ITERATION = ("kinks", "low precision", "complex step")


def _normal(seed: int, *shape: int) -> Array:
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


@cache
def cases() -> Mapping[str, Case]:
    """All cases by name; the packages are imported here.

    Raises:
      ModuleNotFoundError: one of them is missing; the message says how to install it.
    """
    return {**_optax(), **_jax(), **_solvers()}


def _optax() -> dict[str, Case]:
    optax: Any = require("optax", "test")
    logits, weights = _normal(0, 3, 5), jax.nn.softmax(_normal(1, 3, 5))
    labels = jnp.asarray([0, 2, 4])
    masked = jnp.asarray([-jnp.inf, 0.0, 0.0])
    halves = jnp.asarray([0.0, 0.5, 0.5])
    low = (
        "no derivative in bfloat16 and float16: the primal is raised to float32, the rule's tangent "
        "is not, and jax refuses the rule"
    )
    return {
        "optax safe_softmax_cross_entropy": Case(
            optax.safe_softmax_cross_entropy, (logits, weights)
        ),
        "optax safe_softmax_cross_entropy, masked": Case(
            lambda z: optax.safe_softmax_cross_entropy(z, halves),
            (masked,),
            finding="forward mode is NaN at a logit of −∞ with label 0, where reverse mode is right",
        ),
        "optax softmax_cross_entropy, integer labels": Case(
            optax.softmax_cross_entropy_with_integer_labels, (logits, labels)
        ),
        "optax sigmoid_focal_loss": Case(optax.sigmoid_focal_loss, (logits, weights)),
        "optax safe_norm at 0": Case(lambda x: optax.safe_norm(x, 1e-3), (jnp.zeros(6),)),
        "optax projection_simplex": Case(
            optax.projections.projection_simplex, (_normal(2, 6),), finding=low
        ),
        "optax multiclass_sparsemax_loss": Case(
            optax.losses.multiclass_sparsemax_loss, (logits, labels), finding=low
        ),
    }


def _jax() -> dict[str, Case]:
    x, square = _normal(3, 3, 5), _normal(4, 4, 4)
    positive = jnp.abs(_normal(5, 5)) + 0.5
    nan = "reverse mode is NaN for 1 < x < 2, where forward mode is right"
    between = jnp.asarray([0.3, 0.8, 1.3, 1.7, 2.6])
    return {
        "jax.nn.relu": Case(jax.nn.relu, (x,)),
        "jax.nn.relu6": Case(jax.nn.relu6, (4 * x,)),
        "jax.nn.gelu": Case(jax.nn.gelu, (x,)),
        "jax.nn.softmax": Case(jax.nn.softmax, (x,)),
        "jax.nn.logsumexp": Case(jax.nn.logsumexp, (x,)),
        "jax.scipy.special.ndtri": Case(
            jax.scipy.special.ndtri, (jnp.asarray([0.01, 0.3, 0.5, 0.9]),)
        ),
        "jax.scipy.special.xlogy": Case(jax.scipy.special.xlogy, (positive, positive[::-1])),
        "jax.scipy.special.spence": Case(jax.scipy.special.spence, (between,), finding=nan),
        "jax.numpy.linalg.cholesky": Case(
            lambda a: jnp.linalg.cholesky(a @ a.T + jnp.eye(4)), (square,)
        ),
        "jax.numpy.linalg.eigh, values": Case(lambda a: jnp.linalg.eigh(a + a.T)[0], (square,)),
        "jax.numpy.linalg.solve": Case(jnp.linalg.solve, (square + 3 * jnp.eye(4), x[0, :4])),
        "jax.numpy.linalg.pinv": Case(jnp.linalg.pinv, (x.T,)),
    }


def _solvers() -> dict[str, Case]:
    lineax: Any = require("lineax", "test")
    optimistix: Any = require("optimistix", "test")

    def solve(a: Array, b: Array) -> Array:
        return lineax.linear_solve(lineax.MatrixLinearOperator(a), b).value

    def conjugate_gradients(a: Array, b: Array) -> Array:
        definite = lineax.MatrixLinearOperator(
            a @ a.T + jnp.eye(len(a)), lineax.positive_semidefinite_tag
        )
        return lineax.linear_solve(definite, b, lineax.CG(rtol=1e-14, atol=1e-14)).value

    def least_squares(a: Array, b: Array) -> Array:
        solver = lineax.AutoLinearSolver(well_posed=None)
        return lineax.linear_solve(lineax.MatrixLinearOperator(a), b, solver).value

    def root(a: Array) -> Array:
        newton = optimistix.Newton(rtol=1e-13, atol=1e-13)
        start = jnp.zeros_like(a)
        return optimistix.root_find(lambda y, a: y**3 + y - a, newton, start, args=a).value

    def unrolled(a: Array) -> Array:
        y = jnp.zeros_like(a)
        for _ in range(12):
            y = y - (y**3 + y - a) / (3 * y**2 + 1)
        return y

    square, tall = _normal(6, 4, 4) + 3 * jnp.eye(4), _normal(7, 6, 3)
    b = _normal(8, 6)
    return {
        "lineax linear_solve, LU": Case(solve, (square, b[:4]), jnp.linalg.solve, _DENSE),
        "lineax linear_solve, CG": Case(
            conjugate_gradients,
            (_normal(9, 4, 4), b[:4]),
            lambda a, b: jnp.linalg.solve(a @ a.T + jnp.eye(len(a)), b),
        ),
        "lineax linear_solve, least squares": Case(
            least_squares, (tall, b), lambda a, b: jnp.linalg.solve(a.T @ a, a.T @ b), _DENSE
        ),
        "optimistix root_find, Newton": Case(root, (b[:4],), unrolled, _ITERATION),
    }


def methods_of(case: Case) -> tuple[str, ...]:
    """All methods but those that the case is without."""
    return tuple(method for method in METHODS if method not in case.without)
