"""BFGS and L-BFGS: Rosenbrock, quadratics, real digits, beside SciPy's and optax's."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize

from fnn import losses, models, value_and_grad
from fnn.data.packaged import digits
from fnn.optimizers import (
    ENDINGS,
    adam,
    apply_updates,
    as_minimizer,
    bfgs,
    lbfgs,
    minimize,
    sgd,
    with_hyperparameters,
)

METHODS = {"bfgs": bfgs, "lbfgs": lbfgs}


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


@pytest.fixture(params=METHODS)
def method(request):
    return request.param


def rosenbrock(x):
    value = (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()
    inner = -400 * x[:-1] * (x[1:] - x[:-1] ** 2) - 2 * (1 - x[:-1])
    outer = 200 * (x[1:] - x[:-1] ** 2)
    return value, jnp.pad(inner, (0, 1)) + jnp.pad(outer, (1, 0))


def why(result):
    return ENDINGS[int(result.ending)]


@functools.cache
def on_rosenbrock(method, n):
    return minimize(
        METHODS[method](), rosenbrock, np.tile([-1.2, 1.0], n // 2), steps=200, tolerance=1e-8
    )


@pytest.mark.parametrize("n", [2, 10])
def test_rosenbrock_takes_as_much_as_scipy(method, n, x64):
    found = on_rosenbrock(method, n)
    options = {"bfgs": {"gtol": 1e-8}, "lbfgs": {"gtol": 1e-8, "ftol": 0}}[method]
    peer = scipy.optimize.minimize(
        scipy.optimize.rosen,
        np.tile([-1.2, 1.0], n // 2),
        jac=scipy.optimize.rosen_der,
        method={"bfgs": "BFGS", "lbfgs": "L-BFGS-B"}[method],
        options=options,
    )
    np.testing.assert_allclose(found.params, 1, atol=1e-8)
    assert why(found) == "the gradient's norm is at most the tolerance"
    assert found.gradient_norm <= 1e-8
    assert int(found.steps) <= 1.25 * peer.nit
    assert int(found.evaluations) <= 1.25 * peer.nfev


def test_no_point_is_evaluated_twice(method, x64):
    """Every evaluation is counted, the first one included, and none is made again."""
    seen = []

    def watched(x):
        jax.debug.callback(lambda x: seen.append(tuple(np.asarray(x).tolist())), x)
        return rosenbrock(x)

    found = minimize(METHODS[method](), watched, np.asarray([-1.2, 1.0]), steps=10)
    jax.effects_barrier()
    assert found.steps == 10
    assert len(seen) == found.evaluations
    assert len(set(seen)) == len(seen)


def spread(n):
    """A quadratic with curvatures from 1 to 100 along turned axes: its value, gradient and minimum."""
    rng = np.random.default_rng(7)
    turn, _ = np.linalg.qr(rng.normal(size=(n, n)))
    hessian = (turn * np.geomspace(1, 100, n)) @ turn.T
    minimum = rng.normal(size=n)

    def objective(params):
        x = jnp.concatenate([params["a"], params["b"].reshape(-1)]) - minimum
        g = jnp.asarray(hessian) @ x
        return (x * g).sum() / 2, {"a": g[:2], "b": g[2:].reshape(params["b"].shape)}

    start = {"a": np.zeros(2), "b": np.zeros((n - 2, 1))}
    return objective, start, hessian, minimum


def test_a_quadratic_of_n_dimensions_takes_n_steps(method, x64):
    """With a search that is all but exact, both are conjugate gradients: they end after n steps."""
    n = 6
    objective, start, hessian, minimum = spread(n)
    found = minimize(METHODS[method](c1=1e-10, c2=1e-8), objective, start, steps=n)
    got = np.concatenate([found.params["a"], found.params["b"].ravel()])
    np.testing.assert_allclose(got, minimum, atol=1e-6)
    if method == "bfgs":
        np.testing.assert_allclose(found.state.inverse, np.linalg.inv(hessian), atol=1e-4)


def test_the_two_loops_are_the_product_of_bfgs_updates(x64):
    """Five steps with a history of three: their direction from the dense formula over three pairs."""
    objective, start, _, _ = spread(6)
    minimizer = lbfgs(history=3, c2=0.5)

    @jax.jit
    def step(params, state):
        value, grads = objective(params)
        updates, state = minimizer.update(objective, value, grads, state, params)
        return apply_updates(params, updates), updates, grads, state

    def flat(tree):
        return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])

    params, state, points, gradients = start, minimizer.init(start), [flat(start)], []
    for _ in range(6):
        params, updates, grads, state = step(params, state)
        points.append(flat(params))
        gradients.append(flat(grads))
    s, y = np.diff(points, axis=0)[2:5], np.diff(gradients, axis=0)[2:5]
    inverse = np.eye(6) * (s[-1] @ y[-1]) / (y[-1] @ y[-1])
    for a, b in zip(s, y, strict=True):
        left = np.eye(6) - np.outer(a, b) / (a @ b)
        inverse = left @ inverse @ left.T + np.outer(a, a) / (a @ b)
    direction = -inverse @ gradients[5]
    length = np.linalg.norm(flat(updates)) / np.linalg.norm(direction)
    np.testing.assert_allclose(flat(updates), length * direction, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("bend", [0.0, -1.0])
def test_a_pair_without_curvature_is_skipped(method, bend, x64):
    """Along a straight line the gradient does not change, s·y = 0; down a hill s·y < 0."""

    def hill(p):
        return (bend * p * p / 2 - p).sum(), bend * p - 1

    found = minimize(METHODS[method](max_evaluations=2), hill, jnp.zeros(3), steps=3)
    kept = found.state.history.kept if method == "lbfgs" else found.state.used
    assert kept == 0
    assert (found.params > 0).all()
    assert why(found) == "all steps are made"


def test_says_when_there_is_no_way_down(method):
    """At the edge of a cone whose gradient lies: every point of the line is higher."""
    found = minimize(METHODS[method](), lambda p: (p.sum(), -jnp.ones(2)), jnp.zeros(2), steps=9)
    assert why(found) == "no lower point was found"
    assert found.steps == 1
    np.testing.assert_array_equal(found.params, 0)


def test_says_when_the_objective_is_not_finite(method):
    def objective(p):
        return jnp.log(p).sum(), 1 / p

    found = minimize(METHODS[method](), objective, jnp.asarray([-1.0, 1.0]), steps=9)
    assert why(found) == "the value or the gradient is not finite"
    assert found.steps == 0


@functools.cache
def digits_regression():
    """Softmax regression on 300 of scikit-learn's digits; objective(params) -> (value, grads)."""
    images = digits().train
    x, target = jnp.asarray(images.x[:300]), jnp.asarray(images.y[:300])
    net = models.linear_classifier(10)
    params, state = net.init(jax.random.key(0), x[:1])
    gradient = value_and_grad(net, losses.softmax_cross_entropy())

    def objective(params):
        (value, _), grads = gradient(params, state, x, target)
        return value, grads

    return objective, params


def test_lower_than_descent_with_far_fewer_gradients():
    objective, params = digits_regression()
    quick = minimize(lbfgs(), objective, params, steps=30)
    slow = minimize(sgd(0.5), objective, params, steps=300)
    assert slow.evaluations == 301
    assert quick.evaluations <= 40
    assert quick.value < 0.5 * slow.value


def test_reaches_what_optax_reaches():
    """As many steps, with optax's own zoom search; neither may be far behind."""
    objective, params = digits_regression()
    peer = optax.lbfgs(linesearch=optax.scale_by_zoom_linesearch(20))

    def value_of(params):
        return objective(params)[0]

    @jax.jit
    def theirs(params):
        def body(_, carry):
            params, state = carry
            value, grads = objective(params)
            updates, state = peer.update(
                grads, state, params, value=value, grad=grads, value_fn=value_of
            )
            return optax.apply_updates(params, updates), state

        return value_of(jax.lax.fori_loop(0, 20, body, (params, peer.init(params)))[0])

    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        reference = theirs(params)
    ours = minimize(lbfgs(), objective, params, steps=20).value
    assert ours < 1.5 * reference


def test_hyperparameters_are_leaves_of_the_state():
    """One compiled step serves them all; a first step of 0 looks nowhere else."""
    minimizer, traces = lbfgs(), []

    @jax.jit
    def step(params, state):
        traces.append(1)
        value, grads = quadratic(params)
        return minimizer.update(quadratic, value, grads, state, params)

    def quadratic(p):
        return (p * p).sum() / 2, p

    params = jnp.ones(2)
    state = minimizer.init(params)
    lengths = {}
    for rate in (0.25, 0.5):
        updates, _ = step(params, with_hyperparameters(state, rate=rate))
        lengths[rate] = float(jnp.linalg.norm(updates))
    np.testing.assert_allclose([lengths[0.25], lengths[0.5]], [0.25, 0.5], rtol=1e-5)
    assert len(traces) == 1


def test_any_optimizer_can_be_minimized_with(x64):
    found = minimize(adam(0.05), rosenbrock, np.asarray([1.2, 1.0]), steps=900, tolerance=0.05)
    assert why(found) == "the gradient's norm is at most the tolerance"
    assert found.evaluations == found.steps + 1 < 900
    again = minimize(as_minimizer(adam(0.05)), rosenbrock, found.params, steps=0, state=found.state)
    np.testing.assert_array_equal(again.params, found.params)
    assert (again.steps, again.evaluations) == (0, 1)


def test_bad_arguments():
    with pytest.raises(ValueError, match="history of lbfgs of at least 1 pair, got 0"):
        lbfgs(history=0)
    with pytest.raises(ValueError, match="0 < c1 < c2 < 1"):
        bfgs(c1=0.95)
    with pytest.raises(ValueError, match="rate finite and at least 0, got -1"):
        lbfgs(rate=-1.0)
    with pytest.raises(ValueError, match="steps and tolerance at least 0, got -1 and 0"):
        minimize(bfgs(), rosenbrock, jnp.ones(2), steps=-1)
