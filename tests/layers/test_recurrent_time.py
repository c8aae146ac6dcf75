"""Recurrent networks in time: lengths, truncation, carries, both directions, no time at all."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sequences import BUILDS, D, H, N, T, both, normal, run, started, zero_carry

from fnn import check, layers
from fnn.compose import bidirectional, over_time
from fnn.layers import HiddenCarry, LSTMCarry


@pytest.fixture(params=BUILDS.values(), ids=BUILDS)
def build(request):
    return request.param


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

    @pytest.mark.parametrize("name", ["rnn", "lstm", "gru"])
    def test_out_of_range_has_gradients_of_nan(self, rng, name):
        """So that no step of training is made; outside of `jit`, backward does not look again."""
        x, layer = normal(rng, 2, T, D), BUILDS[name](H, lengths=True, carry_in=True)
        params = started(BUILDS[name](H), x, rng)
        carry, lengths = zero_carry(BUILDS[name]), np.array([2, T + 1])
        y, cache = run(layer, params, (carry, x, lengths))
        for backward in (layer.backward, jax.jit(layer.backward)):
            dparams, (dcarry, dx, _) = backward(params, cache, np.ones_like(y))
            assert all(np.isnan(d).any() for d in dparams)
            np.testing.assert_array_equal(np.isnan(dx).all(axis=(1, 2)), [False, True])
            np.testing.assert_array_equal(dx[0, 2:], 0)
            assert all(np.isfinite(d).all() and not np.any(d[1]) for d in dcarry)

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

    @pytest.mark.parametrize(
        ("build", "match"),
        [
            (
                layers.linear(2),
                r"function of \(reverse=…\) that builds a layer.*got Layer linear\(2\)",
            ),
            (layers.lstm(2), r"partial\(lstm, 64\), got Layer lstm\(2\)"),
            (None, "got None"),
            (functools.partial(layers.linear, 2), r"got linear, which does not take `reverse`"),
            (lambda: layers.linear(2), "got <lambda>, which does not take `reverse`"),
            (layers.rnn, "got rnn, which does not take `reverse` alone"),
            (lambda *, reverse: None, "which returned None"),
        ],
        ids=[
            "a layer",
            "an lstm",
            "nothing",
            "no reverse",
            "no argument",
            "not alone",
            "no result",
        ],
    )
    def test_refuses_what_builds_no_layer(self, build, match):
        with pytest.raises(TypeError, match=f"bidirectional: expected .*{match}"):
            bidirectional(build)

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
