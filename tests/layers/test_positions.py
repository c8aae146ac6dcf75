"""Positions against their closed forms, and the tokens of images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn.layers import (
    class_token,
    convolution,
    learned_positions,
    linear,
    mean_token,
    patches,
    rotary,
    sinusoidal_positions,
    token_at,
)


def normal(rng, *shape):
    return jnp.asarray(rng.standard_normal(shape), jnp.float32)


@pytest.mark.parametrize("width", [6, 5, 1])
def test_sinusoidal_is_the_formula(rng, width):
    x = normal(rng, 2, 7, width)
    y = sinusoidal_positions().predict((), (), x) - x
    for t in range(7):
        for i in range(width):
            angle = t / 10_000 ** (2 * (i // 2) / width)
            expected = np.cos(angle) if i % 2 else np.sin(angle)
            np.testing.assert_allclose(y[:, t, i], expected, atol=1e-6)


def test_sinusoidal_stays_exact_far_out():
    y = sinusoidal_positions().predict((), (), jnp.zeros((5001, 4)))
    np.testing.assert_allclose(y[5000, :2], [np.sin(5000), np.cos(5000)], atol=1e-7)


def test_learned_positions_add_the_first_rows(rng, key):
    x = normal(rng, 2, 3, 4)
    layer = learned_positions(5)
    params, state = layer.init(key, x)
    y, _, cache = layer.forward(params, state, x, None)
    np.testing.assert_array_equal(y, x + jnp.broadcast_to(params.table[:3], x.shape))
    dy = normal(rng, 2, 3, 4)
    dparams, dx = layer.backward(params, cache, dy)
    np.testing.assert_allclose(dparams.table[:3], dy.sum(0), atol=1e-6)
    assert not np.any(dparams.table[3:])
    np.testing.assert_array_equal(dx, dy)


@pytest.mark.parametrize("pairs", ["neighbours", "halves"])
def test_rotary_is_multiplication_by_a_complex_number(rng, pairs):
    x = normal(rng, 2, 5, 3, 6)
    y = rotary(base=100.0, pairs=pairs).predict((), (), x)

    def as_complex(a):
        a = np.asarray(a, np.float64)
        if pairs == "halves":
            return a[..., :3] + 1j * a[..., 3:]
        return a[..., ::2] + 1j * a[..., 1::2]

    turns = np.exp(1j * np.arange(5)[:, None] * 100.0 ** (-np.arange(3) / 3))
    np.testing.assert_allclose(as_complex(y), as_complex(x) * turns[:, None], atol=1e-6)


@pytest.mark.parametrize("pairs", ["neighbours", "halves"])
def test_rotated_products_depend_on_the_distance_alone(rng, pairs):
    q, k = normal(rng, 1, 1, 1, 8), normal(rng, 1, 1, 1, 8)
    layer = rotary(pairs=pairs)
    q, k = (layer.predict((), (), jnp.broadcast_to(a, (1, 9, 1, 8)))[0, :, 0] for a in (q, k))
    products = np.asarray(q @ k.T)
    for distance in range(-8, 9):
        along = np.diagonal(products, distance)
        np.testing.assert_allclose(along, along[0], atol=1e-5)
    assert np.ptp(products) > 0.1
    np.testing.assert_allclose(jnp.linalg.norm(q, axis=-1), jnp.linalg.norm(q[0]), atol=1e-5)


def test_patches_and_a_linear_map_are_a_convolution(rng, key):
    image = normal(rng, 2, 6, 9, 2)
    conv = convolution(5, 3, stride=3, padding="VALID")
    kernel, _ = conv.init(key, image)
    expected = conv.predict(kernel, (), image).reshape(2, 6, 5)
    cut = patches(3).predict((), (), image)
    dense = linear(5)
    params, _ = dense.init(key, cut)
    params = params._replace(w=kernel.w.reshape(18, 5), b=kernel.b)
    np.testing.assert_allclose(dense.predict(params, (), cut), expected, atol=1e-5)


def test_the_class_token_comes_first_and_is_read_again(rng, key):
    x = normal(rng, 2, 3, 4)
    layer = class_token()
    params, state = layer.init(key, x)
    y = layer.predict(params, state, x)
    np.testing.assert_array_equal(y[:, 1:], x)
    first = token_at(0).predict((), (), y)
    np.testing.assert_array_equal(first, jnp.broadcast_to(params.token, (2, 4)))
    np.testing.assert_array_equal(token_at(-1).predict((), (), y), x[:, -1])


def test_mean_token_accumulates_in_float32():
    ones = jnp.ones((1, 4096, 1), jnp.bfloat16)  # a bfloat16 sum stops at 256
    assert mean_token().predict((), (), ones).item() == 1.0


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (sinusoidal_positions(), (4,)),
        (learned_positions(2), (2, 3, 4)),
        (learned_positions(4), (2, 3, 5)),
        (rotary(), (2, 3, 4)),
        (rotary(), (2, 3, 1, 5)),
        (patches(2), (2, 4, 3, 1)),
        (class_token(), (2, 4)),
        (token_at(3), (2, 3, 4)),
        (mean_token(), (2, 0, 4)),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_refuses_what_does_not_fit(key, layer, shape):
    params, state = (), ()
    if layer.name in ("learned_positions(2)", "learned_positions(4)"):
        params, state = layer.init(key, jax.ShapeDtypeStruct((2, 2, 4), jnp.float32))
    with pytest.raises(ValueError, match="expected"):
        layer.forward(params, state, jnp.ones(shape), None)


@pytest.mark.parametrize(
    "build",
    [
        lambda: sinusoidal_positions(base=0.0),
        lambda: rotary(base=float("inf")),
        lambda: rotary(pairs="thirds"),
        lambda: learned_positions(0),
        lambda: patches(0),
    ],
)
def test_refuses_bad_options(build):
    with pytest.raises(ValueError, match="expected"):
        build()
