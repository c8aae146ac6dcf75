"""Containers: names, keys, paths, and the sums over paths."""

import traceback
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import chain, layers, map_layers, parallel, pure, residual
from fnn.layer import backward_pass, forward_pass, parameter_gradients
from fnn.tree import paths


@pytest.fixture
def x(rng):
    return jnp.asarray(rng.normal(size=(4, 3)), jnp.float32)


def text_of(error: pytest.ExceptionInfo) -> str:
    """What a person sees: the message and its notes."""
    return "".join(traceback.format_exception(error.value))


def test_unnamed_children_get_readable_unique_names(x, key):
    net = chain(layers.linear(4), layers.relu(), layers.linear(4), out=layers.linear(2))
    assert list(net.parts) == ["linear_1", "relu_1", "linear_2", "out"]
    params, _ = net.init(key, x)
    assert [path for path, _ in paths(params)] == [
        "linear_1/w", "linear_1/b", "linear_2/w", "linear_2/b", "out/w", "out/b",
    ]  # fmt: skip
    assert params["out"].w.shape == (4, 2)


def test_clashing_and_unusable_names_are_refused():
    with pytest.raises(ValueError, match="two children are called 'linear_1'"):
        chain(layers.linear(4), linear_1=layers.linear(4))
    with pytest.raises(ValueError, match="without '/'"):
        chain(**{"a/b": layers.relu()})
    with pytest.raises(ValueError, match=r"without '/', got 'a/b'; give this child a name"):
        chain(pure("a/b", lambda p, x: (x, ()), lambda p, c, dy: (p, dy)))
    with pytest.raises(TypeError, match=r"child 'act'.*call the constructor"):
        chain(act=layers.relu)
    with pytest.raises(ValueError, match="at least one child"):
        parallel()


def test_adding_a_layer_does_not_change_the_draws_of_the_others(x, key):
    small = chain(hidden=layers.linear(3), out=layers.linear(2))
    large = chain(hidden=layers.linear(3), drop=layers.dropout(0.5), out=layers.linear(2))
    a, b = small.init(key, x)[0], large.init(key, x)[0]
    for name in ("hidden", "out"):
        np.testing.assert_array_equal(a[name].w, b[name].w)
    assert not np.array_equal(a["hidden"].w[:2, :2], a["out"].w[:2, :2])


@pytest.mark.parametrize("container", [chain, parallel])
def test_siblings_that_would_draw_the_same_numbers_are_refused(container):
    """Two English words of one CRC-32, known since the 1990s."""
    assert zlib.crc32(b"plumless") == zlib.crc32(b"buckeroo")
    with pytest.raises(ValueError, match="'plumless' and 'buckeroo', whose layers would draw"):
        container(plumless=layers.relu(), other=layers.relu(), buckeroo=layers.relu())


def drawing():
    """A layer whose parameter and output show the keys that it got."""

    def init(key, x):
        return jax.random.uniform(key), ()

    def forward(params, state, x, key):
        return x + jax.random.uniform(key), state, jax.random.key_data(key)

    return layers.relu()._replace(name="drawing", init=init, forward=forward)


CONTAINERS = {
    "chain": (chain(a=drawing(), b=drawing()), ("a", "b")),
    "parallel": (parallel(a=drawing(), b=drawing()), ("a", "b")),
    "residual": (residual(drawing(), shortcut=drawing()), ("body", "shortcut")),
}
containers = pytest.mark.parametrize(("net", "names"), CONTAINERS.values(), ids=CONTAINERS)


@containers
def test_every_child_gets_the_key_of_its_name(net, names, x, key):
    params, state = net.init(key, x)
    _, _, cache = net.forward(params, state, x, key)
    for name in names:
        expected = jax.random.fold_in(key, zlib.crc32(name.encode()))
        assert params[name] == jax.random.uniform(expected)
        np.testing.assert_array_equal(cache[name], jax.random.key_data(expected))


@containers
def test_trees_of_other_children_are_refused_by_every_call(net, names, x, key):
    params, state = net.init(key, x)
    y, _, cache = net.forward(params, state, x, key)
    kind = net.name
    other = {"elsewhere": ()}
    for what, run in {
        "params": lambda: net.forward(other, state, x, key),
        "state": lambda: net.forward(params, other, x, key),
        "cache": lambda: net.backward(params, other, y),
    }.items():
        with pytest.raises(ValueError, match=rf"{kind}: expected {what} for \[.*got \['elsewhere"):
            run()
    with pytest.raises(ValueError, match=f"{kind}: expected params for"):
        net.predict(other, state, x)
    with pytest.raises(ValueError, match=f"{kind}: expected state for"):
        net.predict(params, other, x)
    if kind == "parallel":
        with pytest.raises(ValueError, match=r"parallel: expected dy for .*got \['elsewhere"):
            net.backward(params, cache, other)


def test_two_dropouts_draw_different_masks(key):
    net = parallel(a=layers.dropout(0.5), b=layers.dropout(0.5))
    y, _, _ = net.forward(*net.init(key, jnp.ones((8, 8))), jnp.ones((8, 8)), key)
    assert not np.array_equal(y["a"], y["b"])


def test_chain_of_nothing_is_the_identity(x):
    net = chain()
    y, state, cache = net.forward({}, {}, x, None)
    assert y is x
    assert net.backward({}, cache, x)[1] is x
    assert state == {}


def test_cotangents_of_all_paths_add(x):
    """dx of parallel is the sum over its children, by the closed form x ↦ 2x, 3x."""

    def times(factor):
        return pure(
            f"times({factor})", lambda p, x: (factor * x, ()), lambda p, c, dy: (p, factor * dy)
        )

    net = parallel(a=times(2.0), b=times(3.0))
    params, state = net.init(None, x)
    _, _, cache = net.forward(params, state, x, None)
    dx = backward_pass(net, params, cache, {"a": jnp.ones_like(x), "b": 10 * jnp.ones_like(x)})
    np.testing.assert_array_equal(dx, 32)


def test_the_two_path_example_of_the_lecture_notes(rng):
    """g(e(d(c(b(a(x)))))) + f(j(i(h(x)))), with factors for functions: dL/dx is a sum of two products."""

    def times(factor):
        return pure(
            f"times({factor})", lambda p, x: (factor * x, ()), lambda p, c, dy: (p, factor * dy)
        )

    upper = dict(zip("abcdeg", rng.uniform(0.5, 2, 6), strict=True))
    lower = dict(zip("hijf", rng.uniform(0.5, 2, 4), strict=True))
    add = pure(
        "add",
        lambda p, x: (x["upper"] + x["lower"], ()),
        lambda p, c, dy: (p, {"upper": dy, "lower": dy}),
    )
    net = chain(
        split=parallel(
            upper=chain(**{n: times(float(v)) for n, v in upper.items()}),
            lower=chain(**{n: times(float(v)) for n, v in lower.items()}),
        ),
        add=add,
    )
    x = jnp.ones(())
    params, state = net.init(None, x)
    y, _, cache = forward_pass(net, params, state, x)
    expected = np.prod(list(upper.values())) + np.prod(list(lower.values()))
    np.testing.assert_allclose(y, expected, rtol=1e-6)
    np.testing.assert_allclose(backward_pass(net, params, cache, y), expected**2, rtol=1e-6)


def test_the_three_calls_of_the_lecture_notes(x, key):
    net = chain(hidden=layers.linear(4), act=layers.tanh())
    params, state = net.init(key, x)
    y, new_state, cache = forward_pass(net, params, state, x)
    dy = jnp.ones_like(y)
    dparams, dx = net.backward(params, cache, dy)
    np.testing.assert_array_equal(backward_pass(net, params, cache, dy), dx)
    np.testing.assert_array_equal(
        parameter_gradients(net, params, cache, dy)["hidden"].w, dparams["hidden"].w
    )
    assert new_state == state


def test_the_half_that_is_not_asked_for_is_not_computed(x, key):
    layer = layers.linear(4)
    params, state = layer.init(key, x)
    _, _, cache = forward_pass(layer, params, state, x)

    def products(function) -> int:
        text = jax.jit(function).lower(params, cache, jnp.ones((4, 4))).compile().as_text()
        return text.count("dot(") + text.count("custom-call")

    both = products(layer.backward)
    assert products(lambda *a: backward_pass(layer, *a)) < both
    assert products(lambda *a: parameter_gradients(layer, *a)) < both


@pytest.mark.parametrize("call", ["init", "forward", "predict", "backward"])
def test_errors_carry_the_whole_path(x, key, call):
    net = chain(encoder=residual(chain(first=layers.linear(3), second=layers.linear(3))))
    params, state = net.init(key, x)
    _, _, cache = net.forward(params, state, x, None)
    wrong = layers.linear(3).init(key, jnp.ones((1, 7)))[0]
    bad = {"encoder": {"body": {**params["encoder"]["body"], "second": wrong}}}
    if call == "init":
        net = chain(encoder=residual(chain(first=layers.flatten(), second=layers.batch_norm())))
        with pytest.raises(ValueError, match="flatten: expected x") as error:
            net.init(key, jnp.ones(()))
        assert "in layer encoder/body/first, given float32[]" in text_of(error)
        return
    run = {
        "forward": lambda: net.forward(bad, state, x, None),
        "predict": lambda: net.predict(bad, state, x),
        "backward": lambda: net.backward(params, cache, jnp.ones((4, 9))),
    }[call]
    with pytest.raises((ValueError, TypeError)) as error:
        run()
    assert "in layer encoder/body/second, given float32[4," in text_of(error)
    if call != "backward":
        assert "expected x of shape (…, 7), got (4, 3)" in text_of(error)


def test_missing_key_names_the_layer(x):
    net = chain(block=chain(drop=layers.dropout(0.5)))
    with pytest.raises(ValueError, match="expected a key") as error:
        net.forward(*net.init(None, x), x, None)
    assert "in layer block/drop" in text_of(error)


@pytest.mark.parametrize("container", [chain, parallel])
def test_trees_made_for_other_children_are_refused(container, x, key):
    net = container(a=layers.linear(3), b=layers.linear(3))
    params, state = net.init(key, x)
    with pytest.raises(ValueError, match=r"expected params for \['a', 'b'\], got \['a', 'c'\]"):
        net.predict({"a": params["a"], "c": params["b"]}, state, x)
    with pytest.raises(ValueError, match="expected state for"):
        net.forward(params, (), x, None)


def test_residual_refuses_to_broadcast(x, key):
    with pytest.raises(ValueError, match=r"float32\[4,3\].*got float32\[4,1\].*shortcut"):
        residual(layers.linear(1)).init(key, x)
    net = residual(layers.linear(3))
    _, state = net.init(key, x)
    narrow, _ = layers.linear(1).init(key, x)
    for run in (
        lambda: net.forward({"body": narrow}, state, x, None),
        lambda: net.predict({"body": narrow}, state, x),
    ):
        with pytest.raises(ValueError, match=r"float32\[4,3\].*got float32\[4,1\]"):
            run()


def test_layers_run_under_their_names(x, key):
    net = chain(encoder=chain(hidden=layers.linear(4)))
    params, state = net.init(key, x)
    text = jax.jit(net.predict).lower(params, state, x).as_text(debug_info=True)
    assert "encoder/hidden" in text


def test_map_layers_visits_every_leaf_by_path_and_keeps_the_rest():
    net = chain(a=layers.relu(), b=residual(chain(c=layers.tanh()), shortcut=layers.relu()))
    seen = []

    def visit(path, layer):
        seen.append(path)
        return layers.sigmoid() if layer.name == "tanh" else layer

    mapped = map_layers(visit, net)
    assert seen == ["a", "b/body/c", "b/shortcut"]
    assert mapped.parts["b"].parts["body"].parts["c"].name == "sigmoid"
    closed = net._replace(rebuild=None)
    with pytest.raises(ValueError, match="expected a container with `rebuild`"):
        map_layers(visit, closed)
