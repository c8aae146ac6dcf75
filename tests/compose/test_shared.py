"""Parameters that several places share, and outputs side by side."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import Layer, chain, concatenate, layers, losses, parallel, repeat, shared, transposed
from fnn.tap import passages
from fnn.tree import paths

LINEAR = layers.linear(4, bias=False)


@pytest.fixture
def x(rng):
    return jnp.asarray(rng.normal(size=(4, 3)), jnp.float32)


def gradients(net, x, key, dy=None):
    params, state = net.init(key, x)
    y, _, cache = net.forward(params, state, x, key)
    return params, y, *net.backward(params, cache, jnp.sin(1 + y) if dy is None else dy)


class TestShared:
    def test_an_output_layer_is_the_transposed_embedding(self, key):
        """dE is what the rows that were looked up get, and the transposed gradient of the head."""
        net = shared(
            chain(embed=layers.embedding(7, 3), head=layers.linear(7)),
            {"head/w": transposed("embed/table")},
        )
        ids = jnp.asarray([1, 1, 5], jnp.int32)
        params, y, dparams, dx = gradients(net, ids, key)
        assert [path for path, _ in paths(params)] == ["embed/table", "head/b"]
        table, dy = np.float64(params["embed"].table), np.float64(jnp.sin(1 + y))
        np.testing.assert_allclose(y, table[ids] @ table.T, rtol=1e-5)
        expected = dy.T @ table[ids]
        np.add.at(expected, np.asarray(ids), dy @ table)
        np.testing.assert_allclose(dparams["embed"].table, expected, rtol=1e-5, atol=1e-6)
        assert dparams["head"].w is None
        assert dx is None
        state = net.init(key, ids)[1]
        np.testing.assert_allclose(net.predict(params, state, ids), y, rtol=1e-6)

    def test_a_whole_subtree_at_two_other_places(self, x, key):
        tower = chain(a=layers.linear(3), act=layers.tanh())
        net = shared(chain(one=tower, two=tower, three=tower), {"two": "one", "three": "one"})
        params, y, dparams, _ = gradients(net, x, key)
        assert params["two"] is params["three"] is None
        w, b = params["one"]["a"]

        def composed(w):
            h = x
            for _ in range(3):
                h = jnp.tanh(h @ w + b[None])
            return h

        np.testing.assert_allclose(y, composed(w), rtol=1e-6)
        expected = jax.vjp(composed, w)[1](jnp.sin(1 + y))[0]
        np.testing.assert_allclose(dparams["one"]["a"].w, expected, rtol=1e-5, atol=1e-6)

    def test_in_a_loop_what_is_stacked_is_shared_block_by_block(self, x, key):
        block = chain(up=LINEAR, down=layers.linear(3, bias=False))
        net = shared(repeat(block, 2), {"block/down/w": transposed("block/up/w")})
        with pytest.raises(ValueError, match=r"float32\[2,4,3\], got float32\[4,3,2\]"):
            net.init(key, x)  # the transpose of what is stacked would turn the stack, too
        inside = repeat(shared(block, {"down/w": transposed("up/w")}), 2)
        params, y, _, _ = gradients(inside, x, key)
        first, second = params["block"]["up"].w
        np.testing.assert_allclose(y, x @ first @ first.T @ second @ second.T, rtol=1e-5)

    def test_tuples_and_lists_have_paths_of_numbers(self, x, key):
        """A foreign layer may keep its parameters in any tree."""
        pairs = layers.linear(3)

        def init(key, x):
            (w, b), state = pairs.init(key, x)
            return [w, (b,)], state

        def forward(params, state, x, key):
            y, state, cache = pairs.forward(type_of(params), state, x, key)
            return y, state, cache

        def backward(params, cache, dy):
            dparams, dx = pairs.backward(type_of(params), cache, dy)
            return [dparams.w, (dparams.b,)], dx

        def type_of(params):
            return type(pairs.init(key, x)[0])(params[0], params[1][0])

        def predict(params, state, x):
            return pairs.predict(type_of(params), state, x)

        foreign = Layer("foreign", init, forward, backward, predict)
        net = shared(chain(a=foreign, b=foreign), {"b/0": "a/0", "b/1/0": "a/1/0"})
        params, y, dparams, _ = gradients(net, x, key)
        assert [path for path, _ in paths(params)] == ["a/0", "a/1/0"]
        assert jax.tree.structure(dparams) == jax.tree.structure(params)
        dy = np.float64(jnp.sin(1 + y))
        w = np.float64(params["a"][0])
        np.testing.assert_allclose(dparams["a"][1][0], dy.sum(0) + (dy @ w.T).sum(0), rtol=1e-5)

    def test_every_use_is_a_passage_of_its_own(self, x, key):
        net = shared(parallel(a=LINEAR, b=LINEAR), {"b": "a"})
        net = chain(twins=net, out=concatenate_values())
        params, state = net.init(key, x)
        loss = losses.squared_error()
        seen = passages(net, loss, params, state, x, jnp.zeros((4, 8)))
        assert list(seen) == ["twins/a", "twins/b", "out"]
        np.testing.assert_array_equal(seen["twins/a"].params.w, seen["twins/b"].params.w)

    @pytest.mark.parametrize(
        ("places", "message"),
        [
            ({}, "at least one place"),
            ({"a/w": "a/w"}, "'a/w' is replaced, so it can be no source"),
            ({"a/w": "b/w", "c/w": "a/w"}, "'a/w' is replaced"),
            ({"a": "b", "c": "a/w"}, "'a' is replaced"),
            ({"a": "b", "a/w": "c/w"}, "'a' is replaced"),
        ],
    )
    def test_sources_that_are_themselves_replaced_are_refused(self, places, message):
        with pytest.raises(ValueError, match=message):
            shared(chain(a=LINEAR, b=LINEAR, c=LINEAR), places)

    @pytest.mark.parametrize(
        ("places", "message"),
        [
            ({"b/w": "c/w"}, r"no 'c' of 'c/w' among \['a', 'b'\]"),
            ({"b/kernel": "a/w"}, r"no 'kernel' of 'b/kernel' among \['b', 'w'\]"),
            ({"b/w": "a/w"}, r"for 'b/w' what it has alone, float32\[4,4\], got float32\[3,4\]"),
        ],
    )
    def test_wrong_paths_and_shapes_are_refused(self, places, message, x, key):
        with pytest.raises(ValueError, match=message):
            shared(chain(a=LINEAR, b=LINEAR), places).init(key, x)

    def test_only_layers_can_be_wrapped(self):
        with pytest.raises(TypeError, match="shared: expected a Layer"):
            shared(layers.tanh, {"a": "b"})


def concatenate_values():
    """The two entries of a dictionary side by side, as a gate."""
    gate = layers.identity()

    def forward(params, state, x, key):
        return jnp.concatenate([x["a"], x["b"]], -1), state, ()

    def backward(params, cache, dy):
        a, b = jnp.split(dy, 2, -1)
        return params, {"a": a, "b": b}

    def predict(params, state, x):
        return jnp.concatenate([x["a"], x["b"]], -1)

    return gate._replace(forward=forward, backward=backward, predict=predict)


def test_help_names_who_transposed_a_table():
    assert "Source: Press, Wolf (2017)" in transposed.__doc__


class TestConcatenate:
    @pytest.mark.parametrize("axis", [-1, 1])
    def test_outputs_lie_side_by_side_in_the_order_of_the_children(self, x, key, axis):
        net = concatenate(layers.linear(2), z=layers.tanh(), a=layers.sigmoid(), axis=axis)
        dy = np.arange(4 * 8, dtype=np.float64).reshape(4, 8)  # from NumPy, in another dtype
        params, y, dparams, dx = gradients(net, x, key, dy)
        assert list(net.parts) == ["linear_1", "z", "a"]
        w, b = params["linear_1"]
        t, s = np.tanh(x), 1 / (1 + np.exp(-x))
        np.testing.assert_allclose(y, np.hstack([x @ w + b[None], t, s]), rtol=1e-6)
        expected = dy[:, :2] @ w.T + dy[:, 2:5] * (1 - t**2) + dy[:, 5:] * s * (1 - s)
        np.testing.assert_allclose(dx, expected, rtol=1e-5)
        np.testing.assert_allclose(dparams["linear_1"].w, x.T @ dy[:, :2], rtol=1e-5)

    def test_along_the_first_axis(self, x, key):
        net = concatenate(layers.tanh(), layers.identity(), axis=0)
        _, y, _, dx = gradients(net, x, key, jnp.ones((8, 3)))
        np.testing.assert_allclose(y, np.vstack([np.tanh(x), x]), rtol=1e-6)
        np.testing.assert_allclose(dx, 2 - np.tanh(x) ** 2, rtol=1e-6)

    def test_integers_side_by_side_have_no_gradient(self, key):
        net, ids = concatenate(layers.identity(), layers.flatten()), jnp.arange(6).reshape(2, 3)
        params, state = net.init(key, ids)
        y, _, cache = net.forward(params, state, ids, None)
        np.testing.assert_array_equal(y, np.hstack([ids, ids]))
        assert net.backward(params, cache, None) == (params, None)

    def test_children_are_seen(self, x, key):
        net = chain(both=concatenate(a=LINEAR, b=layers.tanh()))
        params, state = net.init(key, x)
        seen = passages(net, losses.squared_error(), params, state, x, jnp.zeros((4, 7)))
        assert list(seen) == ["both/a", "both/b"]
        assert seen["both/b"].dy.shape == (4, 3)

    def test_wrong_uses_are_refused(self, x, key):
        with pytest.raises(ValueError, match="at least one child"):
            concatenate()
        for children, axis in (
            ((layers.linear(2), layers.linear(3)), 0),
            ((layers.linear(2), layers.linear(3)), 2),
            ((parallel(layers.tanh()), layers.tanh()), 1),
        ):
            with pytest.raises(ValueError, match=f"differ along axis {axis} at most, got"):
                concatenate(*children, axis=axis).init(key, x)
