"""Recurrent networks: naive loops, other libraries, first parameters, what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sequences import BUILDS, D, H, N, T, both, normal, run, started

from fnn import layers
from fnn.initializers import orthogonal
from fnn.layers import HiddenCarry, LSTMCarry
from fnn.layers.recurrent_gru import GRUParams
from fnn.layers.recurrent_lstm import LSTMParams
from fnn.layers.recurrent_rnn import RNNParams


@pytest.fixture(params=BUILDS.values(), ids=BUILDS)
def build(request):
    return request.param


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def naive(params, x, reset="after"):
    """A loop over sequences, steps and gates in float64."""
    p = type(params)(*[None if a is None else np.asarray(a, np.float64) for a in params])
    units = p.w_h.shape[0]
    y = np.zeros((*x.shape[:2], units))
    for n in range(x.shape[0]):
        h, c = np.zeros(units), np.zeros(units)
        for t in range(x.shape[1]):
            a = x[n, t] @ p.w_x + p.b
            gate = [slice(k * units, (k + 1) * units) for k in range(4)]
            if isinstance(params, RNNParams):
                h = np.tanh(a + h @ p.w_h)
            elif isinstance(params, LSTMParams):
                z = a + h @ p.w_h
                c = sigmoid(z[gate[1]]) * c + sigmoid(z[gate[0]]) * np.tanh(z[gate[2]])
                h = sigmoid(z[gate[3]]) * np.tanh(c)
            else:
                r = sigmoid(a[gate[0]] + h @ p.w_h[:, gate[0]])
                z = sigmoid(a[gate[1]] + h @ p.w_h[:, gate[1]])
                if p.b_h is None:
                    candidate = np.tanh(a[gate[2]] + (r * h) @ p.w_h[:, gate[2]])
                else:
                    candidate = np.tanh(a[gate[2]] + r * (h @ p.w_h[:, gate[2]] + p.b_h))
                h = (1 - z) * candidate + z * h
            y[n, t] = h
    return y


class TestForward:
    def test_naive_loops(self, build, rng):
        x, layer = normal(rng, N, T, D), build(H)
        params = started(layer, x, rng)
        y, _ = run(layer, params, x)
        np.testing.assert_allclose(y, naive(params, x), atol=1e-6)
        np.testing.assert_array_equal(layer.predict(params, (), x), y)

    def test_reverse_is_the_same_on_the_reversed_sequence(self, build, rng):
        x, layer = normal(rng, N, T, D), build(H, reverse=True)
        params = started(layer, x, rng)
        there, _ = run(build(H), params, x[:, ::-1])
        np.testing.assert_array_equal(run(layer, params, x)[0], there[:, ::-1])

    def test_torch_agrees_with_gradients(self, build, rng):
        torch = pytest.importorskip("torch")
        if build is BUILDS["gru, reset before"]:
            return  # theirs is "after"
        x, dy, layer = normal(rng, N, T, D), normal(rng, N, T, H), build(H)
        params = started(layer, x, rng)
        y, dparams, dx = both(layer, params, x, dy)
        name = {"rnn": "RNN", "lstm": "LSTM", "gru": "GRU"}[layer.name.partition("(")[0]]
        theirs = getattr(torch.nn, name)(D, H, batch_first=True)
        second = np.zeros_like(params.b)  # they have two biases, of which one is enough
        if isinstance(params, GRUParams):
            second[2 * H :] = params.b_h
        own = (np.asarray(params.w_x).T, np.asarray(params.w_h).T, np.asarray(params.b), second)
        with torch.no_grad():
            for p, value in zip(theirs.parameters(), own, strict=True):
                p.copy_(torch.tensor(value))
        inputs = torch.tensor(x, requires_grad=True)
        out, _ = theirs(inputs)
        out.backward(torch.tensor(dy))
        np.testing.assert_allclose(y, out.detach().numpy(), atol=1e-6)
        got = (dx, dparams.w_x.T, dparams.w_h.T, dparams.b)
        for a, b in zip(got, (inputs, *theirs.parameters()), strict=False):
            np.testing.assert_allclose(a, b.grad.numpy(), atol=2e-5)
        if isinstance(params, GRUParams):
            np.testing.assert_allclose(
                dparams.b_h, theirs.bias_hh_l0.grad.numpy()[2 * H :], atol=2e-5
            )

    def test_an_open_lstm_adds_up_and_keeps(self):
        """Input and output gates open and the forget gate open: c counts steps of tanh(1)."""
        large = 100.0
        params = LSTMParams(
            jnp.zeros((1, 4)), jnp.zeros((1, 4)), jnp.array([large, large, 1.0, large])
        )
        y, cache = run(layers.lstm(1), params, jnp.zeros((1, 3, 1)))
        cells = np.tanh(1) * np.arange(1, 4)
        np.testing.assert_allclose(y[0, :, 0], np.tanh(cells), rtol=1e-6)
        np.testing.assert_allclose(cache.rest[0][:, 0, 0], [0, *cells[:2]], rtol=1e-6)

    def test_a_gru_that_does_not_update_keeps_its_state(self, rng):
        params = GRUParams(
            jnp.zeros((1, 6)), jnp.zeros((2, 6)), jnp.array([0, 0, 100.0, 100.0, 1, 1]), jnp.ones(2)
        )
        h = jnp.asarray(normal(rng, 1, 2))
        layer = layers.gru(2, carry_in=True, carry_out=True)
        (carry, y), _ = run(layer, params, (HiddenCarry(h), jnp.ones((1, 4, 1))))
        np.testing.assert_allclose(y, np.broadcast_to(h[:, None], (1, 4, 2)), rtol=1e-6)
        np.testing.assert_array_equal(carry.h, y[:, -1])


def test_cache_is_the_input_the_output_and_the_cells(rng):
    """No gate: four numbers a unit and step."""
    x = normal(rng, N, T, D)
    for layer, numbers in (
        (layers.rnn(H), D + H),
        (layers.gru(H), D + H),
        (layers.lstm(H), D + 2 * H),
    ):
        _, cache = run(layer, started(layer, x, rng), x)
        assert sum(leaf.size for leaf in jax.tree.leaves(cache)) == N * T * numbers


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16], ids=str)
def test_a_narrow_lstm_remembers_in_float32(dtype):
    """In bfloat16 a cell of 4 that gets 1/128 a step stays 4 for ever."""
    steps = 128
    params = LSTMParams(jnp.zeros((1, 4)), jnp.zeros((1, 4)), jnp.array([100, 100, 2.0**-7, -2.0]))
    params = jax.tree.map(lambda p: p.astype(dtype), params)
    layer = layers.lstm(1, carry_in=True)
    carry = LSTMCarry(jnp.zeros((1, 1), dtype), jnp.full((1, 1), 4, dtype))
    y, cache = run(layer, params, (carry, jnp.zeros((1, steps, 1), dtype)))
    assert y.dtype == dtype
    assert cache.rest[0].dtype == jnp.float32
    np.testing.assert_allclose(cache.rest[0][-1], 4 + (steps - 1) / 128, rtol=1e-3)


class TestInit:
    def test_gates_are_orthogonal_and_remember(self):
        params, _ = layers.lstm(8).init(jax.random.key(0), jnp.zeros((1, 2, 5)))
        for gate in range(4):
            w = np.asarray(params.w_h[:, 8 * gate : 8 * gate + 8])
            np.testing.assert_allclose(w.T @ w, np.eye(8), atol=1e-6)
        np.testing.assert_array_equal(params.b, np.repeat([0, 1, 0, 0], 8))
        assert np.abs(params.w_x).max() <= np.sqrt(6 / (5 + 8))
        gates = np.split(np.asarray(params.w_x), 4, axis=1)
        assert not np.array_equal(gates[0], gates[1])

    def test_forget_bias(self):
        params, _ = layers.lstm(2, forget_bias=-3.0).init(jax.random.key(0), jnp.zeros((1, 2, 5)))
        np.testing.assert_array_equal(params.b, [0, 0, -3, -3, 0, 0, 0, 0])

    @pytest.mark.parametrize("shape", [(5, 3), (3, 5), (2, 2, 3)])
    def test_orthogonal_matrices_that_are_not_square(self, shape, key):
        w = np.asarray(orthogonal(key, shape, jnp.float32)).reshape(-1, shape[-1])
        small = w.T @ w if w.shape[0] >= w.shape[1] else w @ w.T
        np.testing.assert_allclose(small, np.eye(len(small)), atol=1e-6)

    def test_inside_jit_as_outside(self):
        layer, x = layers.gru(3), jnp.zeros((1, 2, 5))
        outside, _ = layer.init(jax.random.key(3), x)
        inside, _ = jax.jit(layer.init)(jax.random.key(3), x)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), inside, outside)


class TestRefuses:
    @pytest.mark.parametrize("shape", [(D,), (T, D), (1, N, T, D), (N, T, D + 1)])
    def test_other_shapes(self, build, rng, shape):
        layer = build(H)
        params = started(layer, normal(rng, N, T, D), rng)
        with pytest.raises(ValueError, match=rf"expected x of shape \(N, T, {D}\), got"):
            layer.forward(params, (), normal(rng, *shape), None)

    def test_integers(self, build, rng):
        layer = build(H)
        params = started(layer, normal(rng, N, T, D), rng)
        with pytest.raises(TypeError, match="floating dtype, got int32"):
            layer.forward(params, (), np.ones((N, T, D), np.int32), None)

    @pytest.mark.parametrize(
        ("options", "x", "message"),
        [
            ({}, (1, 2), r"rnn: expected \(x\) .* got 2 parts"),
            ({"lengths": True}, 1, r"rnn: expected \(x, lengths\) .* got ArrayImpl"),
            ({"lengths": True, "carry_in": True}, (1, 2), r"\(carry, x, lengths\) .* got 2 parts"),
        ],
    )
    def test_other_parts(self, options, x, message):
        layer = layers.rnn(H, **options)
        x = jax.tree.map(lambda _: jnp.ones((N, T, D)), x)
        with pytest.raises(ValueError, match=message):
            layer.forward(None, (), x, None)

    def test_other_lengths(self):
        layer, x = layers.rnn(H, lengths=True), jnp.ones((N, T, D))
        with pytest.raises(TypeError, match="lengths of integers, got float32"):
            layer.init(jax.random.key(0), (x, jnp.ones(N)))
        with pytest.raises(ValueError, match=r"lengths of shape \(2,\), got \(3,\)"):
            layer.init(jax.random.key(0), (x, np.ones(3, np.int32)))

    @pytest.mark.parametrize(
        ("carry", "message"),
        [
            (HiddenCarry(jnp.zeros((N, H))), r"a carry LSTMCarry\(h, c\), got HiddenCarry"),
            (
                LSTMCarry(jnp.zeros((N, H)), jnp.zeros((1, H))),
                r"with c of shape \(2, 4\), got \(1, 4\)",
            ),
        ],
    )
    def test_other_carries(self, carry, message):
        with pytest.raises(ValueError, match=message):
            layers.lstm(H, carry_in=True).init(jax.random.key(0), (carry, jnp.ones((N, T, D))))
        params = LSTMParams(jnp.zeros((D, 4 * H)), jnp.zeros((H, 4 * H)), jnp.zeros(4 * H))
        with pytest.raises(ValueError, match=message):
            layers.lstm_cell(H).forward(params, (), (carry, jnp.ones((N, D))), None)

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: layers.rnn(0), "rnn: expected at least one feature, got 0"),
            (lambda: layers.lstm_cell(0), "lstm: expected at least one feature, got 0"),
            (
                lambda: layers.gru(2, truncate=0),
                "gru: expected truncate of at least one step, got 0",
            ),
            (
                lambda: layers.gru(2, reset="never"),
                "expected reset 'after' or 'before', got 'never'",
            ),
        ],
    )
    def test_other_options(self, make, message):
        with pytest.raises(ValueError, match=message):
            make()

    def test_a_cell_without_a_carry(self):
        with pytest.raises(ValueError, match=r"rnn_cell: expected \(carry, x\), got"):
            layers.rnn_cell(H).init(jax.random.key(0), jnp.ones((N, D)))
