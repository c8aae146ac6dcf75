"""Activations against NumPy, published numbers, `jax.nn`, PyTorch; corners, caches and refusals."""

import importlib.util
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import layers
from fnn.layer import Layer, PyTree

# Both sides of every corner (0, ±1, ±3, 6), far out, and nothing that is at one.
POINTS = np.array(
    [-60.0, -20.0, -9.5, -3.5, -2.9, -1.2, -0.9, -0.3, -1e-3, 1e-3, 0.4, 0.99, 1.1, 2.9, 3.2, 5.9, 6.5,
     12.0, 30.0, 60.0],
    np.float32,
)  # fmt: skip
ERF = np.vectorize(math.erf)


def run(layer: Layer, x: PyTree) -> tuple[PyTree, PyTree, PyTree]:
    params, state = layer.init(jax.random.key(0), x)
    y, _, cache = layer.forward(params, state, x, None)
    return params, y, cache


def slopes(layer: Layer, x: jax.Array) -> np.ndarray:
    params, y, cache = run(layer, x)
    return np.asarray(layer.backward(params, cache, jnp.ones_like(y))[1])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softplus(x):
    return np.logaddexp(x, 0)


NAIVE = {
    "sigmoid": (layers.sigmoid(), sigmoid),
    "tanh": (layers.tanh(), np.tanh),
    "relu": (layers.relu(), lambda x: np.maximum(x, 0)),
    "relu6": (layers.relu6(), lambda x: np.clip(x, 0, 6)),
    "leaky_relu": (layers.leaky_relu(0.2), lambda x: np.where(x > 0, x, 0.2 * x)),
    "prelu": (layers.prelu(slope=0.3), lambda x: np.where(x > 0, x, 0.3 * x)),
    "elu": (layers.elu(0.7), lambda x: np.where(x > 0, x, 0.7 * np.expm1(x))),
    "selu": (
        layers.selu(),
        lambda x: 1.05070098 * np.where(x > 0, x, 1.67326324 * np.expm1(x)),
    ),
    "celu": (layers.celu(0.7), lambda x: np.where(x > 0, x, 0.7 * np.expm1(x / 0.7))),
    "softplus": (layers.softplus(), softplus),
    "softsign": (layers.softsign(), lambda x: x / (1 + abs(x))),
    "gelu": (
        layers.gelu(),
        lambda x: x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    ),
    "gelu exact": (layers.gelu(approximate=False), lambda x: x / 2 * (1 + ERF(x / np.sqrt(2)))),
    "silu": (layers.silu(), lambda x: x * sigmoid(x)),
    "mish": (layers.mish(), lambda x: x * np.tanh(softplus(x))),
    "squareplus": (layers.squareplus(2.0), lambda x: (x + np.sqrt(x * x + 2)) / 2),
    "hard_sigmoid": (layers.hard_sigmoid(), lambda x: np.clip(x / 6 + 0.5, 0, 1)),
    "hard_tanh": (layers.hard_tanh(), lambda x: np.clip(x, -1, 1)),
    "hard_swish": (layers.hard_swish(), lambda x: x * np.clip(x + 3, 0, 6) / 6),
}
JAX = {
    "sigmoid": jax.nn.sigmoid,
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "relu6": jax.nn.relu6,
    "leaky_relu": lambda x: jax.nn.leaky_relu(x, 0.2),
    "elu": lambda x: jax.nn.elu(x, 0.7),
    "selu": jax.nn.selu,
    "celu": lambda x: jax.nn.celu(x, 0.7),
    "softplus": jax.nn.softplus,
    "softsign": jax.nn.soft_sign,
    "gelu": jax.nn.gelu,
    "gelu exact": lambda x: jax.nn.gelu(x, approximate=False),
    "silu": jax.nn.silu,
    "mish": jax.nn.mish,
    "squareplus": lambda x: jax.nn.squareplus(x, 2.0),
    "hard_sigmoid": jax.nn.hard_sigmoid,
    "hard_tanh": jax.nn.hard_tanh,
    "hard_swish": jax.nn.hard_swish,
}


# XLA's tanh is off by up to 5 units in the last place of 1, and gelu's slope takes 1 - tanh² times 13.
SLOPE_TOLERANCE = {"gelu": 1e-5}


@pytest.mark.parametrize("name", NAIVE)
def test_value_and_slope_are_those_of_the_textbook_formula_in_float64(name):
    layer, formula = NAIVE[name]
    wide = POINTS.astype(np.float64)
    _, y, _ = run(layer, jnp.asarray(POINTS))
    np.testing.assert_allclose(y, formula(wide), rtol=2e-6, atol=2e-7)
    step = 1e-6
    numerical = (formula(wide + step) - formula(wide - step)) / (2 * step)
    rtol = SLOPE_TOLERANCE.get(name, 2e-6)
    np.testing.assert_allclose(slopes(layer, jnp.asarray(POINTS)), numerical, rtol=rtol, atol=1e-6)


@pytest.mark.parametrize("name", JAX)
def test_value_and_slope_are_those_of_jax_nn(name):
    layer, x = NAIVE[name][0], jnp.asarray(POINTS)
    y, pull = jax.vjp(JAX[name], x)
    np.testing.assert_allclose(run(layer, x)[1], y, rtol=2e-6, atol=2e-6)
    np.testing.assert_allclose(slopes(layer, x), pull(jnp.ones_like(y))[0], rtol=2e-5, atol=1e-5)


def test_the_published_numbers_of_selu():
    """Klambauer et al. (2017): x = 1 gives λ; far below 0 it is -λ α = -1.7580993408473766."""
    _, y, _ = run(layers.selu(), jnp.asarray([1.0, -100.0]))
    np.testing.assert_allclose(y, [1.0507009873554805, -1.7580993408473766], rtol=1e-7)


@pytest.mark.parametrize(
    ("layer", "low", "high"),
    [
        (layers.relu(), 0, np.inf),
        (layers.relu6(), 0, 6),
        (layers.leaky_relu(0.1), -np.inf, np.inf),
        (layers.prelu(), -np.inf, np.inf),
        (layers.elu(0.5), -0.5, np.inf),
        (layers.selu(), -1.7580993, np.inf),
        (layers.celu(0.5), -0.5, np.inf),
        (layers.softplus(), 0, np.inf),
        (layers.softsign(), -1, 1),
        (layers.gelu(), 0, np.inf),
        (layers.gelu(approximate=False), 0, np.inf),
        (layers.silu(), 0, np.inf),
        (layers.mish(), 0, np.inf),
        (layers.squareplus(), 0, np.inf),
        (layers.hard_sigmoid(), 0, 1),
        (layers.hard_tanh(), -1, 1),
        (layers.hard_swish(), 0, np.inf),
    ],
    ids=lambda v: v.name if isinstance(v, Layer) else "",
)
def test_saturated_units_have_the_limit_as_value_and_slope(layer, low, high):
    """Where the formula reads ∞ · 0; `jax.nn.silu(-inf)` and `jax.nn.gelu(-inf)` are NaN."""
    x = jnp.asarray([-jnp.inf, jnp.inf])
    np.testing.assert_allclose(run(layer, x)[1], [low, high], rtol=1e-6)
    below = {"leaky_relu(0.1)": 0.1, "prelu": 0.25}.get(layer.name, 0)
    above = 0 if np.isfinite(high) else 1.0507009873554805 if layer.name == "selu" else 1
    np.testing.assert_allclose(slopes(layer, x), [below, above], rtol=1e-6)


@pytest.mark.parametrize("name", ["gelu", "gelu exact", "silu", "mish", "squareplus", "softsign"])
def test_large_numbers_whose_square_overflows(name):
    layer, x = NAIVE[name][0], jnp.asarray([-1e30, 1e30])
    high = 1 if name == "softsign" else 1e30
    np.testing.assert_allclose(run(layer, x)[1][1], high, rtol=1e-6)
    np.testing.assert_allclose(slopes(layer, x), [0, name != "softsign"], atol=1e-12)


@pytest.mark.parametrize(
    ("layer", "corners", "wanted"),
    [
        (layers.relu(), [0.0], [0]),
        (layers.relu6(), [0.0, 6.0], [0, 0]),
        (layers.leaky_relu(0.2), [0.0], [0.2]),
        (layers.prelu(slope=0.2), [0.0], [0.2]),
        (layers.elu(0.7), [0.0], [0.7]),
        (layers.selu(), [0.0], [1.0507009873554805 * 1.6732632423543772]),
        (layers.celu(0.7), [0.0], [1]),
        (layers.hard_sigmoid(), [-3.0, 3.0], [0, 0]),
        (layers.hard_tanh(), [-1.0, 1.0], [0, 0]),
        (layers.hard_swish(), [-3.0, 3.0], [0, 1]),
    ],
    ids=lambda v: v.name if isinstance(v, Layer) else "",
)
def test_the_slope_at_a_corner_is_the_documented_one_in_every_mode(layer, corners, wanted):
    x = jnp.asarray(corners, jnp.float32)
    params, _, _ = run(layer, x)

    def forward(x):
        return layer.forward(params, (), x, None)[0]

    np.testing.assert_allclose(slopes(layer, x), wanted, rtol=1e-6)
    np.testing.assert_allclose(jax.jvp(forward, (x,), (jnp.ones_like(x),))[1], wanted, rtol=1e-6)
    np.testing.assert_allclose(jax.vjp(forward, x)[1](jnp.ones_like(x))[0], wanted, rtol=1e-6)


def test_softplus_is_smooth_at_zero_in_every_order():
    """Of max(x, 0) + log1p(exp(-|x|)), the usual form, autodiff takes the slopes of two corners there."""
    layer = layers.softplus()

    def forward(x):
        return layer.forward((), (), x, None)[0]

    slope = jax.grad(forward)
    assert float(slope(0.0)) == pytest.approx(0.5)
    assert float(jax.grad(slope)(0.0)) == pytest.approx(0.25)


def test_gelu_of_bfloat16_is_rounded_once():
    """Computed in bfloat16 throughout, the slope near -2 would be off by a tenth."""
    x = jnp.linspace(-4, 4, 257).astype(jnp.bfloat16)
    expected = slopes(layers.gelu(), x.astype(jnp.float32))
    got = slopes(layers.gelu(), x).astype(np.float32)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, rtol=2.0**-8, atol=1e-30)


def test_prelu_sums_the_slopes_gradient_over_all_or_over_a_channel(rng):
    x, dy = rng.normal(size=(2, 5, 3)), rng.normal(size=(2, 5, 3))
    terms = np.where(x > 0, 0, x * dy)
    for layer, axes in ((layers.prelu(), (0, 1, 2)), (layers.prelu(per_channel=True), (0, 1))):
        params, _, cache = run(layer, jnp.asarray(x, jnp.float32))
        da = layer.backward(params, cache, jnp.asarray(dy, jnp.float32))[0].slope
        assert da.shape == params.slope.shape
        np.testing.assert_allclose(da, terms.sum(axis=axes), rtol=1e-5, atol=1e-6)


def test_what_is_cached():
    """Bytes an element of float32: a comparison is one, the input or the output four."""
    x = jnp.ones((8, 16))
    one = ["relu", "relu6", "leaky_relu", "hard_sigmoid", "hard_tanh"]
    for name, (layer, _) in NAIVE.items():
        leaves = jax.tree.leaves(run(layer, x)[2])
        assert sum(leaf.nbytes for leaf in leaves) / x.size == (1 if name in one else 4), name


@pytest.mark.parametrize(
    ("build", "match"),
    [
        (lambda: layers.leaky_relu(0), "slope other than 0"),
        (lambda: layers.leaky_relu(math.nan), "finite slope"),
        (lambda: layers.prelu(slope=math.inf), "finite slope"),
        (lambda: layers.elu(0.0), "positive and finite alpha"),
        (lambda: layers.elu(-1.0), "elu: .* got -1.0"),
        (lambda: layers.celu(math.nan), "celu: .* got nan"),
        (lambda: layers.squareplus(0.0), "positive and finite b"),
        (lambda: layers.maxout(0, 2), "at least one feature and one piece"),
        (lambda: layers.maxout(2, 0), "at least one feature and one piece"),
    ],
)
def test_options_are_refused_as_the_layer_is_built(build, match):
    with pytest.raises(ValueError, match=match):
        build()


@pytest.mark.parametrize(
    ("layer", "made_for", "x", "match"),
    [
        (layers.softmax(), (3,), (), r"axis -1, got shape \(\)"),
        (layers.softmax(2), (2, 3, 4), (2, 3), r"axis 2, got shape \(2, 3\)"),
        (layers.log_softmax(1), (2, 3), (3,), r"log_softmax: expected x with an axis 1"),
        (layers.hardmax(-3), (2, 3, 4), (3, 4), r"hardmax: expected x with an axis -3"),
        (layers.hardmax(), (2, 3), (2, 0), r"a number along axis -1, got shape \(2, 0\)"),
        (layers.glu(), (2, 4), (2, 3), r"glu: .* an even number of features, got \(2, 3\)"),
        (layers.swiglu(), (2, 4), (), r"swiglu: .* got \(\)"),
        (layers.prelu(per_channel=True), (2, 3), (2, 4), r"prelu: .* \(…, 3\), got \(2, 4\)"),
        (layers.prelu(per_channel=True), (2, 3), (), r"prelu: .* \(…, 3\), got \(\)"),
        (layers.maxout(2), (2, 3), (2, 4), r"maxout: .* \(…, 3\), got \(2, 4\)"),
    ],
    ids=lambda v: v.name if isinstance(v, Layer) else "",
)
def test_a_wrong_shape_says_what_was_expected_and_what_came(layer, made_for, x, match):
    params, state = layer.init(jax.random.key(0), jnp.zeros(made_for))
    with pytest.raises(ValueError, match=match):
        layer.forward(params, state, jnp.zeros(x), None)


def test_prelu_and_maxout_refuse_what_they_cannot_be_made_for():
    with pytest.raises(ValueError, match=r"prelu: expected x of shape \(…, channels\), got \(\)"):
        layers.prelu(per_channel=True).init(None, jnp.zeros(()))
    with pytest.raises(ValueError, match=r"maxout: .* a feature at least, got \(4, 0\)"):
        layers.maxout(2).init(jax.random.key(0), jnp.zeros((4, 0)))


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")
def test_value_and_slope_are_those_of_pytorch():
    """With its subgradients: of these, it differs from `jax.nn` in leaky relu and hard tanh."""
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    peers = {
        "leaky_relu": lambda x: functional.leaky_relu(x, 0.2),
        "hard_tanh": functional.hardtanh,
        "hard_sigmoid": functional.hardsigmoid,
        "gelu exact": functional.gelu,
        "mish": functional.mish,
        "softsign": functional.softsign,
    }
    x = np.append(POINTS, np.float32([-3, -1, 0, 1, 3]))
    for name, peer in peers.items():
        given = torch.tensor(x, requires_grad=True)
        y = peer(given)
        y.sum().backward()
        layer = NAIVE[name][0]
        np.testing.assert_allclose(run(layer, jnp.asarray(x))[1], y.detach().numpy(), atol=2e-6)
        np.testing.assert_allclose(slopes(layer, jnp.asarray(x)), given.grad.numpy(), atol=1e-5)
