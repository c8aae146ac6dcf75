"""A call of one step is no loop: XLA:CPU compiles autodiff's convolutions badly in the body of one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import chain, layers, losses, optimizers, train

LOSS = losses.softmax_cross_entropy()


def network():
    return chain(hidden=layers.linear(4), act=layers.relu(), logits=layers.linear(3))


@pytest.fixture
def examples(rng):
    x = jnp.asarray(rng.normal(size=(12, 5)), jnp.float32)
    return x, jnp.asarray(rng.integers(0, 3, 12), jnp.int32)


@pytest.fixture
def start(examples, key):
    return train.init(network(), optimizers.adam(0.1), key, examples[0])


def run(steps):
    return train.epoch(network(), LOSS, optimizers.adam(0.1), batch_size=4, steps=steps)


@pytest.mark.parametrize(("steps", "loops"), [(1, False), (2, True)])
def test_only_several_steps_are_a_scan(steps, loops, examples, start):
    assert ("scan[" in str(jax.make_jaxpr(run(steps))(start, examples))) is loops


def test_two_calls_of_one_step_are_one_call_of_two(examples, start):
    one, two = run(1), run(2)
    expected, infos = two(train.copy(start), examples)
    halfway, first = one(train.copy(start), examples)
    reached, second = one(halfway, examples)
    np.testing.assert_allclose([*first.loss, *second.loss], infos.loss, rtol=1e-6)
    for a, b in zip(jax.tree.leaves(reached.params), jax.tree.leaves(expected.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
