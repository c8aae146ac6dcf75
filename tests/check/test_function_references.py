"""What a function is compared with where its own primal is not the plain formula that it should be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from functions import (
    FAULTS,
    B,
    W,
    X,
    dense,
    failed,
    quick,
    right,
    ruled,
    scaled_tanh,
)

from fnn.check.functions.function import function


@pytest.mark.parametrize("reference", [None, lambda x: 2 * jnp.tanh(x)], ids=["none", "plain"])
@pytest.mark.parametrize("factor", [2.0, 2.002])
def test_a_pallas_kernel_with_rules_of_its_own(reference, factor):
    kernel = ruled(
        scaled_tanh,
        lambda x: (scaled_tanh(x), x),
        lambda x, dy: (factor * dy * (1 - jnp.tanh(x) ** 2),),
    )
    report = function(kernel, X, reference=reference)
    assert report.ok == (factor == 2.0), str(report)
    if reference is None:
        assert "against forward-mode autodiff of its own primal" in report.name
    else:
        assert "reference <lambda>" in report.name
        assert "reverse mode" in {row.method for row in report.rows}
    if factor != 2.0:
        assert {row.path for row in report.failures} == {"x"}


def test_a_function_without_a_batching_rule_is_no_fault():
    def sine(x):
        return jax.pure_callback(np.sin, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    f = ruled(sine, lambda x: (sine(x), x), lambda x, dy: (dy * jnp.cos(x),))
    report = function(f, X, reference=jnp.sin)
    report.raise_if_wrong()
    (batched,) = (row for row in report.rows if row.method == "vmap")
    assert batched.verdict == "undecided"


def test_a_straight_through_estimator_is_held_to_the_derivative_that_is_meant():
    """The values are those of round, the derivative that of the identity: differences must not agree."""
    f = ruled(lambda x: jnp.round(x), lambda x: (jnp.round(x), None), lambda cache, dy: (dy,))

    def meant(x):
        return x + jax.lax.stop_gradient(jnp.round(x) - x)

    autodiff = ("reverse mode", "forward mode")
    function(f, X, reference=meant, methods=autodiff).raise_if_wrong()
    assert failed(function(f, X, reference=meant)) == {("numerical", "x")}
    assert {method for method, _ in failed(function(f, X, methods=autodiff))} == {*autodiff}


def test_a_reference_with_rules_of_its_own_is_differentiated_without_them():
    report = quick(right, X, W, B, reference=ruled(dense, *FAULTS["scale"][:2]))
    report.raise_if_wrong()
    assert "autodiff of the reference dense without its custom rules" in report.name


@pytest.mark.parametrize("factor", [1.0, 1.01])
def test_what_autodiff_cannot_differentiate_is_left_to_differences(factor):
    def sine(x):
        return jax.pure_callback(np.sin, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    f = ruled(sine, lambda x: (sine(x), x), lambda x, dy: (factor * dy * jnp.cos(x),))
    report = function(f, X)
    assert "against differences alone" in report.name
    assert "callback" in report.name
    assert {m for m, _ in failed(report)} == (set() if factor == 1 else {"numerical"})


def test_an_implicit_derivative_is_checked_by_forward_mode():
    """x = cos(x + a) by iteration; dx/da = −s / (1 + s), with s = sin(x + a)."""

    def solve(a):
        return jax.lax.while_loop(
            lambda c: jnp.max(jnp.abs(c[0] - c[1])) > 1e-15,
            lambda c: (jnp.cos(c[0] + a), c[0]),
            (jnp.cos(a), jnp.zeros_like(a)),
        )[0]

    def backward(cache, dy):
        s = jnp.sin(cache[0] + cache[1])
        return (-dy * s / (1 + s),)

    a = np.array([0.1, 0.2], np.float32)
    f = ruled(solve, lambda a: (solve(a), (solve(a), a)), backward)
    report = function(f, a, tolerance=1e-8)
    report.raise_if_wrong()
    assert "forward-mode autodiff" in report.name
