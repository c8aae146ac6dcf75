"""Curvature by products against dense matrices: `jax.hessian` of the forward pass, and closed forms."""

import functools
from typing import NamedTuple

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import chain, layers
from fnn.diagnostics import (
    gradient_sharpness,
    hessian_density,
    hessian_eigenvalues,
    hessian_trace,
)
from fnn.diagnostics.curvature_products import flattened
from fnn.gradient import mean_loss
from fnn.losses import softmax_cross_entropy, squared_error
from fnn.random import child_key

NET = chain(hidden=layers.linear(4), act=layers.tanh(), logits=layers.linear(3))
LOSS = softmax_cross_entropy()


class Dense(NamedTuple):
    given: tuple  # params, state, x, target
    hessian: np.ndarray
    gauss_newton: np.ndarray
    gradient: np.ndarray
    weights: np.ndarray


@functools.cache
def dense(dtype, weighted=False):
    """The matrices of NET on 14 examples, column by column, by jax alone."""
    rng = np.random.default_rng(2)
    x, target = jnp.asarray(rng.normal(size=(14, 3)), dtype), jnp.asarray(rng.integers(0, 3, 14))
    weights = jnp.asarray(rng.uniform(size=14), dtype) if weighted else None
    params, state = NET.init(jax.random.key(3), x)
    vector, restored = jax.flatten_util.ravel_pytree(params)
    share = jnp.full(14, 1 / 14, dtype) if weights is None else weights / weights.sum()

    def loss_of(logits):
        own = jnp.take_along_axis(jax.nn.log_softmax(logits), target[:, None], axis=1)[:, 0]
        return -(share * own).sum()

    def logits_of(vector):
        return NET.predict(restored(vector), state, x)

    @jax.jit
    def matrices(vector):
        with jax.default_matmul_precision("highest"):
            slopes = jax.jacfwd(logits_of)(vector)
            bend = jax.hessian(loss_of)(logits_of(vector))
            hessian = jax.hessian(lambda v: loss_of(logits_of(v)))(vector)
            gauss_newton = jnp.einsum("ncp,ncmd,mdq->pq", slopes, bend, slopes)
            return hessian, gauss_newton, jax.grad(lambda v: loss_of(logits_of(v)))(vector)

    found = (np.asarray(a, np.float64) for a in matrices(vector))
    return Dense((params, state, x, target), *found, weights)


@pytest.mark.parametrize(("dtype", "close"), [(np.float32, 1e-4), (np.float64, 1e-8)])
@pytest.mark.parametrize("matrix", ["hessian", "gauss-newton"])
def test_eigenvalues_are_those_of_the_dense_matrix(dtype, close, matrix):
    with jax.enable_x64(dtype == np.float64):
        case = dense(dtype)
        look = hessian_eigenvalues(NET, LOSS, count=3, steps=31, tolerance=0, matrix=matrix)
        found = look(*case.given, jax.random.key(0))
        rate = found.stable_rate
    exact = np.linalg.eigvalsh(case.hessian if matrix == "hessian" else case.gauss_newton)
    scale = np.abs(exact).max()
    np.testing.assert_allclose(found.values, exact[::-1][:3], rtol=close)
    np.testing.assert_allclose(found.lowest, exact[0], rtol=close, atol=close * scale * 1e-2)
    assert (float(found.lowest) < -0.01 * scale) == (matrix == "hessian")
    np.testing.assert_allclose(rate, 2 / exact[-1], rtol=close)
    assert found.vectors is None


def test_in_parts_with_weights_and_early_end():
    case = dense(np.float32, weighted=True)
    look = hessian_eigenvalues(
        NET, LOSS, count=2, steps=31, tolerance=1e-3, vectors=True, batch_size=4
    )
    found = look(*case.given, jax.random.key(1), case.weights)
    exact, vectors = np.linalg.eigh(case.hessian)
    assert int(found.steps) < 25
    np.testing.assert_allclose(found.values, exact[::-1][:2], rtol=1e-4)
    assert (np.abs(found.values - exact[::-1][:2]) <= found.bounds + 1e-6).all()
    for i in range(2):
        vector = flattened(jax.tree.map(lambda leaf, i=i: leaf[i], found.vectors)).vector
        # In the order of the tree's leaves, as the dense matrix.
        assert abs(vector @ vectors[:, -1 - i]) == pytest.approx(1, abs=1e-4)
    assert jax.tree.structure(found.vectors) == jax.tree.structure(case.given[0])
    lines = str(found).splitlines()
    assert lines[0].split() == ["eigenvalue", "value", "within"]
    assert [line[:8].strip() for line in lines[2:5]] == ["λ 1", "λ 2", "λ lowest"]
    assert "2 / λ = " in lines[-1]


def test_the_quadratic_of_a_linear_network():
    """L = Σ (x w - t)² / N, so H = 2 xᵀx / N for each output, whatever w."""
    rng = np.random.default_rng(4)
    x = rng.normal(size=(9, 3)) * [3, 1, 0.1]
    target = rng.normal(size=(9, 2))
    net, loss = chain(out=layers.linear(2, bias=False)), squared_error()
    exact = np.linalg.eigvalsh(2 * x.T @ x / 9)
    with jax.enable_x64(True):
        given = (*net.init(jax.random.key(0), x), x, target)
        found = hessian_eigenvalues(net, loss, steps=6, tolerance=0)(*given, jax.random.key(0))
        sharp = gradient_sharpness(net, loss)(*given)
        w, rate = np.asarray(given[0]["out"].w), sharp.best_rate
    np.testing.assert_allclose([found.values[0], found.lowest], exact[[-1, 0]], rtol=1e-8)
    assert int(found.steps) == 3  # each eigenvalue is there twice, and found once
    g = 2 * x.T @ (x @ w - target) / 9
    along = np.sum(g * (2 * x.T @ x / 9 @ g)) / np.sum(g * g)
    np.testing.assert_allclose(sharp.value, along, rtol=1e-10)
    np.testing.assert_allclose(sharp.gradient_norm, np.linalg.norm(g), rtol=1e-10)
    np.testing.assert_allclose(rate, 1 / along, rtol=1e-10)
    assert "sharpness along the gradient" in str(sharp)


def test_sharpness_is_that_of_the_dense_matrix():
    case = dense(np.float32, weighted=True)
    found = gradient_sharpness(NET, LOSS, batch_size=5)(*case.given, None, case.weights)
    g = case.gradient
    np.testing.assert_allclose(found.value, g @ case.hessian @ g / (g @ g), rtol=1e-4)


def test_the_trace_lies_within_its_errors():
    case = dense(np.float32)
    look = hessian_trace(NET, LOSS, probes=400)
    found = look(*case.given, jax.random.key(2))
    exact = np.trace(case.hessian)
    beside = case.hessian - np.diag(np.diag(case.hessian))
    error = np.sqrt(2 * np.sum(beside**2) / 400)  # Hutchinson (1990)
    np.testing.assert_allclose(found.standard_error, error, rtol=0.2)
    assert abs(found.value - exact) < 4 * error
    again = look(*case.given, jax.random.key(2))
    np.testing.assert_array_equal(found.samples, again.samples)


@pytest.mark.slow
def test_the_trace_with_a_sketch_of_the_whole_space_is_exact():
    case = dense(np.float32)
    found = hessian_trace(NET, LOSS, probes=2, sketch=99)(*case.given, jax.random.key(2))
    np.testing.assert_allclose(found.samples, np.trace(case.hessian), rtol=1e-3)


def test_the_density_is_that_of_the_eigenvalues():
    case = dense(np.float32)
    look = hessian_density(NET, LOSS, probes=60, steps=20, points=200, width=0.05)
    found = look(*case.given, jax.random.key(3))
    grid, density = np.asarray(found.grid, np.float64), np.asarray(found.density, np.float64)
    assert np.trapezoid(density, grid) == pytest.approx(1, abs=1e-3)
    exact = np.linalg.eigvalsh(case.hessian)
    sigma = 0.05 * np.nanmax(found.nodes) - 0.05 * np.nanmin(found.nodes)
    smooth = np.exp(-(((grid[:, None] - exact) / sigma) ** 2) / 2).mean(axis=1)
    smooth /= sigma * np.sqrt(2 * np.pi)
    # Of random probes: the distance between the two distributions falls as 1 / √(probes · n).
    step = grid[1] - grid[0]
    assert np.abs(np.cumsum(density - smooth)).max() * step < 0.05
    np.testing.assert_allclose(found.weights.sum(axis=1), 1, rtol=1e-5)
    lines = str(found).splitlines()
    assert len(lines) == 201
    assert max(line.count("█") for line in lines) == 40


def test_a_random_network_draws_the_same_in_every_product():
    net = chain(hidden=layers.linear(4), drop=layers.dropout(0.5), out=layers.linear(2))
    rng = np.random.default_rng(0)
    x, target = rng.normal(size=(8, 3)).astype(np.float32), np.arange(8) % 2
    params, state = net.init(jax.random.key(0), x)
    look = hessian_eigenvalues(net, LOSS, steps=26, tolerance=0)
    found = look(params, state, x, target, jax.random.key(5))
    vector, restored = jax.flatten_util.ravel_pytree(params)
    key = child_key(jax.random.key(5), "network")

    def mean(vector):
        return mean_loss(net, LOSS)(restored(vector), state, x, target, key)[0]

    exact = np.linalg.eigvalsh(np.asarray(jax.jit(jax.hessian(mean))(vector)))
    np.testing.assert_allclose([found.values[0], found.lowest], exact[[-1, 0]], rtol=1e-4)


def test_half_precision_parameters_are_summed_in_float32():
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), dense(np.float32).given[0])
    flat = flattened(params)
    assert flat.vector.dtype == jnp.float32
    back = flat.restored(flat.vector)
    jax.tree.map(np.testing.assert_array_equal, back, params)
    assert jax.tree.leaves(back)[0].dtype == jnp.bfloat16


def test_what_is_refused():
    for make in (hessian_eigenvalues, hessian_trace, hessian_density):
        with pytest.raises(ValueError, match=r"\['hessian', 'gauss-newton'\], got 'fisher'"):
            make(NET, LOSS, matrix="fisher")
    for make in (hessian_eigenvalues, hessian_trace, hessian_density, gradient_sharpness):
        with pytest.raises(ValueError, match="batch size of 1 or more, got 0"):
            make(NET, LOSS, batch_size=0)
    with pytest.raises(ValueError, match="count 3, steps 2"):
        hessian_eigenvalues(NET, LOSS, count=3, steps=2)
    with pytest.raises(ValueError, match="probes above 0, got 0"):
        hessian_trace(NET, LOSS, probes=0)
    with pytest.raises(ValueError, match="sketch of 0 vectors or more, got -1"):
        hessian_trace(NET, LOSS, sketch=-1)
    with pytest.raises(ValueError, match="width above 0, got 0"):
        hessian_density(NET, LOSS, width=0)
    x = jnp.ones((2, 3))
    given = (*layers.relu().init(jax.random.key(0), x), x, jnp.zeros(2, jnp.int32))
    with pytest.raises(ValueError, match="expected a network with parameters, got none"):
        hessian_trace(layers.relu(), LOSS)(*given, jax.random.key(0))


@pytest.mark.parametrize("make", [hessian_eigenvalues, hessian_trace, hessian_density])
def test_without_a_key(make):
    with pytest.raises(TypeError, match=rf"{make.__name__}: expected a key, .*jax.random.key\(0\)"):
        make(NET, LOSS)(*dense(jnp.float32).given)
