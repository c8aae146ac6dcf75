"""Adafactor: what it remembers, how far it steps, and its own rate."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import optimizers
from fnn.optimizers import adafactor, relative_step


def slot_bytes(optimizer, params):
    shapes = jax.eval_shape(optimizer.init, params)
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes) if leaf.ndim)


def test_the_state_of_a_matrix_grows_with_its_sides():
    params = {"w": jax.ShapeDtypeStruct((1000, 2000), jnp.float32)}
    assert slot_bytes(adafactor(0.1), params) == 4 * (1000 + 2000)
    assert slot_bytes(optimizers.adam(0.1), params) == 4 * 2 * 1000 * 2000
    # A vector, a thin matrix: as much as the parameter itself.
    thin = {"b": jax.ShapeDtypeStruct((1000,), jnp.bfloat16)}
    thin["w"] = jax.ShapeDtypeStruct((1000, 127), jnp.bfloat16)
    assert slot_bytes(adafactor(0.1), thin) == 4 * (1000 + 1000 * 127)


@pytest.mark.parametrize(
    ("shape", "row", "column"),
    [
        ((2, 3), (2,), (3,)),
        ((3, 2), (2,), (3,)),
        ((3, 3), (3,), (3,)),
        # Of three axes the two longest: for each place of the third, a matrix of its own.
        ((2, 5, 4), (2, 4), (2, 5)),
        ((5, 2, 4), (2, 4), (5, 2)),
    ],
)
def test_the_two_longest_axes_are_factored(shape, row, column, rng):
    g = rng.normal(size=shape).astype(np.float32)
    p = np.ones(shape, np.float32)
    optimizer = optimizers.scale_by_factored_squares(0.8, 0.0, min_side=2)
    u, state = optimizer.update(g, optimizer.init(p), p)
    slots = {name: leaf.shape for name, leaf in state.slots.items()}
    assert slots == {"row": row, "column": column, "square": (0,)}
    # The first mean is of this gradient alone.
    second, longest = sorted(range(len(shape)), key=lambda axis: shape[axis])[-2:]
    rows = (g**2).mean(axis=longest, keepdims=True)
    columns = (g**2).mean(axis=second, keepdims=True)
    expected = g / np.sqrt(rows * columns / rows.mean(axis=second, keepdims=True))
    np.testing.assert_allclose(u, expected, rtol=1e-5)


def test_squares_of_rank_one_are_remembered_exactly(rng):
    """Then the factored direction is the sign of the gradient, as without factors."""
    g = np.outer(rng.normal(size=4), rng.normal(size=5)).astype(np.float32)
    p = np.zeros_like(g)
    for min_side in (2, 128):
        optimizer = optimizers.scale_by_factored_squares(0.8, 1e-30, min_side=min_side)
        u, _ = optimizer.update(g, optimizer.init(p), p)
        np.testing.assert_allclose(u, np.sign(g), rtol=1e-5)


@pytest.mark.parametrize("size", [1e-5, 1.0, 1e5])
def test_a_step_is_at_most_the_rate_times_the_parameters_rms(size, rng):
    p = np.full((4, 3), 2.0, np.float32)
    optimizer = adafactor(0.1, min_side=2)
    state = optimizer.init(p)
    for growth in (1, 10, 100):  # gradients that grow faster than what is remembered
        g = (growth * size * rng.normal(size=p.shape)).astype(np.float32)
        u, state = optimizer.update(g, state, p)
        assert np.sqrt(np.mean(np.square(u))) <= 0.1 * 2.0 * (1 + 1e-5)


def test_a_parameter_at_zero_can_leave_it():
    p = np.zeros((3, 3), np.float32)
    optimizer = adafactor(0.1, least_scale=0.01)
    u, _ = optimizer.update(np.ones_like(p), optimizer.init(p), p)
    np.testing.assert_allclose(u, -0.1 * 0.01, rtol=1e-6)


def test_the_relative_step_is_one_hundredth_then_shrinks():
    schedule = relative_step()
    counts = jnp.asarray([0, 5_000, 9_999, 39_999, 999_999])
    np.testing.assert_allclose(schedule(counts), [0.01, 0.01, 0.01, 0.005, 0.001], rtol=1e-5)
    p = np.full(3, 2.0, np.float32)
    optimizer = adafactor()
    u, state = optimizer.update(np.ones_like(p), optimizer.init(p), p)
    np.testing.assert_allclose(u, -0.01 * 2, rtol=1e-5)
    assert "rate" not in state["rate"].hyper


def test_what_is_refused():
    with pytest.raises(ValueError, match="expected min_side at least 1, got 0"):
        adafactor(min_side=0)
    with pytest.raises(ValueError, match=r"expected power finite and at least 0, got -0\.8"):
        adafactor(power=-0.8)
    with pytest.raises(ValueError, match="relative_step: expected a peak finite and at least 0"):
        relative_step(np.inf)


@pytest.mark.parametrize("size", [1.0, 1e5, 1e15])
def test_units_without_a_gradient_rest_beside_large_gradients(size):
    """Dead units: eps over the mean of the other rows is below what float32 can hold."""
    p, g = np.ones((5, 3), np.float32), np.zeros((5, 3), np.float32)
    g[:, 0] = size
    optimizer = optimizers.scale_by_factored_squares(0.8, 1e-30, min_side=2)
    u, _ = optimizer.update(g, optimizer.init(p), p)
    np.testing.assert_allclose(u, np.sign(g), rtol=1e-5)
