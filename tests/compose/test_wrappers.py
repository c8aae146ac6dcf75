"""`remat`, `mixed` and `frozen`: the same layer, run otherwise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import chain, check, frozen, layers, losses, map_layers, mixed, remat, repeat
from fnn.diagnostics import count_flops, summary
from fnn.tap import passages
from fnn.tree import paths

INNER = chain(a=layers.linear(5), norm=layers.batch_norm(), act=layers.tanh(), b=layers.linear(2))
WRAPPERS = {
    "remat": remat,
    "mixed": lambda layer: mixed(layer, jnp.float64),
    "frozen": frozen,
}


@pytest.fixture
def x(rng):
    return jnp.asarray(rng.normal(size=(4, 3)), jnp.float32)


def started(net, x, key):
    params, state = net.init(key, x)
    y, new_state, cache = net.forward(params, state, x, key)
    dparams, dx = net.backward(params, cache, jnp.sin(1 + y))
    return params, state, y, new_state, dparams, dx


def same(got, expected, **tolerance):
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(np.float64(a), np.float64(b), **{"rtol": 0, **tolerance})


def dtypes(tree):
    return {str(leaf.dtype) for leaf in jax.tree.leaves(tree)}


@pytest.mark.parametrize("name", WRAPPERS)
def test_only_layers_can_be_wrapped(name):
    with pytest.raises(TypeError, match=rf"{name}: expected a Layer, got .*; call the constructor"):
        WRAPPERS[name](layers.tanh)


@pytest.mark.parametrize("name", ["remat", "mixed"])
def test_paths_and_draws_are_those_of_the_layer_itself(name, x, key):
    wrapped, plain = chain(part=WRAPPERS[name](INNER)), chain(part=INNER)
    same(wrapped.init(key, x), plain.init(key, x))
    assert list(wrapped.parts["part"].parts) == list(INNER.parts)


@pytest.mark.parametrize("name", WRAPPERS)
def test_a_wrapped_network_is_seen_as_the_network_itself(name, x, key):
    net = chain(part=WRAPPERS[name](INNER), out=WRAPPERS[name](layers.linear(3)))
    params, state = net.init(key, x)
    loss, labels = losses.softmax_cross_entropy(), np.arange(4) % 3
    seen = passages(net, loss, params, state, x, labels)
    assert list(seen) == ["part/a", "part/norm", "part/act", "part/b", "out"]
    np.testing.assert_array_equal(seen["part/norm"].dy, seen["part/act"].dx)
    visited = []
    mapped = map_layers(lambda path, leaf: visited.append(path) or leaf, net)
    assert visited == list(seen)
    assert mapped.parts["part"].name == net.parts["part"].name
    rows = summary(net, x)
    assert sum(row.parameters for row in rows.rows) == rows.total.parameters
    assert sum(row.state for row in rows.rows) == rows.total.state


def test_every_leaf_of_wrapped_networks_is_checked(x, key):
    net = chain(**{name: wrap(chain(w=layers.linear(3))) for name, wrap in WRAPPERS.items()})
    params, state = net.init(key, x)
    loss, labels = losses.softmax_cross_entropy(), np.arange(4) % 3
    report = check.network(
        net, loss, x, labels, params=params, state=state, methods=("reverse mode",)
    )
    report.raise_if_wrong()
    leaves = [entry.path for entry in report.entries][:3]
    assert leaves == ["remat/w", "mixed/w", "frozen/w"]


def test_a_container_that_mixes_its_childrens_caches_cannot_be_seen_into(x, key):
    inner = chain(a=layers.linear(3))

    def build(inner):
        def forward(params, state, x, key):
            y, state, cache = inner.forward(params, state, x, key)
            return y, state, jax.tree.leaves(cache)

        def backward(params, cache, dy):
            return params, dy

        return inner._replace(
            forward=forward, backward=backward, rebuild=lambda parts: build(inner.rebuild(parts))
        )

    net = build(inner)
    params, state = net.init(key, x)
    with pytest.raises(TypeError, match=r"cache to hold those of \['a'\] by name, got list"):
        passages(net, losses.squared_error(), params, state, x, jnp.zeros((4, 3)))


class TestRemat:
    def test_changes_no_bit(self, x, key):
        net = chain(drop=layers.dropout(0.4), inner=INNER)
        same(started(remat(net), x, key), started(net, x, key))

    def test_cache_is_the_input_the_key_and_the_state(self, x, key):
        net = remat(chain(norm=layers.batch_norm(), drop=layers.dropout(0.4), b=layers.linear(2)))
        params, state = net.init(key, x)
        _, _, cache = net.forward(params, state, x, key)
        same(cache.x, x)
        same(cache.state, state)
        assert len(jax.tree.leaves(cache)) == 1 + 1 + 2

    @pytest.mark.parametrize("loop", [True, False], ids=["in a loop", "one after the other"])
    def test_saves_memory_in_the_compiled_program(self, loop):
        """Without the barrier, XLA takes the second forward pass for the first one outside of a loop."""
        block = chain(up=layers.linear(256), act=layers.tanh(), down=layers.linear(32))
        x = jax.ShapeDtypeStruct((64, 32), jnp.float32)

        def temporaries(block):
            net = repeat(block, 8) if loop else chain(**{f"b{i}": block for i in range(8)})
            params, state = jax.eval_shape(net.init, jax.random.key(0), x)

            def run(params, state, x):
                y, _, cache = net.forward(params, state, x, None)
                return net.backward(params, cache, y)

            compiled = jax.jit(run).lower(params, state, x).compile()
            return compiled.memory_analysis().temp_size_in_bytes

        # Of a block: the input of the second linear layer is 64 kB, that of the first one 8 kB.
        assert temporaries(remat(block)) <= 0.5 * temporaries(block)


class TestMixed:
    def test_is_the_layer_in_bfloat16_between_casts(self, x, key):
        net = mixed(INNER)
        params, state, y, new_state, dparams, dx = started(net, x, key)
        assert dtypes((params, y, new_state, dparams, dx)) == {"float32"}
        low = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
        y_low, _, cache = INNER.forward(low, state, x.astype(jnp.bfloat16), key)
        dy = jnp.sin(1 + y).astype(jnp.bfloat16)
        gradient_low = INNER.backward(low, cache, dy)
        assert dtypes((y_low, gradient_low)) == {"bfloat16"}
        same((dparams, dx), jax.tree.map(lambda leaf: leaf.astype(jnp.float32), gradient_low))
        same(y, y_low.astype(jnp.float32))
        same(net.predict(params, state, x).astype(jnp.bfloat16).astype(jnp.float32),
             net.predict(params, state, x))  # fmt: skip

    def test_products_are_of_the_narrow_dtype(self, x, key):
        net = mixed(layers.linear(2), jnp.float16)
        params, state = net.init(key, x)

        def run(params, x):
            y, _, cache = net.forward(params, state, x, None)
            return net.backward(params, cache, y)

        program = jax.make_jaxpr(run)(params, x)
        products = [e for e in program.eqns if e.primitive.name == "dot_general"]
        assert len(products) == 3
        assert {str(v.aval.dtype) for e in products for v in e.invars} == {"float16"}

    def test_integers_stay_and_the_output_has_the_parameters_dtype(self, key):
        net = mixed(chain(table=layers.embedding(7, 3), out=layers.linear(2)))
        ids = jnp.asarray([[0, 3], [6, 3]], jnp.int32)
        params, state = net.init(key, ids)
        y, _, cache = net.forward(params, state, ids, None)
        dparams, dx = net.backward(params, cache, jnp.ones_like(y))
        assert dtypes((params, y, dparams, net.predict(params, state, ids))) == {"float32"}
        assert dx is None

    def test_can_be_wider_than_what_is_around_it(self, key):
        """A sum of many bfloat16, taken in float32."""
        x = jnp.full((1, 1000), 1.01, jnp.bfloat16)
        product = mixed(layers.softmax(), jnp.float32)
        y, _, cache = product.forward((), (), x, None)
        assert dtypes(y) == {"bfloat16"}
        assert dtypes(cache) == {"float32"}

    @pytest.mark.parametrize("dtype", [jnp.int8, bool])
    def test_refuses_a_dtype_without_fractions(self, dtype):
        with pytest.raises(TypeError, match="mixed: expected a floating dtype"):
            mixed(layers.tanh(), dtype)


class TestFrozen:
    def test_parameters_are_state_and_stay(self, x, key):
        net = frozen(INNER)
        params, state, y, new_state, dparams, dx = started(net, x, key)
        inner, inner_state, y_inner, moved, _, dx_inner = started(INNER, x, key)
        assert params == dparams == ()
        same((state.params, state.state), (inner, inner_state))
        same((y, dx), (y_inner, dx_inner))
        same(new_state.params, inner)
        same(new_state.state, moved)  # running averages are no parameters
        same(net.predict(params, state, x), INNER.predict(inner, inner_state, x))

    def test_gradients_of_parameters_are_not_computed(self, x, key):
        def operations(net):
            params, state = net.init(key, x)

            def run(params, x):
                y, _, cache = net.forward(params, state, x, None)
                return net.backward(params, cache, y)

            return count_flops(run, params, x)

        product = 2 * 4 * 3 * 50
        whole, part = operations(layers.linear(50)), operations(frozen(layers.linear(50)))
        assert whole - part == product + 4 * 50  # dw and db

    def test_what_lies_before_learns(self, x, key):
        net = chain(a=layers.linear(3), head=frozen(layers.linear(2)))
        params, _, _, _, dparams, _ = started(net, x, key)
        assert [path for path, _ in paths(params)] == ["a/w", "a/b"]
        assert abs(np.asarray(dparams["a"].w)).min() > 0
