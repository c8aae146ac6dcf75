"""Every optimizer comes to the minimum: a parabola, a narrow valley, a bent one, and real digits."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from stepping import every_row_compiled, parabola, scan, to_rest

from fnn import optimizers
from fnn.data.packaged import digits


@every_row_compiled
def test_parabola(row):
    start = {"a": jnp.asarray([3.0, -2.0]), "b": jnp.asarray(5.0)}
    optimizer = to_rest(row, row.rate, row.parabola_steps)
    end, _ = jax.jit(lambda: scan(optimizer, start, parabola, row.parabola_steps))()
    for leaf in jax.tree.leaves(end):
        np.testing.assert_allclose(leaf, 1, atol=1e-3)


# One sweep by vmap for each problem: the best of these rates has to get there, so that no row needs a
# rate of its own for every problem.
RATES = np.logspace(-4.5, 0.5, 16).astype(np.float32)


def sweep(row, loss, gradient, start, steps, rates=RATES):
    """The losses at the end, for every rate; NaN where it diverges."""

    @jax.jit
    @jax.vmap
    def train(rate):
        return loss(scan(to_rest(row, rate, steps), start, gradient, steps)[0])

    return np.asarray(train(rates))


@every_row_compiled
def test_narrow_valley(row):
    """A quadratic with curvatures from 1 to 1000: from 516, of which the flat direction has 0.5."""
    curvature = jnp.asarray([1.0, 31.6, 1000.0])
    losses = sweep(
        row,
        lambda x: (curvature * jnp.square(x)).sum() / 2,
        lambda x: curvature * x,
        jnp.ones(3),
        2000,
    )
    assert np.nanmin(losses) < 0.1, losses


@every_row_compiled
def test_rosenbrock(row):
    """(1 - x)² + 100 (y - x²)² from (-1.2, 1): down into the bent valley, and along it to (1, 1)."""

    def loss(p):
        return jnp.square(1 - p[0]) + 100 * jnp.square(p[1] - jnp.square(p[0]))

    def gradient(p):
        across = p[1] - jnp.square(p[0])
        return jnp.stack([-2 * (1 - p[0]) - 400 * p[0] * across, 200 * across])

    losses = sweep(row, loss, gradient, jnp.asarray([-1.2, 1.0]), 5000)
    assert np.nanmin(losses) < 0.2, losses


@functools.cache
def real_digits():
    """200 of scikit-learn's digits as rows of 64 numbers without their mean, and one-hot classes."""
    pytest.importorskip("sklearn")
    x, y = digits().train
    rows = x[:200].reshape(200, 64)
    return rows - rows.mean(0), np.eye(10, dtype=np.float32)[y[:200]]


@every_row_compiled
def test_softmax_regression_of_real_digits(row):
    """95 % of the training set by 150 full-batch steps, in one compiled scan for all rates."""
    x, y = real_digits()

    def gradient(params):
        error = (jax.nn.softmax(x @ params["w"] + params["b"][None]) - y) / len(x)
        return {"w": x.T @ error, "b": error.sum(0)}

    def mistakes(params):
        scores = x @ params["w"] + params["b"][None]
        return (scores.argmax(1) != y.argmax(1)).mean()

    start = {"w": jnp.zeros((64, 10)), "b": jnp.zeros(10)}
    wrong = sweep(row, mistakes, gradient, start, 150, 100 * RATES[4::2])
    assert np.nanmin(wrong) <= 0.05, wrong


def test_momentum_on_an_ill_conditioned_quadratic_has_the_optimal_rate():
    """κ = 1000 with Polyak's rate and decay: the distance falls by (√κ - 1) / (√κ + 1) a step."""
    low, high = 1.0, 1000.0
    root = np.sqrt(high / low)
    factor = (root - 1) / (root + 1)
    rate, decay = 4 / (np.sqrt(low) + np.sqrt(high)) ** 2, factor**2
    curvature = jnp.asarray([low, 30.0, high])
    with jax.enable_x64(True):
        optimizer = optimizers.momentum(rate, decay)
        start, curves = jnp.ones(3), curvature.astype(float)
        _, path = scan(optimizer, start, lambda x: curves * x, 800)
        distance = np.abs(path).max(1)
        # A double root at both ends of the spectrum: t · factorᵗ, so the slope is taken with that t.
        steps = np.arange(1, 801)
        measured = np.diff(np.log(distance[[399, 799]] / steps[[399, 799]])) / 400
    np.testing.assert_allclose(np.exp(measured), factor, rtol=1e-3)
    plain = (high - low) / (high + low)  # gradient descent at its best rate
    assert 800 * np.log(factor) < -50 < -2 < 800 * np.log(plain)
