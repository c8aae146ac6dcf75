"""Stochastic depth: who survives, what is not run, and the rule of survival."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import Layer, compose, layers


def tenfold(survival=0.75, **settings):
    """A body that gives 10 x, with a state that counts how often it ran."""

    def run(params, state, x, key):
        return 10 * x, state + 1, ()

    body = Layer(
        "tenfold",
        lambda key, x: ((), jnp.zeros((), jnp.int32)),
        run,
        lambda params, cache, dy: (params, 10 * jnp.asarray(dy)),
        lambda params, state, x: 10 * x,
    )
    return compose.stochastic_depth(body, survival, **settings)


def params_and_state(layer, x):
    return layer.init(jax.random.key(0), x)


@pytest.mark.parametrize("survival", [0.75, 1.0])
def test_examples_survive_with_their_probability(survival, key):
    layer, x = tenfold(survival), jnp.ones((4000, 2))
    params, state = params_and_state(layer, x)
    y, _, cache = layer.forward(params, state, x, key)
    assert set(np.unique(y)) <= {1, 11}
    np.testing.assert_array_equal(y[:, 0], y[:, 1])
    alive = np.asarray(y)[:, 0] == 11
    assert abs(alive.mean() - survival) < 5 * 0.45 / np.sqrt(4000)
    np.testing.assert_array_equal(layer.predict(params, state, x), 1 + survival * 10)
    dx = layer.backward(params, cache, x)[1]
    np.testing.assert_array_equal(dx, y)


def test_a_batch_survives_or_does_not_run():
    """One draw for all; where the body is left out its state stays, and no gradient comes back."""
    layer, x = tenfold(per="batch"), jnp.ones((3, 2))
    params, state = params_and_state(layer, x)
    survived = 0

    @jax.jit
    def step(key):
        y, new_state, cache = layer.forward(params, state, x, key)
        return y, new_state, cache, layer.backward(params, cache, x)[1]

    for key in jax.random.split(jax.random.key(1), 200):
        y, new_state, cache, dx = step(key)
        alive = bool(cache.alive)
        survived += alive
        assert np.unique(y).tolist() == [11 if alive else 1]
        assert int(new_state["body"]) == alive
        np.testing.assert_array_equal(dx, y)
    assert abs(survived / 200 - 0.75) < 5 * np.sqrt(0.75 * 0.25 / 200)


def test_the_body_is_skipped_and_not_multiplied_by_zero():
    layer, x = tenfold(per="batch"), jnp.ones((3, 2))
    params, state = params_and_state(layer, x)
    program = jax.make_jaxpr(layer.forward)(params, state, x, jax.random.key(0))
    assert "cond" in str(program)


@pytest.mark.parametrize("per", ["example", "batch"])
def test_a_body_that_draws_keeps_its_key(per):
    """A key in the cache of a body that was left out has no zero to be."""
    layer = compose.stochastic_depth(layers.dropout(0.5), 0.5, per=per)
    x = jnp.ones((3, 40))
    params, state = params_and_state(layer, x)

    @jax.jit
    def step(key):
        y, _, cache = layer.forward(params, state, x, key)
        return y, layer.backward(params, cache, x)[1]

    for key in jax.random.split(jax.random.key(2), 6):
        np.testing.assert_array_equal(*step(key))


def test_rebuilt_around_other_children_it_is_as_before(key):
    layer = compose.stochastic_depth(layers.linear(2), 0.5, shortcut=layers.linear(2), per="batch")
    again = layer.rebuild(layer.parts)
    x = jnp.ones((3, 2))
    params, state = params_and_state(layer, x)
    assert again.name == layer.name
    np.testing.assert_array_equal(
        again.forward(params, state, x, key)[0], layer.forward(params, state, x, key)[0]
    )


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: compose.stochastic_depth(layers.relu(), 0.0), "0 < survival <= 1, got 0.0"),
        (lambda: compose.stochastic_depth(layers.relu(), 0.5, per="pixel"), "got 'pixel'"),
        (lambda: compose.linear_decay(0), "a depth of at least 1"),
        (lambda: compose.linear_decay(3, 0.0), "0 < last <= 1"),
    ],
)
def test_bad_settings(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_the_body_has_to_keep_the_shape():
    layer = compose.stochastic_depth(layers.linear(3), 0.5)
    with pytest.raises(ValueError, match=r"expected the body to return .* give a `shortcut`"):
        layer.init(jax.random.key(0), jnp.ones((3, 2)))


def test_linear_decay_is_the_sources():
    """p_l = 1 - l / L (1 - p_L): from near 1 to p_L; on average 3/4 of the blocks survive."""
    np.testing.assert_allclose(compose.linear_decay(4, 0.5), [0.875, 0.75, 0.625, 0.5])
    # "54 blocks, p_L = 0.5: about 40 are left"
    assert round(sum(compose.linear_decay(54))) == 40


def test_it_asks_for_a_key():
    layer = compose.stochastic_depth(layers.relu(), 0.5)
    params, state = layer.init(None, jnp.ones((3, 2)))
    with pytest.raises(ValueError, match=r"stochastic_depth\(0.5\): expected a key to draw who"):
        layer.forward(params, state, jnp.ones((3, 2)), None)
