"""Recurrent networks: naive loops, other libraries, lengths, truncation, carries, what is refused."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import check, layers
from fnn.compose import bidirectional, over_time
from fnn.layers import HiddenCarry, LSTMCarry
from fnn.layers.recurrent_gru import GRUParams
from fnn.layers.recurrent_lstm import LSTMParams
from fnn.layers.recurrent_rnn import RNNParams

N, T, D, H = 2, 5, 3, 4
BUILDS = {
    "rnn": layers.rnn,
    "lstm": layers.lstm,
    "gru": layers.gru,
    "gru, reset before": functools.partial(layers.gru, reset="before"),
}


@pytest.fixture(params=BUILDS.values(), ids=BUILDS)
def build(request):
    return request.param


def normal(rng, *shape):
    return rng.normal(size=shape).astype(np.float32)


def started(layer, x, rng):
    """Parameters of which none is at a special point."""
    params, _ = layer.init(jax.random.key(0), x)
    return jax.tree.map(lambda p: jnp.asarray(0.5 * normal(rng, *p.shape)), params)


def run(layer, params, x):
    y, _, cache = jax.jit(layer.forward)(params, (), x, None)
    return y, cache


@functools.partial(jax.jit, static_argnums=0)
def gradients(passes, params, x, dy):
    """(y, dparams, dx) in one program."""
    forward, backward = passes
    y, _, cache = forward(params, (), x, None)
    return y, *backward(params, cache, dy)


def both(layer, params, x, dy):
    return gradients((layer.forward, layer.backward), params, x, dy)


def zero_carry(build, batch=N):
    zero = jnp.zeros((batch, H))
    return LSTMCarry(zero, zero) if build is layers.lstm else HiddenCarry(zero)


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


class TestLengths:
    @pytest.mark.parametrize(
        ("name", "reverse"), [("rnn", False), ("lstm", False), ("lstm", True), ("gru", True)]
    )
    def test_each_sequence_is_as_if_alone(self, name, reverse, rng):
        x, dy = normal(rng, 3, T, D), normal(rng, 3, T, H)
        lengths = np.array([2, T, 0])
        layer = BUILDS[name](H, lengths=True, reverse=reverse)
        alone = BUILDS[name](H, reverse=reverse)
        params = started(alone, x, rng)
        y, dparams, (dx, none) = both(layer, params, (x, lengths), dy)
        assert none is None
        total = jax.tree.map(jnp.zeros_like, params)
        for n, length in enumerate(lengths):
            np.testing.assert_array_equal(y[n, length:], 0)
            np.testing.assert_array_equal(dx[n, length:], 0)
            if length:
                at = (slice(n, n + 1), slice(None, length))
                one, d, one_dx = both(alone, params, x[at], dy[at])
                total = jax.tree.map(jnp.add, total, d)
                np.testing.assert_allclose(y[n, :length], one[0], atol=1e-6)
                np.testing.assert_allclose(dx[n, :length], one_dx[0], atol=1e-6)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), dparams, total)

    @pytest.mark.parametrize("reverse", [False, True])
    def test_the_carry_stops_at_the_end_and_starts_at_the_beginning(self, rng, reverse):
        x, lengths = normal(rng, 2, T, D), np.array([3, T])
        layer = layers.lstm(H, lengths=True, carry_in=True, carry_out=True, reverse=reverse)
        alone = layers.lstm(H, carry_in=True, carry_out=True, reverse=reverse)
        before = LSTMCarry(normal(rng, 2, H), normal(rng, 2, H))
        params = started(layer, (before, x, lengths), rng)
        (carry, _), _ = run(layer, params, (before, x, lengths))
        (first, _), _ = run(alone, params, (LSTMCarry(before.h[:1], before.c[:1]), x[:1, :3]))
        np.testing.assert_allclose(carry.h[:1], first.h, atol=1e-6)
        np.testing.assert_allclose(carry.c[:1], first.c, atol=1e-6)

    def test_what_stands_behind_the_end_does_not_matter(self, rng):
        x, lengths, layer = normal(rng, 2, T, D), np.array([2, 4]), layers.gru(H, lengths=True)
        params = started(layer, (x, lengths), rng)
        spoiled = np.where(np.arange(T)[None, :, None] < lengths[:, None, None], x, np.nan)
        dy = np.ones((2, T, H), np.float32)
        got = both(layer, params, (spoiled.astype(np.float32), lengths), dy)
        expected = both(layer, params, (x, lengths), dy)
        jax.tree.map(np.testing.assert_array_equal, got, expected)

    @pytest.mark.parametrize("bad", [-1, T + 1])
    def test_out_of_range_raises_or_gives_nan(self, rng, bad):
        x, lengths, layer = normal(rng, 2, T, D), np.array([2, bad]), layers.rnn(H, lengths=True)
        params = started(layer, (x, lengths), rng)
        with pytest.raises(ValueError, match=rf"lengths in \[0, {T}\], got {bad} at 1"):
            layer.predict(params, (), (x, lengths))
        y = jax.jit(layer.predict)(params, (), (x, lengths))
        np.testing.assert_array_equal(np.isnan(y).all(axis=(1, 2)), [False, True])
        np.testing.assert_array_equal(y[0, 2:], 0)

    def test_narrow_lengths_of_a_long_sequence(self):
        x, lengths = np.ones((1, 130, 1), np.float32), np.array([127], np.int8)
        layer = layers.rnn(1, lengths=True)
        params, _ = layer.init(jax.random.key(0), (x, lengths))
        y = jax.jit(layer.predict)(params, (), (x, lengths))
        assert np.isfinite(y).all()
        assert np.count_nonzero(y) == 127


class TestTruncation:
    def test_pieces_of_a_sequence_with_carries_that_are_data(self, build, rng):
        """The gradient of truncate=2 is that of pieces of two steps, each begun where the last ended."""
        x, dy = normal(rng, N, T, D), normal(rng, N, T, H)
        layer = build(H, truncate=2)
        piece = build(H, carry_in=True, carry_out=True)
        params = started(layer, x, rng)
        y, dparams, dx = both(layer, params, x, dy)
        carry, total = zero_carry(build), jax.tree.map(jnp.zeros_like, params)
        for start in range(0, T, 2):
            at = slice(start, start + 2)
            zero = jax.tree.map(jnp.zeros_like, carry)
            (after, one), d, (_, one_dx) = both(piece, params, (carry, x[:, at]), (zero, dy[:, at]))
            np.testing.assert_allclose(y[:, at], one, atol=1e-6)
            np.testing.assert_allclose(dx[:, at], one_dx, atol=1e-6)
            carry, total = after, jax.tree.map(jnp.add, total, d)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), dparams, total)

    def test_the_first_carry_gets_the_gradient_of_the_first_steps(self, rng):
        x, carry = normal(rng, N, T, D), HiddenCarry(normal(rng, N, H))
        layer = layers.rnn(H, truncate=3, carry_in=True)
        params = started(layer, (carry, x), rng)
        early, late = np.zeros((N, T, H), np.float32), np.zeros((N, T, H), np.float32)
        early[:, 2], late[:, 3:] = 1, 1
        assert (np.asarray(both(layer, params, (carry, x), early)[2][0].h) != 0).all()
        np.testing.assert_array_equal(both(layer, params, (carry, x), late)[2][0].h, 0)

    def test_is_proved_where_differences_are_no_witness(self, rng):
        """Differences see the whole derivative; every method that knows `stop_gradient` agrees."""
        layer = layers.rnn(2, truncate=2, reverse=True)
        methods = ["reverse mode", "second order"]
        check.layer(layer, normal(rng, 1, 3, 2), methods=methods).raise_if_wrong()

    def test_longer_than_the_sequence_changes_nothing(self, rng):
        x, layer = normal(rng, N, T, D), layers.rnn(H, truncate=T)
        params = started(layer, x, rng)
        dy = normal(rng, N, T, H)
        got, expected = both(layer, params, x, dy), both(layers.rnn(H), params, x, dy)
        jax.tree.map(np.testing.assert_array_equal, got, expected)


class TestCarry:
    def test_two_halves_are_the_whole(self, build, rng):
        x, layer = normal(rng, N, T, D), build(H, carry_in=True, carry_out=True)
        params = started(build(H), x, rng)
        (carry, first), _ = run(layer, params, (None, x[:, :2]))
        (_, second), _ = run(layer, params, (carry, x[:, 2:]))
        whole, _ = run(build(H), params, x)
        np.testing.assert_allclose(jnp.concatenate([first, second], axis=1), whole, atol=1e-6)

    def test_no_carry_has_no_gradient(self, rng):
        x, layer = normal(rng, N, T, D), layers.gru(H, carry_in=True)
        params = started(layer, (None, x), rng)
        dx = both(layer, params, (None, x), normal(rng, N, T, H))[2]
        assert dx[1].shape == x.shape
        assert dx[0] is None

    def test_keeps_its_dtype(self, rng):
        x, layer = normal(rng, N, T, D), layers.lstm(H, carry_in=True, carry_out=True)
        params = started(layer, (None, x), rng)
        carry = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), zero_carry(layers.lstm))
        (after, y), _, (dcarry, dx) = both(layer, params, (carry, x), (carry, normal(rng, N, T, H)))
        assert y.dtype == dx.dtype == jnp.float32
        assert {a.dtype for a in (*after, *dcarry)} == {jnp.dtype(jnp.bfloat16)}

    @pytest.mark.parametrize("kind", ["rnn", "lstm", "gru"])
    def test_cells_make_the_same_steps(self, kind, rng):
        build, cell = BUILDS[kind], getattr(layers, f"{kind}_cell")(H)
        x, carry = normal(rng, N, T, D), zero_carry(BUILDS[kind])
        params = started(build(H), x, rng)
        y, _ = run(build(H), params, x)
        for t in range(T):
            carry, y_t = cell.predict(params, (), (carry, x[:, t]))
            np.testing.assert_allclose(y_t, y[:, t], atol=1e-6)
            np.testing.assert_array_equal(carry.h, y_t)

    def test_a_cell_over_time_is_the_layer(self, rng):
        """Two derivations of one gradient: the container's, step by step, and all steps at once."""
        carry, x = LSTMCarry(normal(rng, N, H), normal(rng, N, H)), normal(rng, N, T, D)
        layer = layers.lstm(H, carry_in=True, carry_out=True)
        container = over_time(layers.lstm_cell(H))
        params = started(layer, (carry, x), rng)
        dy = (carry, normal(rng, N, T, H))
        y, dparams, dx = both(layer, params, (carry, x), dy)
        state = container.init(jax.random.key(0), (carry, x))[1]
        got, _, cache = container.forward({"cell": params}, state, (carry, x), None)
        theirs = container.backward({"cell": params}, cache, dy)
        for a, b in zip(
            jax.tree.leaves((y, dparams, dx)), jax.tree.leaves((got, *theirs)), strict=True
        ):
            np.testing.assert_allclose(a, b, atol=1e-5)


class TestBidirectional:
    def test_is_both_directions_side_by_side(self, rng):
        x, net = normal(rng, N, T, D), bidirectional(functools.partial(layers.gru, H))
        params, state = net.init(jax.random.key(0), x)
        y = net.predict(params, state, x)
        for name, at, reverse in (("forward", slice(H), False), ("reverse", slice(H, None), True)):
            expected = layers.gru(H, reverse=reverse).predict(params[name], (), x)
            np.testing.assert_array_equal(y[..., at], expected)
        assert not np.array_equal(params["forward"].w_x, params["reverse"].w_x)

    def test_has_no_one_carry_to_give_back(self, rng):
        net = bidirectional(functools.partial(layers.gru, H, carry_out=True))
        with pytest.raises((ValueError, TypeError, AttributeError)):
            net.init(jax.random.key(0), normal(rng, N, T, D))


@pytest.mark.parametrize("time", [0, 1])
def test_short_sequences(build, rng, time):
    x, layer = normal(rng, N, time, D), build(H, carry_in=True, carry_out=True, truncate=1)
    carry = jax.tree.map(lambda leaf: leaf + 0.5, zero_carry(build))
    params = started(layer, (carry, x), rng)
    dy = normal(rng, N, time, H)
    (after, y), dparams, (dcarry, dx) = both(layer, params, (carry, x), (carry, dy))
    assert y.shape == (N, time, H)
    assert dx.shape == x.shape
    if time == 0:
        jax.tree.map(np.testing.assert_array_equal, after, carry)
        jax.tree.map(np.testing.assert_array_equal, dcarry, carry)
        assert all((np.asarray(d) == 0).all() for d in jax.tree.leaves(dparams))


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
