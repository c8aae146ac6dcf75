"""Branches that are evaluated only when they are chosen."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import chain, layers
from fnn.compose import conditional
from fnn.layer import Layer


def arrays(rng: np.random.Generator, count: int, shape=(4, 3)) -> list[jax.Array]:
    return [jnp.asarray(rng.normal(size=shape), jnp.float32) for _ in range(count)]


class TestConditional:
    """Branches that are evaluated only when they are chosen."""

    def net(self) -> Layer:
        return conditional(small=layers.linear(2), deep=chain(layers.linear(2), layers.tanh()))

    def test_each_branch_and_its_gradients(self, rng, key):
        net, (x,) = self.net(), arrays(rng, 1)
        params, state = net.init(key, (np.int32(0), x))
        for i, (name, part) in enumerate(net.parts.items()):
            y, _, cache = net.forward(params, state, (np.int32(i), x), None)
            alone, _, part_cache = part.forward(params[name], state[name], x, None)
            np.testing.assert_allclose(y, alone, rtol=1e-6)
            np.testing.assert_allclose(net.predict(params, state, (i, x)), alone, rtol=1e-6)
            dparams, (dindex, dx) = net.backward(params, cache, y)
            expected, dx_alone = part.backward(params[name], part_cache, y)
            assert dindex is None
            np.testing.assert_allclose(dx, dx_alone, rtol=1e-5, atol=1e-6)
            for got, wanted in zip(*map(jax.tree.leaves, (dparams[name], expected)), strict=True):
                np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)
            others = [tree for other, tree in dparams.items() if other != name]
            assert all((np.asarray(leaf) == 0).all() for leaf in jax.tree.leaves(others))

    def test_only_the_chosen_branch_runs(self):
        ran = []

        def noted(name: str) -> Layer:
            def forward(params, x):
                jax.debug.callback(lambda: ran.append(name))
                return x, ()

            return layers.identity()._replace(
                name=name,
                forward=lambda params, state, x, key: (forward(params, x)[0], state, ()),
            )

        net, x = conditional(a=noted("a"), b=noted("b")), (jnp.int32(1), jnp.ones(2))
        params, state = net.init(None, x)
        jax.block_until_ready(jax.jit(net.forward)(params, state, x, None)[0])
        jax.effects_barrier()
        assert ran == ["b"]

    def test_a_branch_that_draws_gets_the_key_of_its_name(self, key):
        net = conditional(layers.identity(), noisy=layers.dropout(0.5))
        x = (jnp.int32(1), jnp.ones((20, 5)))
        params, state = net.init(key, x)
        y, _, cache = jax.jit(net.forward)(params, state, x, key)
        np.testing.assert_array_equal(net.backward(params, cache, x[1])[1][1], y)
        assert set(np.unique(y)) == {0, 2}

    def test_the_state_of_the_others_stays(self, rng):
        net, (x,) = conditional(a=layers.batch_norm(), b=layers.batch_norm()), arrays(rng, 1)
        params, state = net.init(None, (np.int32(0), x))
        _, new, _ = net.forward(params, state, (np.int32(1), x), None)
        np.testing.assert_array_equal(new["a"].mean, state["a"].mean)
        assert (np.asarray(new["b"].mean) != np.asarray(state["b"].mean)).all()

    @pytest.mark.parametrize("index", [-1, 2])
    def test_an_index_out_of_range_raises_or_is_nan_inside_jit(self, index, rng, key):
        net, (x,) = self.net(), arrays(rng, 1)
        params, state = net.init(key, (np.int32(0), x))
        with pytest.raises(ValueError, match=rf"an index in \[0, 2\), got {index}"):
            net.forward(params, state, (np.int32(index), x), None)
        y, _, cache = jax.jit(net.forward)(params, state, (np.int32(index), x), None)
        assert np.isnan(y).all()
        assert np.isnan(jax.jit(net.predict)(params, state, (np.int32(index), x))).all()
        gradients = jax.jit(net.backward)(params, cache, jnp.ones_like(y))
        assert all((np.asarray(leaf) == 0).all() for leaf in jax.tree.leaves(gradients))

    def test_an_index_is_looked_at_before_it_is_made_narrow(self, rng, key):
        """2³² and 2⁶³ are 0 in 32 bits."""
        net, (x,) = self.net(), arrays(rng, 1)
        params, state = net.init(key, (np.int32(0), x))
        with jax.enable_x64(True):
            forward = jax.jit(net.forward)
            for index in (np.int64(2**32), np.int64(-(2**32)), np.uint64(2**63)):
                y, _, cache = forward(params, state, (index, x), None)
                assert np.isnan(y).all()
                assert np.isnan(jax.jit(net.predict)(params, state, (index, x))).all()
                gradients = jax.jit(net.backward)(params, cache, jnp.ones_like(y))
                assert all((np.asarray(leaf) == 0).all() for leaf in jax.tree.leaves(gradients))
            y, _, _ = forward(params, state, (np.int64(1), x), None)
            assert np.isfinite(y).all()

    def test_an_index_that_jax_would_cut_is_refused(self, rng, key):
        """Without 64 bits jax would make 0 of it."""
        net, (x,) = self.net(), arrays(rng, 1)
        params, state = net.init(key, (np.int32(0), x))
        with pytest.raises(ValueError, match=r"integers that int32 holds, got 4294967296"):
            net.predict(params, state, (np.int64(2**32), x))

    def test_narrow_indices_choose_among_many_branches(self):
        """300 is no int8, and 200 branches are more than it can count."""
        net = conditional(**{f"b{i}": layers.identity() for i in range(200)})
        params, state = net.init(None, (np.int8(0), np.ones(1)))
        for index in (np.int8(127), np.uint8(199)):
            y = jax.jit(net.predict)(params, state, (index, np.ones(1, np.float32)))
            assert float(y[0]) == 1
        for index in (np.int8(-1), np.uint8(200)):
            y = jax.jit(net.predict)(params, state, (index, np.ones(1, np.float32)))
            assert np.isnan(y).all()

    def test_refusals(self, rng):
        (x,) = arrays(rng, 1)
        with pytest.raises(ValueError, match="at least one branch"):
            conditional()
        uneven = conditional(a=layers.linear(2), b=layers.linear(3))
        with pytest.raises(
            ValueError, match=r"return float32\[4,2\] as 'a' does, got float32\[4,3\]"
        ):
            uneven.init(jax.random.key(0), (np.int32(0), x))
        net = conditional(layers.tanh(), layers.sigmoid())
        for bad, error, match in (
            (x, TypeError, r"a tuple \(index, value\), got float32\[4,3\]"),
            ((jnp.float32(0), x), TypeError, "an index of integers, got float32"),
            ((jnp.zeros(4, jnp.int32), x), ValueError, r"of shape \(\), got \(4,\)"),
        ):
            with pytest.raises(error, match=match):
                net.init(None, bad)
