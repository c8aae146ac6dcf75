"""Functions in the dtypes given, at the precision of those."""

import jax
import jax.numpy as jnp
import pytest
from functions import RIGHT, W, X, data, quick, ruled, scaled_tanh

from fnn.check.functions.function import function


def halved(x):
    """In float32, whatever it is given."""
    return (jnp.tanh(x.astype(jnp.float32)) * 2).astype(x.dtype)


def test_a_function_that_computes_in_float32_is_told_about_the_other_mode():
    with pytest.raises(
        TypeError, match=r"float32 of float64 .*test_given_dtypes\.py:\d+.*dtype='given'"
    ):
        function(halved, X)
    with pytest.raises(TypeError, match="dtype='given'"):
        function(lambda x: x.astype(jnp.float32), X)


def test_what_is_drawn_in_float32_is_no_loss_of_digits():
    def noisy(x, key):
        return x * jax.random.uniform(key, x.shape, jnp.float32, 0.5, 1.5).astype(x.dtype)

    quick(noisy, X, jax.random.key(0)).raise_if_wrong()


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("factor", [1.0, 1.2])
def test_the_dtypes_given_are_checked_at_their_precision(dtype, factor):
    f = ruled(
        lambda x, w: jnp.tanh(x @ w),
        lambda x, w: (jnp.tanh(x @ w), (x, w)),
        lambda c, dy: (
            dy * (1 - jnp.tanh(c[0] @ c[1]) ** 2) @ c[1].T,
            (factor * c[0].T @ (dy * (1 - jnp.tanh(c[0] @ c[1]) ** 2))).astype(c[1].dtype),
        ),
    )
    x, w = jnp.asarray(X, dtype), jnp.asarray(W, dtype)
    for reference in (None, lambda x, w: jnp.tanh(x @ w)):
        report = function(f, x, w, reference=reference, dtype="given")
        assert report.name.endswith(f"at the precision of {dtype}")
        assert ("in float64" in report.name) == (reference is not None)
        assert {row.path for row in report.failures} == (set() if factor == 1 else {"w"}), str(
            report
        )


@pytest.mark.parametrize("name", RIGHT)
def test_right_functions_pass_in_float32_too(name):
    for seed in range(5):
        report = function(RIGHT[name], data(6, 5, seed=seed), seed=seed, dtype="given")
        assert report.ok, str(report)


def test_in_the_dtypes_given_something_has_to_be_differentiated():
    f = ruled(scaled_tanh, lambda x: (scaled_tanh(x), x), lambda x, dy: (dy,))
    with pytest.raises(TypeError, match="give a plain formula as `reference=`"):
        function(f, X, dtype="given")
