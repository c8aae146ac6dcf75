"""Blocks in a loop against the same blocks one after the other."""

import traceback

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import chain, check, frozen, graph, layers, losses, pure, repeat, residual
from fnn.diagnostics import summary
from fnn.random import child_key
from fnn.tap import passages
from fnn.train.nonfinite import first_nonfinite
from fnn.tree import paths

BLOCK = residual(
    chain(a=layers.linear(5), act=layers.tanh(), drop=layers.dropout(0.3), b=layers.linear(3))
)


@pytest.fixture
def x(rng):
    return jnp.asarray(rng.normal(size=(4, 3)), jnp.float32)


def close(got, expected, rtol=2e-6):
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=5e-6)  # sums of float32


def one_by_one(block, params, state, x, key, dy):
    """The same in a Python loop: (y, stacked dparams, dx)."""
    times = jax.tree.leaves((params, state))[0].shape[0]
    key, caches = child_key(key, "block"), []
    each = [jax.tree.map(lambda leaf, i=i: leaf[i], (params, state)) for i in range(times)]
    for i, (p, s) in enumerate(each):
        x, _, cache = block.forward(p, s, x, jax.random.fold_in(key, i))
        caches.append(cache)
    gradients = []
    for (p, _), cache in zip(reversed(each), reversed(caches), strict=True):
        dparams, dy = block.backward(p, cache, dy)
        gradients.append(dparams)
    return x, jax.tree.map(lambda *leaves: jnp.stack(leaves), *reversed(gradients)), dy


def test_is_the_blocks_one_after_the_other_each_with_its_own_key(x, key, rng):
    net = repeat(BLOCK, 3)
    params, state = net.init(key, x)
    y, _, cache = net.forward(params, state, x, key)
    # In another dtype than y's and from NumPy; the loop carries one dtype.
    dparams, dx = net.backward(params, cache, np.ones(y.shape, np.float64))
    expected = one_by_one(BLOCK, params["block"], state["block"], x, key, jnp.ones_like(y))
    close((y, dparams["block"], dx), expected)


def test_every_block_has_its_own_draws_which_depth_does_not_change(x, key):
    params, _ = repeat(BLOCK, 3).init(key, x)
    deeper, _ = repeat(BLOCK, 5).init(key, x)
    w = params["block"]["body"]["a"].w
    assert w.shape == (3, 3, 5)
    assert len({float(v) for v in w[:, 0, 0]}) == 3
    np.testing.assert_array_equal(deeper["block"]["body"]["a"].w[:3], w)
    traced, _ = jax.jit(repeat(BLOCK, 3).init)(key, x)
    close(traced, params)


def test_the_program_does_not_grow_with_depth(x, key):
    def size(times):
        net = repeat(BLOCK, times)
        params, state = jax.eval_shape(net.init, key, x)

        def step(params, state, x, key):
            y, state, cache = net.forward(params, state, x, key)
            return (
                net.init(key, x),
                state,
                net.backward(params, cache, y),
                net.predict(params, state, x),
            )

        return len(str(jax.make_jaxpr(step)(params, state, x, key)).splitlines())

    assert size(40) == size(2)


def test_what_two_layers_cache_is_stacked_once():
    """tanh keeps its output and the linear layer after it its input, which is the same array."""
    block = chain(layers.linear(8), layers.tanh(), layers.linear(8))
    net, x = repeat(block, 6), jax.ShapeDtypeStruct((16, 8), jnp.float32)
    params, state = jax.eval_shape(net.init, jax.random.key(0), x)
    program = jax.make_jaxpr(net.forward)(params, state, x, None)
    (loop,) = [e for e in program.eqns if e.primitive.name == "scan"]
    stacked = [v.aval.shape for v in loop.outvars if v.aval.shape[:1] == (6,)]
    assert stacked == [(6, 16, 8)] * 2  # the inputs of the two linear layers


def test_parameters_that_are_state_are_not_stacked_again(x, key):
    net = repeat(frozen(layers.linear(3)), 4)
    params, state = net.init(key, x)
    assert not jax.tree.leaves(params)
    program = jax.make_jaxpr(net.forward)(params, state, x, None)
    (loop,) = [e for e in program.eqns if e.primitive.name == "scan"]
    assert [v.aval.shape for v in loop.outvars] == [(4, 3), (4, 4, 3)]  # y, and the inputs
    _, new_state, cache = net.forward(params, state, x, None)
    close(new_state, state)
    expected = np.linalg.multi_dot([np.ones((4, 3)), *(w.T for w in state["block"].params.w[::-1])])
    np.testing.assert_allclose(
        net.backward(params, cache, jnp.ones_like(x))[1], expected, rtol=1e-5
    )


def test_state_is_each_blocks_own(x, key):
    norm = layers.batch_norm()
    net = repeat(norm, 2)
    params, state = net.init(key, x)
    params = {"block": params["block"]._replace(bias=jnp.asarray([[1.0] * 3, [5.0] * 3]))}
    _, new_state, _ = net.forward(params, state, x, None)
    trained, inferred, states = x, x, []
    for i in range(2):
        p, s = jax.tree.map(lambda leaf, i=i: leaf[i], (params["block"], state["block"]))
        trained, following, _ = norm.forward(p, s, trained, None)
        inferred = norm.predict(p, following, inferred)
        states.append(following)
    close(new_state["block"], jax.tree.map(lambda *leaves: jnp.stack(leaves), *states))
    close(net.predict(params, new_state, x), inferred)


def test_integers_pass_through_without_a_gradient(x):
    scaled = graph({"y": (layers.tanh(), "h")}, inputs=("h", "ids"), outputs=("y", "ids"))
    block = chain(scaled, pure("pair", pair, pair_backward))
    ids = jnp.arange(4, dtype=jnp.int32)
    net = repeat(block, 2)
    params, state = net.init(None, (x, ids))
    y, _, cache = net.forward(params, state, (x, ids), None)
    np.testing.assert_allclose(y[0], np.tanh(np.tanh(x)), rtol=1e-6)
    _, dx = net.backward(params, cache, (jnp.ones_like(x), None))
    inner = np.tanh(x)
    np.testing.assert_allclose(dx[0], (1 - np.tanh(inner) ** 2) * (1 - inner**2), rtol=1e-5)
    assert dx[1] is None


def pair(params, x):
    return (x["y"], x["ids"]), ()


def pair_backward(params, cache, dy):
    return params, {"y": dy[0], "ids": dy[1]}


def test_wrong_uses_are_refused(x, key):
    with pytest.raises(TypeError, match=r"repeat: expected a Layer.*call the constructor"):
        repeat(layers.tanh, 2)
    with pytest.raises(ValueError, match="at least one block, got 0"):
        repeat(BLOCK, 0)
    widening = chain(blocks=repeat(chain(w=layers.linear(4)), 2))
    with pytest.raises(ValueError, match="what it takes") as error:
        widening.init(key, x)
    text = "".join(traceback.format_exception(error.value))
    assert "float32[4,3], got float32[4,4]" in text
    assert "in layer blocks/block, given float32[4,3]" in text
    net, other = repeat(BLOCK, 2), repeat(BLOCK, 3)
    params, state = other.init(key, x)
    for run in (
        lambda: net.forward(params, state, x, key),
        lambda: net.predict(params, state, x),
        lambda: net.backward(params, None, x),
    ):
        with pytest.raises(ValueError, match="expected params stacked for 2 blocks, got"):
            run()
    with pytest.raises(ValueError, match="repeat: expected params for"):
        net.forward((), state, x, key)
    narrow, _ = repeat(layers.linear(3), 2).init(key, x)
    with pytest.raises(ValueError, match="what it takes"):
        repeat(layers.linear(3), 2).predict(
            {"block": narrow["block"]._replace(w=narrow["block"].w[:, :, :2], b=None)},
            {"block": ()},
            x,
        )
    with pytest.raises(ValueError, match="expected a key") as error:
        chain(blocks=net).forward(*({"blocks": tree} for tree in net.init(key, x)), x, None)
    assert "in layer blocks/block/body/drop, given" in "".join(error.value.__notes__)


class TestSeenFromOutside:
    NET = chain(
        blocks=repeat(chain(w=layers.linear(3), act=layers.tanh()), 2), out=layers.linear(3)
    )
    LABELS = np.arange(4) % 3

    def test_each_round_is_a_passage_in_the_order_of_computation(self, x, key):
        params, state = self.NET.init(key, x)
        seen = passages(self.NET, losses.softmax_cross_entropy(), params, state, x, self.LABELS)
        assert list(seen) == [
            "blocks/block[0]/w", "blocks/block[0]/act", "blocks/block[1]/w", "blocks/block[1]/act", "out",
        ]  # fmt: skip
        np.testing.assert_array_equal(seen["blocks/block[1]/w"].x, seen["blocks/block[0]/act"].y)
        np.testing.assert_array_equal(seen["blocks/block[0]/act"].dy, seen["blocks/block[1]/w"].dx)
        np.testing.assert_array_equal(
            seen["blocks/block[1]/w"].params.w, params["blocks"]["block"]["w"].w[1]
        )

    def test_each_round_is_checked(self, x, key):
        params, state = self.NET.init(key, x)
        report = check.network(
            self.NET, losses.softmax_cross_entropy(), x, self.LABELS, params=params, state=state,
            methods=("reverse mode",),
        )  # fmt: skip
        report.raise_if_wrong()
        assert [entry.path for entry in report.entries][2:5] == [
            "blocks/block[1]/w", "blocks/block[1]/act", "out",
        ]  # fmt: skip

    def test_the_round_that_overflows_is_named(self, x):
        net = chain(blocks=repeat(layers.linear(3, bias=False), 3))
        params, state = net.init(jax.random.key(0), x)
        params = jax.tree.map(lambda w: jnp.full_like(w, 1e20), params)
        found = first_nonfinite(
            net, losses.squared_error(), params, state, jnp.ones_like(x), jnp.zeros((4, 3)), None
        )
        assert "the output of layer blocks/block[1] (linear(3)), at index (0, 0): inf" in found

    def test_summary_counts_all_rounds(self, x):
        rows = {row.path: row for row in summary(self.NET, x).rows}
        assert rows["blocks/block/w"].parameters == 2 * (9 + 3)
        assert rows["blocks/block/w"].forward == 2 * (2 * 4 * 3 * 3 + 4 * 3)
        assert summary(self.NET, x).total.parameters == 2 * 12 + 12


def test_paths_are_those_of_the_block(x, key):
    params, _ = chain(blocks=repeat(layers.linear(3), 4)).init(key, x)
    assert [(path, leaf.shape) for path, leaf in paths(params)] == [
        ("blocks/block/w", (4, 3, 3)),
        ("blocks/block/b", (4, 3)),
    ]
