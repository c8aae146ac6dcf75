"""Sums that combine, the spectrum of representations and saturation, against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import layers
from fnn.diagnostics.saturation import saturated
from fnn.diagnostics.spectrum import effective_rank, merged_scatter, rank_of, scatter
from fnn.diagnostics.statistics import (
    EDGES,
    empty,
    histogram_text,
    merged,
    statistics,
)

RNG = np.random.default_rng(11)


@pytest.fixture
def numbers():
    with jax.enable_x64(True):
        yield RNG.normal(3, 5, (20, 7))


def test_parts_combine_in_any_grouping(numbers):
    a, b, c = (statistics(jnp.asarray(part)) for part in np.split(numbers, [3, 11]))
    whole = statistics(jnp.asarray(numbers))
    for found in (
        merged(merged(a, b), c),
        merged(a, merged(b, c)),
        merged(merged(empty(a), a), merged(c, b)),
    ):
        for x, y in zip(found, whole, strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-12)
    np.testing.assert_allclose(whole.deviation, numbers.std(), rtol=1e-12)
    np.testing.assert_allclose(whole.rms, np.sqrt((numbers**2).mean()), rtol=1e-12)
    assert float(empty(a).deviation) == 0


def test_a_mean_far_from_zero_does_not_cancel():
    x = (1e4 + RNG.normal(0, 1e-2, 5000)).astype(np.float32)
    found = statistics(jnp.asarray(x))
    np.testing.assert_allclose(found.deviation, x.astype(np.float64).std(), rtol=1e-3)


def test_what_is_not_finite_is_counted_and_left_out():
    x = np.asarray([[1, np.nan, -2], [np.inf, 0, -np.inf]], np.float32)
    found = statistics(jnp.asarray(x))
    assert (found.finite, found.nonfinite, found.zeros) == (3, 3, 1)
    assert (found.low, found.high) == (-2, 1)
    np.testing.assert_allclose(found.mean, -1 / 3, rtol=1e-6)
    assert found.histogram.sum() == 5  # all but the NaN
    assert found.histogram[0] == 1
    assert found.histogram[-1] == 1


def test_of_many_rows_some_make_the_histogram():
    x = np.arange(3000, dtype=np.float32).reshape(300, 10)
    found = statistics(jnp.asarray(x), sample=500)
    expected, _ = np.histogram(x[::7], np.concatenate([[-np.inf], EDGES, [np.inf]]))
    np.testing.assert_array_equal(found.histogram, expected)
    assert found.finite == 3000


def test_integers_have_no_statistics():
    with pytest.raises(TypeError, match="floating dtype, got int32"):
        statistics(jnp.arange(3))


def test_a_histogram_as_text():
    counts = np.zeros(len(EDGES) + 1)
    counts[[40, 42]] = 1, 3
    lines = histogram_text(counts, width=6).splitlines()
    assert len(lines) == 3
    assert lines[0].split()[2:] == ["25.0%", "██"]
    assert lines[2].split()[2:] == ["75.0%", "██████"]
    assert f"{EDGES[39]:.1e}" in lines[0]
    assert histogram_text(np.zeros_like(counts)) == "no finite numbers"


def svd_ranks(x):
    sigma = np.linalg.svd(x - x.mean(axis=0), compute_uv=False)
    sigma = sigma[sigma > 1e-7 * sigma[0]]
    p = sigma / sigma.sum()
    return np.exp(-(p * np.log(p)).sum()), (sigma**2).sum() / sigma[0] ** 2


@pytest.mark.parametrize("shape", [(30, 4), (5, 12)])
def test_the_ranks_are_those_of_the_singular_values(shape):
    with jax.enable_x64(True):
        x = RNG.normal(size=shape) * np.linspace(1, 4, shape[1])
        np.testing.assert_allclose(effective_rank(x), svd_ranks(x), rtol=1e-9)
        parts = [scatter(jnp.asarray(part)) for part in np.split(x, [2])]
        np.testing.assert_allclose(rank_of(merged_scatter(*parts)), svd_ranks(x), rtol=1e-6)


def test_ranks_of_known_shapes():
    """One line: 1. All corners of a cross: the dimension. One point: 0. A NaN: NaN."""
    line = np.outer(np.arange(5), [1, 2, 3]).astype(np.float32)
    np.testing.assert_allclose(effective_rank(line + 7), (1, 1), rtol=1e-3)
    cross = np.concatenate([np.eye(3), -np.eye(3)]).astype(np.float32)
    np.testing.assert_allclose(effective_rank(cross), (3, 3), rtol=1e-5)
    np.testing.assert_array_equal(effective_rank(np.ones((4, 3), np.float32)), (0, 0))
    assert np.isnan(effective_rank(np.full((4, 3), np.nan, np.float32))).all()
    with pytest.raises(ValueError, match="rows"):
        effective_rank(np.ones(3, np.float32))


@pytest.mark.parametrize(
    "kind", ["sigmoid", "tanh", "softsign", "hard_sigmoid", "hard_tanh", "relu6"]
)
def test_saturated_is_where_the_layers_own_slope_is_small(kind):
    layer = getattr(layers, kind)()
    x = jnp.linspace(-8, 8, 4001, dtype=jnp.float32)
    y, _, cache = layer.forward((), (), x, None)
    slope = np.asarray(layer.backward((), cache, jnp.ones_like(x))[1])
    flat = slope < 0.05 * slope.max()
    if kind == "relu6":
        flat &= np.asarray(x) > 0
    found, elements = saturated(layer.name, y)
    assert abs(int(found) - flat.sum()) <= 1
    assert elements == x.size


def test_of_a_softmax_groups_are_counted():
    logits = np.asarray([[9, 0, 0], [1, 0, 0], [0, 0, 12], [0, 0, 0]], np.float32)
    y, _, _ = layers.softmax().forward((), (), logits, None)
    found, groups = saturated("softmax", y)
    assert found == 2
    np.testing.assert_allclose(groups, 4, rtol=1e-6)
