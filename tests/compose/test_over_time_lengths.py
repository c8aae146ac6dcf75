"""A cell over sequences of several lengths."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from recurrences import adder, close, run, scaler, zeros

from fnn import layers, over_time, pure


@pytest.fixture
def xs(rng):
    return jnp.asarray(rng.normal(size=(2, 5, 3)), jnp.float32)


@pytest.fixture
def carry(rng):
    return jnp.asarray(rng.normal(size=(2, 3)), jnp.float32)


@pytest.mark.parametrize("reverse", [False, True])
def test_lengths_are_shorter_sequences(xs, reverse):
    """Also where the rest holds NaN, which is not looked at; a length may be 0, or all there is."""
    layer = over_time(scaler(), lengths=True, initial=zeros, reverse=reverse)
    padded = xs.at[0, 2:].set(jnp.nan)
    lengths = np.array([2, 5], np.int32)
    ys, _, dparams, dx = run(layer, (padded, lengths))
    plain = over_time(scaler(), initial=zeros, reverse=reverse)
    each = [run(plain, xs[:1, :2]), run(plain, xs[1:])]
    assert dx[1] is None
    for found, wanted in ((ys, 0), (dx[0], 3)):
        close(found[:1, :2], each[0][wanted])
        close(found[0, 2:], np.zeros((3, 3)))
        close(found[1:], each[1][wanted])
    close(dparams["cell"], each[0][2]["cell"] + each[1][2]["cell"])
    nothing = run(layer, (jnp.full_like(xs, jnp.nan), np.array([0, 0], np.uint8)))
    assert all((np.asarray(leaf) == 0).all() for leaf in jax.tree.leaves((nothing[0], nothing[2:])))
    state = {"cell": ()}
    close(layer.predict({"cell": jnp.float32(2)}, state, (padded, lengths)), ys)


def test_the_carry_of_an_ended_sequence_waits_and_its_gradient_passes(xs, carry):
    layer = over_time(adder(), lengths=True)
    (last, _), _, _, (dfirst, dxs, dlengths) = run(
        layer, (carry, xs, np.array([0, 3], np.int32)), (jnp.ones_like(carry), jnp.zeros_like(xs))
    )
    close(last, np.stack([carry[0], carry[1] + xs[1, :3].sum(axis=0)]))
    close(dfirst, np.ones((2, 3)))
    close(dxs.sum(axis=(1, 2)), [0, 9])
    assert dlengths is None


def test_no_nan_is_made_for_lengths_in_range(xs, carry):
    """Under `debug_nans`, jax stops at any."""
    lengths = np.array([2, 5], np.int32)
    x, of_lstm = (carry, xs, lengths), layers.lstm(3, lengths=True)
    params, state = of_lstm.init(jax.random.key(0), (xs, lengths))
    with jax.debug_nans(True):
        run(over_time(adder(), lengths=True), x)
        of_lstm.predict(params, state, (xs, lengths))


@pytest.mark.parametrize("reverse", [False, True])
def test_narrow_lengths_of_many_steps(reverse):
    """200 steps do not fit into eight bits, 100 do."""
    layer = over_time(adder(), lengths=True, initial=zeros, reverse=reverse)
    x = (jnp.ones((1, 200, 1)), np.array([100], np.int8))
    ys, _, _, (dxs, _) = run(layer, x)
    for found in (ys, layer.predict({"cell": ()}, {"cell": ()}, x), dxs):
        assert np.flatnonzero(found).tolist() == list(range(100))


@pytest.mark.parametrize("bad", [-3, 6, 99])
def test_a_length_out_of_range_raises_or_gives_nan(xs, carry, bad):
    """Inside of `jit` the other sequences are as they would be; through a NaN no gradient passes."""
    layer = over_time(scaler(), lengths=True)
    x = (carry, xs, np.array([2, bad], np.int32))
    params, state = layer.init(None, x)
    for call in (layer.predict, lambda p, s, x: layer.forward(p, s, x, None)):
        with pytest.raises(
            ValueError, match=rf"over_time: expected lengths in \[0, 5\], got {bad} at 1"
        ):
            call(params, state, x)
    both = jax.jit(lambda x: run(layer, x))
    found, expected = both(x), both((carry, xs, np.array([2, 0], np.int32)))
    predicted = jax.jit(layer.predict)(params, state, x)
    for last, ys in (found[0], predicted):
        assert np.isnan(last[1]).all()
        assert np.isnan(ys[1]).all()
        np.testing.assert_array_equal(last[0], expected[0][0][0])
        np.testing.assert_array_equal(ys[0], expected[0][1][0])
    np.testing.assert_array_equal(found[2]["cell"], expected[2]["cell"])
    (dcarry, dxs, _), (of_carry, of_xs, _) = found[3], expected[3]
    np.testing.assert_array_equal(dxs, of_xs)
    np.testing.assert_array_equal(dcarry[0], of_carry[0])
    assert not np.any(dcarry[1])


@pytest.mark.parametrize(
    ("step", "carry", "second", "shape"),
    [
        (lambda c, x, b: (c, x), (), (2,), r"\(\)"),
        (lambda c, x, b: (c, x), (1, 3), (2,), r"\(1, 3\)"),
        (lambda c, x, b: (c, x), (2, 3), (1,), r"\(1,\)"),
        (lambda c, x, b: (c, x[:1]), (2, 3), (2,), r"\(1, 3\)"),
        (lambda c, x, b: (c, x.sum()), (2, 3), (2,), r"\(\)"),
    ],
    ids=["a carry without", "a carry of one", "xs of one", "an output of one", "an output without"],
)
def test_a_leaf_without_the_batch_is_refused(xs, step, carry, second, shape):
    """Of one sequence, it would be spread over all without a word."""

    def forward(params, x):
        return step(x[0], *x[1]), ()

    layer = over_time(pure("cell", forward, lambda params, cache, dy: (params, None)), lengths=True)
    x = (jnp.zeros(carry), (xs, jnp.ones((second[0], 5))), np.array([2, 3], np.int32))
    params, state = layer.init(None, x)
    expected = rf"^over_time: expected the batch of 2 lengths .* every leaf, got {shape} in a step"
    for call in (layer.predict, lambda p, s, x: layer.forward(p, s, x, None)):
        with pytest.raises(ValueError, match=expected):
            call(params, state, x)
