"""Schedules within the optimizers: each step asks for the value at its own count."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fnn import optimizers
from fnn.optimizers import apply_updates, constant, cosine_with_warmup


def gradient(params):
    return jax.tree.map(lambda p: jnp.sin(3 * p) + 0.5 * p, params)


@pytest.mark.parametrize("name", ["sgd", "momentum", "nesterov", "adam"])
def test_a_trajectory_under_a_cosine_is_that_of_optax(name, rng):
    """A count that stands still, or is one step early or late, gives other rates from the start."""

    def cosine(count):
        """With NumPy-like arithmetic of its own, so that optax asks no function of ours."""
        rising = 0.2 * (count + 1) / 4
        falling = 0.01 + 0.19 * (1 + jnp.cos(jnp.pi * jnp.clip((count - 3) / 9.0, 0, 1))) / 2
        return jnp.where(count < 3, rising, falling)

    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        ours = getattr(optimizers, name)(cosine_with_warmup(0.2, 12, warmup_steps=3, final=0.01))
        peer = {
            "sgd": lambda: optax.sgd(cosine),
            "momentum": lambda: optax.sgd(cosine, momentum=0.9),
            "nesterov": lambda: optax.sgd(cosine, momentum=0.9, nesterov=True),
            "adam": lambda: optax.adam(cosine),
        }[name]()
        mine = theirs = {"w": jnp.asarray(rng.normal(size=(3, 2))), "b": jnp.zeros(2)}
        state, peers = ours.init(mine), peer.init(theirs)
        for _ in range(15):
            updates, state = ours.update(gradient(mine), state, mine)
            mine = apply_updates(mine, updates)
            updates, peers = peer.update(gradient(theirs), peers, theirs)
            theirs = optax.apply_updates(theirs, updates)
            for a, b in zip(jax.tree.leaves(mine), jax.tree.leaves(theirs), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-9)


@pytest.mark.parametrize("given", ["decay", "b1", "b2", "eps"])
def test_every_hyperparameter_is_asked_for_at_the_steps_made(given):
    """Adam and momentum see the counts 0, 1, 2, each once."""
    counts = []

    def schedule(count):
        counts.append(int(count))
        return jnp.asarray(0.5)

    build = optimizers.momentum if given == "decay" else optimizers.adam
    optimizer = build(0.1, **{given: schedule})
    state = optimizer.init(jnp.ones(2))
    for _ in range(3):
        _, state = optimizer.update(jnp.ones(2), state, jnp.ones(2))
    assert counts == [0, 1, 2]


@pytest.mark.parametrize("value", [np.inf, np.nan, -0.1])
def test_values_that_no_step_is_made_with(value):
    with pytest.raises(ValueError, match="peak and final finite and at least 0"):
        cosine_with_warmup(value, 10)
    with pytest.raises(ValueError, match="peak and final finite and at least 0"):
        cosine_with_warmup(0.1, 10, final=value)


def test_a_state_made_with_a_number_where_a_schedule_is_given():
    number, scheduled = optimizers.adam(0.1), optimizers.adam(constant(0.1))
    params = jnp.ones(2)
    for optimizer, state, expected in (
        (scheduled, number.init(params), r"with the hyperparameters \[\], got one with \['rate'\]"),
        (number, scheduled.init(params), r"with the hyperparameters \['rate'\], got one with \[\]"),
    ):
        with pytest.raises(ValueError, match=expected):
            optimizer.update(params, state, params)
