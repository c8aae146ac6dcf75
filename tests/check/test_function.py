"""Derivatives of any function: right ones pass for every seed, and each fault is found where it is."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from functions import (
    FAULTS,
    RIGHT,
    B,
    W,
    X,
    data,
    dense,
    dense_backward,
    dense_forward,
    failed,
    leaves_of,
    quick,
    right,
    ruled,
)
from selection import few

from fnn.check import GradientError
from fnn.check.battery import AT_SIZE, METHODS
from fnn.check.functions.function import function


def test_a_right_custom_vjp_passes_and_the_report_says_what_it_was_compared_with():
    report = function(right, X, W, B)
    report.raise_if_wrong()
    assert report.name.startswith("dense against autodiff of its own primal; no forward mode")
    assert "custom_vjp" in report.name
    assert leaves_of(report) == {"x", "w", "b"}
    methods = {row.method for row in report.rows}
    assert methods >= {"value", "reverse mode", "forward mode", "numerical"}
    assert "forward rule" not in methods


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("reference", [None, dense], ids=["own primal", "given"])
def test_a_wrong_custom_vjp_is_found_and_its_argument_named(name, reference):
    forward, backward, leaves = FAULTS[name]
    report = quick(ruled(dense, forward, backward), X, W, B, reference=reference)
    assert {row.path for row in report.failures} == leaves, str(report)
    assert {method for method, _ in failed(report)} >= {"reverse mode", "forward mode", "numerical"}
    assert "reverse-mode" not in report.name
    assert (reference is None) == ("own primal" in report.name)
    with pytest.raises(GradientError, match="dense against autodiff"):
        report.raise_if_wrong()


def test_arguments_in_the_wrong_order_are_found():
    f = ruled(
        lambda a, b: a * a * b,
        lambda a, b: (a * a * b, (a, b)),
        lambda c, dy: (dy * c[0] ** 2, dy * 2 * c[0] * c[1]),
    )
    assert {row.path for row in quick(f, X, X + 1).failures} == {"a", "b"}


def test_a_forward_rule_that_returns_another_value_is_found():
    f = ruled(dense, lambda *a: (jnp.tanh(a[0] @ a[1]), dense_forward(*a)[1]), dense_backward)
    report = quick(f, X, W, B)
    assert failed(report) == {("value", "y")}
    assert "jax.vjp" in report.worst.predicate


def test_a_reference_that_is_another_function_is_found():
    report = quick(right, X, W, B, reference=lambda x, w, b: 1.01 * dense(x, w, b))
    assert ("value", "y") in failed(report)
    assert "the reference's value" in next(r for r in report.failures if r.path == "y").predicate
    with pytest.raises(
        ValueError, match=r"expected a reference with outputs .*\(6, 4\).*got .*\(4,\)"
    ):
        quick(right, X, W, B, reference=lambda x, w, b: b)


def test_a_closed_over_array_is_part_of_the_function():
    f = ruled(lambda x: x @ W, lambda x: (x @ W, None), lambda c, dy: (dy @ W.T,))
    assert quick(f, X).ok
    f = ruled(lambda x: x @ W, lambda x: (x @ W, None), lambda c, dy: (dy @ W.T * 0.99,))
    assert not quick(f, X).ok


def test_a_custom_jvp_that_is_wrong_is_found_in_both_modes():
    cube = jax.custom_jvp(lambda x: x**3)
    cube.defjvp(lambda p, t: (p[0] ** 3, 2 * p[0] ** 2 * t[0]))
    report = function(cube, X)
    assert {method for method, _ in failed(report)} >= {"reverse mode", "numerical", "forward rule"}


def test_a_fault_in_forward_mode_alone_is_found():
    """Reverse mode transposes a linear map that is right; forward mode evaluates a NaN beside it."""

    @jax.custom_jvp
    def f(x):
        return jnp.sin(x)

    @f.defjvp
    def rule(primals, tangents):
        (x,), (t,) = primals, tangents
        return jnp.sin(x), jnp.cos(x) * _half_in_forward_mode(t)

    report = function(f, X)
    assert ("forward rule", "x") in failed(report)
    assert ("reverse mode", "x") not in failed(report)
    wrong = next(row for row in report.failures if row.method == "forward rule")
    assert "jax.jvp of the function" in wrong.predicate


def _half_in_forward_mode(t):
    """A linear map whose transpose is given apart, and does not fit it."""
    return jax.custom_derivatives.linear_call(lambda _, t: t / 2, lambda _, dy: dy, (), t)


def test_the_forward_mode_of_safe_cross_entropy_is_nan_at_a_masked_class():
    logits, labels = np.array([-np.inf, 1, 2]), np.array([0, 0.5, 0.5])
    report = function(optax.losses.safe_softmax_cross_entropy, logits, labels, argnums=0)
    assert ("forward rule", "logits") in failed(report)
    assert ("reverse mode", "logits") not in failed(report)
    assert ("value", "y") not in failed(report)
    wrong = next(row for row in report.failures if row.method == "forward rule")
    assert np.isnan(wrong.hand)


def test_trees_integers_keys_and_states_are_handed_over():
    def f(params, inputs, rows, key, rate):
        picked = params["w"][rows] * inputs[0] + inputs[1]["shift"]
        return {
            "y": jnp.where(jax.random.bernoulli(key, 0.5, picked.shape), picked, 0) * rate,
            "n": rows,
        }

    report = quick(
        f,
        {"w": X, "steps": np.arange(3)},
        (data(4, 5), {"shift": data(4, 5, seed=3)}),
        np.array([0, 5, 5, 1]),
        jax.random.key(3),
        0.5,
    )
    report.raise_if_wrong()
    assert {row.path for row in report.rows} >= {
        "params/w",
        "inputs/0",
        "inputs/1/shift",
        "rate",
        "y/y",
    }


def test_only_what_is_asked_for_is_differentiated():
    report = quick(right, X, W, B, argnums=(0, 2))
    assert leaves_of(report) == {"x", "b"}
    assert report.ok
    assert leaves_of(quick(right, X, W, B, argnums=1)) == {"w"}
    with pytest.raises(ValueError, match=r"expected argnums in 0\.\.2, got 3"):
        quick(right, X, W, B, argnums=3)


def test_parameters_without_names_are_numbered():
    report = quick(lambda *xs: xs[0] * xs[1], X, X)
    assert leaves_of(report) == {"xs/0", "xs/1"}
    report.raise_if_wrong()
    report = quick(functools.partial(jnp.sum, axis=0), X)
    assert report.name == "sum against autodiff of its own primal"
    report.raise_if_wrong()


def test_a_callable_without_a_hash_is_checked():
    class Scale:
        __hash__ = None

        def __call__(self, x):
            return 2 * x

    assert quick(Scale(), X).ok


@pytest.mark.parametrize("name", few(RIGHT, 3))
def test_right_functions_pass_for_every_seed(name):
    for seed in range(20):
        methods = METHODS if seed == 0 else AT_SIZE
        report = function(RIGHT[name], data(6, 5, seed=seed), seed=seed, methods=methods)
        assert report.ok, str(report)
