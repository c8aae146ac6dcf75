"""Gradients of whole networks: by hand, by autodiff, and through jax's own transforms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import chain, custom_vjp, hvp, layers, losses, residual, value_and_grad
from fnn.gradient import auto_value_and_grad, mean_loss
from fnn.tap import passages


@pytest.fixture
def problem(rng, key):
    net = chain(
        conv=layers.convolution(4, 3),
        norm=layers.batch_norm(),
        act=layers.tanh(),
        pool=layers.max_pool(2),
        flat=layers.flatten(),
        block=residual(chain(layers.linear(16), layers.dropout(0.2))),
        logits=layers.linear(3),
    )
    x = jnp.asarray(rng.normal(size=(6, 4, 4, 2)), jnp.float32)
    labels = rng.integers(0, 3, 6)
    return net, losses.softmax_cross_entropy(), *net.init(key, x), x, labels


def close(a, b, rtol=1e-5):
    """Each leaf to `rtol` of its largest number, or of a tenth of the largest of all.

    The bias before the batch norm has no gradient, and its rounding is of the size of the others'.
    """
    largest = max(np.abs(np.asarray(leaf)).max() for leaf in jax.tree.leaves(b))
    for p, q in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        scale = max(np.abs(np.asarray(q)).max(), largest / 10)
        np.testing.assert_allclose(p, q, rtol=0, atol=rtol * scale)


def test_value_and_gradient_are_autodiffs(problem, key):
    net, loss, params, state, x, labels = problem
    hand = jax.jit(value_and_grad(net, loss))(params, state, x, labels, key)
    auto = jax.jit(auto_value_and_grad(net, loss))(params, state, x, labels, key)
    close(hand, auto)


def test_no_autodiff_is_involved(problem, key, monkeypatch):
    net, loss, params, state, x, labels = problem

    def forbidden(*args, **kwargs):
        raise AssertionError("autodiff was called")

    for name in ("grad", "vjp", "jvp", "value_and_grad", "linearize"):
        monkeypatch.setattr(jax, name, forbidden)
    value_and_grad(net, loss)(params, state, x, labels, key)
    with pytest.raises(AssertionError, match="autodiff was called"):
        auto_value_and_grad(net, loss)(params, state, x, labels, key)


def test_hessian_vector_product_is_autodiffs(problem, key, rng):
    net, loss, params, state, x, labels = problem
    tangent = jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape), p.dtype), params)
    got = hvp(net, loss)(params, state, x, labels, tangent, key)

    def gradient(params):
        return jax.grad(mean_loss(net, loss), has_aux=True)(params, state, x, labels, key)[0]

    close(got, jax.jvp(gradient, (params,), (tangent,))[1], rtol=1e-4)


def test_custom_vjp_uses_the_hand_written_backward(problem, key):
    net, _, params, state, x, _ = problem
    apply = custom_vjp(net)

    def energy(apply):
        return lambda params, x: (apply(params, state, x, key)[0] ** 2).sum()

    got = jax.jit(jax.grad(energy(apply), (0, 1)))(params, x)
    expected = jax.grad(energy(lambda *a: net.forward(*a)[:2]), (0, 1))(params, x)
    close(got, expected)
    close(apply(params, state, x, key), net.forward(params, state, x, key)[:2])
    broken = net._replace(backward=lambda p, c, dy: (jax.tree.map(jnp.zeros_like, p), x))
    zero = jax.grad(energy(custom_vjp(broken)))(params, x)
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(zero))


def test_hessian_through_custom_vjp(problem, key):
    """Forward over reverse works, since the backward is plain jax."""
    net = chain(act=layers.tanh())
    apply = custom_vjp(net)
    x = jnp.asarray([0.3, -0.7])
    got = jax.hessian(lambda x: (apply({"act": ()}, {"act": ()}, x)[0] ** 2).sum())(x)
    expected = jax.hessian(lambda x: (jnp.tanh(x) ** 2).sum())(x)
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_keys_and_labels_may_be_constants_of_a_traced_function(problem, key):
    net, loss, params, state, x, labels = problem
    gradient = value_and_grad(net, loss)
    outside = gradient(params, state, x, labels, key)
    close(jax.jit(lambda p: gradient(p, state, x, labels, key))(params), outside)


def test_an_empty_batch_is_refused(problem, key):
    _, loss, _, _, x, labels = problem
    dense = chain(layers.flatten(), layers.linear(3))
    params, state = dense.init(key, x)
    with pytest.raises(ValueError, match="at least one example"):
        value_and_grad(dense, loss)(params, state, x[:0], labels[:0])


@pytest.mark.parametrize("shape", [(2, 5), (1, 1), (3, 2, 4)])
def test_the_mean_is_over_every_position_of_a_sequence(shape, rng, key):
    """1 / (N T), not 1 / N, and `losses.mean()` says the same."""
    net, loss = layers.linear(3), losses.softmax_cross_entropy()
    x = jnp.asarray(rng.normal(size=(*shape, 4)), jnp.float32)
    labels = rng.integers(0, 3, shape)
    params, state = net.init(key, x)
    (value, auxiliary), dparams = value_and_grad(net, loss)(params, state, x, labels)
    softmax = np.asarray(jax.nn.softmax(net.predict(params, state, x)))
    difference = (softmax - np.eye(3)[labels]).reshape(-1, 3)
    expected = np.asarray(x).reshape(-1, 4).T @ difference / len(difference)
    np.testing.assert_allclose(dparams.w, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(value, np.mean(auxiliary.losses), rtol=1e-6)


def test_the_mean_is_over_every_loss_of_a_sequence(key, rng):
    """Losses (N, T): each counts 1 / (N T), not 1 / N."""
    net, loss = chain(logits=layers.linear(3)), losses.softmax_cross_entropy()
    x = jnp.asarray(rng.normal(size=(4, 5, 2)), jnp.float32)
    labels = jnp.asarray(rng.integers(0, 3, (4, 5)), jnp.int32)
    params, state = net.init(key, x)

    def mean(params):
        log_p = jax.nn.log_softmax(x @ params["logits"].w + params["logits"].b[None, None, :])
        return -jnp.take_along_axis(log_p, labels[..., None], axis=-1).mean()

    (value, auxiliary), grads = value_and_grad(net, loss)(params, state, x, labels)
    expected, derived = jax.value_and_grad(mean)(params)
    assert auxiliary.losses.shape == (4, 5)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    close(grads, derived)
    seen = passages(net, loss, params, state, x, labels)["logits"]
    close(seen.dparams, derived["logits"])
