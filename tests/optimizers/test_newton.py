"""Newton-CG and the Gauss-Newton diagonal: against dense matrices, and where curvature is negative."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from fnn import chain, layers, losses, value_and_grad
from fnn.gradient import mean_over_examples
from fnn.optimizers import (
    ENDINGS,
    apply_updates,
    as_minimizer,
    diagonal_newton,
    gauss_newton_diagonal,
    gauss_newton_product,
    minimize,
    newton_cg,
    newton_direction,
)

LOSS = losses.softmax_cross_entropy()


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


def flat(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def quadratic(hessian, linear):
    def objective(params):
        x = jnp.concatenate([params["a"], params["b"].reshape(-1)])
        g = (jnp.asarray(hessian) * x).sum(axis=1) if x.ndim > 1 else jnp.asarray(hessian) @ x
        g = g + jnp.asarray(linear)
        return (x * (g + jnp.asarray(linear))).sum() / 2, {"a": g[:2], "b": g[2:].reshape(2, 1)}

    return objective, {"a": jnp.zeros(2), "b": jnp.zeros((2, 1))}


TURN, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(4, 4)))
LINEAR = np.asarray([1.0, -2.0, 0.5, 1.5])


def test_the_direction_solves_newtons_equation():
    """With a tiny gradient the forcing sequence asks for an exact solution."""
    hessian = (TURN * [1.0, 3.0, 10.0, 30.0]) @ TURN.T
    objective, params = quadratic(hessian, 1e-12 * LINEAR)
    _, grads = objective(params)
    for damping in (0.0, 2.0):
        found = newton_direction(objective, grads, params, damping=damping)
        expected = -np.linalg.solve(hessian + damping * np.eye(4), 1e-12 * LINEAR)
        np.testing.assert_allclose(flat(found.direction), expected, rtol=1e-5)
        assert found.products == 4  # as many as there are curvatures
        assert found.convex


def test_far_from_the_minimum_the_solution_is_rough():
    hessian = (TURN * [1.0, 3.0, 10.0, 30.0]) @ TURN.T
    objective, params = quadratic(hessian, LINEAR)
    grads = objective(params)[1]
    found = newton_direction(objective, grads, params)
    left = np.linalg.norm(hessian @ flat(found.direction) + flat(grads))
    assert left <= 0.5 * np.linalg.norm(LINEAR)
    assert found.products < 4
    cut = newton_direction(objective, grads, params, max_products=1)
    assert cut.products == 1
    # One product is the minimum along -g.
    a = LINEAR @ LINEAR / (LINEAR @ hessian @ LINEAR)
    np.testing.assert_allclose(flat(cut.direction), -a * LINEAR, rtol=1e-10)


def test_goes_down_where_the_curvature_is_negative():
    """Along the first direction at once, and after a few good ones."""
    for curvatures in ([-1.0, -2.0, -3.0, -4.0], [5.0, 4.0, 3.0, -0.5], [0.0, 0.0, 0.0, 0.0]):
        hessian = (TURN * curvatures) @ TURN.T
        objective, params = quadratic(hessian, 1e-6 * LINEAR)
        found = newton_direction(objective, objective(params)[1], params)
        assert not found.convex
        assert flat(found.direction) @ LINEAR < 0
        if curvatures[0] <= 0:
            np.testing.assert_allclose(
                flat(found.direction) / np.linalg.norm(flat(found.direction)),
                -LINEAR / np.linalg.norm(LINEAR),
                atol=1e-6,
            )


@pytest.mark.parametrize("size", [1e-12, 1e-9, 1.0, 1e12])
def test_the_unit_of_the_objective_does_not_matter(size):
    """In float32, whose ε is larger than the curvatures of a small objective."""
    hessian, linear = (jnp.asarray(a, jnp.float32) for a in ([1, 3, 10], [1, -2, 0.5]))

    def objective(p):
        g = hessian * p - linear
        return (p * (g - linear)).sum() * (size / 2), g * size

    found = minimize(newton_cg(), objective, jnp.zeros(3, jnp.float32), steps=12)
    np.testing.assert_allclose(found.params, [1, -2 / 3, 1 / 20], rtol=1e-3)


def test_leaves_a_saddle_that_newtons_method_would_run_into():
    """x² - y² + y⁴ / 2 near its saddle at 0: the minima lie at y = ±1."""

    def objective(p):
        x, y = p
        return x**2 - y**2 + y**4 / 2, jnp.stack([2 * x, -2 * y + 2 * y**3])

    found = minimize(newton_cg(), objective, jnp.asarray([1.0, 1e-3]), steps=30, tolerance=1e-9)
    np.testing.assert_allclose(found.params, [0, 1], atol=1e-8)
    assert ENDINGS[int(found.ending)] == "the gradient's norm is at most the tolerance"


def test_rosenbrock_takes_as_much_as_scipy():
    def objective(x):
        value = 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2
        inner = -400 * x[0] * (x[1] - x[0] ** 2) - 2 * (1 - x[0])
        return value, jnp.stack([inner, 200 * (x[1] - x[0] ** 2)])

    start = np.asarray([-1.2, 1.0])
    found = minimize(newton_cg(), objective, start, steps=100, tolerance=1e-8)
    peer = scipy.optimize.minimize(
        scipy.optimize.rosen,
        start,
        jac=scipy.optimize.rosen_der,
        hessp=scipy.optimize.rosen_hess_prod,
        method="Newton-CG",
        options={"xtol": 1e-10},
    )
    np.testing.assert_allclose(found.params, 1, atol=1e-8)
    assert int(found.steps) <= peer.nit
    assert int(found.evaluations) <= peer.nfev
    # SciPy counts the Hessian products of both kinds of its tries.
    assert int(found.state.products) <= peer.nhev


def test_no_direction_without_a_gradient_and_none_hidden_that_is_not_finite():
    objective, params = quadratic(np.eye(4), LINEAR)
    nothing = jax.tree.map(jnp.zeros_like, params)
    assert (flat(newton_direction(objective, nothing, params).direction) == 0).all()
    broken = jax.tree.map(lambda p: jnp.full_like(p, jnp.nan), params)
    assert np.isnan(flat(newton_direction(objective, broken, params).direction)).all()


@pytest.fixture(scope="module")
def small():
    """A small network with a bend, its first parameters, and a batch with weights."""
    with jax.enable_x64(True):
        net = chain(hidden=layers.linear(3), act=layers.tanh(), logits=layers.linear(4))
        rng = np.random.default_rng(11)
        x = jnp.asarray(rng.normal(size=(5, 2)))
        target = jnp.asarray(rng.integers(0, 4, 5).astype(np.int32))
        params, state = net.init(jax.random.key(2), x)
        weights = jnp.asarray([1.0, 0.5, 0.0, 2.0, 1.0])
        return net, params, state, x, target, weights


def dense(net, params, state, x, target, weights):
    """G from the dense Jacobian and the dense Hessian of the loss, by autodiff alone."""
    leaves, structure = jax.tree.flatten(params)
    ends = np.cumsum([leaf.size for leaf in leaves])[:-1]

    def predict(vector):
        parts = jnp.split(vector, ends.tolist())
        shaped = [part.reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True)]
        return net.forward(structure.unflatten(shaped), state, x, None)[0].reshape(-1)

    def cost(prediction):
        log_p = jax.nn.log_softmax(prediction.reshape(len(x), -1))
        values = -jnp.take_along_axis(log_p, target[:, None], axis=1)[:, 0]
        return mean_over_examples(values, weights)[0]

    vector = jnp.concatenate([leaf.reshape(-1) for leaf in leaves])
    j = np.asarray(jax.jit(jax.jacfwd(predict))(vector))
    h = np.asarray(jax.jit(jax.hessian(cost))(predict(vector)))
    return j.T @ h @ j


@pytest.mark.parametrize("weighted", [False, True])
def test_the_diagonal_is_that_of_the_dense_matrix(small, weighted):
    net, params, state, x, target, weights = small
    weights = weights if weighted else None
    expected = dense(net, params, state, x, target, weights)
    diagonal = jax.jit(
        lambda p: gauss_newton_diagonal(net, LOSS)(p, state, x, target, weights=weights)
    )
    got = diagonal(params)
    np.testing.assert_allclose(flat(got), np.diag(expected), rtol=1e-9, atol=1e-14)
    assert jax.tree.structure(got) == jax.tree.structure(params)
    assert (flat(got) >= 0).all()

    tangent = jax.tree.map(
        lambda p: jnp.cos(jnp.arange(p.size, dtype=float)).reshape(p.shape), params
    )
    product = jax.jit(
        lambda p, v: gauss_newton_product(net, LOSS)(p, state, x, target, v, weights=weights)
    )(params, tangent)
    np.testing.assert_allclose(flat(product), expected @ flat(tangent), rtol=1e-9, atol=1e-14)


def test_samples_are_right_in_the_mean(small):
    net, params, state, x, target, _ = small
    expected = dense(net, params, state, x, target, None)
    samples = 2000
    run = jax.jit(
        lambda key: gauss_newton_diagonal(net, LOSS)(params, state, x, target, key, samples)
    )
    got = flat(run(jax.random.key(4)))
    # The variance of v ⊙ G v is the sum of the squares beside the diagonal.
    beside = (expected**2).sum(axis=1) - np.diag(expected) ** 2
    sigma = np.sqrt(beside / samples)
    assert (np.abs(got - np.diag(expected)) <= 4.5 * sigma).all()
    assert (np.abs(got - np.diag(expected)) > 0).any()
    assert not np.array_equal(got, flat(run(jax.random.key(5))))


def test_samples_need_a_key(small):
    net, params, state, x, target, _ = small
    diagonal = gauss_newton_diagonal(net, LOSS)
    with pytest.raises(ValueError, match="expected a key to draw samples of the diagonal"):
        diagonal(params, state, x, target, None, 3)
    with pytest.raises(ValueError, match="at least one sample of the diagonal, got 0"):
        diagonal(params, state, x, target, jax.random.key(0), 0)


def test_descent_by_the_diagonal_of_a_stretched_problem():
    """Inputs of sizes 1 and 100: one rate suits both only when divided by the curvature."""
    net = chain(out=layers.linear(1, bias=False))
    x = jnp.asarray(np.random.default_rng(5).normal(size=(40, 2)) * [1.0, 100.0])
    loss = losses.squared_error()
    target = x @ jnp.asarray([[2.0], [-0.03]])
    params, state = net.init(jax.random.key(0), x)
    gradient, diagonal = value_and_grad(net, loss), gauss_newton_diagonal(net, loss)

    def objective(p):
        (value, _), grads = gradient(p, state, x, target)
        return value, grads

    method = diagonal_newton(curvature=lambda p, t: diagonal(p, state, x, target), damping=0.0)
    for minimizer in (method, as_minimizer(method)):
        found = minimize(minimizer, objective, params, steps=40)
        np.testing.assert_allclose(flat(found.params), [2, -0.03], rtol=1e-6)


def test_options_that_make_no_sense():
    with pytest.raises(ValueError, match="max_products of newton_cg at least 1, got 0"):
        newton_cg(max_products=0)
    with pytest.raises(ValueError, match="damping finite and at least 0, got -1"):
        newton_cg(damping=-1.0)
    with pytest.raises(ValueError, match="every of diagonal_newton at least 1, got 0"):
        diagonal_newton(curvature=lambda p, t: p, every=0)
    wrong = diagonal_newton(curvature=lambda p, t: {"w": jnp.ones(3)})
    params = {"w": jnp.ones(2)}
    with pytest.raises(ValueError, match=r"a curvature of the parameters' shapes, \(2,\) at 'w'"):
        wrong.update(params, wrong.init(params), params)


def test_a_flat_parameter_without_damping_stays_finite():
    optimizer = diagonal_newton(curvature=lambda p, t: jnp.asarray([0.0, -1.0, 2.0]), damping=0.0)
    params = jnp.ones(3)
    updates, _ = optimizer.update(jnp.ones(3), optimizer.init(params), params)
    np.testing.assert_allclose(apply_updates(params, updates), [0, 0, 0.5])


def test_a_curvature_of_another_precision_and_the_last_count_of_an_int32():
    """The mean keeps its dtype, and t, which is counted from 1, does not wrap to a negative number."""
    params = jnp.ones(2, jnp.float32)
    for every in (1, 2):
        optimizer = diagonal_newton(
            curvature=lambda p, t: jnp.full(2, 4.0, jnp.float64), decay=0.9, every=every
        )
        state = optimizer.init(params)
        updates, after = optimizer.update(params, state, params)
        np.testing.assert_allclose(updates, -1 / 4.001, rtol=1e-6)
        assert after["curvature"].slots["mean"].dtype == jnp.float32
        last = after["curvature"]._replace(steps=jnp.asarray(2**31 - 1, jnp.int32))
        updates, _ = optimizer.update(params, after | {"curvature": last}, params)
        mean = 4 * (1 - 0.9**2) if every == 1 else 4 * (1 - 0.9)  # an odd count: the old mean
        np.testing.assert_allclose(updates, -1 / (mean + 1e-3), rtol=1e-5)
