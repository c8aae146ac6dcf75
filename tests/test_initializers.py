"""Initializers have the variance that they claim, for every kind of kernel, as the layers draw it."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import initializers, layers

# Each kind as a layer draws it: (layer of an initializer, shape of x, fan_in, fan_out).
KERNELS = {
    "dense": (lambda init: layers.linear(50, kernel_init=init), (1, 60), 60, 50),
    "convolution_1d": (
        lambda init: layers.convolution(32, (5,), kernel_init=init), (1, 9, 16), 80, 160,
    ),
    "convolution_2d": (
        lambda init: layers.convolution(32, 3, kernel_init=init), (1, 9, 9, 16), 144, 288,
    ),
    "convolution_3d": (
        lambda init: layers.convolution(16, 3, kernel_init=init), (1, 5, 5, 5, 8), 216, 432,
    ),
    "1x1": (lambda init: layers.convolution(32, 1, kernel_init=init), (1, 9, 9, 64), 64, 32),
    "grouped": (
        lambda init: layers.convolution(32, 3, groups=4, kernel_init=init), (1, 9, 9, 32), 72, 72,
    ),
    "depthwise": (
        lambda init: layers.depthwise_convolution(5, kernel_init=init), (1, 9, 9, 64), 25, 25,
    ),
    "transposed": (
        lambda init: layers.transposed_convolution(32, 3, kernel_init=init), (1, 9, 9, 16), 144, 288,
    ),
    # A pixel of y meets every second weight on each axis: 2 · 2 of the 4 · 4.
    "transposed_with_stride": (
        lambda init: layers.transposed_convolution(32, 4, stride=2, kernel_init=init),
        (1, 9, 9, 16), 64, 128,
    ),
    "embedding": (lambda init: layers.embedding(70, 40, table_init=init), None, 70, 40),
}  # fmt: skip

NORMAL, UNIFORM, TRUNCATED = 3.0, 1.8, 2.37  # kurtosis: the fourth moment over the squared variance
INITIALIZERS = {
    "normal": (initializers.normal(0.3), lambda i, o: 0.09, NORMAL),
    "truncated_normal": (initializers.truncated_normal(0.3), lambda i, o: 0.09, TRUNCATED),
    "uniform": (initializers.uniform(-0.3, 0.3), lambda i, o: 0.03, UNIFORM),
    "xavier_normal": (initializers.xavier_normal, lambda i, o: 2 / (i + o), NORMAL),
    "xavier_uniform": (initializers.xavier_uniform, lambda i, o: 2 / (i + o), UNIFORM),
    "he_normal": (initializers.he_normal, lambda i, o: 2 / i, NORMAL),
    "he_uniform": (initializers.he_uniform, lambda i, o: 2 / i, UNIFORM),
    "he_out": (initializers.variance_scaling(2, "out"), lambda i, o: 2 / o, NORMAL),
    "he_average": (
        initializers.variance_scaling(2, "average", "uniform"), lambda i, o: 4 / (i + o), UNIFORM,
    ),
    "lecun_normal": (initializers.lecun_normal, lambda i, o: 1 / i, NORMAL),
    "lecun_uniform": (initializers.lecun_uniform, lambda i, o: 1 / i, UNIFORM),
    "lecun_truncated": (
        initializers.variance_scaling(1, "in", "truncated"), lambda i, o: 1 / i, TRUNCATED,
    ),
    "scaled": (
        initializers.scaled(initializers.lecun_normal, initializers.gain("tanh")),
        lambda i, o: 25 / 9 / i,
        NORMAL,
    ),
}  # fmt: skip


def kernel(build, shape, key, initializer):
    x = jax.ShapeDtypeStruct((1,), jnp.int32) if shape is None else jnp.zeros(shape)
    params, _ = build(initializer).init(key, x)
    return np.asarray(params.table if shape is None else params.w, np.float64)


@pytest.mark.parametrize("kind", KERNELS)
@pytest.mark.parametrize("name", INITIALIZERS)
def test_realized_variance_is_the_claimed_one(key, name, kind):
    """Within three standard errors of the mean, and of the variance: var · √((kurtosis - 1) / n)."""
    build, shape, fan_in, fan_out = KERNELS[kind]
    initializer, variance, kurtosis = INITIALIZERS[name]
    drawn, expected = kernel(build, shape, key, initializer), variance(fan_in, fan_out)
    assert abs(drawn.mean()) < 3 * math.sqrt(expected / drawn.size)
    error = expected * math.sqrt((kurtosis - 1) / drawn.size)
    assert abs(drawn.var() - expected) < 3 * error
    if name == "truncated_normal":
        assert abs(drawn).max() < 2.28 * 0.3


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16], ids=lambda d: d.__name__)
@pytest.mark.parametrize("name", INITIALIZERS)
def test_low_precision_kernels_are_rounded_draws(key, name, dtype):
    """Not draws in that dtype: bfloat16's uniform has 128 values, and a mean of -0.01 deviations."""
    initializer = INITIALIZERS[name][0]
    drawn, wide = (initializer(key, (200, 300), d) for d in (dtype, jnp.float32))
    assert drawn.dtype == dtype
    np.testing.assert_array_equal(drawn, wide.astype(dtype))
    traced = jax.jit(lambda k: initializer(k, (200, 300), dtype))(key)
    assert traced.dtype == dtype
    assert np.mean(traced == drawn) > 0.999  # the last place of a float32 may decide the rounding


@pytest.mark.parametrize("kind", KERNELS)
def test_orthogonal_kernels_have_orthonormal_rows_or_columns(key, kind):
    build, shape, *_ = KERNELS[kind]
    if kind == "transposed_with_stride":
        shape, build = (
            (1, 9, 9, 16),
            lambda init: layers.transposed_convolution(32, 2, kernel_init=init),
        )
    w = kernel(build, shape, key, initializers.orthogonal)
    w = w.reshape(-1, w.shape[-1])
    product = w.T @ w if w.shape[0] >= w.shape[1] else w @ w.T
    np.testing.assert_allclose(product, np.eye(len(product)), atol=1e-5)
    assert math.isclose(np.square(w).mean(), 1 / max(w.shape), rel_tol=1e-5)
    twice = kernel(build, shape, key, initializers.scaled(initializers.orthogonal, 2.0))
    np.testing.assert_allclose(twice.reshape(w.shape), 2 * w, rtol=1e-6)


def test_fans_of_a_kernel():
    assert initializers.fans((60, 50)) == (60, 50)
    assert initializers.fans((3, 3, 8, 32), 4) == (72, 72)
    assert initializers.fans((5, 5, 1, 64), 64) == (25, 25)


SAME_AGAIN = {
    "dense": (lambda init: layers.linear(6, kernel_init=init), (4, 6)),
    "1d": (lambda init: layers.convolution(6, (3,), kernel_init=init), (2, 7, 6)),
    "even": (lambda init: layers.convolution(6, (4, 2), kernel_init=init), (2, 7, 7, 6)),
    "3d": (lambda init: layers.convolution(6, 3, kernel_init=init), (2, 4, 4, 4, 6)),
    "grouped": (lambda init: layers.convolution(6, 3, groups=2, kernel_init=init), (2, 5, 5, 6)),
    "depthwise": (lambda init: layers.depthwise_convolution(3, kernel_init=init), (2, 5, 5, 6)),
    "transposed": (
        lambda init: layers.transposed_convolution(6, 3, kernel_init=init),
        (2, 5, 5, 6),
    ),
}


@pytest.mark.parametrize(("build", "shape"), SAME_AGAIN.values(), ids=SAME_AGAIN)
def test_the_identity_changes_nothing(key, rng, build, shape):
    x = rng.normal(size=shape).astype(np.float32)
    layer = build(initializers.identity)
    y = layer.predict(*layer.init(key, x), x)
    np.testing.assert_allclose(y, x, rtol=1e-6)


def test_an_identity_of_unequal_widths_is_as_much_of_it_as_fits():
    w = initializers.identity(None, (2, 3), jnp.float32)
    np.testing.assert_array_equal(w, [[1, 0, 0], [0, 1, 0]])
    w = initializers.identity(None, (3, 2, 6), jnp.bfloat16, groups=2)
    assert w.dtype == jnp.bfloat16
    np.testing.assert_array_equal(
        w[1].astype(jnp.float32), [[1, 0, 0, 1, 0, 0], [0, 1, 0, 0, 1, 0]]
    )
    assert not w[::2].any()


@pytest.mark.parametrize("groups", [1, 2])
def test_delta_orthogonal_convolutions_keep_lengths(key, rng, groups):
    x = rng.normal(size=(3, 6, 6, 4)).astype(np.float32)
    layer = layers.convolution(
        8, 3, groups=groups, kernel_init=initializers.delta_orthogonal, bias=False
    )
    params, state = layer.init(key, x)
    y = layer.predict(params, state, x)
    np.testing.assert_allclose(np.linalg.norm(y, axis=-1), np.linalg.norm(x, axis=-1), rtol=1e-5)
    shape = params.w.shape
    traced = jax.jit(lambda k: initializers.delta_orthogonal(k, shape, jnp.float32, groups))(key)
    concrete = initializers.delta_orthogonal(key, shape, jnp.float32, groups)
    np.testing.assert_allclose(traced, concrete, atol=1e-5)
    if groups == 2:
        assert not np.allclose(concrete[1, 1, :, :4], concrete[1, 1, :, 4:])


@pytest.mark.parametrize(
    ("initializer", "deviation"),
    [
        (initializers.normal(0.3), 0.3),
        (initializers.xavier_normal, math.sqrt(2 / 110)),
        (initializers.he_normal, math.sqrt(2 / 60)),
        (initializers.lecun_normal, math.sqrt(1 / 60)),
    ],
    ids=["normal", "xavier_normal", "he_normal", "lecun_normal"],
)
def test_draws_are_jax_randoms_times_the_deviation(key, initializer, deviation):
    """To the last places, where a variance estimated from samples would hide a per cent."""
    expected = deviation * jax.random.normal(key, (60, 50))
    np.testing.assert_allclose(initializer(key, (60, 50), jnp.float32), expected, rtol=2e-6)


def test_uniform_draws_are_jax_randoms(key):
    limit = math.sqrt(6 / 110)
    expected = jax.random.uniform(key, (60, 50), minval=-limit, maxval=limit)
    np.testing.assert_allclose(
        initializers.xavier_uniform(key, (60, 50), jnp.float32), expected, rtol=0, atol=1e-7
    )


def test_truncated_draws_are_jax_randoms_over_what_the_cut_leaves(key):
    """Of the deviation of N(0, 1) within ±2: 0.87962566103423978."""
    expected = 0.3 / 0.87962566103423978 * jax.random.truncated_normal(key, -2, 2, (60, 50))
    drawn = initializers.truncated_normal(0.3)(key, (60, 50), jnp.float32)
    np.testing.assert_allclose(drawn, expected, rtol=2e-6, atol=1e-7)
