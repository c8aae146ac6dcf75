"""Penalties against NumPy and closed forms, and what differs between the ways to use one."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import chain, layers, losses
from fnn.gradient import value_and_grad
from fnn.optimizers import (
    add_penalty,
    apply_updates,
    compose,
    decay_weights,
    descend,
    elastic_net,
    l1,
    l2,
    penalized,
    project_max_norm,
    proximal_step,
    scale_by_moments,
    sgd,
    with_hyperparameters,
)

PENALTIES = {
    "l1": (l1(0.3), lambda p: 0.3 * np.abs(p), lambda p: 0.3 * np.sign(p)),
    "l2": (l2(0.3), lambda p: 0.15 * p**2, lambda p: 0.3 * p),
    "elastic": (
        elastic_net(0.3, 0.2),
        lambda p: 0.3 * np.abs(p) + 0.1 * p**2,
        lambda p: 0.3 * np.sign(p) + 0.2 * p,
    ),
}
MOMENTS = {"moments": scale_by_moments(0.9, 0.99, 1e-8)}


@pytest.fixture(params=PENALTIES.values(), ids=PENALTIES)
def case(request):
    return request.param


def minimum(optimizer, target, steps=400, p=0.7):
    """Where descent of ½ (p - target)² ends, element by element."""

    def body(carry, _):
        p, state = carry
        updates, state = optimizer.update(p - target, state, p)
        p = apply_updates(p, updates)
        return (p, state), p

    p = jnp.full(target.shape, p)
    _, path = jax.lax.scan(body, (p, optimizer.init(p)), None, length=steps)
    return path


class TestPenalty:
    def test_value_and_gradient(self, case, rng):
        penalty, value, gradient = case
        p = rng.normal(size=(3, 2)).astype(np.float32)
        p[0, 0] = 0
        tree = {"w": jnp.asarray(p), "b": jnp.asarray([1.0, -2.0])}
        got, cache = penalty.forward(tree)
        expected = value(np.float64(p)).sum() + value(np.asarray([1.0, -2.0])).sum()
        np.testing.assert_allclose(got, expected, rtol=1e-6)
        grads = penalty.backward(cache, jnp.asarray(2.0))
        np.testing.assert_allclose(grads["w"], 2 * gradient(p), rtol=1e-6)

    def test_gradient_is_that_of_autodiff(self, case, rng):
        penalty, _, _ = case
        with jax.enable_x64(True):
            p = {"w": jnp.asarray(rng.normal(size=(3, 2)))}
            auto = jax.grad(lambda p: penalty.forward(p)[0])(p)
            hand = penalty.backward(p, jnp.asarray(1.0))
            np.testing.assert_allclose(hand["w"], auto["w"], rtol=1e-12)

    def test_path_rules_and_dtypes(self):
        tree = {"w": jnp.ones(4, jnp.bfloat16), "b": jnp.ones(2)}
        value, cache = l1(0.5, "w").forward(tree)
        assert (value.dtype, float(value)) == (jnp.float32, 2.0)
        grads = l1(0.5, "w").backward(cache, value)
        assert grads["w"].dtype == jnp.bfloat16
        np.testing.assert_array_equal(grads["w"].astype(float), 1)
        np.testing.assert_array_equal(grads["b"], 0)
        with pytest.raises(ValueError, match=r"got 'x'; the paths are 'b', 'w'"):
            l1(0.5, "x").forward(tree)

    def test_proximal_is_the_minimum_that_a_search_finds(self, case, rng):
        """argmin_q τ · penalty(q) + ½ (q - p)² over a fine grid."""
        penalty, value, _ = case
        rate, grid = 0.8, np.linspace(-2, 2, 40_001)
        for p in (*rng.uniform(-2, 2, 6), 0.2, -0.2, 0.0):
            q = grid[np.argmin(rate * value(grid) + (grid - p) ** 2 / 2)]
            transform = proximal_step(penalty, rate)
            x = jnp.asarray(p - 0.5, jnp.float32)
            u, _ = transform.update(jnp.asarray(0.5, jnp.float32), transform.init(x), x)
            np.testing.assert_allclose(float(x + u), q, atol=2e-4)

    @pytest.mark.parametrize("strength", [-1.0, np.inf, np.nan])
    def test_strengths_that_are_none(self, strength):
        for build in (l1, l2, lambda x: elastic_net(0.1, x)):
            with pytest.raises(ValueError, match=r"l[12] finite and at least 0, got"):
                build(strength)


def test_penalized_is_the_same_function_with_the_penalty_in_it(rng, key):
    with jax.enable_x64(True):
        net = chain(hidden=layers.linear(3), act=layers.tanh(), logits=layers.linear(2))
        x, labels = jnp.asarray(rng.normal(size=(6, 4))), jnp.asarray([0, 1, 0, 1, 1, 0])
        params, state = net.init(key, x)
        plain = value_and_grad(net, losses.softmax_cross_entropy())
        penalty = elastic_net(0.1, 0.2, "*/w")
        given = (params, state, x, labels)
        (total, auxiliary), grads = jax.jit(penalized(plain, penalty))(*given)
        (mean, _), _ = jax.jit(plain)(*given)

        def objective(params):
            price = sum(
                (0.1 * jnp.abs(p.w) + 0.1 * p.w**2).sum()
                for p in (params["hidden"], params["logits"])
            )
            return plain(params, state, x, labels)[0][0] + price

        value, expected = jax.jit(jax.value_and_grad(objective))(params)
        np.testing.assert_allclose(total, value, rtol=1e-12)
        np.testing.assert_allclose(auxiliary.losses.mean(), mean, rtol=1e-12)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9), grads, expected)


class TestDifferences:
    """Of ½ (p - a)²: with L1, p* = sign(a) max(|a| - λ, 0); with L2, p* = a / (1 + λ)."""

    target = jnp.asarray([2.0, 0.5, -0.1, 0.2])

    def test_l1_by_proximal_steps_is_the_closed_form_with_exact_zeros(self):
        optimizer = compose(rate=descend(0.1), last=proximal_step(l1(0.3), 0.1))
        p = minimum(optimizer, self.target)[-1]
        np.testing.assert_allclose(p, [1.7, 0.2, 0, 0], atol=1e-5)
        assert (p[2:] == 0).all()

    def test_l1_by_subgradients_never_gets_to_zero(self):
        path = minimum(compose(penalty=add_penalty(l1(0.3)), rate=descend(0.1)), self.target)
        np.testing.assert_allclose(path[-1], [1.7, 0.2, 0, 0], atol=0.05)
        assert (path != 0).all()
        assert (np.sign(path[-20:, 3]) != np.sign(path[-21:-1, 3])).any()  # to and fro

    def test_the_elastic_net(self):
        optimizer = compose(rate=descend(0.1), last=proximal_step(elastic_net(0.3, 0.5), 0.1))
        p = minimum(optimizer, self.target)[-1]
        np.testing.assert_allclose(p, [1.7 / 1.5, 0.2 / 1.5, 0, 0], atol=1e-5)

    def test_l2_is_one_for_plain_descent_and_two_for_adam(self):
        first = [add_penalty(l2(0.5)), decay_weights(0.5)]
        plain = [minimum(compose(a=t, rate=descend(0.1)), self.target)[-1] for t in first]
        for p in plain:
            np.testing.assert_allclose(p, self.target / 1.5, atol=1e-5)
        coupled = [
            minimum(compose(a=t, **MOMENTS, rate=descend(0.01)), self.target)[-1] for t in first
        ]
        for p in coupled:
            np.testing.assert_allclose(p, self.target / 1.5, atol=0.02)
        decoupled = [
            minimum(compose(**MOMENTS, b=t, rate=descend(0.01)), self.target)[-1] for t in first
        ]
        np.testing.assert_allclose(decoupled[0], decoupled[1], rtol=1e-5)
        # Where |λ p| is less than Adam's direction of ±1, decoupled decay hardly matters.
        assert abs(decoupled[0][1] - 0.5) < 0.1 < abs(coupled[0][1] - 0.5)

    def test_one_rate_for_both_halves_of_a_proximal_step(self):
        optimizer = compose(rate=descend(0.1), last=proximal_step(l1(0.3), 0.1))
        p = jnp.asarray([1.0, 0.01])
        state = with_hyperparameters(optimizer.init(p), rate=0.0)
        updates, _ = optimizer.update(p, state, p)
        np.testing.assert_array_equal(updates, 0)

    def test_zeros_are_exact_in_bfloat16_too(self):
        transform, p = proximal_step(l1(1.0), 0.1), jnp.asarray([0.07, -0.03, 1.0], jnp.bfloat16)
        updates, _ = transform.update(jnp.full(3, 0.001), transform.init(p), p)
        assert (apply_updates(p, updates)[:2] == 0).all()


class TestMaxNorm:
    @pytest.mark.parametrize("shape", [(4, 3), (3, 3, 2, 4), (2, 4, 3)])
    def test_every_units_weights_are_within_the_limit(self, shape, rng):
        p, u = (rng.normal(size=shape).astype(np.float32) for _ in range(2))
        p[..., 0] *= 0.01
        u[..., 0] *= 0.01
        transform = project_max_norm(1.5)
        got, _ = transform.update(jnp.asarray(u), transform.init(jnp.asarray(p)), jnp.asarray(p))
        after = apply_updates(jnp.asarray(p), got)
        for unit in range(shape[-1]):
            moved = np.float64(p[..., unit]) + u[..., unit]
            length = np.sqrt((moved**2).sum())
            np.testing.assert_allclose(
                after[..., unit], moved * min(1, 1.5 / length), rtol=1e-4, atol=1e-6
            )
        np.testing.assert_array_equal(got[..., 0], u[..., 0])  # within: bit for bit

    def test_vectors_pass_and_other_axes_are_said(self):
        params = {"w": jnp.asarray([[3.0, 4.0], [0.3, 0.4]]), "b": jnp.asarray([30.0, 40.0])}
        zero = jax.tree.map(jnp.zeros_like, params)
        for where, axis in itertools.product(("*", "w"), (1, (1,))):
            transform = project_max_norm(1.0, where, axis)
            u, _ = transform.update(zero, transform.init(params), params)
            after = apply_updates(params, u)
            np.testing.assert_allclose(after["w"], [[0.6, 0.8], [0.3, 0.4]], rtol=1e-6)
            np.testing.assert_array_equal(after["b"], params["b"])

    def test_descent_ends_on_the_sphere(self):
        target = jnp.asarray([[3.0], [4.0]])
        p = minimum(compose(descent=sgd(0.1), ball=project_max_norm(1.0)), target, p=0.1)[-1]
        np.testing.assert_allclose(p, target / 5, rtol=1e-4)
