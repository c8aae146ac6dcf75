"""Gains, constants, and what initializers refuse."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from selection import compiled

from fnn import initializers
from fnn.initializers import gain

# PyTorch's `calculate_gain`, as its documentation has them.
CUSTOMARY = {
    "linear": 1.0,
    "sigmoid": 1.0,
    "tanh": 5 / 3,
    "relu": math.sqrt(2),
    "leaky_relu": math.sqrt(2 / (1 + 0.01**2)),
    "selu": 0.75,
}
LAW = {
    "relu": jax.nn.relu,
    "leaky_relu": jax.nn.leaky_relu,
    "elu": jax.nn.elu,
    "gelu": lambda z: jax.nn.gelu(z, approximate=False),
    "silu": jax.nn.silu,
    "softplus": jax.nn.softplus,
    "mish": jax.nn.mish,
}


@pytest.mark.parametrize("name", CUSTOMARY)
def test_customary_gains(name):
    assert gain(name) == pytest.approx(CUSTOMARY[name], rel=1e-12)


@pytest.mark.parametrize("name", LAW)
def test_gains_keep_the_second_moment(name, rng):
    """E[f(z)²] gain² = 1, with a million draws of z: three standard errors of the mean."""
    squares = np.square(np.asarray(LAW[name](jnp.asarray(rng.normal(size=1_000_000), jnp.float32))))
    squares = squares.astype(np.float64) * gain(name) ** 2
    assert abs(squares.mean() - 1) < 3 * squares.std() / 1000
    assert gain(LAW[name]) == pytest.approx(gain(name), rel=1e-6)


def test_the_law_for_those_whose_custom_differs():
    assert gain(jnp.tanh) == pytest.approx(1.5925374, rel=1e-6)
    assert gain(jax.nn.sigmoid) == pytest.approx(1.8462285, rel=1e-6)
    assert gain(jax.nn.selu) == pytest.approx(1, rel=1e-6)  # self-normalizing, as published


def test_a_slope_of_a_leaky_rectifier():
    assert gain("leaky_relu", slope=1.0) == 1
    assert gain("leaky_relu", slope=0.0) == gain("relu")


def test_with_a_gain_of_five_thirds_tanh_does_not_fade(rng):
    """Mean squares in 60 layers of 200 tanh units settle at 0.4; with gain 1 they go on shrinking."""
    ends = {}
    for factor in (1.0, gain("tanh")):
        x = rng.normal(size=(50, 200))
        for _ in range(60):
            x = np.tanh(x @ rng.normal(size=(200, 200)) * factor / math.sqrt(200))
        ends[factor] = np.square(x).mean()
    assert 0.3 < ends[gain("tanh")] < 0.5
    assert ends[1.0] < 0.02


def test_constants_take_no_key():
    np.testing.assert_array_equal(initializers.zeros(None, (2, 3), jnp.float32), np.zeros((2, 3)))
    ones = initializers.ones(None, (3,), jnp.bfloat16)
    assert ones.dtype == jnp.bfloat16
    assert (ones == 1).all()
    filled = initializers.constant(0.5)(None, (2, 3), jnp.float16)
    assert (filled.dtype, filled.shape) == (jnp.float16, (2, 3))
    assert (filled == 0.5).all()


@pytest.mark.parametrize("name", ["zeros", "ones", "constant"])
def test_constants_of_a_traced_key_are_no_arrays_in_the_program(key, name):
    made = initializers.constant(0.5) if name == "constant" else getattr(initializers, name)
    jaxpr = jax.make_jaxpr(lambda k: made(k, (30, 20), jnp.bfloat16))(key)
    assert jaxpr.consts == []
    np.testing.assert_array_equal(
        jax.jit(lambda k: made(k, (30, 20), jnp.bfloat16))(key), made(key, (30, 20), jnp.bfloat16)
    )


def test_nothing_is_compiled_for_a_new_shape(key):
    """It would take longer than all else that an initialization does."""
    for i, name in enumerate([*DRAWN, "zeros", "ones", "identity"]):
        made = getattr(initializers, name)
        made = initializers.scaled(made(0.1) if name == "truncated_normal" else made, 0.5)
        made(key, (3, 5, 2, 3), jnp.float32)  # what is compiled for all shapes, such as a key's
        for dtype in (jnp.float32, jnp.bfloat16):
            assert compiled(partial(made, key, (3, 5, 23, 29 + i), dtype)) == [], name


DRAWN = [n for n in dir(initializers) if n.endswith(("_normal", "_uniform", "orthogonal"))]


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        *((name, jnp.float32) for name in DRAWN),
        ("orthogonal", jnp.float16),
        ("he_normal", jnp.bfloat16),
    ],
)
def test_shape_and_dtype_are_those_asked_for(key, name, dtype):
    initializer = getattr(initializers, name)
    initializer = initializer(0.1) if name == "truncated_normal" else initializer
    drawn = initializers.scaled(initializer, 2)(key, (3, 3, 4, 6), dtype)
    assert (drawn.shape, drawn.dtype) == ((3, 3, 4, 6), dtype)
    assert jnp.isfinite(drawn).all()
    with pytest.raises(ValueError, match="expected a key"):
        initializer(None, (3, 4), dtype)


@pytest.mark.parametrize("name", [n for n in DRAWN if n != "truncated_normal"])
def test_a_known_key_within_a_traced_function(key, name):
    """As in jax.eval_shape of an init that closes over the key."""
    initializer = initializers.scaled(getattr(initializers, name), 0.5)
    within = jax.jit(lambda: initializer(key, (3, 3, 4, 6), jnp.float32))()
    np.testing.assert_allclose(within, initializer(key, (3, 3, 4, 6), jnp.float32), atol=1e-6)


def test_kernels_of_no_input_have_no_elements(key):
    assert initializers.he_normal(key, (0, 5), jnp.float32).shape == (0, 5)
    assert initializers.xavier_uniform(key, (3, 3, 0, 0), jnp.float32).shape == (3, 3, 0, 0)


def test_an_orthogonal_matrix_of_a_traced_key_is_the_same(key):
    traced = jax.jit(lambda k: initializers.orthogonal(k, (5, 4), jnp.float32))(key)
    np.testing.assert_allclose(traced, initializers.orthogonal(key, (5, 4), jnp.float32), atol=1e-6)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: initializers.he_normal(None, (3, 2), jnp.float32), "expected a key"),
        (
            lambda: initializers.xavier_normal(jax.random.key(0), (3,), jnp.float32),
            r"inputs, outputs.*got \(3,\)",
        ),
        (lambda: initializers.identity(None, (3,), jnp.float32), r"inputs, outputs.*got \(3,\)"),
        (
            lambda: initializers.delta_orthogonal(jax.random.key(0), (3, 3, 4, 6), jnp.float32, 2),
            "as many outputs as inputs.*got 4 inputs and 3 outputs",
        ),
        (lambda: initializers.variance_scaling(-1), "scale finite and at least 0, got -1"),
        (lambda: initializers.variance_scaling(1, "both"), r"fan to be one of .*'average'.*'both'"),
        (lambda: initializers.variance_scaling(1, "in", "cauchy"), "law to be one of .*'cauchy'"),
        (lambda: initializers.truncated_normal(math.nan), "deviation finite and at least 0"),
        (lambda: initializers.normal(-0.1), "normal: expected a deviation finite and at least 0"),
        (lambda: initializers.uniform(1, 1), "finite low < high, got 1 and 1"),
        (lambda: initializers.constant(math.inf), "finite value, got inf"),
        (lambda: initializers.scaled(initializers.zeros, math.nan), "finite factor, got nan"),
        (lambda: gain("tahn"), "one of .*'tanh'.* or a function, got 'tahn'"),
        (lambda: gain("leaky_relu", math.inf), "finite slope"),
        (lambda: gain(jnp.zeros_like), "second moment that is finite and not 0"),
        (lambda: gain(jnp.sum), "elementwise function"),
    ],
)
def test_refused(call, match):
    with pytest.raises(ValueError, match=match):
        call()
