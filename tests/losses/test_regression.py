"""Losses of numbers: closed forms, what PyTorch and optax give, corners, and errors of any size."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fnn import losses


def of_error(loss, error):
    """Loss and gradient of each error alone."""
    error = jnp.asarray(error, jnp.float32)[:, None]
    values, cache = loss.forward(error, np.zeros(error.shape, np.float32))
    return np.asarray(values), np.asarray(loss.backward(cache, jnp.ones(error.shape[0])))[:, 0]


def both_modes(loss, error):
    """The derivative by autodiff, in reverse and in forward mode."""

    def f(e):
        return loss.forward(e[None, None], np.zeros((1, 1), np.float32))[0][0]

    return float(jax.grad(f)(jnp.float32(error))), float(jax.jacfwd(f)(jnp.float32(error)))


def test_squared_error_closed_forms():
    prediction, target = jnp.asarray([[1.0, 3.0]]), np.asarray([[0.0, 1.0]], np.float32)
    for reduction, value, gradient in (
        ("sum", 5.0, [[2, 4]]), ("half", 2.5, [[1, 2]]), ("mean", 2.5, [[1, 2]]),
    ):  # fmt: skip
        loss = losses.squared_error(reduction)
        got, cache = loss.forward(prediction, target)
        np.testing.assert_allclose(got, [value])
        np.testing.assert_allclose(loss.backward(cache, jnp.ones(1)), gradient)


def test_narrow_sums_do_not_stall():
    """257 ones: bfloat16 counts to 256."""
    prediction = jnp.ones((1, 257), jnp.bfloat16)
    values, _ = losses.squared_error().forward(prediction, np.zeros((1, 257), np.float32))
    np.testing.assert_array_equal(values, [257])


def test_a_small_error_is_taken_before_rounding():
    prediction = jnp.ones((1, 1), jnp.bfloat16)
    target = np.full((1, 1), 1 + 2.0**-10, np.float32)
    values, cache = losses.squared_error().forward(prediction, target)
    np.testing.assert_allclose(values, [2.0**-20])
    gradient = losses.squared_error().backward(cache, jnp.ones(1))
    assert (gradient.dtype, float(gradient[0, 0])) == (jnp.bfloat16, -(2.0**-9))


def test_bad_input():
    with pytest.raises(ValueError, match="'sum', 'half' or 'mean', got 'total'"):
        losses.squared_error("total")
    with pytest.raises(ValueError, match=r"targets of shape \(2, 1\), got \(2,\)"):
        losses.squared_error().forward(jnp.zeros((2, 1)), np.zeros(2, np.float32))
    with pytest.raises(ValueError, match="floating targets, got int32"):
        losses.squared_error().forward(jnp.zeros((2, 1)), np.zeros((2, 1), np.int32))


def test_absolute_error_and_its_corner():
    values, gradient = of_error(losses.absolute_error(), [-3, -0.0, 0, 2, np.inf])
    np.testing.assert_array_equal(values, [3, 0, 0, 2, np.inf])
    np.testing.assert_array_equal(gradient, [-1, 0, 0, 1, 1])
    assert both_modes(losses.absolute_error(), 0) == (0, 0)


def test_huber_as_optax(rng):
    error = np.concatenate([rng.normal(size=20), [0.7, -0.7, 0]])
    values, gradient = of_error(losses.huber(0.7), error)
    np.testing.assert_allclose(
        values, optax.huber_loss(jnp.asarray(error, jnp.float32), delta=0.7), rtol=1e-6
    )
    np.testing.assert_allclose(gradient, np.clip(error, -0.7, 0.7), rtol=1e-6)
    values, gradient = of_error(losses.huber(), [np.inf, -np.inf])
    np.testing.assert_array_equal(values, np.inf)
    np.testing.assert_array_equal(gradient, [1, -1])
    assert both_modes(losses.huber(), np.inf) == (1, 1)


def test_huber_as_pytorch():
    """huber_loss(delta=0.7, reduction="none") of torch 2.15, summed over an example."""
    error = (3 * np.sin(np.arange(8) * 1.7)).reshape(2, 4)
    with jax.enable_x64(True):
        values, _ = losses.huber(0.7).forward(error, np.zeros((2, 4)))
    np.testing.assert_allclose(values, [3.8283432490947673, 4.502285753544614], rtol=1e-12)


def test_log_cosh_at_errors_of_any_size():
    """cosh overflows beyond 89 in float32; a small error is lost to rounding in the usual form."""
    error = np.asarray([0, 1e-30, 1e-6, 1e-3, 0.5, 0.999, 1, 1.001, 5, 100, 1e30])
    values, gradient = of_error(losses.log_cosh(), error)
    wide = np.asarray(error, np.longdouble)
    small = 0.5 * np.log1p(np.sinh(np.minimum(wide, 2)) ** 2)
    expected = np.where(
        wide < 1, small, wide + np.log1p(np.exp(-2 * wide)) - np.log(np.longdouble(2))
    )
    np.testing.assert_allclose(values, expected.astype(float), rtol=3e-7, atol=1e-37)
    np.testing.assert_allclose(gradient, np.tanh(error), rtol=3e-7)
    values, gradient = of_error(losses.log_cosh(), [-np.inf, np.nan])
    np.testing.assert_array_equal(values, [np.inf, np.nan])
    np.testing.assert_array_equal(gradient, [-1, np.nan])
    assert both_modes(losses.log_cosh(), np.inf) == (1, 1)
    assert both_modes(losses.log_cosh(), 0) == (0, 0)


@pytest.mark.parametrize(
    "build", [losses.absolute_error, losses.huber, losses.log_cosh, losses.squared_error]
)
def test_the_mean_is_over_the_terms_of_an_example(build, rng):
    prediction = jnp.asarray(rng.normal(size=(3, 2, 5)), jnp.float32)
    target = rng.normal(size=(3, 2, 5)).astype(np.float32)
    total, _ = build(reduction="sum").forward(prediction, target)
    mean, _ = build(reduction="mean").forward(prediction, target)
    np.testing.assert_allclose(mean, total / 10, rtol=1e-6)


def test_a_target_that_is_nan_gives_nan():
    for loss in (
        losses.absolute_error(),
        losses.huber(),
        losses.log_cosh(),
        losses.squared_error(),
    ):
        values, cache = loss.forward(jnp.zeros((2, 1)), np.asarray([[np.nan], [0]], np.float32))
        gradient = loss.backward(cache, jnp.ones(2))
        np.testing.assert_array_equal(np.isnan(values), [True, False])
        np.testing.assert_array_equal(np.isnan(gradient), [[True], [False]])


def test_options_that_make_no_sense():
    for delta in (0, -1, np.inf, np.nan):
        with pytest.raises(ValueError, match="0 < delta < ∞"):
            losses.huber(delta)
    with pytest.raises(ValueError, match="'sum' or 'mean', got 'half'"):
        losses.absolute_error("half")
    with pytest.raises(ValueError, match=r"shape \(N, …\), got \(\)"):
        losses.log_cosh().forward(jnp.zeros(()), np.zeros((), np.float32))
