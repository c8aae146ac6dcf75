"""Sequences and volumes: convolutions with one and three axes, against naive loops and autodiff."""

import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from selection import few

from fnn import layers
from fnn.layers import convolution_plain
from fnn.layers.convolution import ConvolutionParams
from fnn.layers.windows import int_or_padding, window_settings, windows_of

ORDERS = {3: ("NWC", "WIO", "NWC"), 5: ("NDHWC", "DHWIO", "NDHWC")}

# name: (x shape, features, window, settings)
CASES = {
    "sequence": ((3, 7, 5), 4, 3, {}),
    "sequence, few channels": ((3, 7, 2), 4, 3, {"padding": ((2, 0),)}),
    "sequence, causal, dilated": ((2, 9, 5), 3, 2, {"padding": ((4, 0),), "dilation": 4}),
    "sequence, strided": ((2, 9, 5), 3, (5,), {"stride": 2}),
    "sequence, valid": ((2, 9, 5), 3, 4, {"padding": "VALID", "stride": (3,)}),
    "sequence, groups": ((2, 6, 10), 4, 3, {"groups": 2}),
    "sequence, depthwise": ((2, 6, 3), 6, 3, {"groups": 3, "stride": 2}),
    "sequence, 1": ((2, 6, 3), 6, 1, {"stride": 2}),
    "sequence, several chunks": ((2100, 9, 5), 3, 3, {}),
    "volume": ((2, 3, 4, 5, 5), 3, 3, {}),
    "volume, few channels": ((2, 3, 4, 5, 1), 3, (2, 3, 1), {"padding": 1}),
    "volume, strided": ((2, 4, 5, 4, 5), 3, 3, {"stride": (1, 2, 3)}),
    "volume, explicit": (
        (1, 3, 4, 3, 5),
        2,
        2,
        {"padding": ((0, 1), (2, 0), (1, 1)), "dilation": (1, 2, 1)},
    ),
    "volume, groups": ((1, 3, 3, 4, 10), 4, (1, 2, 3), {"groups": 2}),
    "volume, depthwise": ((2, 3, 4, 3, 2), 4, (2, 3, 2), {"groups": 2}),
    "volume, 1": ((2, 3, 2, 4, 3), 4, (1, 1, 1), {"stride": (2, 1, 3)}),
}
cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def started(case, rng, dtype=np.float32):
    shape, features, window, settings = case
    layer = layers.convolution(features, window, **settings)
    x = jnp.asarray(rng.normal(size=shape), dtype)
    params, _ = layer.init(jax.random.key(0), x)
    w = jnp.asarray(rng.normal(size=params.w.shape), dtype)
    return layer, ConvolutionParams(w, jnp.asarray(rng.normal(size=features), dtype)), x


def each(value, rank):
    return (value,) * rank if isinstance(value, int) else tuple(value)


def padding_of(x, w, settings):
    """(low, high) of every axis; SAME as its definition says."""
    rank = x.ndim - 2
    padding = settings.get("padding", "SAME")
    if padding == "VALID":
        return ((0, 0),) * rank
    if padding != "SAME":
        return ((padding, padding),) * rank if isinstance(padding, int) else padding
    strides, dilations = (each(settings.get(k, 1), rank) for k in ("stride", "dilation"))
    pads = []
    for size, k, s, d in zip(x.shape[1:-1], w.shape[:-2], strides, dilations, strict=True):
        total = max((int(np.ceil(size / s)) - 1) * s + (k - 1) * d + 1 - size, 0)
        pads.append((total // 2, total - total // 2))
    return tuple(pads)


def naive(params, x, settings):
    """Output by output, weight by weight."""
    w, b, x = (np.asarray(a, np.float64) for a in (*params, x))
    rank, groups = x.ndim - 2, settings.get("groups", 1)
    strides, dilations = (each(settings.get(k, 1), rank) for k in ("stride", "dilation"))
    x = np.pad(x, ((0, 0), *padding_of(x, w, settings), (0, 0)))
    outputs = [
        (size - (k - 1) * d - 1) // s + 1
        for size, k, s, d in zip(x.shape[1:-1], w.shape[:-2], strides, dilations, strict=True)
    ]
    y = np.tile(b, (x.shape[0], *outputs, 1))
    inputs, per_group = w.shape[-2], w.shape[-1] // groups
    for place in itertools.product(*map(range, outputs)):
        for weight in itertools.product(*map(range, w.shape[:-2])):
            pixel = tuple(
                o * s + i * d for o, s, i, d in zip(place, strides, weight, dilations, strict=True)
            )
            for f in range(w.shape[-1]):
                first = f // per_group * inputs
                seen = x[(slice(None), *pixel, slice(first, first + inputs))]
                y[(slice(None), *place, f)] += seen @ w[(*weight, slice(None), f)]
    return y


def reference(params, x, settings):
    rank = x.ndim - 2
    y = jax.lax.conv_general_dilated(
        x,
        params.w,
        each(settings.get("stride", 1), rank),
        padding_of(x, params.w, settings),
        rhs_dilation=each(settings.get("dilation", 1), rank),
        dimension_numbers=ORDERS[x.ndim],
        feature_group_count=settings.get("groups", 1),
    )
    return y + jnp.broadcast_to(params.b, y.shape)


def relative(a, b):
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return np.linalg.norm(a - b) / max(np.linalg.norm(b), 1e-300)


@pytest.mark.parametrize(
    "case", [c for name, c in CASES.items() if "chunks" not in name], ids=lambda c: str(c[0])
)
def test_values_of_the_formula(case, rng):
    layer, params, x = started(case, rng)
    y = layer.predict(params, (), x)
    expected = naive(params, x, case[3])
    assert y.shape == expected.shape
    assert relative(y, expected) <= 1e-6


@pytest.mark.parametrize("name", few(CASES, 6))
def test_gradients_in_float64_on_every_platform(name, rng):
    """Of the layer, and of the form that other platforms get: both are the maps that autodiff finds."""
    case = CASES[name]
    _, _, window, settings = case
    groups = settings.get("groups", 1)

    def both(params, x, dy):
        y, _, cache = layer.forward(params, (), x, None)
        windows = windows_of(
            window_settings(
                "test",
                window,
                settings.get("stride", 1),
                settings.get("padding", "SAME"),
                settings.get("dilation", 1),
            ),
            x.shape[1:-1],
        )
        bias = jnp.broadcast_to(params.b, y.shape)
        plain = (
            convolution_plain.convolve(x, params.w, windows, groups) + bias,
            ConvolutionParams(
                convolution_plain.kernel_gradient(x, dy, windows, groups),
                dy.sum(axis=range(dy.ndim - 1)),
            ),
            convolution_plain.input_gradient(dy, params.w, windows, groups),
        )
        expected, pull = jax.vjp(lambda p, x: reference(p, x, settings), params, x)
        return (expected, *pull(dy)), (y, *layer.backward(params, cache, dy)), plain

    with jax.enable_x64(True):
        layer, params, x = started(case, rng, np.float64)
        dy = jnp.asarray(rng.normal(size=jax.eval_shape(layer.predict, params, (), x).shape))
        expected, hand, plain = jax.jit(both)(params, x, dy)
        for form in (hand, plain):
            for a, b in zip(jax.tree.leaves(form), jax.tree.leaves(expected), strict=True):
                assert relative(a, b) <= 1e-12


@cases
def test_only_canonical_convolutions_on_a_cpu(case, rng):
    """Others would fall to a scalar loop inside of a scan."""
    layer, params, x = started(case, rng)

    def gradients(params, x):
        y, _, cache = layer.forward(params, (), x, None)
        return layer.backward(params, cache, y)

    text = jax.jit(gradients).trace(params, x).lower(lowering_platforms=("cpu",)).as_text()
    found = set(re.findall(r"dim_numbers = (\[.*?\]->\[.*?\])", text))
    images = "[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]"  # which the others go as, if it pays
    assert found <= {images, "[b, 0, f]x[0, i, o]->[b, 0, f]"}
    assert not re.search(r"(feature|batch)_group_count = (?!1\b)\d+", text)


def test_an_int_is_for_as_many_axes_as_x_has(rng):
    layer = layers.convolution(2, 3, stride=2, padding=1, dilation=1)
    for rank in (1, 2, 3):
        x = jnp.asarray(rng.normal(size=(2, *(5, 4, 6)[:rank], 3)), jnp.float32)
        params, _ = layer.init(jax.random.key(0), x)
        assert params.w.shape == (*[3] * rank, 3, 2)
        assert layer.predict(params, (), x).shape == (2, *(3, 2, 3)[:rank], 2)
        with pytest.raises(ValueError, match=re.escape(f", 3), got {(*x.shape[:-1], 1, 3)}")):
            layer.predict(params, (), jnp.zeros((*x.shape[:-1], 1, 3)))


def test_a_volume_of_one_layer_is_an_image(rng):
    x = jnp.asarray(rng.normal(size=(2, 1, 5, 4, 3)), jnp.float32)
    volume, image = layers.convolution(2, (1, 3, 3)), layers.convolution(2, 3)
    params, _ = volume.init(jax.random.key(0), x)
    flat = params._replace(w=params.w[0])
    np.testing.assert_allclose(
        volume.predict(params, (), x)[:, 0], image.predict(flat, (), x[:, 0]), atol=1e-6
    )


def test_names():
    assert layers.convolution(8, 3).name == "convolution(8, 3)"
    assert layers.convolution(8, (3,)).name == "convolution(8, 3)"
    assert layers.convolution(8, (3, 1, 5)).name == "convolution(8, 3x1x5)"


def test_padding_of_one_axis_is_a_pair_in_a_sequence():
    assert int_or_padding([[1, 2]], "test") == ((1, 2),)
    with pytest.raises(ValueError, match=r"\(low, high\) for each axis, .* got \(1, 2\)"):
        layers.convolution(8, 3, padding=(1, 2))
