"""Gates against NumPy and the notes: what they distribute, switch and route; ties and refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import chain, compose, layers
from fnn.layer import Layer, PyTree


def run(layer: Layer, x: PyTree) -> tuple[PyTree, PyTree]:
    y, _, cache = layer.forward((), (), x, None)
    return y, cache


def arrays(rng: np.random.Generator, count: int, shape=(4, 3)) -> list[jax.Array]:
    return [jnp.asarray(rng.normal(size=shape), jnp.float32) for _ in range(count)]


class TestNotes:
    """The gates of the notes with the numbers of a page: a = 3, b = -4, dy = 2."""

    def test_add_distributes(self):
        y, cache = run(layers.add(), (jnp.float32(3), jnp.float32(-4)))
        assert float(y) == -1
        assert [float(d) for d in layers.add().backward((), cache, 2.0)[1]] == [2, 2]

    def test_multiply_switches_and_scales(self):
        y, cache = run(layers.multiply(), (jnp.float32(3), jnp.float32(-4)))
        assert float(y) == -12
        assert [float(d) for d in layers.multiply().backward((), cache, 2.0)[1]] == [-8, 6]

    def test_max_routes(self):
        y, cache = run(layers.max_over(), jnp.asarray([3.0, -4.0]))
        assert float(y) == 3
        np.testing.assert_array_equal(layers.max_over().backward((), cache, 2.0)[1], [2, 0])

    def test_sum_repeats(self):
        y, cache = run(layers.sum_over(), jnp.asarray([3.0, -4.0]))
        assert float(y) == -1
        np.testing.assert_array_equal(layers.sum_over().backward((), cache, 2.0)[1], [2, 2])

    def test_switch_lets_the_active_branch_pass(self):
        x = (jnp.asarray([0, 1, 0]), jnp.asarray([3.0, -4.0, jnp.nan]))
        y, cache = run(layers.switch(), x)
        np.testing.assert_array_equal(y, [0, -4, 0])
        dselector, dvalues = layers.switch().backward((), cache, jnp.full(3, 2.0))[1]
        assert dselector is None
        np.testing.assert_array_equal(dvalues, [0, 2, 0])


def test_add_and_multiply_take_the_dictionary_of_parallel(rng):
    x = jnp.asarray(rng.normal(size=(4, 3)), jnp.float32)
    for gate, combine in ((layers.add(), np.add), (layers.multiply(), np.multiply)):
        net = chain(compose.parallel(a=layers.tanh(), b=layers.sigmoid()), gate)
        params, state = net.init(None, x)
        y, _, cache = net.forward(params, state, x, None)
        wide = np.asarray(x, np.float64)
        tanh, sigmoid = np.tanh(wide), 1 / (1 + np.exp(-wide))
        np.testing.assert_allclose(y, combine(tanh, sigmoid), rtol=1e-5, atol=1e-6)
        _, dx = net.backward(params, cache, jnp.ones_like(y))
        terms = 1 - tanh**2, sigmoid * (1 - sigmoid)
        if gate.name == "multiply":
            terms = terms[0] * sigmoid, terms[1] * tanh
        np.testing.assert_allclose(dx, sum(terms), rtol=1e-4, atol=1e-6)


def test_multiply_divides_by_nothing(rng):
    """Each gradient is the product of the others, also where one or two factors are 0."""
    x = arrays(rng, 4, (5,))
    x[1] = x[1].at[0].set(0.0)
    x[1], x[3] = x[1].at[1].set(0.0), x[3].at[1].set(0.0)
    layer, dy = layers.multiply(), jnp.asarray(rng.normal(size=5), jnp.float32)
    y, cache = run(layer, x)
    wide = np.asarray(x, np.float64)
    np.testing.assert_allclose(y, wide.prod(axis=0), rtol=1e-5)
    for k, dx in enumerate(layer.backward((), cache, dy)[1]):
        expected = np.asarray(dy) * np.delete(wide, k, axis=0).prod(axis=0)
        np.testing.assert_allclose(dx, expected, rtol=1e-5)


@pytest.mark.parametrize("build", [layers.add, layers.multiply])
def test_terms_of_several_dtypes_meet_in_the_widest_and_get_their_own_back(build):
    layer = build()
    x = (jnp.ones(3, jnp.bfloat16), jnp.ones(3, jnp.float32), jnp.ones(3, jnp.float16))
    y, cache = run(layer, x)
    assert y.dtype == jnp.float32
    dx = layer.backward((), cache, y)[1]
    assert [d.dtype for d in dx] == [jnp.bfloat16, jnp.float32, jnp.float16]


def test_sums_of_bfloat16_are_taken_in_float32():
    """1 is lost beside 256 in bfloat16, a thousand times."""
    x = jnp.concatenate([jnp.full(1, 256.0), jnp.ones(1024)]).astype(jnp.bfloat16)
    assert float(run(layers.sum_over(), x)[0]) == 1280
    assert float(run(layers.add(), [jnp.asarray(v, jnp.bfloat16) for v in (256, 1, 1)])[0]) == 258


@pytest.mark.parametrize("axis", [-1, 0, 1, (0, 2), (2, -3)])
def test_sum_over_its_axes(axis, rng):
    (x,) = arrays(rng, 1, (2, 3, 4))
    y, cache = run(layers.sum_over(axis), x)
    np.testing.assert_allclose(y, np.asarray(x).sum(axis=axis), rtol=1e-5, atol=1e-6)
    dx = layers.sum_over(axis).backward((), cache, y)[1]
    wanted = np.broadcast_to(np.expand_dims(np.asarray(y), axis), x.shape)
    np.testing.assert_array_equal(dx, wanted)
    assert jax.tree.leaves(cache) == []


@pytest.mark.parametrize(
    ("ties", "wanted"), [("first", [1, 0, 0, 0]), ("split", [1 / 3, 1 / 3, 0, 1 / 3])]
)
def test_ties_of_a_maximum_are_shared_by_the_policy_in_every_mode(ties, wanted):
    layer, x = layers.max_over(ties=ties), jnp.asarray([2.0, 2.0, 1.0, 2.0])
    y, cache = run(layer, x)
    assert float(y) == 2
    np.testing.assert_allclose(layer.backward((), cache, 1.0)[1], wanted, rtol=1e-6)
    np.testing.assert_allclose(jax.grad(lambda x: run(layer, x)[0])(x), wanted, rtol=1e-6)
    forward = [jax.jvp(lambda x: run(layer, x)[0], (x,), (row,))[1] for row in jnp.eye(4)]
    np.testing.assert_allclose(forward, wanted, rtol=1e-6)


@pytest.mark.parametrize("ties", ["first", "split"])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_max_over_an_axis_is_that_of_numpy_and_routes_to_argmax(ties, axis, rng):
    (x,) = arrays(rng, 1, (3, 4, 2))
    layer = layers.max_over(axis, ties=ties)
    y, cache = run(layer, x)
    np.testing.assert_array_equal(y, np.asarray(x).max(axis=axis))
    _, dx = layer.backward((), cache, y)
    expected = np.zeros(x.shape)
    places = np.expand_dims(np.asarray(x).argmax(axis=axis), axis)
    np.put_along_axis(expected, places, np.expand_dims(np.asarray(y), axis), axis)
    np.testing.assert_allclose(dx, expected, rtol=1e-6)


@pytest.mark.parametrize("ties", ["first", "split"])
def test_a_nan_is_the_maximum_and_infinities_are_ordered(ties):
    layer = layers.max_over(ties=ties)
    x = jnp.asarray([[1.0, jnp.nan, jnp.inf], [-jnp.inf, -jnp.inf, -1.0], [jnp.inf, 0, 1.0]])
    y, cache = run(layer, x)
    np.testing.assert_array_equal(y, [np.nan, -1, np.inf])
    _, dx = layer.backward((), cache, jnp.ones(3))
    beside_nan = [0, 1, 0] if ties == "first" else [1 / 3, 1 / 3, 1 / 3]
    np.testing.assert_allclose(dx, [beside_nan, [0, 0, 1], [1, 0, 0]], rtol=1e-6)


def test_what_max_over_caches():
    """Four bytes a group for the first of equals, one an element to split."""
    x = jnp.ones((8, 64))
    for ties, size in (("first", 8 * 4), ("split", 8 * 64)):
        leaves = jax.tree.leaves(run(layers.max_over(ties=ties), x)[1])
        assert sum(leaf.nbytes for leaf in leaves) == size


@pytest.mark.parametrize(
    ("build", "match"),
    [
        (lambda: layers.max_over(ties="last"), "'first' or 'split', got 'last'"),
        (lambda: layers.reshape(-1, -1), "one of them -1 at most"),
        (lambda: layers.reshape(-2), "one of them -1 at most"),
    ],
)
def test_options_are_refused_as_the_layer_is_built(build, match):
    with pytest.raises(ValueError, match=match):
        build()


@pytest.mark.parametrize(
    ("layer", "x", "error", "match"),
    [
        (layers.add(), (), ValueError, "add: expected a tuple, list or dictionary of arrays"),
        (layers.add(), (np.ones(3), np.ones(1)), ValueError, r"one shape, got \[\(3,\), \(1,\)\]"),
        (layers.multiply(), {"a": np.ones(3), "b": np.ones((1, 3))}, ValueError, "one shape"),
        (layers.multiply(), (np.ones(3), np.ones(3, int)), TypeError, "floating"),
        (layers.sum_over(2), np.ones((2, 3)), ValueError, r"axis 2, got shape \(2, 3\)"),
        (layers.sum_over((1, -1)), np.ones((2, 3)), ValueError, r"each axis once, got \(1, -1\)"),
        (layers.sum_over(), np.float32(1), ValueError, r"axis -1, got shape \(\)"),
        (layers.max_over(-3), np.ones((2, 3)), ValueError, "an axis -3"),
        (layers.max_over(), np.ones((2, 0)), ValueError, "a number along axis -1"),
        (layers.switch(), np.ones(3), TypeError, r"a tuple \(selector, values\)"),
        (layers.switch(), (np.ones(3), np.ones(3)), TypeError, "integers or truth values"),
        (layers.switch(), (np.ones(3, int), np.ones(3, int)), TypeError, "floating"),
        (layers.switch(), (np.ones(2, int), np.ones(3)), ValueError, r"shape \(3,\), got \(2,\)"),
        (layers.reshape(4), np.ones((2, 3)), ValueError, r"fit into \(4,\), got \(2, 3\)"),
        (layers.reshape(2, -1), np.ones((2, 3)), ValueError, r"fit into \(2, -1\), got \(2, 3\)"),
        (layers.reshape(1), np.float32(1), ValueError, r"x of shape \(N, …\)"),
        (layers.flatten(), np.float32(1), ValueError, r"x of shape \(N, …\)"),
    ],
    ids=lambda v: v.name if isinstance(v, Layer) else "",
)
def test_a_bad_input_says_what_was_expected_and_what_came(layer, x, error, match):
    with pytest.raises(error, match=match):
        layer.forward((), (), x, None)


@pytest.mark.parametrize(("shape", "wanted"), [((2, 6), (2, 6)), ((3, -1), (3, 4)), ((12,), (12,))])
def test_reshape_keeps_the_batch_and_the_order(shape, wanted):
    x = jnp.arange(24.0).reshape(2, 4, 3)
    layer = layers.reshape(*shape)
    y, cache = run(layer, x)
    np.testing.assert_array_equal(y, np.asarray(x).reshape(2, *wanted))
    np.testing.assert_array_equal(layer.backward((), cache, y)[1], x)
    assert run(layer, x[:0])[0].shape == (0, *wanted)


@pytest.mark.parametrize("shape", [(2, 4, 3), (2, 5), (2,), (0, 4, 3), (2, 0, 3), (1, 2, 1, 2)])
def test_flatten_keeps_the_batch_and_the_order(shape):
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    y, cache = run(layers.flatten(), jnp.asarray(x))
    expected = x.reshape(shape[0], int(np.prod(shape[1:])))
    np.testing.assert_array_equal(y, expected)
    assert y.shape == expected.shape
    dx = layers.flatten().backward((), cache, 2 * expected)[1]
    np.testing.assert_array_equal(dx, 2 * x)
    assert dx.shape == shape


def test_a_choice_by_hardmax_is_wired_to_multiply():
    """Its ones are floats, as derivatives go through it: of 0; switch takes what has none."""
    net = compose.graph(
        {"chosen": (layers.hardmax(), "scores"), "y": (layers.multiply(), "chosen", "values")},
        inputs=("scores", "values"),
    )
    x = (jnp.asarray([[1.0, 3.0, 2.0]]), jnp.asarray([[4.0, 5.0, 6.0]]))
    params, state = net.init(None, x)
    y, _, cache = net.forward(params, state, x, None)
    np.testing.assert_array_equal(y, [[0, 5, 0]])
    dscores, dvalues = net.backward(params, cache, jnp.full((1, 3), 2.0))[1]
    np.testing.assert_array_equal(dscores, [[0, 0, 0]])
    np.testing.assert_array_equal(dvalues, [[0, 2, 0]])


@pytest.mark.parametrize("build", [layers.identity, layers.flatten, lambda: layers.reshape(3)])
def test_what_is_no_array_is_refused(build):
    layer = build()
    with pytest.raises(
        TypeError, match=f"^{layer.name.partition('(')[0]}: expected x .* got tuple"
    ):
        layer.forward((), (), (jnp.ones(3), jnp.ones(3)), None)


def test_identity_is_itself():
    x = jnp.arange(3.0)
    assert run(layers.identity(), x)[0] is x


def test_bias_is_added_to_each_channel_and_its_gradient_summed_in_float32():
    layer, x = layers.bias(), jnp.ones((4097, 2), jnp.bfloat16)
    params, _ = layer.init(None, x)
    params = params._replace(b=jnp.asarray([1.0, 3.0], jnp.float32))
    y, _, cache = layer.forward(params, (), x, None)
    np.testing.assert_array_equal(np.asarray(y[0], np.float32), [2, 4])
    dparams, dx = layer.backward(params, cache, jnp.ones_like(x))
    np.testing.assert_array_equal(dparams.b, [4097, 4097])  # no number of bfloat16
    assert dx.dtype == jnp.bfloat16
    for bad in ((), (4, 3)):
        with pytest.raises(ValueError, match=r"bias: expected x of shape \(…, 2\)"):
            layer.forward(params, (), jnp.ones(bad), None)
    with pytest.raises(ValueError, match="channels"):
        layer.init(None, jnp.ones(()))
