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


@pytest.mark.parametrize("name", NAIVE)
def test_value_and_slope_are_those_of_the_textbook_formula_in_float64(name):
    layer, formula = NAIVE[name]
    wide = POINTS.astype(np.float64)
    _, y, _ = run(layer, jnp.asarray(POINTS))
    np.testing.assert_allclose(y, formula(wide), rtol=2e-6, atol=2e-7)
    step = 1e-6
    numerical = (formula(wide + step) - formula(wide - step)) / (2 * step)
    np.testing.assert_allclose(slopes(layer, jnp.asarray(POINTS)), numerical, rtol=2e-6, atol=1e-6)


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


def test_softplus_is_smooth_at_zero_to_the_second_order():
    """max(x, 0) + log1p(exp(-|x|)), the usual form, has the second derivative 0 there; it is 1/4."""
    layer = layers.softplus()

    def forward(x):
        return layer.forward((), (), x, None)[0]

    assert jax.grad(jax.grad(forward))(0.0) == pytest.approx(0.25)


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


def test_softmax_and_hardmax_give_the_numbers_of_the_lecture_notes():
    """The vectors (1, 1, 8) and (5, 2, -1, 3), with the digits printed there."""
    _, y, _ = run(layers.softmax(), jnp.asarray([1.0, 1.0, 8.0]))
    np.testing.assert_allclose(y, [9.10221936e-04, 9.10221936e-04, 9.98179556e-01], rtol=1e-6)
    scores = jnp.asarray([5.0, 2.0, -1.0, 3.0])
    _, y, _ = run(layers.softmax(), scores)
    np.testing.assert_allclose(y, [0.842, 0.042, 0.002, 0.114], atol=5e-4)
    np.testing.assert_array_equal(run(layers.hardmax(), scores)[1], [1, 0, 0, 0])
    np.testing.assert_array_equal(run(layers.hardmax(), jnp.asarray([1.0, 1, 8]))[1], [0, 0, 1])


def test_the_notes_backward_of_softmax(rng):
    """s - y Σ s with s = dy · y; the notes forget the y."""
    x, dy = rng.normal(size=(2, 4, 5)).astype(np.float32)
    layer = layers.softmax()
    _, y, cache = run(layer, jnp.asarray(x))
    s = dy * np.asarray(y)
    expected = s - np.asarray(y) * s.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(layer.backward((), cache, dy)[1], expected, rtol=1e-5, atol=1e-7)


def test_log_softmax_far_from_zero_and_where_the_softmax_rounds_to_zero():
    x = jnp.asarray([[1e4, 1e4 - 1, 1e4 - 300], [0.0, -jnp.inf, 2.0]])
    layer = layers.log_softmax()
    _, y, cache = run(layer, x)
    first = math.log(1 + math.exp(-1))
    second = math.log(1 + math.exp(-2))
    expected = [[-first, -1 - first, -300 - first], [-2 - second, -math.inf, -second]]
    np.testing.assert_allclose(y, expected, rtol=1e-6)
    _, dx = layer.backward((), cache, jnp.asarray([[1.0, 0, 0], [0, 0, 1.0]]))
    p, q = 1 / (1 + math.exp(-1)), 1 / (1 + math.exp(-2))
    np.testing.assert_allclose(dx, [[1 - p, p - 1, 0], [q - 1, 0, 1 - q]], rtol=1e-5, atol=1e-7)


def test_log_softmax_of_bfloat16_has_right_probabilities():
    """From an output of bfloat16, near -20, exp(y) would be off by 6 percent."""
    x = jnp.asarray([20.0, 0.0, 0.0], jnp.bfloat16)
    layer = layers.log_softmax()
    _, _, cache = run(layer, x)
    _, dx = layer.backward((), cache, jnp.asarray([1.0, 0, 0], jnp.bfloat16))
    np.testing.assert_allclose(np.asarray(dx, np.float64)[1:], -math.exp(-20), rtol=2.0**-8)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_hardmax_takes_the_first_of_equals_along_its_axis_and_keeps_a_nan(axis):
    x = jnp.asarray([[2.0, 2.0, 1.0], [2.0, 3.0, 3.0]])
    expected = np.zeros((2, 3))
    places = np.argmax(np.asarray(x), axis=axis)
    np.put_along_axis(expected, np.expand_dims(places, axis), 1, axis)
    layer = layers.hardmax(axis)
    _, y, cache = run(layer, x)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(layer.backward((), cache, x)[1], np.zeros((2, 3)))
    assert jax.tree.leaves(cache) == []
    nan = run(layers.hardmax(), jnp.asarray([[1.0, jnp.nan], [1.0, 2.0]]))[1]
    np.testing.assert_array_equal(nan, [[np.nan, np.nan], [0, 1]])


GATES = {
    "glu": (layers.glu(), sigmoid),
    "geglu": (layers.geglu(), NAIVE["gelu"][1]),
    "geglu exact": (layers.geglu(approximate=False), NAIVE["gelu exact"][1]),
    "swiglu": (layers.swiglu(), NAIVE["silu"][1]),
}


@pytest.mark.parametrize("name", GATES)
def test_gated_units_multiply_the_first_half_by_the_gate_of_the_second(name, rng):
    layer, gate = GATES[name]
    x = rng.normal(size=(2, 3, 8)).astype(np.float32)
    _, y, cache = run(layer, jnp.asarray(x))
    a, b = x[..., :4].astype(np.float64), x[..., 4:].astype(np.float64)
    np.testing.assert_allclose(y, a * gate(b), rtol=1e-5, atol=1e-6)
    _, dx = layer.backward((), cache, jnp.ones_like(y))
    np.testing.assert_allclose(dx[..., :4], gate(b), rtol=1e-5, atol=1e-6)
    slope = (gate(b + 1e-6) - gate(b - 1e-6)) / 2e-6
    np.testing.assert_allclose(dx[..., 4:], a * slope, rtol=1e-4, atol=1e-5)
    if name == "glu":
        np.testing.assert_allclose(y, jax.nn.glu(jnp.asarray(x)), rtol=1e-6)


def test_maxout_is_the_largest_of_its_pieces_and_the_first_of_equals(rng):
    x = rng.normal(size=(5, 3)).astype(np.float32)
    layer = layers.maxout(2, 3)
    params, y, cache = run(layer, jnp.asarray(x))
    assert (params.w.shape, params.b.shape) == ((3, 3, 2), (3, 2))
    z = np.einsum("nd,dkf->nkf", x, np.asarray(params.w)) + np.asarray(params.b)
    np.testing.assert_allclose(y, z.max(axis=1), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(cache.piece, z.argmax(axis=1))
    assert cache.piece.dtype == jnp.uint8
    same = params._replace(w=jnp.zeros_like(params.w))
    _, _, cache = layer.forward(same, (), jnp.asarray(x), None)
    dparams, _ = layer.backward(same, cache, jnp.ones((5, 2)))
    np.testing.assert_array_equal(dparams.b, [[5, 5], [0, 0], [0, 0]])


def test_maxout_of_two_pieces_can_be_relu_and_the_absolute_value():
    """Goodfellow et al. (2013), figure 1: convex functions of pieces."""
    x = jnp.asarray([[-2.0], [0.5]])
    for slopes_of_pieces, expected in (([0.0, 1.0], [0, 0.5]), ([-1.0, 1.0], [2, 0.5])):
        layer = layers.maxout(1, 2)
        params, _ = layer.init(jax.random.key(0), x)
        params = params._replace(w=jnp.asarray(slopes_of_pieces).reshape(1, 2, 1))
        np.testing.assert_array_equal(layer.predict(params, (), x)[:, 0], expected)


def test_a_nan_of_a_piece_is_not_hidden_by_a_later_one():
    layer = layers.maxout(1, 3)
    x = jnp.ones((1, 1))
    params, _ = layer.init(jax.random.key(0), x)
    for place in range(3):
        w = params.w.at[0, place, 0].set(jnp.nan)
        assert np.isnan(layer.predict(params._replace(w=w), (), x)).all()


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
