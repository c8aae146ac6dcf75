"""Max pooling against `lax.reduce_window`, its ties, and its hard inputs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import layers
from fnn.layers import pooling, pooling_large
from fnn.layers.windows import window_settings, windows_of

# name: (x shape, window, settings)
CASES = {
    "2x2": ((3, 6, 8, 4), 2, {}),
    "remainder": ((3, 7, 5, 4), 2, {}),
    "rectangular": ((2, 6, 9, 3), (2, 3), {}),
    "1x1": ((2, 4, 5, 3), 1, {}),
    "the whole image": ((2, 4, 5, 3), (4, 5), {}),
    "overlapping": ((2, 7, 8, 3), 3, {"stride": 2}),
    "stride 1": ((2, 6, 5, 3), 3, {"stride": 1}),
    "stride over the window": ((2, 9, 10, 3), 2, {"stride": (3, 4)}),
    "stride of the window on one axis": ((2, 9, 10, 3), (2, 4), {"stride": (2, 3)}),
    "same": ((2, 7, 6, 3), 2, {"padding": "SAME"}),
    "same, overlapping": ((2, 7, 6, 3), 3, {"stride": 2, "padding": "SAME"}),
    "same, stride 1": ((2, 6, 5, 3), 3, {"stride": 1, "padding": "SAME"}),
    "int padding": ((2, 6, 5, 3), 3, {"stride": 2, "padding": 1}),
    "explicit padding": ((2, 6, 5, 3), 3, {"stride": 2, "padding": ((2, 0), (1, 2))}),
    "one pixel": ((2, 1, 1, 3), 3, {"stride": 1, "padding": 2}),
}
cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def both(value):
    return (value, value) if isinstance(value, int) else value


def reference(x, window, settings):
    padding = settings.get("padding", "VALID")
    if isinstance(padding, int):
        padding = ((padding, padding), (padding, padding))
    if not isinstance(padding, str):
        padding = ((0, 0), *padding, (0, 0))
    stride = both(settings.get("stride", window))
    return jax.lax.reduce_window(
        x, -np.inf, jax.lax.max, (1, *both(window), 1), (1, *stride, 1), padding
    )


def run(layer, x):
    params, state = layer.init(None, x)
    assert (params, state) == ((), ())
    y, _, cache = layer.forward((), (), x, None)
    return y, cache


def primal(layer):
    return lambda x: layer.forward((), (), x, None)[0]


@pytest.mark.parametrize("ties", [False, True])
@cases
def test_values_and_gradient_of_reduce_window(case, ties, rng):
    """With ties too: small integers make most windows have several largest pixels."""
    shape, window, settings = case
    layer = layers.max_pool(window, **settings)
    with jax.enable_x64(True):
        drawn = rng.integers(0, 3, size=shape) if ties else rng.normal(size=shape)
        x = jnp.asarray(drawn, jnp.float64)
        y, cache = run(layer, x)
        expected, pull = jax.vjp(lambda x: reference(x, window, settings), x)
        dy = jnp.asarray(rng.normal(size=y.shape))
        dx = layer.backward((), cache, dy)[1]
        np.testing.assert_array_equal(y, expected)
        # Where windows overlap, the order of a sum may differ.
        np.testing.assert_allclose(dx, pull(dy)[0], rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("values", ["integers", "extremes"])
@cases
def test_large_windows_have_the_same_maxima_places_and_gradients(case, values, rng):
    """The form for large windows on all cases: the choice between the two is of speed alone."""
    shape, window, settings = case
    pads = settings.get("padding", "VALID")
    stride = settings.get("stride", window)
    windows = windows_of(window_settings("max_pool", window, stride, pads, 1), shape[1:3])
    choice = [0, 1, 2] if values == "integers" else [np.nan, -np.inf, np.inf, 0.0]
    x = jnp.asarray(rng.choice(choice, size=shape), jnp.float32)
    y, place = pooling._largest(x, windows)
    got, got_place = pooling_large.largest(x, windows)
    np.testing.assert_array_equal(got, y)
    np.testing.assert_array_equal(got_place, place)
    dy = jnp.asarray(rng.integers(-8, 9, size=y.shape), jnp.float32)  # whose sums are exact
    expected = pooling._spread(dy, place, windows)
    np.testing.assert_array_equal(pooling_large.spread(dy, place, windows), expected)


LARGE = {
    "the whole image": ((1, 28, 28, 2), 28, {}),
    "overlapping": ((1, 28, 30, 2), 20, {"stride": 1}),
    "padded": ((1, 28, 28, 2), (27, 3), {"stride": (2, 1), "padding": "SAME"}),
    "much padded": ((1, 4, 5, 2), 12, {"stride": 1, "padding": 11}),
}


@pytest.mark.parametrize("case", LARGE.values(), ids=LARGE)
def test_large_windows(case, rng):
    shape, window, settings = case
    layer = layers.max_pool(window, **settings)
    x = jnp.asarray(rng.integers(0, 50, size=shape), jnp.float32)
    y, cache = run(layer, x)
    expected, pull = jax.vjp(lambda x: reference(x, window, settings), x)
    dy = jnp.asarray(rng.integers(-8, 9, size=y.shape), jnp.float32)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(layer.backward((), cache, dy)[1], pull(dy)[0])
    np.testing.assert_array_equal(jax.vjp(primal(layer), x)[1](dy)[0], pull(dy)[0])


@pytest.mark.parametrize("stride", [1, 28])
def test_the_program_of_a_large_window_is_small(stride):
    """784 pixels one by one took 18 s to compile; so many operations do not come back unseen."""
    layer = layers.max_pool(28, stride=stride)

    def both_passes(x):
        y, _, cache = layer.forward((), (), x, None)
        return layer.backward((), cache, y)

    text = jax.jit(both_passes).lower(jnp.zeros((1, 56, 56, 1))).as_text()
    assert len(text.splitlines()) < 1200


@cases
def test_both_modes_of_autodiff_agree_at_ties(case, rng):
    shape, window, settings = case
    layer = layers.max_pool(window, **settings)
    with jax.enable_x64(True):
        x = jnp.asarray(rng.integers(0, 2, size=shape), jnp.float64)
        y, cache = run(layer, x)
        dy, tangent = jnp.asarray(rng.normal(size=y.shape)), jnp.asarray(rng.normal(size=shape))
        dx = layer.backward((), cache, dy)[1]
        _, pull = jax.vjp(primal(layer), x)
        _, dy_forward = jax.jvp(primal(layer), (x,), (tangent,))
        np.testing.assert_allclose(dx, pull(dy)[0], rtol=1e-14, atol=1e-14)
        np.testing.assert_allclose((dy_forward * dy).sum(), (tangent * dx).sum(), rtol=1e-10)


def test_the_first_of_equals_is_taken():
    layer = layers.max_pool(2)
    x = jnp.asarray([[1.0, 5.0], [5.0, 5.0]])[None, :, :, None]
    y, cache = run(layer, x)
    dx = layer.backward((), cache, jnp.full((1, 1, 1, 1), 3.0))[1]
    assert y.item() == 5
    np.testing.assert_array_equal(dx[0, :, :, 0], [[0, 3], [0, 0]])
    assert cache.places[0].item() == 1


def test_a_nan_goes_through_and_takes_the_gradient():
    layer = layers.max_pool(2)
    x = jnp.asarray([[1.0, jnp.nan], [jnp.nan, jnp.inf]])[None, :, :, None]
    y, cache = run(layer, x)
    dx = layer.backward((), cache, jnp.ones((1, 1, 1, 1)))[1]
    _, pull = jax.vjp(primal(layer), x)
    assert np.isnan(y.item())
    np.testing.assert_array_equal(dx[0, :, :, 0], [[0, 1], [0, 0]])
    np.testing.assert_array_equal(pull(jnp.ones((1, 1, 1, 1)))[0], dx)


def test_gradients_of_overlapping_windows_are_added_up_in_float32():
    """49 windows take one pixel; in bfloat16 a sum 1 + 1/256 + 1/256 + … never leaves 1."""
    layer = layers.max_pool(7, stride=1)
    x = jnp.zeros((1, 13, 13, 1), jnp.bfloat16).at[0, 6, 6, 0].set(1)
    y, cache = run(layer, x)
    dy = jnp.full(y.shape, 2.0**-8, jnp.bfloat16).at[0, 6].set(1)  # the windows summed first
    dx = layer.backward((), cache, dy)[1]
    assert float(dx[0, 6, 6, 0]) == float(jnp.asarray(7 + 42 / 256, jnp.bfloat16))
    with jax.disable_jit():  # in a compiled sum, XLA may keep more digits than it is asked for
        by_columns = pooling_large.spread(dy, cache.places[0], cache.windows.value)
    np.testing.assert_array_equal(by_columns, dx)


@pytest.mark.parametrize("padding", ["SAME", 2, ((2, 0), (1, 2))])
def test_padding_is_never_taken_though_all_pixels_are_minus_infinity(padding, rng):
    layer = layers.max_pool(3, stride=2, padding=padding)
    x = jnp.full((2, 6, 5, 3), -jnp.inf)
    y, cache = run(layer, x)
    dy = jnp.asarray(rng.normal(size=y.shape), jnp.float32)
    dx = layer.backward((), cache, dy)[1]
    _, pull = jax.vjp(primal(layer), x)
    np.testing.assert_array_equal(y, -np.inf)
    np.testing.assert_allclose(dx.sum(), dy.sum(), rtol=1e-5)
    np.testing.assert_allclose(dx, pull(dy)[0], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("window", "dtype"), [(2, jnp.uint8), ((15, 17), jnp.uint8), (16, jnp.int32)]
)
def test_cache_is_one_byte_an_output_where_that_suffices(window, dtype, rng):
    x = jnp.asarray(rng.normal(size=(1, 34, 34, 1)), jnp.float32)
    y, cache = run(layers.max_pool(window), x)
    leaves = jax.tree.leaves(cache)
    assert [(leaf.dtype, leaf.shape) for leaf in leaves] == [(dtype, y.shape)]


def test_last_place_of_the_largest_window_that_a_byte_can_hold():
    """Place 254 is a pixel like any other; 255 is that of none, which the stride of 9 asks for."""
    layer = layers.max_pool((15, 17), stride=9)
    x = jnp.arange(24.0 * 26).reshape(1, 24, 26, 1)
    y, cache = run(layer, x)
    assert set(np.asarray(cache.places[0]).ravel()) == {254}
    dx = layer.backward((), cache, jnp.ones_like(y))[1]
    rows, columns = np.nonzero(np.asarray(dx)[0, :, :, 0])
    assert sorted(zip(rows, columns, strict=True)) == [(14, 16), (14, 25), (23, 16), (23, 25)]


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16], ids=str)
def test_low_precision(dtype, rng):
    layer = layers.max_pool(3, stride=2)
    x = jnp.asarray(rng.normal(size=(2, 7, 7, 3)), dtype)
    y, cache = run(layer, x)
    np.testing.assert_array_equal(y, reference(x, 3, {"stride": 2}))
    assert layer.backward((), cache, y)[1].dtype == dtype


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: layers.max_pool(0), "a window of one int, .* none below 1, got 0"),
        (lambda: layers.max_pool(2, stride=0), "a stride of one int"),
        (lambda: layers.max_pool(2, padding="same"), "expected padding .* got 'same'"),
        (lambda: layers.max_pool(2, padding=-1), "expected padding .* got -1"),
        (lambda: layers.max_pool(2, padding=2), "smaller than the window,.* got padding 2 "),
        (lambda: layers.max_pool(3, padding=((0, 3), (0, 0))), "smaller than the window"),
    ],
)
def test_bad_settings(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (np.zeros((4, 1), np.float32), ValueError, r"\(N, \*spatial, C\) .*, got \(4, 1\)"),
        (np.zeros((1, 2, 4, 1), np.float32), ValueError, "max_pool: .* at least 3 pixels .* got 2"),
        (np.zeros((1, 4, 4, 1), np.int32), TypeError, "floating dtype, got int32"),
    ],
)
def test_bad_images(x, error, message):
    with pytest.raises(error, match=message):
        layers.max_pool(3).forward((), (), jnp.asarray(x), None)


RANKS = {
    "signals": ((2, 11, 3), 3, {"stride": 2, "padding": 1}),
    "signals, same": ((2, 10, 3), (4,), {"padding": "SAME"}),
    "volumes": ((2, 4, 5, 3, 2), 2, {"stride": 1}),
    "volumes, padded": ((2, 5, 4, 3, 2), (3, 2, 2), {"stride": (2, 1, 2), "padding": 1}),
}


@pytest.mark.parametrize("case", RANKS.values(), ids=RANKS)
@pytest.mark.parametrize("ties", [False, True])
def test_signals_and_volumes(case, ties, rng):
    """Also which of equal pixels is taken: a volume goes slice by slice, and the first is the first."""
    shape, window, settings = case
    rank = len(shape) - 2
    x = jnp.asarray(rng.integers(0, 3 if ties else 10_000, size=shape), jnp.float32)
    padding = settings.get("padding", "VALID")
    if isinstance(padding, int):
        padding = ((0, 0), *((padding, padding),) * rank, (0, 0))
    sizes, strides = (
        (1, *(v if isinstance(v, tuple) else (v,) * rank), 1)
        for v in (window, settings.get("stride", window))
    )

    def reference(x):
        return jax.lax.reduce_window(x, -np.inf, jax.lax.max, sizes, strides, padding)

    layer = layers.max_pool(window, **settings)
    y, cache = run(layer, x)
    expected, pull = jax.vjp(reference, x)
    dy = jnp.asarray(rng.integers(-8, 9, size=y.shape), jnp.float32)  # whose sums are exact
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(layer.backward((), cache, dy)[1], pull(dy)[0])
    assert {leaf.dtype for leaf in jax.tree.leaves(cache)} == {jnp.dtype(jnp.uint8)}
