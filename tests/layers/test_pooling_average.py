"""Average, sum and global pooling against loops over windows, and what stays out of a window."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import layers


def run(layer, x):
    y, _, cache = layer.forward((), (), jnp.asarray(x), None)
    return np.asarray(y), cache


def spatial(value, rank):
    return value if isinstance(value, tuple) else (value,) * rank


def by_loops(x, window, stride, padding):
    """For each window the pixels of the image in it: ``{output index: array (N, pixels, C)}``."""
    rank = x.ndim - 2
    starts = []
    sizes = spatial(window, rank)
    for axis in range(rank):
        n, w, s = x.shape[axis + 1], sizes[axis], spatial(stride, rank)[axis]
        if padding == "SAME":
            outputs = -(-n // s)
            low = max((outputs - 1) * s + w - n, 0) // 2
        else:
            low, high = padding[axis]
            outputs = (n + low + high - w) // s + 1
        starts.append([o * s - low for o in range(outputs)])
    held = {}
    for output in itertools.product(*(range(len(s)) for s in starts)):
        corner = [starts[axis][o] for axis, o in enumerate(output)]
        box = tuple(slice(max(c, 0), c + w) for c, w in zip(corner, sizes, strict=True))
        held[output] = x[(slice(None), *box)].reshape(x.shape[0], -1, x.shape[-1])
    return held


CASES = {
    "2x2": ((2, 6, 5, 3), 2, 2, ((0, 0), (0, 0))),
    "overlapping": ((2, 7, 8, 2), 3, 2, ((1, 1), (0, 2))),
    "stride 1": ((1, 6, 5, 2), (3, 2), 1, ((0, 0), (1, 0))),
    "same": ((2, 7, 6, 3), 3, 2, "SAME"),
    "stride over the window": ((1, 9, 10, 2), 2, (3, 4), ((0, 0), (0, 0))),
    "signals": ((2, 11, 3), 5, 2, ((2, 2),)),
    "volumes": ((1, 4, 5, 3, 2), (2, 3, 1), (1, 2, 2), ((1, 0), (0, 0), (0, 0))),
    "a long run": ((1, 50, 2), 23, 1, ((0, 0),)),
    "long tiles": ((1, 50, 2), 16, 16, ((0, 0),)),
}
cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


@cases
def test_sums_and_means_of_a_loop(case, rng):
    shape, window, stride, padding = case
    x = rng.normal(size=shape).astype(np.float32)
    held = by_loops(x, window, stride, padding)
    every = np.prod(spatial(window, len(shape) - 2))
    settings = {"stride": stride, "padding": padding}
    for layer, of in (
        (layers.sum_pool(window, **settings), lambda p: p.sum(axis=1)),
        (layers.average_pool(window, **settings), lambda p: p.mean(axis=1)),
        (
            layers.average_pool(window, count_include_pad=True, **settings),
            lambda p: p.sum(axis=1) / every,
        ),
    ):
        y, cache = run(layer, x)
        assert y.shape[1:-1] == tuple(max(axis) + 1 for axis in zip(*held, strict=True))
        for output, pixels in held.items():
            np.testing.assert_allclose(y[(slice(None), *output)], of(pixels), rtol=1e-5, atol=1e-6)
        assert jax.tree.leaves(cache) == []  # nothing waits for the backward pass


@cases
def test_gradient_of_a_loop(case, rng):
    """Each window hands dy to each of its pixels, in equal shares."""
    shape, window, stride, padding = case
    layer = layers.average_pool(window, stride=stride, padding=padding)
    where = np.arange(np.prod(shape)).reshape(shape).astype(np.float32)
    y, cache = run(layer, where)
    dy = rng.normal(size=y.shape).astype(np.float32)
    expected = np.zeros(np.prod(shape))
    for output, pixels in by_loops(where, window, stride, padding).items():
        share = dy[(slice(None), *output)][:, None] / pixels.shape[1]
        np.add.at(expected, pixels.astype(int), np.broadcast_to(share, pixels.shape))
    dx = layer.backward((), cache, dy)[1]
    np.testing.assert_allclose(np.asarray(dx).ravel(), expected, rtol=1e-4, atol=1e-5)


def test_numbers_by_hand():
    """With padding counted the corner of ones is 4 / 9; without, it is 1."""
    x = np.ones((1, 3, 3, 1), np.float32)
    fair, _ = run(layers.average_pool(3, stride=1, padding=1), x)
    dark, _ = run(layers.average_pool(3, stride=1, padding=1, count_include_pad=True), x)
    np.testing.assert_array_equal(fair, 1)
    np.testing.assert_allclose(dark[0, :, :, 0] * 9, [[4, 6, 4], [6, 9, 6], [4, 6, 4]], rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_stays_in_its_windows(bad):
    """A running total would carry it to the end of the row."""
    x = np.ones((1, 12, 1), np.float32)
    x[0, 5] = bad
    y, _ = run(layers.average_pool(3, stride=1), x)
    np.testing.assert_array_equal(np.isfinite(y[0, :, 0]), [True] * 3 + [False] * 3 + [True] * 4)


def test_low_precision_is_summed_in_float32():
    """In bfloat16, 1 + 1/256 is 1 again."""
    x = jnp.full((1, 16, 16, 1), 2.0**-8, jnp.bfloat16).at[0, 0, 0].set(1)
    for layer in (layers.sum_pool(16), layers.average_pool(16), layers.global_average_pool()):
        y, _ = run(layer, x)
        expected = (1 + 255 / 256) / (1 if layer.name.startswith("sum") else 256)
        np.testing.assert_allclose(y.astype(np.float32).item(), expected, rtol=2**-8)


@pytest.mark.parametrize("shape", [(2, 5, 3), (2, 3, 4, 3), (1, 2, 3, 2, 2)])
def test_global_pools_of_all_positions(shape, rng):
    x = rng.normal(size=shape).astype(np.float32)
    rows = x.reshape(shape[0], -1, shape[-1])
    np.testing.assert_allclose(
        run(layers.global_average_pool(), x)[0], rows.mean(axis=1), rtol=1e-5, atol=1e-6
    )
    y, cache = run(layers.global_max_pool(), x)
    np.testing.assert_array_equal(y, rows.max(axis=1))
    np.testing.assert_array_equal(cache.position, rows.argmax(axis=1))


def test_global_max_takes_the_first_of_equals_and_any_nan():
    layer = layers.global_max_pool()
    x = np.asarray([[1, 5, -np.inf], [5, 5, -np.inf], [0, np.nan, -np.inf]], np.float32)[None]
    y, cache = run(layer, x)
    np.testing.assert_array_equal(y, [[5, np.nan, -np.inf]])
    np.testing.assert_array_equal(cache.position, [[1, 2, 0]])
    dx = layer.backward((), cache, np.ones((1, 3), np.float32))[1]
    np.testing.assert_array_equal(dx[0], [[0, 0, 1], [1, 0, 0], [0, 1, 0]])
    pulled = jax.vjp(lambda x: layer.forward((), (), x, None)[0], jnp.asarray(x))[1]
    np.testing.assert_array_equal(pulled(jnp.ones((1, 3)))[0], dx)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: layers.average_pool(0), "average_pool: expected a window of one int"),
        (lambda: layers.sum_pool(2, stride=(1, 0)), "sum_pool: expected a stride"),
        (lambda: layers.average_pool((2, 2), stride=(1, 1, 1)), "a window for 2, a stride for 3"),
        (lambda: layers.average_pool(2, padding=2), "padding smaller than the window"),
        (lambda: layers.average_pool((3, 2), padding=2), "padding smaller than the window"),
        (lambda: layers.average_pool(2, padding=((0, 0), (0, 2))), "smaller than the window"),
    ],
)
def test_bad_settings(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(
    "layer", [layers.average_pool(2), layers.global_average_pool(), layers.global_max_pool()]
)
def test_bad_images(layer):
    name = layer.name.partition("(")[0]
    with pytest.raises(ValueError, match=rf"{name}.*: expected x of shape .* got \(4, 3\)"):
        layer.forward((), (), jnp.zeros((4, 3)), None)
    with pytest.raises(TypeError, match="floating dtype, got int32"):
        layer.forward((), (), jnp.zeros((1, 4, 4, 1), jnp.int32), None)
