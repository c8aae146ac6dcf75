"""Initializers have the variance that they claim, for every kind of kernel."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import initializers

KERNELS = {
    "dense": ((60, 50), 1, 60, 50),
    "convolution": ((3, 3, 16, 32), 1, 144, 288),
    "1x1": ((1, 1, 64, 32), 1, 64, 32),
    "grouped": ((3, 3, 8, 32), 4, 72, 72),
    "depthwise": ((5, 5, 1, 64), 64, 25, 25),
}


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
@pytest.mark.parametrize(
    ("initializer", "variance"),
    [
        (initializers.normal(0.3), lambda i, o: 0.09),
        (initializers.xavier_normal, lambda i, o: 2 / (i + o)),
        (initializers.xavier_uniform, lambda i, o: 2 / (i + o)),
        (initializers.he_normal, lambda i, o: 2 / i),
    ],
    ids=["normal", "xavier_normal", "xavier_uniform", "he_normal"],
)
def test_realized_variance_is_the_claimed_one(key, initializer, variance, kernel):
    shape, groups, fan_in, fan_out = kernel
    assert initializers.fans(shape, groups) == (fan_in, fan_out)
    drawn = np.asarray(initializer(key, shape, jnp.float32, groups), np.float64)
    expected, n = variance(fan_in, fan_out), drawn.size
    # Three standard errors: of the mean, and of the variance (at most 2 var² / n for these two laws).
    assert abs(drawn.mean()) < 3 * math.sqrt(expected / n)
    assert abs(drawn.var() - expected) < 3 * expected * math.sqrt(2 / n)


@pytest.mark.parametrize(
    ("initializer", "deviation"),
    [
        (initializers.normal(0.3), 0.3),
        (initializers.xavier_normal, math.sqrt(2 / 110)),
        (initializers.he_normal, math.sqrt(2 / 60)),
    ],
    ids=["normal", "xavier_normal", "he_normal"],
)
def test_draws_are_jax_randoms_times_the_deviation(key, initializer, deviation):
    """To the last places, where a variance estimated from samples would hide a per cent."""
    expected = deviation * jax.random.normal(key, (60, 50))
    np.testing.assert_allclose(initializer(key, (60, 50), jnp.float32), expected, rtol=2e-6)


def test_uniform_draws_are_jax_randoms(key):
    limit = math.sqrt(6 / 110)
    expected = jax.random.uniform(key, (60, 50), minval=-limit, maxval=limit)
    np.testing.assert_allclose(
        initializers.xavier_uniform(key, (60, 50), jnp.float32), expected, rtol=0, atol=1e-7
    )


def test_constants_take_no_key():
    np.testing.assert_array_equal(initializers.zeros(None, (2, 3), jnp.float32), np.zeros((2, 3)))
    ones = initializers.ones(None, (3,), jnp.bfloat16)
    assert ones.dtype == jnp.bfloat16
    assert (ones == 1).all()


def test_errors():
    with pytest.raises(ValueError, match="expected a key"):
        initializers.he_normal(None, (3, 2), jnp.float32)
    with pytest.raises(ValueError, match=r"inputs, outputs.*got \(3,\)"):
        initializers.xavier_normal(jax.random.key(0), (3,), jnp.float32)
