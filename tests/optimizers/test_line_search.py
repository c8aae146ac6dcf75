"""The line search: both Wolfe conditions on hard functions, beside SciPy's, and failures that show."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from fnn.optimizers import line_search


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


def bowl_behind(a):
    return -a / (a**2 + 2)


def narrow(a):
    return (a + 0.004) ** 5 - 2 * (a + 0.004) ** 4


def rippled(a, width=0.01, ripples=39):
    smooth = jnp.where(
        jnp.abs(a - 1) >= width, jnp.abs(a - 1), (a - 1) ** 2 / (2 * width) + width / 2
    )
    wave = jnp.sin(ripples * jnp.pi / 2 * a)
    return smooth + 2 * (1 - width) / (ripples * jnp.pi) * wave


def two_bends(b1, b2):
    def gamma(b):
        return np.sqrt(1 + b**2) - b

    return lambda a: gamma(b1) * jnp.sqrt((1 - a) ** 2 + b2**2) + gamma(b2) * jnp.sqrt(a**2 + b1**2)


# Moré, Thuente (1994), section 5: the function, and the constants c1 and c2 of their tables.
HARD = {
    "bowl behind": (bowl_behind, 1e-3, 0.1),
    "narrow": (narrow, 0.1, 0.1 + 1e-9),
    "rippled": (rippled, 0.1, 0.1 + 1e-9),
    "bends at both ends": (two_bends(1e-3, 1e-3), 1e-3, 1e-3 + 1e-9),
    "a bend at the start": (two_bends(1e-2, 1e-3), 1e-3, 1e-3 + 1e-9),
    "a bend at the end": (two_bends(1e-3, 1e-2), 1e-3, 1e-3 + 1e-9),
}
FIRSTS = (1e-3, 1e-1, 10.0, 1e3)


@jax.jit
def on_hard(number, first, c1, c2):
    """One compiled program for all of them."""
    functions = [jax.value_and_grad(function) for function, _, _ in HARD.values()]

    def objective(a):
        return jax.lax.switch(number, functions, a)

    zero, one = jnp.zeros(()), jnp.ones(())
    value, slope = objective(zero)
    found = line_search(objective, value, slope, zero, one, first, c1=c1, c2=c2, max_evaluations=30)
    return found, value, slope


@pytest.mark.parametrize("first", FIRSTS)
@pytest.mark.parametrize("name", HARD)
def test_both_conditions_hold_on_hard_functions(name, first):
    function, c1, c2 = HARD[name]
    found, value, slope = on_hard(list(HARD).index(name), first, c1, c2)
    at = float(found.step)
    there, slope_there = jax.value_and_grad(function)(at)
    assert found.wolfe
    assert found.decreased
    assert at > 0
    assert there <= value + c1 * at * slope
    assert abs(slope_there) <= c2 * abs(slope)
    np.testing.assert_allclose(found.value, there, rtol=1e-12)
    np.testing.assert_allclose(found.grads, slope_there, rtol=1e-9, atol=1e-13)
    # The paper's search takes up to 30; the first trial of the easiest is good at once.
    assert 1 <= found.evaluations <= 17


@pytest.mark.parametrize("name", HARD)
def test_finds_what_scipy_finds(name):
    function, c1, c2 = HARD[name]
    wide_c2 = max(c2, 0.1)
    results = scipy.optimize.line_search(
        lambda a: float(function(a[0])),
        lambda a: np.asarray([jax.grad(function)(float(a[0]))]),
        np.zeros(1),
        np.ones(1),
        c1=c1,
        c2=wide_c2,
        maxiter=30,
    )
    step, evaluations, value = results[0], results[1], results[3]
    found, _, _ = on_hard(list(HARD).index(name), 1.0, c1, wide_c2)
    assert found.wolfe
    assert step is not None
    assert found.evaluations <= evaluations + 2
    # Another good point, it may be, but no worse one.
    assert found.value <= value + 1e-2 * abs(value)


def quadratic(params):
    value = sum(jnp.square(leaf.astype(float) - 1).sum() for leaf in jax.tree.leaves(params)) / 2
    return value, jax.tree.map(lambda leaf: leaf - 1, params)


def search(objective, params, direction, **options):
    def run(params, direction):
        return line_search(objective, *objective(params), params, direction, **options)

    return jax.jit(run)(params, direction)


def test_the_minimum_of_a_quadratic_takes_two_evaluations():
    params = {"w": jnp.zeros((2, 3)), "b": jnp.zeros(())}
    direction = jax.tree.map(jnp.ones_like, params)
    found = search(quadratic, params, direction, first=0.3, c1=1e-10, c2=1e-6)
    np.testing.assert_allclose(found.step, 1, rtol=1e-9)
    np.testing.assert_allclose(found.value, 0, atol=1e-15)
    # One beyond the first is at most four strides away; then the cubic is exact.
    assert found.evaluations == 2
    assert jax.tree.structure(found.grads) == jax.tree.structure(params)


def test_no_search_along_what_does_not_go_down():
    params = jnp.zeros(3)
    for direction in (-jnp.ones(3), jnp.zeros(3), jnp.full(3, jnp.nan)):
        found = search(quadratic, params, direction)
        assert not found.wolfe
        assert not found.decreased
        assert found.step == 0
        assert found.evaluations == 0
        np.testing.assert_array_equal(found.grads, -1)


def test_what_falls_forever_ends_at_the_lowest_point_seen():
    found = search(
        lambda p: (-p, -jnp.ones_like(p)), jnp.zeros(()), jnp.ones(()), max_evaluations=5
    )
    assert found.evaluations == 5
    assert not found.wolfe
    assert found.decreased
    # Each trial goes on by four strides.
    np.testing.assert_allclose(found.step, 1 + 4 + 16 + 64 + 256)
    np.testing.assert_allclose(found.value, -found.step)


def test_one_evaluation_too_far_is_no_step():
    found = search(quadratic, jnp.zeros(()), jnp.ones(()), first=1e3, max_evaluations=1)
    assert (found.step, found.value, found.evaluations) == (0, 0.5, 1)
    assert not found.decreased
    np.testing.assert_array_equal(found.grads, -1)


@pytest.mark.parametrize("beyond", [jnp.nan, jnp.inf, -jnp.inf], ids=str)
def test_comes_back_from_where_nothing_is_finite(beyond):
    def objective(p):
        return jnp.where(p < 1.5, (p - 1) ** 2, beyond), 2 * (p - 1)

    found = search(objective, jnp.zeros(()), jnp.ones(()), first=100.0)
    assert found.wolfe
    assert 0 < found.step < 1.5


def test_bfloat16_parameters_are_searched_in_float32():
    params = jnp.zeros(4, jnp.bfloat16)
    found = search(quadratic, params, jnp.ones(4, jnp.float32), first=0.5, c2=0.1)
    assert found.wolfe
    assert found.grads.dtype == jnp.bfloat16
    assert (found.step.dtype, found.value.dtype) == (jnp.float32, jnp.float32)


def test_constants_that_make_no_sense():
    for c1, c2 in ((0.0, 0.9), (0.5, 0.1), (0.5, 0.5), (1e-4, 1.0), (np.nan, 0.9)):
        with pytest.raises(ValueError, match=r"expected 0 < c1 < c2 < 1 of a line search, got c1"):
            search(quadratic, jnp.zeros(()), jnp.ones(()), c1=c1, c2=c2)
    with pytest.raises(ValueError, match="max_evaluations of a line search at least 1, got 0"):
        search(quadratic, jnp.zeros(()), jnp.ones(()), max_evaluations=0)
