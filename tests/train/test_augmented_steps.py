"""An augmentation stands between the data and the network, with draws that a resumed run draws again."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training import LOSS, equal, network

from fnn import optimizers, train

OPTIMIZER = optimizers.sgd(0.1)


def shifted(key, batch):
    x, target, *weights = batch
    return (x + jax.random.normal(key, x.shape, x.dtype), target, *weights)


@pytest.fixture
def begin(start):
    return start._replace(optimizer=OPTIMIZER.init(start.params))


def test_the_network_sees_what_the_augmentation_makes(begin, examples):
    keys = []

    def noted(key, batch):
        keys.append(key)
        return shifted(key, batch)

    with jax.disable_jit():
        after, _ = train.step_function(network(), LOSS, OPTIMIZER, augment=noted)(begin, examples)
        batch = shifted(keys[0], examples)
        expected, _ = train.step_function(network(), LOSS, OPTIMIZER)(begin, batch)
    equal(after.params, expected.params)


def test_each_step_has_its_own_draws(begin, examples):
    def constant(key, batch):
        x, target = batch
        return jnp.zeros_like(x).at[0, 0].set(jax.random.uniform(key, (), x.dtype)), target

    seen = []
    for step in (0, 0, 1):
        x, _ = train.seen(begin._replace(step=jnp.int32(step)), examples, constant)
        seen.append(float(np.asarray(x).max()))
    assert seen[0] == seen[1] != seen[2]


def test_fit_goes_on_with_the_draws_that_would_have_come(begin, examples):
    settings = {"batch_size": 8, "steps_per_call": 2, "augment": shifted}
    whole = list(train.fit(network(), LOSS, OPTIMIZER, begin, examples, epochs=2, **settings))
    half = whole[len(whole) // 2].train_state
    rest = list(train.fit(network(), LOSS, OPTIMIZER, half, examples, epochs=2, **settings))
    assert len(rest) < len(whole)
    equal(rest[-1].train_state, whole[-1].train_state)


def test_a_number_that_is_not_finite_is_sought_in_what_the_network_saw(begin, examples):
    def spoiled(key, batch):
        del key  # the same in every step
        x, target = batch
        return x.at[2, 1].set(jnp.inf), target

    run = train.fit(
        network(), LOSS, OPTIMIZER, begin, examples, epochs=1, batch_size=8, augment=spoiled
    )
    with pytest.raises(train.NonFiniteError, match=r"the input x, at index \(2, 1\): inf"):
        next(run)
