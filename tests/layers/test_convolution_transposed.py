"""The transposed convolution: against naive loops, `lax.conv_transpose`, and the transpose itself."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import layers
from fnn.initializers import normal, zeros
from fnn.layers.convolution import ConvolutionCache, ConvolutionParams

# name: (x shape, features, window, settings)
CASES = {
    "stride 1": ((2, 3, 4, 5), 3, 3, {}),
    "stride 2": ((2, 3, 4, 5), 3, 3, {"stride": 2}),
    "stride 2, even window": ((2, 3, 4, 5), 6, 4, {"stride": 2}),
    "stride 2, large window": ((2, 3, 2, 5), 2, 5, {"stride": 2}),
    "stride wider than the window": ((2, 3, 2, 5), 2, 2, {"stride": 3}),
    "valid": ((2, 3, 2, 5), 2, (2, 3), {"stride": (1, 2), "padding": "VALID"}),
    "cut": ((2, 3, 4, 5), 2, 3, {"stride": 2, "padding": 1, "output_padding": 1}),
    "cut unevenly": (
        (2, 3, 4, 5),
        2,
        3,
        {"stride": (2, 3), "padding": ((1, 0), (2, 1)), "output_padding": (0, 2)},
    ),
    "dilated": ((2, 3, 4, 5), 2, 3, {"dilation": (2, 1), "padding": "VALID"}),
    "dilated, strided": ((2, 3, 2, 2), 5, 3, {"dilation": 3, "stride": 2}),
    "groups": ((2, 3, 2, 6), 4, 3, {"groups": 2, "stride": 2}),
    "depthwise": ((2, 3, 2, 4), 4, 3, {"groups": 4, "stride": 2}),
    "depthwise, fewer features": ((2, 3, 2, 4), 2, 3, {"groups": 2, "stride": 2}),
    "1x1": ((2, 3, 2, 4), 3, 1, {}),
    "1x1, strided": ((2, 3, 2, 4), 3, 1, {"stride": 2, "padding": "VALID", "output_padding": 1}),
    "sequence": ((2, 4, 5), 3, 4, {"stride": 2, "padding": ((1, 1),)}),
    "volume": ((1, 2, 3, 2, 5), 2, 2, {"stride": (2, 1, 2)}),
}
cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def started(case, rng, dtype=np.float32):
    shape, features, window, settings = case
    layer = layers.transposed_convolution(features, window, **settings)
    x = jnp.asarray(rng.normal(size=shape), dtype)
    params, _ = layer.init(jax.random.key(0), x)
    w = jnp.asarray(rng.normal(size=params.w.shape), dtype)
    return layer, ConvolutionParams(w, jnp.asarray(rng.normal(size=features), dtype)), x


def each(value, rank):
    return (value,) * rank if isinstance(value, int) else tuple(value)


def naive(params, x, settings):
    """Every pixel writes its window into a canvas, of which a part is cut out."""
    w, b, x = (np.asarray(a, np.float64) for a in (*params, x))
    rank, groups, sizes = x.ndim - 2, settings.get("groups", 1), x.shape[1:-1]
    strides, dilations = (each(settings.get(k, 1), rank) for k in ("stride", "dilation"))
    more, padding = settings.get("output_padding", 0), settings.get("padding", "SAME")
    reach = [(k - 1) * d + 1 for k, d in zip(w.shape[:-2], dilations, strict=True)]
    written = [
        (n - 1) * s + r for n, s, r in zip(sizes, strides, reach, strict=True)
    ]  # all that any window touches
    if padding == "SAME":
        low = [max(r - s, 0) // 2 for r, s in zip(reach, strides, strict=True)]
        outputs = [n * s for n, s in zip(sizes, strides, strict=True)]
    else:
        pads = {"VALID": ((0, 0),) * rank, 1: ((1, 1),) * rank}.get(padding) or padding
        low = [p[0] for p in pads]
        outputs = [n - sum(p) + e for n, p, e in zip(written, pads, each(more, rank), strict=True)]
    canvas = np.zeros((x.shape[0], *[n + max(strides) for n in written], w.shape[-1]))
    inputs, per_group = w.shape[-2], w.shape[-1] // groups
    for place in itertools.product(*map(range, sizes)):
        for weight in itertools.product(*map(range, w.shape[:-2])):
            pixel = tuple(
                o * s + i * d for o, s, i, d in zip(place, strides, weight, dilations, strict=True)
            )
            for f in range(w.shape[-1]):
                first = f // per_group * inputs
                value = x[(slice(None), *place, slice(first, first + inputs))]
                canvas[(slice(None), *pixel, f)] += value @ w[(*weight, slice(None), f)]
    part = [slice(start, start + n) for start, n in zip(low, outputs, strict=True)]
    return canvas[(slice(None), *part)] + b


def relative(a, b):
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return np.linalg.norm(a - b) / max(np.linalg.norm(b), 1e-300)


@cases
def test_values_of_the_formula(case, rng):
    layer, params, x = started(case, rng)
    y = layer.predict(params, (), x)
    expected = naive(params, x, case[3])
    assert y.shape == expected.shape
    assert relative(y, expected) <= 1e-6


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize(("window", "stride"), [(3, 1), (3, 2), (4, 2), (5, 2), (2, 2), (5, 3)])
def test_same_and_valid_are_those_of_lax(window, stride, padding, rng):
    """Which turns its kernel around where ours does not."""
    layer = layers.transposed_convolution(3, window, stride=stride, padding=padding, bias=False)
    x = jnp.asarray(rng.normal(size=(2, 4, 3, 2)), jnp.float32)
    params, _ = layer.init(jax.random.key(0), x)
    y = layer.predict(params, (), x)
    expected = jax.lax.conv_transpose(x, params.w[::-1, ::-1], (stride, stride), padding)
    np.testing.assert_allclose(y, expected, atol=1e-5)


@pytest.mark.parametrize(
    "name",
    [
        "stride 2, large window",
        "cut unevenly",
        "depthwise, fewer features",
        "1x1, strided",
        "volume",
    ],
)
def test_gradients_in_float64(name, rng):
    def both(params, x, dy):
        cache = layer.forward(params, (), x, None)[2]
        _, pull = jax.vjp(lambda p, x: layer.predict(p, (), x), params, x)
        return layer.backward(params, cache, dy), pull(dy)

    with jax.enable_x64(True):
        layer, params, x = started(CASES[name], rng, np.float64)
        dy = jnp.asarray(rng.normal(size=jax.eval_shape(layer.predict, params, (), x).shape))
        hand, auto = jax.jit(both)(params, x, dy)
        for a, b in zip(jax.tree.leaves(hand), jax.tree.leaves(auto), strict=True):
            assert relative(a, b) <= 1e-12


@pytest.mark.parametrize("name", ["stride 2", "cut", "dilated", "groups", "sequence", "volume"])
def test_it_is_the_transpose_of_the_convolution(name, rng):
    """⟨convolution(u), x⟩ = ⟨u, transposed(x)⟩ with the same settings and exchanged channels."""
    shape, features, window, settings = CASES[name]
    layer = layers.transposed_convolution(features, window, bias=False, **settings)
    x = jnp.asarray(rng.normal(size=shape), jnp.float32)
    params, _ = layer.init(jax.random.key(0), x)
    y = layer.predict(params, (), x)
    u = jnp.asarray(rng.normal(size=y.shape), jnp.float32)
    given = {k: v for k, v in settings.items() if k != "output_padding"}
    straight = layers.convolution(shape[-1], window, bias=False, **given)
    kernel, _ = straight.init(jax.random.key(0), u)
    groups = settings.get("groups", 1)
    blocks = [jnp.swapaxes(part, -1, -2) for part in jnp.split(params.w, groups, axis=-1)]
    kernel = kernel._replace(w=jnp.concatenate(blocks, axis=-1))
    back = straight.predict(kernel, (), u)
    assert back.shape == x.shape
    np.testing.assert_allclose(jnp.vdot(back, x), jnp.vdot(u, y), rtol=1e-4)


@pytest.mark.parametrize(
    ("window", "stride", "dilation"), [(4, 2, 1), (3, 2, 1), (5, 3, 1), (3, 2, 2), (2, 3, 1)]
)
def test_every_pixel_starts_with_the_variance_that_is_promised(window, stride, dilation, rng):
    """He's 2, whatever the stride; a pixel that no weight reaches is 0."""
    layer = layers.transposed_convolution(
        256, window, stride=stride, dilation=dilation, padding="VALID"
    )
    x = jnp.asarray(rng.normal(size=(8, 9, 64)), jnp.float32)
    params, _ = layer.init(jax.random.key(1), x)
    assert params.w.shape == (window, 64, 256)
    y = np.asarray(layer.predict(params, (), x))
    reach = (window - 1) * dilation
    inner = y[:, reach : 8 * stride]  # all the weights that can meet do
    spread = inner.var(axis=(0, 2))
    reached = {i * dilation % stride for i in range(window)}
    for u, variance in enumerate(spread, start=reach):
        expected = 2.0 if u % stride in reached else 0.0
        assert abs(variance - expected) <= 0.25, (u, variance)


def test_a_given_deviation_stays_as_it_is():
    layer = layers.transposed_convolution(64, 4, stride=2, kernel_init=normal(0.02))
    params, _ = layer.init(jax.random.key(0), jax.ShapeDtypeStruct((1, 3, 3, 32), np.float32))
    np.testing.assert_allclose(np.std(params.w), 0.02, rtol=0.02)
    none = layers.transposed_convolution(64, 4, stride=2, kernel_init=zeros)
    none.init(None, jax.ShapeDtypeStruct((1, 3, 3, 32), np.float32))


def test_no_weight_is_drawn_twice():
    layer = layers.transposed_convolution(3, (3, 4), stride=(2, 3), dilation=(1, 2))
    params, _ = layer.init(jax.random.key(0), jax.ShapeDtypeStruct((1, 3, 3, 2), np.float32))
    assert len(np.unique(params.w)) == 3 * 4 * 2 * 3


def test_cache_holds_the_input_alone(rng):
    layer, params, x = started(CASES["stride 2"], rng)
    _, _, cache = layer.forward(params, (), x, None)
    assert isinstance(cache, ConvolutionCache)
    assert [leaf.shape for leaf in jax.tree.leaves(cache)] == [x.shape]


def test_lowers_for_an_accelerator(rng):
    layer, params, x = started(CASES["stride 2"], rng)
    y, _, cache = layer.forward(params, (), x, None)
    lowered = jax.jit(layer.backward).trace(params, cache, y).lower(lowering_platforms=("cuda",))
    assert lowered.as_text().count("stablehlo.convolution") == 2


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda f: f(0, 3), "at least one feature"),
        (lambda f: f(6, 3, groups=4), "features=6 and groups=4"),
        (lambda f: f(6, 0), "a window of one int"),
        (lambda f: f(6, 3, stride=(2, 0)), "a stride of one int"),
        (lambda f: f(6, 3, padding="same"), "expected padding .* got 'same'"),
        (lambda f: f(6, 3, output_padding=-1), "output_padding of one int"),
        (lambda f: f(6, 3, stride=2, output_padding=2, padding=1), "below the stride of 2"),
        (lambda f: f(6, 3, stride=2, output_padding=1), 'no output_padding with "SAME"'),
        (
            lambda f: f(6, 3, stride=(2, 2), output_padding=(1, 1, 1), padding=1),
            "output_padding for 2 axes as for the other settings",
        ),
    ],
)
def test_bad_settings(build, message):
    with pytest.raises(ValueError, match=message):
        build(layers.transposed_convolution)


@pytest.mark.parametrize(
    ("settings", "shape", "message"),
    [
        ({}, (5, 3), "one to 3 spatial axes"),
        ({"output_padding": (0, 0)}, (1, 5, 3), r"\(N, H, W, C\)"),
        ({"groups": 2}, (1, 5, 5, 3), "multiple of groups=2, got 3 channels"),
        ({"padding": 4}, (1, 5, 3, 3), r"at least one pixel on every axis, got -1 .*cut off less"),
        ({}, (1, 0, 3, 3), "at least one pixel"),
    ],
)
def test_bad_images(settings, shape, message):
    layer = layers.transposed_convolution(4, 3, **settings)
    with pytest.raises(ValueError, match=message):
        layer.init(jax.random.key(0), jax.ShapeDtypeStruct(shape, np.float32))


def test_bad_images_are_refused_later():
    layer = layers.transposed_convolution(4, 3)
    params, _ = layer.init(jax.random.key(0), jax.ShapeDtypeStruct((1, 5, 5, 3), np.float32))
    for shape in [(1, 5, 5, 4), (5, 5, 3)]:
        with pytest.raises(ValueError, match=r"expected x of shape \(N, H, W, 3\)"):
            layer.forward(params, (), jnp.zeros(shape), None)
    with pytest.raises(TypeError, match="floating dtype"):
        layer.forward(params, (), jnp.zeros((1, 5, 5, 3), jnp.int32), None)
