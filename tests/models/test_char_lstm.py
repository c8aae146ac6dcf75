"""The character model: size and names, its gradient, learning, and sampling."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import losses, models, train, value_and_grad
from fnn.gradient import auto_value_and_grad
from fnn.optimizers import adam


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def test_size_is_that_of_the_docstring():
    net = models.char_lstm(65)
    x = jax.ShapeDtypeStruct((2, 7), jnp.int32)
    params, state = jax.eval_shape(net.init, jax.random.key(0), x)
    assert count(params) == 279_873
    y = jax.eval_shape(net.predict, params, state, x)
    assert (y.shape, y.dtype) == ((2, 7, 65), jnp.float32)


def test_names():
    assert list(models.char_lstm(5, dropout_rate=0.2).parts) == [
        "embed", "lstm_1", "drop_1", "lstm_2", "drop_2", "logits",
    ]  # fmt: skip
    assert list(models.char_lstm(5, layers=1).parts) == ["embed", "lstm_1", "logits"]


def test_gradient_is_jax_grads(rng, key):
    with jax.enable_x64(True):
        net = models.char_lstm(5, features=3, dropout_rate=0.3, truncate=2)
        x, target = (jnp.asarray(rng.integers(0, 5, (2, 5)), jnp.int32) for _ in range(2))
        params, state = net.init(key, x)
        params = jax.tree.map(lambda p: p.astype(jnp.float64), params)
        loss = losses.softmax_cross_entropy()
        hand, auto = (
            jax.jit(derive(net, loss))(params, state, x, target, key)[1]
            for derive in (value_and_grad, auto_value_and_grad)
        )
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-13), hand, auto)


def test_sees_the_past_alone(rng, key):
    net = models.char_lstm(5, features=3)
    x = rng.integers(0, 5, (1, 6), np.int32)
    params, state = net.init(key, x)
    other = np.concatenate([x[:, :3], (x[:, 3:] + 1) % 5], axis=1)
    predict = jax.jit(net.predict)
    y, changed = predict(params, state, x), predict(params, state, other)
    np.testing.assert_array_equal(y[:, :3], changed[:, :3])
    assert (np.asarray(y[:, 3:]) != np.asarray(changed[:, 3:])).all()


@pytest.fixture(scope="module")
def learned():
    """A network that has learned to count 0 1 2 3 0 1 2 3 …"""
    net = models.char_lstm(4, features=8, layers=1)
    text = np.arange(17, dtype=np.int32) % 4
    x, target = np.stack([text[:12], text[2:14]]), np.stack([text[1:13], text[3:15]])
    optimizer = adam(0.05)
    state = train.init(net, optimizer, jax.random.key(0), x)
    steps = train.epoch(net, losses.softmax_cross_entropy(), optimizer, batch_size=2, steps=150)
    state, info = steps(state, (x, target))
    assert info.loss[0] > 1
    assert info.loss[-1] < 0.05
    return net, state


class TestSampling:
    def test_goes_on_counting(self, learned, key):
        net, state = learned
        ids = models.sample(net, state.params, state.state, key, np.array([2, 3, 0]), 9)
        assert ids.dtype == jnp.int32
        np.testing.assert_array_equal(ids, [1, 2, 3, 0, 1, 2, 3, 0, 1])

    def test_without_temperature_is_the_likeliest_by_the_whole_network(self, rng, key):
        """The cells with carries, step by step, against `predict` on all that was written so far."""
        net = models.char_lstm(6, features=5, dropout_rate=0.5)
        text = [1, 4]
        params, state = net.init(key, np.array([text]))
        params = jax.tree.map(lambda p: p + 0.5 * rng.normal(size=p.shape).astype(p.dtype), params)
        ids = models.sample(net, params, state, key, np.array(text), 4, 0.0)
        for i in ids:
            logits = net.predict(params, state, np.array([text]))
            assert int(i) == int(logits[0, -1].argmax())
            text.append(int(i))

    def test_frequencies_are_those_of_the_distribution(self, key):
        net = models.char_lstm(3, features=2, layers=1)
        params, state = net.init(key, np.zeros((1, 1), np.int32))
        logits = jnp.log(jnp.array([0.6, 0.3, 0.1]))
        params["logits"] = params["logits"]._replace(w=jnp.zeros((2, 3)), b=logits)
        for temperature in (1.0, 0.5):
            ids = models.sample(net, params, state, key, np.array([0]), 2000, temperature)
            expected = jax.nn.softmax(logits / temperature)
            shares = np.bincount(ids, minlength=3) / 2000
            np.testing.assert_allclose(shares, expected, atol=5 * np.sqrt(0.25 / 2000))

    def test_nothing_to_write(self, learned, key):
        net, state = learned
        assert models.sample(net, state.params, state.state, key, np.array([0]), 0).shape == (0,)

    @pytest.mark.parametrize(
        ("prompt", "length", "message"),
        [
            (np.zeros(0, np.int32), 1, r"a prompt of shape \(P,\), P >= 1, got \(0,\)"),
            (np.zeros((1, 2), np.int32), 1, r"a prompt of shape \(P,\)"),
            (np.array([0, 4]), 1, r"ids in \[0, 4\), got 4"),
            (np.array([0]), -1, "a length of at least 0, got -1"),
        ],
    )
    def test_refuses(self, learned, key, prompt, length, message):
        net, state = learned
        with pytest.raises(ValueError, match=message):
            models.sample(net, state.params, state.state, key, prompt, length)
