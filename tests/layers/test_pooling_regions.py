"""Adaptive and fractional pooling against loops over their regions."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import layers
from fnn.layers import pooling_fractional


def run(layer, x, key=None):
    y, _, cache = layer.forward((), (), jnp.asarray(x), key)
    return np.asarray(y), cache


def by_loops(x, regions, of):
    """`of` the pixels (N, P, C) of each product of regions, which are ranges on each axis."""
    y = np.zeros((x.shape[0], *map(len, regions), x.shape[-1]), x.dtype)
    for output in itertools.product(*(range(len(axis)) for axis in regions)):
        box = [slice(*regions[axis][o]) for axis, o in enumerate(output)]
        pixels = x[(slice(None), *box)].reshape(x.shape[0], -1, x.shape[-1])
        y[(slice(None), *output)] = of(pixels)
    return y


def even(n, m):
    """PyTorch's rule, in its own words: floor of the start, ceiling of the end."""
    return [(math.floor(o * n / m), math.ceil((o + 1) * n / m)) for o in range(m)]


@pytest.mark.parametrize(
    ("shape", "outputs"),
    [
        ((2, 10, 7, 3), (7, 3)),
        ((2, 8, 6, 3), (4, 2)),
        ((1, 8, 7, 2), (4, 3)),
        ((2, 11, 3), (4,)),
        ((2, 3, 2), (7,)),
        ((1, 5, 4, 3, 2), (2, 3, 3)),
        ((1, 100, 1), (40,)),
    ],
    ids=str,
)
def test_adaptive_pools_of_a_loop(shape, outputs, rng):
    """Even, uneven, one axis of each, enlarging, and more runs than are put together from slices."""
    x = rng.integers(0, 9, size=shape).astype(np.float32)  # so that maxima are equal
    regions = [even(n, m) for n, m in zip(shape[1:-1], outputs, strict=True)]
    mean, cache = run(layers.adaptive_average_pool(outputs), x)
    np.testing.assert_allclose(mean, by_loops(x, regions, lambda p: p.mean(axis=1)), rtol=1e-5)
    assert jax.tree.leaves(cache) == []
    layer = layers.adaptive_max_pool(outputs)
    y, cache = run(layer, x)
    np.testing.assert_array_equal(y, by_loops(x, regions, lambda p: p.max(axis=1)))
    # The first of equal pixels, row by row, has it.
    where = np.broadcast_to(
        np.arange(np.prod(shape[1:-1])).reshape(1, *shape[1:-1], 1), shape
    ).astype(np.float32)
    both = np.stack([x, where], axis=-1).reshape(*shape[:-1], -1)

    def first(pixels):
        values, places = np.moveaxis(pixels.reshape(*pixels.shape[:2], -1, 2), -1, 0)
        best = values.argmax(axis=1)[:, None]
        return np.repeat(np.take_along_axis(places, best, axis=1)[:, 0], 2, axis=-1)

    taken = by_loops(both, regions, first)[..., ::2].astype(int)
    dy = rng.integers(-8, 9, size=y.shape).astype(np.float32)  # whose sums are exact
    expected = np.zeros((shape[0], np.prod(shape[1:-1]), shape[-1]), np.float32)
    n, c = np.ogrid[: shape[0], : shape[-1]]
    flat_taken = taken.reshape(shape[0], -1, shape[-1])
    for o in range(flat_taken.shape[1]):
        expected[n, flat_taken[:, o], c] += dy.reshape(flat_taken.shape)[:, o]
    dx = layer.backward((), cache, dy)[1]
    np.testing.assert_array_equal(dx, expected.reshape(shape))


def test_adaptive_to_one_is_global(rng):
    x = rng.normal(size=(2, 5, 3, 4)).astype(np.float32)
    for adaptive, whole in (
        (layers.adaptive_average_pool(1), layers.global_average_pool()),
        (layers.adaptive_max_pool(1), layers.global_max_pool()),
    ):
        np.testing.assert_allclose(run(adaptive, x)[0][:, 0, 0], run(whole, x)[0], rtol=1e-6)


def test_torch_has_the_same_regions(rng):
    torch = pytest.importorskip("torch")
    x = rng.normal(size=(2, 10, 7, 3)).astype(np.float32)
    theirs = torch.from_numpy(x.transpose(0, 3, 1, 2).copy())
    for ours, reference in (
        (layers.adaptive_average_pool((4, 3)), torch.nn.functional.adaptive_avg_pool2d),
        (layers.adaptive_max_pool((4, 3)), torch.nn.functional.adaptive_max_pool2d),
    ):
        expected = reference(theirs, (4, 3)).numpy().transpose(0, 2, 3, 1)
        np.testing.assert_allclose(run(ours, x)[0], expected, rtol=1e-5, atol=1e-6)


def test_nan_goes_through_its_region_alone():
    x = np.zeros((1, 7, 1), np.float32)
    x[0, 0] = np.nan
    for layer in (layers.adaptive_max_pool(3), layers.adaptive_average_pool(3)):
        np.testing.assert_array_equal(np.isnan(run(layer, x)[0][0, :, 0]), [True, False, False])


def fractional_regions(borders, overlapping):
    return [(a, b + overlapping) for a, b in itertools.pairwise(np.asarray(borders).tolist())]


@pytest.mark.parametrize("overlapping", [True, False])
@pytest.mark.parametrize("kind", ["pseudorandom", "random"])
def test_fractional_borders(kind, overlapping):
    """From the first pixel to the last, by steps that are ⌊α⌋ or ⌈α⌉: ones and twos in the source."""
    draw = jax.jit(
        jax.vmap(lambda key: pooling_fractional._borders(key, 25 - overlapping, 17, kind))
    )
    borders = np.asarray(draw(jax.random.split(jax.random.key(0), 400)))
    steps = np.diff(borders, axis=1)
    np.testing.assert_array_equal(borders[:, 0], 0)
    np.testing.assert_array_equal(borders[:, -1], 25 - overlapping)
    assert set(steps.ravel()) == {1, 2}
    distinct = len(np.unique(borders, axis=0))
    assert distinct == 17 if kind == "pseudorandom" else distinct > 350
    # Each step is as often a two as the others.
    twos = (steps == 2).mean(axis=0)
    np.testing.assert_allclose(twos, (8 - overlapping) / 17, atol=5 * 0.5 / 20)


def test_pseudorandom_borders_are_those_of_the_source():
    """a_i = ⌈α (i + u)⌉ with u in (0, 1), counted from a_0."""
    end, m = 24, 17
    alpha, sequences = end / m, set()
    for u in np.linspace(0.001, 0.999, 997):
        a = np.ceil(alpha * (np.arange(m + 1) + u)).astype(int)
        sequences.add(tuple(a - a[0]))
    ours = {tuple((end * np.arange(m + 1) + k) // m) for k in range(m)}
    assert sequences == ours


@pytest.mark.parametrize("overlapping", [True, False])
@pytest.mark.parametrize("kind", ["pseudorandom", "random"])
def test_fractional_maxima_of_a_loop(kind, overlapping, rng, key):
    layer = layers.fractional_max_pool((1.4, 2.3), regions=kind, overlapping=overlapping)
    x = rng.normal(size=(2, 9, 12, 3)).astype(np.float32)
    y, cache = run(layer, x, key)
    assert y.shape == (2, 6, 5, 3)
    regions = [
        fractional_regions(
            pooling_fractional._borders(jax.random.fold_in(key, axis), n - overlapping, m, kind),
            overlapping,
        )
        for axis, (n, m) in enumerate(((9, 6), (12, 5)))
    ]
    np.testing.assert_array_equal(y, by_loops(x, regions, lambda p: p.max(axis=1)))
    dy = rng.integers(-8, 9, size=y.shape).astype(np.float32)
    expected = np.zeros_like(x)
    for n, r, q, c in np.ndindex(y.shape):
        expected[n, ..., c][x[n, ..., c] == y[n, r, q, c]] += dy[n, r, q, c]
    np.testing.assert_array_equal(layer.backward((), cache, dy)[1], expected)


def test_predict_takes_the_middle_phase(rng):
    x = rng.normal(size=(1, 10, 1)).astype(np.float32)
    for kind in ("pseudorandom", "random"):
        layer = layers.fractional_max_pool(1.5, regions=kind)
        regions = fractional_regions((9 * np.arange(7) + 3) // 6, 1)
        expected = by_loops(x, [regions], lambda p: p.max(axis=1))
        np.testing.assert_array_equal(layer.predict((), (), x), expected)


def test_ratio_one_without_overlap_keeps_every_pixel(rng, key):
    x = rng.normal(size=(2, 5, 4, 2)).astype(np.float32)
    np.testing.assert_array_equal(
        run(layers.fractional_max_pool(1.0, overlapping=False), x, key)[0], x
    )


@pytest.mark.parametrize(
    ("n", "ratio", "outputs"),
    [
        (11, 1.1, 10),
        (16, 1.6, 10),
        (9, 1.8, 5),
        (13, 1.3, 10),
        (21, 2.1, 10),
        (10, 2.5, 4),
        (23, 23 / 19, 19),
        (15, 15 / 7, 7),
        (16, np.float32(16) / np.float32(15), 15),
        (11, np.float32(1.1), 10),
        (7, 2, 3),
        (12, np.int32(5), 2),
        (10**6, 1e3, 1000),
    ],
)
def test_fractional_outputs_are_the_floor_of_the_ratio_as_it_is_written(n, ratio, outputs):
    """n / ratio in decimals: 11 / 1.1 is 10, of which the floor of floats, `11 // 1.1`, is 9."""
    layer, x = layers.fractional_max_pool(ratio), jax.ShapeDtypeStruct((1, n, 1), jnp.float32)
    assert jax.eval_shape(layer.predict, (), (), x).shape == (1, outputs, 1)


@pytest.mark.parametrize("dtype", [float, np.float32])
def test_fractional_outputs_of_ratios_that_are_size_over_outputs(dtype):
    """n / m has no exact decimal, or float: rounded, it is m all the same, and just above it m - 1."""
    above = 1 + 64 * np.finfo(dtype).eps
    for n in range(2, 100):
        for m in range(1, n):
            ratio = dtype(dtype(n) / dtype(m))
            found = [pooling_fractional._count(n, dtype(r)) for r in (ratio, ratio * above)]
            assert found == [m, m - 1], (n, m)


@pytest.mark.parametrize(("dtype", "places"), [(float, 2), (float, 6), (np.float32, 2)])
def test_fractional_outputs_of_decimals_are_rounded_down(dtype, places):
    whole = 10**places
    for n in range(2, 100):
        for hundredths in range(100, 700, 1 if places == 2 else 7):
            written = hundredths * whole // 100 + (places > 2)
            found = pooling_fractional._count(n, dtype(written / whole))
            assert found == n * whole // written, (n, written)


@pytest.mark.parametrize(
    ("layer", "size", "bytes_each"),
    [
        (layers.adaptive_max_pool(2), 510, 1),
        (layers.adaptive_max_pool(2), 512, 4),
        (layers.adaptive_max_pool(2), 509, 1),
        (layers.adaptive_max_pool(2), 513, 4),
        (layers.fractional_max_pool(255.0, overlapping=False), 510, 1),
        (layers.fractional_max_pool(256.0, overlapping=False), 512, 4),
    ],
    ids=lambda v: getattr(v, "name", v),
)
def test_a_place_takes_one_byte_or_four_in_regions_of_more_than_255_pixels(layer, size, bytes_each):
    x = jax.ShapeDtypeStruct((1, size, 3), jnp.float32)
    y, _, cache = jax.eval_shape(lambda x: layer.forward((), (), x, jax.random.key(0)), x)
    assert y.shape == (1, 2, 3)
    assert [leaf.dtype.itemsize for leaf in cache.places] == [bytes_each]


def test_fractional_needs_a_key():
    with pytest.raises(ValueError, match=r"fractional_max_pool\(1.5\): expected a key to draw"):
        layers.fractional_max_pool(1.5).forward((), (), jnp.zeros((1, 6, 6, 1)), None)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: layers.adaptive_max_pool(0), "an output size of one int"),
        (lambda: layers.adaptive_average_pool((2, -1)), "an output size of one int"),
        (lambda: layers.fractional_max_pool(0.9), "each finite and at least 1, got 0.9"),
        (lambda: layers.fractional_max_pool((1.5, np.nan)), "each finite and at least 1"),
        (lambda: layers.fractional_max_pool(True), "each finite and at least 1, got True"),
        (lambda: layers.fractional_max_pool(1.5, regions="fair"), "regions among .* got 'fair'"),
    ],
)
def test_bad_settings(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (layers.adaptive_max_pool((2, 2)), (1, 4, 2), r"with 2 spatial axes .* got \(1, 4, 2\)"),
        (layers.adaptive_average_pool(2), (4, 2), r"one to 3 spatial axes .* got \(4, 2\)"),
        (layers.adaptive_max_pool(2), (1, 0, 4, 2), r"a pixel on each, got \(1, 0, 4, 2\)"),
        (layers.fractional_max_pool((1.5, 2)), (1, 4, 2), r"2 spatial axes, got \(1, 4, 2\)"),
        (layers.fractional_max_pool(1.0), (1, 4, 2), r"one to share, got \(4,\) for \(4,\)"),
        (layers.fractional_max_pool(5.0), (1, 4, 2), r"got \(4,\) for \(0,\) regions"),
    ],
)
def test_bad_images(layer, shape, message, key):
    with pytest.raises(ValueError, match=message):
        layer.forward((), (), jnp.zeros(shape), key)
