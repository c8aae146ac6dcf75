"""Graphs: the sum over paths against the notes' formulas, the order of calls, and wrong drawings."""

import traceback

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import chain, graph, layers, map_layers, parallel, pure
from fnn.tree import paths

ADD, TANH = layers.add(), layers.tanh()


@pytest.fixture
def x(rng):
    return jnp.asarray(rng.normal(size=(4, 3)), jnp.float32)


def scalar(name, function, derivative):
    """A map of one number with its derivative."""
    return pure(
        name,
        lambda params, x: (function(x), x),
        lambda params, x, dy: (params, dy * derivative(x)),
    )


def gradients(net, x, dy=None, key=None):
    params, state = net.init(jax.random.key(0), x)
    y, _, cache = net.forward(params, state, x, key)
    dy = jax.tree.map(jnp.ones_like, y) if dy is None else dy
    return params, y, *net.backward(params, cache, dy)


def linear(features):
    return layers.linear(features, bias=False)


class TestTheNotes:
    """Section 3 of the notes, "Computer graph"."""

    def test_two_paths_are_followed_and_added(self):
        """y = g(e(d(c(b(a(x))))), f(j(i(h(x))))): a product of derivatives along each path."""
        functions = {
            "a": (jnp.sin, jnp.cos),
            "b": (lambda x: x**3, lambda x: 3 * x**2),
            "c": (jnp.exp, jnp.exp),
            "d": (lambda x: 2 * x + 1, lambda x: jnp.full_like(x, 2)),
            "e": (jnp.log, lambda x: 1 / x),
            "h": (lambda x: x**2, lambda x: 2 * x),
            "i": (jnp.cos, lambda x: -jnp.sin(x)),
            "j": (lambda x: 1 / x, lambda x: -1 / x**2),
            "f": (jnp.tanh, lambda x: 1 - jnp.tanh(x) ** 2),
        }
        ways = ("abcde", "hijf")
        nodes = {
            name: (scalar(name, *functions[name]), before)
            for way in ways
            for name, before in zip(way, ("x", *way), strict=False)
        }
        net = graph({**nodes, "g": (layers.multiply(), "e", "f")})
        with jax.enable_x64(True):
            x = jnp.asarray(0.7, jnp.float64)
            ends, slopes = [], []
            for way in ways:
                value, slope = x, 1.0
                for name in way:
                    function, derivative = functions[name]
                    value, slope = function(value), slope * derivative(value)
                ends.append(value)
                slopes.append(slope)
            _, y, _, dx = gradients(net, x)
            # ∂g/∂e = f and ∂g/∂f = e: the second path runs through f, not through e.
            assert float(y) == pytest.approx(float(ends[0] * ends[1]), rel=1e-15)
            expected = ends[1] * slopes[0] + ends[0] * slopes[1]
            assert float(dx) == pytest.approx(float(expected), rel=1e-14)

    def test_the_network_of_four_equations(self, x):
        """h1 = σ(W1 x), h2 = relu(W2 x), h3 = σ(W3 h1), y = W4 h3 + W5 h2, by NumPy."""
        net = graph(
            {
                "h1": (chain(w=linear(5), act=layers.sigmoid()), "x"),
                "h2": (chain(w=linear(4), act=layers.relu()), "x"),
                "h3": (chain(w=linear(6), act=layers.sigmoid()), "h1"),
                "y4": (linear(2), "h3"),
                "y5": (linear(2), "h2"),
                "y": (ADD, "y4", "y5"),
            }
        )
        params, y, dparams, dx = gradients(net, x)
        w1, w2, w3 = (np.float64(params[name]["w"].w) for name in ("h1", "h2", "h3"))
        w4, w5 = (np.float64(params[name].w) for name in ("y4", "y5"))
        data = np.float64(x)
        h1 = 1 / (1 + np.exp(-data @ w1))
        h2 = np.maximum(data @ w2, 0)
        h3 = 1 / (1 + np.exp(-h1 @ w3))
        np.testing.assert_allclose(y, h3 @ w4 + h2 @ w5, rtol=2e-6)
        dy = np.ones(y.shape)
        d3 = (dy @ w4.T) * h3 * (1 - h3)
        d1 = (d3 @ w3.T) * h1 * (1 - h1)
        d2 = (dy @ w5.T) * (h2 > 0)
        np.testing.assert_allclose(dx, d1 @ w1.T + d2 @ w2.T, rtol=1e-5, atol=1e-6)
        for name, dw in (("h1", data.T @ d1), ("h2", data.T @ d2), ("h3", h1.T @ d3)):
            np.testing.assert_allclose(dparams[name]["w"].w, dw, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(dparams["y4"].w, h3.T @ dy, rtol=1e-5)
        np.testing.assert_allclose(dparams["y5"].w, h2.T @ dy, rtol=1e-5, atol=1e-6)


class TestBackward:
    def test_asks_each_node_once_though_the_paths_double_at_every_node(self, x):
        calls = []

        def counted(name):
            def backward(params, cache, dy):
                calls.append(name)
                return params, (dy, dy)

            return pure(name, lambda params, x: (x[0] + x[1], ()), backward)

        names = [f"n{i}" for i in range(10)]
        net = graph(
            {
                name: (counted(name), before, before)
                for name, before in zip(names, ["x", *names], strict=False)
            }
        )
        _, y, _, dx = gradients(net, x)
        np.testing.assert_array_equal(y, 1024 * x)
        np.testing.assert_array_equal(dx, np.full(x.shape, 1024))
        assert calls == names[::-1]

    def test_an_output_that_is_also_an_input_gets_both_sums(self, x):
        net = graph(
            {"a": (scalar("double", lambda x: 2 * x, lambda x: 2), "x"), "y": (ADD, "a", "x")},
            outputs=("a", "y", "x"),
        )
        # In another dtype than y's, and from NumPy.
        sizes = {"a": 1, "y": 10, "x": 100}
        dy = {name: np.full(x.shape, size, jnp.bfloat16) for name, size in sizes.items()}
        _, y, _, dx = gradients(net, x, dy)
        assert list(y) == ["a", "y", "x"]
        np.testing.assert_allclose(y["y"], 3 * x, rtol=1e-6)
        np.testing.assert_array_equal(dx, np.full(x.shape, 2 * 1 + 3 * 10 + 100))
        assert dx.dtype == x.dtype

    def test_integers_have_no_gradient(self, x):
        ids = jnp.asarray([0, 2, 1, 1], jnp.int32)
        net = graph(
            {"rows": (layers.embedding(3, 3), "ids"), "y": (ADD, "rows", "x")},
            inputs=("ids", "x"),
            outputs=("y", "ids"),
        )
        dy = {"y": jnp.ones_like(x), "ids": None}
        _, y, dparams, dx = gradients(net, (ids, x), dy)
        assert dx[0] is None
        assert y["ids"].dtype == jnp.int32
        np.testing.assert_array_equal(dx[1], np.ones(x.shape))
        np.testing.assert_array_equal(jax.tree.leaves(dparams)[0].sum(axis=1), [3, 6, 3])


class TestInputs:
    NET = graph({"y": (layers.multiply(), "u", "v")}, inputs=("u", "v"))

    def test_by_position_or_by_name(self, x):
        u, v = x, 2 * x + 1
        for given in ((u, v), [u, v], {"v": v, "u": u}):
            _, y, _, dx = gradients(self.NET, given)
            np.testing.assert_array_equal(y, u * v)
            assert jax.tree.structure(dx) == jax.tree.structure(given)
            found = dx if isinstance(dx, dict) else dict(zip("uv", dx, strict=True))
            np.testing.assert_array_equal(found["u"], v)
            np.testing.assert_array_equal(found["v"], u)

    def test_follow_a_parallel(self, x):
        net = chain(parallel(u=layers.tanh(), v=layers.sigmoid()), self.NET)
        _, y, _, _ = gradients(net, x)
        np.testing.assert_allclose(y, jnp.tanh(x) * jax.nn.sigmoid(x), rtol=1e-6)

    def test_in_another_form_are_refused(self, x):
        for given in (x, (x,), {"u": x}):
            with pytest.raises(ValueError, match=r"x as a tuple or a dictionary of \['u', 'v'\]"):
                self.NET.init(jax.random.key(0), given)


def test_nodes_may_be_given_in_any_order(x):
    nodes = {"c": (ADD, "b", "a"), "b": (TANH, "a"), "a": (linear(3), "x")}
    net, ordered = graph(nodes, outputs="c"), graph(dict(reversed(nodes.items())))
    assert list(net.parts) == ["c", "b", "a"]
    for one, other in zip(gradients(net, x), gradients(ordered, x), strict=True):
        for p, q in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
            np.testing.assert_array_equal(p, q)


def test_a_nodes_draws_depend_on_its_name_alone(x, key):
    drop = layers.dropout(0.5)
    small = graph({"drop": (drop, "x")})
    large = graph(
        {"a": (TANH, "x"), "drop": (drop, "x"), "y": (ADD, "a", "drop")}, outputs=("drop", "y")
    )
    y = small.forward({"drop": ()}, {"drop": ()}, x, key)[0]
    params, state = large.init(key, x)
    np.testing.assert_array_equal(y, large.forward(params, state, x, key)[0]["drop"])


@pytest.mark.parametrize(
    ("nodes", "settings", "message"),
    [
        ({}, {}, "at least one node"),
        ({"a": (TANH, "q")}, {}, r"node 'a' takes 'q', which is none of \['a', 'x'\]"),
        ({"a": (TANH, "x")}, {"outputs": "z"}, "the output is 'z', which is none of"),
        ({"a": (TANH, "a")}, {}, "no cycle, got a -> a"),
        (
            {"a": (ADD, "c", "x"), "b": (TANH, "a"), "c": (TANH, "b"), "d": (TANH, "c")},
            {},
            "no cycle, got a -> b -> c -> a",
        ),
        ({"a": (TANH, "x"), "b": (TANH, "x")}, {}, r"from \['a'\] no way leads to the outputs"),
        ({"a": (TANH, "x")}, {"inputs": ("x", "z")}, r"from \['z'\] no way leads"),
        ({"x": (TANH, "x")}, {}, "'x' is both an input and a node"),
        ({"a": (TANH, "x")}, {"outputs": ()}, "different names, one at least"),
        ({"a": (ADD, "u", "u")}, {"inputs": ("u", "u")}, "different names"),
        ({"a/b": (TANH, "x")}, {}, "without '/'"),
    ],
)
def test_wrong_drawings_are_refused(nodes, settings, message):
    with pytest.raises(ValueError, match=message):
        graph(nodes, **settings)


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (TANH, r"node 'a' as \(layer, name of its input"),
        ((TANH,), r"node 'a' as \(layer"),
        ((TANH, 3), "the inputs of 'a' by name"),
        ((layers.tanh, "x"), "expected a Layer.*call the constructor"),
    ],
)
def test_wrong_nodes_are_refused(node, message):
    with pytest.raises(TypeError, match=message):
        graph({"a": node})


def test_errors_carry_the_nodes_name_and_what_it_was_given(x):
    net = graph({"a": (linear(2), "x"), "sum": (ADD, "a", "x")})
    with pytest.raises(ValueError, match="shape") as error:
        net.init(jax.random.key(0), x)
    text = "".join(traceback.format_exception(error.value))
    assert "in layer sum, given ('float32[4,2]', 'float32[4,3]')" in text


def test_other_trees_are_refused(x, key):
    net = graph({"a": (linear(2), "x")})
    params, state = net.init(key, x)
    for run in (net.forward, lambda p, s, x, key: net.predict(p, s, x)):
        with pytest.raises(ValueError, match="graph: expected params for"):
            run({}, state, x, None)
        with pytest.raises(ValueError, match="graph: expected state for"):
            run(params, (), x, None)
    _, _, cache = net.forward(params, state, x, None)
    with pytest.raises(ValueError, match=r"graph: expected cache for \['a'\], got \['b'\]"):
        net.backward(params, {"b": cache["a"], "/ends": cache["/ends"]}, x)


def test_is_mapped_and_has_paths(x, key):
    net = graph({"a": (chain(w=linear(2)), "x"), "y": (TANH, "a")})
    assert [path for path, _ in paths(net.init(key, x)[0])] == ["a/w/w"]
    seen = []
    mapped = map_layers(lambda path, layer: seen.append(path) or layer, net)
    assert seen == ["a/w", "y"]
    for one, other in zip(gradients(net, x), gradients(mapped, x), strict=True):
        assert jax.tree.all(jax.tree.map(jnp.array_equal, one, other))
