"""Convolution: values against naive loops, gradients against autodiff of one plain `lax` convolution."""

import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from selection import few

from fnn import layers
from fnn.layers import convolution_plain
from fnn.layers.convolution import ConvolutionCache, ConvolutionParams
from fnn.layers.windows import windows_on

# name: (x shape, features, window, settings)
CASES = {
    "3x3": ((5, 7, 6, 5), 6, 3, {}),
    "one channel": ((5, 7, 6, 1), 4, 3, {}),
    "three channels, strided": ((3, 8, 7, 3), 4, 5, {"stride": (2, 3)}),
    "several chunks": ((1, 32, 32, 8), 4, 3, {}),
    "valid": ((2, 6, 7, 5), 3, 3, {"padding": "VALID"}),
    "rectangular": ((2, 6, 7, 5), 3, (2, 5), {}),
    "even window, same": ((2, 6, 7, 5), 3, 4, {"padding": "SAME"}),
    "window as large as the image": ((3, 4, 5, 5), 3, (4, 5), {"padding": "VALID"}),
    "stride 2": ((5, 8, 8, 5), 6, 3, {"stride": 2}),
    "stride 2, 5x5": ((2, 9, 8, 5), 6, 5, {"stride": 2}),
    "stride with a remainder": ((2, 9, 10, 5), 3, 3, {"stride": (3, 4), "padding": "VALID"}),
    "stride wider than the window": ((2, 10, 9, 5), 3, 2, {"stride": (3, 4), "padding": "VALID"}),
    "stride on one axis": ((2, 7, 8, 5), 3, 3, {"stride": (1, 2)}),
    "int padding": ((2, 5, 6, 5), 3, 3, {"padding": 2}),
    "asymmetrical padding": ((2, 5, 6, 5), 3, 3, {"padding": ((0, 2), (1, 0))}),
    "asymmetrical padding, strided": (
        (2, 7, 6, 5),
        3,
        3,
        {"padding": ((0, 2), (2, 1)), "stride": 2},
    ),
    "padding larger than the window": ((2, 5, 6, 5), 3, 2, {"padding": ((3, 4), (5, 3))}),
    "large padding, strided": ((2, 5, 6, 5), 3, 3, {"padding": ((4, 5), (5, 3)), "stride": 2}),
    "large padding, few channels": ((2, 5, 6, 2), 3, 2, {"padding": ((3, 4), (5, 3)), "stride": 2}),
    "dilation": ((2, 8, 9, 5), 3, 3, {"dilation": 2}),
    "dilation, valid": ((2, 8, 9, 5), 3, 3, {"dilation": (3, 2), "padding": "VALID"}),
    "dilation, few channels": ((2, 8, 9, 2), 3, 3, {"dilation": (2, 3), "stride": (1, 2)}),
    "dilation and stride": ((2, 9, 10, 5), 3, 3, {"dilation": (2, 3), "stride": (3, 2)}),
    "groups": ((5, 6, 5, 12), 8, 3, {"groups": 2}),
    "groups of few": ((2, 6, 5, 6), 9, 3, {"groups": 3, "stride": 2}),
    "groups, dilated": ((2, 8, 7, 12), 4, 3, {"groups": 2, "dilation": 2, "padding": "VALID"}),
    "depthwise": ((5, 6, 7, 4), 4, 3, {"groups": 4}),
    "depthwise with a multiplier": ((5, 6, 7, 4), 12, 3, {"groups": 4}),
    "depthwise, strided": ((2, 8, 7, 4), 8, 3, {"groups": 4, "stride": (2, 3)}),
    "depthwise, dilated": ((2, 8, 9, 4), 4, (2, 3), {"groups": 4, "dilation": 2, "padding": 1}),
    "depthwise, large padding": ((2, 5, 6, 3), 6, 2, {"groups": 3, "padding": ((3, 4), (5, 3))}),
    "1x1": ((3, 5, 6, 5), 4, 1, {}),
    "1x1, strided": ((3, 6, 8, 5), 4, 1, {"stride": (2, 3)}),
    "1x1, padded": ((3, 5, 7, 5), 4, 1, {"padding": 1}),
    "1x1, grouped": ((3, 5, 7, 4), 6, 1, {"groups": 2}),
    "1x1, depthwise": ((3, 5, 7, 4), 4, 1, {"groups": 4, "stride": 2}),
}
cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def started(case, rng, dtype=np.float32, batch=None):
    """(layer, params, x) of a case, with a bias that is not zero."""
    shape, features, window, settings = case
    shape = shape if batch is None else (batch, *shape[1:])
    layer = layers.convolution(features, window, **settings)
    x = jnp.asarray(rng.normal(size=shape), dtype)
    params, _ = layer.init(jax.random.key(0), x)
    w = jnp.asarray(rng.normal(size=params.w.shape), dtype)
    return layer, ConvolutionParams(w, jnp.asarray(rng.normal(size=features), dtype)), x


def lax_padding(settings):
    padding = settings.get("padding", "SAME")
    return [(padding, padding)] * 2 if isinstance(padding, int) else padding


def both(value):
    return (value, value) if isinstance(value, int) else value


def reference(params, x, settings):
    """The convolution as one `lax` call."""
    y = jax.lax.conv_general_dilated(
        x,
        params.w,
        both(settings.get("stride", 1)),
        lax_padding(settings),
        rhs_dilation=both(settings.get("dilation", 1)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=settings.get("groups", 1),
        precision=jax.lax.Precision.HIGHEST,
    )
    return y + params.b[None, None, None, :]


def naive(params, x, settings):
    """The sum of the docstring, term by term; SAME as its definition says."""
    w, b = np.asarray(params.w, np.float64), np.asarray(params.b, np.float64)
    x = np.asarray(x, np.float64)
    h, width, inputs, features = w.shape
    (s, t), (d, e) = both(settings.get("stride", 1)), both(settings.get("dilation", 1))
    padding = lax_padding(settings)
    if padding == "VALID":
        padding = ((0, 0), (0, 0))
    elif padding == "SAME":
        padding = []
        for size, k, stride, dilation in ((x.shape[1], h, s, d), (x.shape[2], width, t, e)):
            outputs = int(np.ceil(size / stride))
            total = max((outputs - 1) * stride + (k - 1) * dilation + 1 - size, 0)
            padding.append((total // 2, total - total // 2))
    x = np.pad(x, ((0, 0), *padding, (0, 0)))
    rows = (x.shape[1] - (h - 1) * d - 1) // s + 1
    columns = (x.shape[2] - (width - 1) * e - 1) // t + 1
    y = np.tile(b, (x.shape[0], rows, columns, 1))
    per_group = features // settings.get("groups", 1)
    for o, q, i, j, f in itertools.product(
        range(rows), range(columns), range(h), range(width), range(features)
    ):
        first = f // per_group * inputs
        pixels = x[:, o * s + i * d, q * t + j * e, first : first + inputs]
        y[:, o, q, f] += pixels @ w[i, j, :, f]
    return y


def relative(a, b):
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return np.linalg.norm(a - b) / max(np.linalg.norm(b), 1e-300)


@cases
def test_values_of_the_formula(case, rng):
    layer, params, x = started(case, rng)
    y, _, _ = layer.forward(params, (), x, None)
    expected = naive(params, x, case[3])
    assert y.shape == expected.shape
    assert relative(y, expected) <= 1e-6


@pytest.mark.parametrize("name", few(CASES, 12))
def test_gradients_in_float64(name, rng):
    case = CASES[name]
    """Those of the layer here, and the form that other platforms get, which must be the same maps."""
    _, _, window, settings = case
    groups = settings.get("groups", 1)

    def by_hand(params, x, dy):
        y, _, cache = layer.forward(params, (), x, None)
        return y, *layer.backward(params, cache, dy)

    def by_autodiff(params, x, dy):
        y, pull = jax.vjp(lambda p, x: reference(p, x, settings), params, x)
        return y, *pull(dy)

    def plainly(params, x, dy):
        windows = windows_on(
            x.shape[1:3],
            both(window),
            both(settings.get("stride", 1)),
            lax_padding(settings),
            both(settings.get("dilation", 1)),
            "test",
        )
        y = convolution_plain.convolve(x, params.w, windows, groups) + params.b[None, None, None, :]
        dw = convolution_plain.kernel_gradient(x, dy, windows, groups)
        dx = convolution_plain.input_gradient(dy, params.w, windows, groups)
        return y, ConvolutionParams(dw, dy.sum(axis=(0, 1, 2))), dx

    with jax.enable_x64(True):
        layer, params, x = started(case, rng, np.float64)
        shape = jax.eval_shape(lambda p, x: reference(p, x, settings), params, x).shape
        dy = jnp.asarray(rng.normal(size=shape))
        expected = jax.jit(by_autodiff)(params, x, dy)
        for form in (by_hand, plainly):
            y, dparams, dx = jax.jit(form)(params, x, dy)
            assert relative(y, expected[0]) <= 1e-12
            assert relative(dparams.w, expected[1].w) <= 1e-12
            assert relative(dparams.b, expected[1].b) <= 1e-12
            assert relative(dx, expected[2]) <= 1e-12


@pytest.mark.parametrize("batch", [0, 1, 4, 11, 16])
@pytest.mark.parametrize(("features", "groups"), [(24, 1), (16, 1), (16, 2), (16, 16)])
def test_any_batch_falls_into_chunks(features, groups, batch, rng):
    """Images so large that a chunk is four of them, or eight for few features, and three are left."""
    case = ((batch, 32, 32, 16), features, 3, {"groups": groups})
    layer, params, x = started(case, rng)
    y, _, cache = layer.forward(params, (), x, None)
    dy = jnp.asarray(rng.normal(size=y.shape), jnp.float32)
    dparams, dx = layer.backward(params, cache, dy)
    _, pull = jax.vjp(lambda p, x: reference(p, x, case[3]), params, x)
    expected, expected_dx = pull(dy)
    assert dx.shape == x.shape
    if batch == 0:
        assert not np.asarray(dparams.w).any()
        assert not np.asarray(dparams.b).any()
    else:
        assert relative(dparams.w, expected.w) <= 1e-5
        assert relative(dparams.b, expected.b) <= 1e-5
        assert relative(dx, expected_dx) <= 1e-5


@cases
def test_only_canonical_convolutions_on_a_cpu(case, rng):
    """Others would fall to a scalar loop inside of a scan; the numbers are in `convolution_plain`."""
    layer, params, x = started(case, rng)

    def gradients(params, x):
        y, _, cache = layer.forward(params, (), x, None)
        return layer.backward(params, cache, y)

    text = jax.jit(gradients).trace(params, x).lower(lowering_platforms=("cpu",)).as_text()
    found = re.findall(r"dim_numbers = (\[.*?\]->\[.*?\])", text)
    assert set(found) <= {"[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]"}
    assert "feature_group_count = 1" in text or not found
    assert not re.search(r"(feature|batch)_group_count = (?!1\b)\d+", text)


def test_lowers_for_an_accelerator(rng):
    layer, params, x = started(CASES["groups"], rng)
    y, _, cache = layer.forward(params, (), x, None)
    lowered = jax.jit(layer.backward).trace(params, cache, y).lower(lowering_platforms=("cuda",))
    text = lowered.as_text()
    assert text.count("stablehlo.convolution") == 2
    assert "while" not in text


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16], ids=str)
@pytest.mark.parametrize(
    "name",
    few(
        [
            "several chunks",
            "one channel",
            "groups",
            "depthwise with a multiplier",
            "1x1",
            "stride 2",
        ],
        2,
    ),
)
def test_low_precision_is_summed_in_float32(name, dtype, rng):
    """Each result is the rounded truth of the rounded inputs, within one last place."""
    settings = CASES[name][3]
    layer, params, x = started(CASES[name], rng, dtype, batch=64)
    y, _, cache = layer.forward(params, (), x, None)
    dy = jnp.asarray(rng.normal(size=y.shape), dtype)
    dparams, dx = layer.backward(params, cache, dy)
    wide_params, wide_x = jax.tree.map(lambda a: a.astype(jnp.float32), (params, x))
    _, pull = jax.vjp(lambda p, x: reference(p, x, settings), wide_params, wide_x)
    expected, expected_dx = pull(dy.astype(jnp.float32))
    unit = float(jnp.finfo(dtype).eps)
    for got, truth in [(dparams.w, expected.w), (dparams.b, expected.b), (dx, expected_dx)]:
        assert got.dtype == dtype
        error = np.abs(np.asarray(got, np.float64) - np.asarray(truth, np.float64))
        assert (error <= unit * np.abs(truth) + 1e-5 * np.abs(truth).max()).all()


@pytest.mark.parametrize(
    "name", ["3x3", "stride 2", "groups", "depthwise with a multiplier", "1x1, strided"]
)
def test_vmap_over_networks(name, rng):
    """A population: every member has parameters and images of its own."""
    layer, params, x = started(CASES[name], rng)
    members = [jax.tree.map(lambda a, k=k: a * k, (params, x)) for k in (1.0, -0.5, 2.0)]

    def gradients(params, x):
        y, _, cache = layer.forward(params, (), x, None)
        return layer.backward(params, cache, y)

    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)
    got = jax.vmap(gradients)(*stacked)
    expected = jax.tree.map(
        lambda *leaves: jnp.stack(leaves), *[gradients(p, x) for p, x in members]
    )
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        assert relative(a, b) <= 1e-5


def test_without_bias(rng):
    layer = layers.convolution(4, 3, bias=False)
    x = jnp.asarray(rng.normal(size=(2, 5, 5, 3)), jnp.float32)
    params, _ = layer.init(jax.random.key(0), x)
    y, _, cache = layer.forward(params, (), x, None)
    dparams, _ = layer.backward(params, cache, y)
    assert params.b is None
    assert dparams.b is None
    assert jax.tree.structure(dparams) == jax.tree.structure(params)


def test_cache_holds_the_input_alone(rng):
    layer, params, x = started(CASES["3x3"], rng)
    _, _, cache = layer.forward(params, (), x, None)
    assert isinstance(cache, ConvolutionCache)
    assert [leaf.shape for leaf in jax.tree.leaves(cache)] == [x.shape]
