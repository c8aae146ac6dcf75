"""Epochs: the steps one by one, resumed bit for bit, and stopped where a number is not finite."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training import LOSS, counting, equal, network

from fnn import optimizers, train
from fnn.train.batches import batch_indices


def test_is_the_steps_one_by_one(examples, start):
    optimizer = optimizers.adam(0.01)
    step = train.step(network(), LOSS, optimizer)
    state = train.copy(start)
    for t in range(6):
        indices = batch_indices(start.key, jnp.int32(t), 96, 16)
        state, info = step(state, (examples[0][indices], examples[1][indices]))
    epoch = train.epoch(network(), LOSS, optimizer, batch_size=16)
    together, infos = epoch(train.copy(start), examples)
    assert infos.loss.shape == (6,)
    np.testing.assert_allclose(infos.loss[-1], info.loss, rtol=1e-4)
    for a, b in zip(jax.tree.leaves(together.params), jax.tree.leaves(state.params), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_resumes_bit_for_bit(examples, start):
    optimizer = optimizers.adam(0.01)
    six = train.epoch(network(), LOSS, optimizer, batch_size=16, steps=6)
    two = train.epoch(network(), LOSS, optimizer, batch_size=16, steps=2)
    at_once, _ = six(train.copy(start), examples)
    state = train.copy(start)
    for _ in range(3):
        state, _ = two(state, examples)
    equal(at_once, state)


def test_is_traced_once(examples, start):
    net, traces = counting(network())
    epoch = train.epoch(net, LOSS, optimizers.adam(0.01), batch_size=16)
    state, _ = epoch(train.copy(start), examples)
    epoch(state, examples)
    assert len(traces) == 1


def test_stops_at_the_first_step_that_is_not_finite(examples, start):
    epoch = train.epoch(network(), LOSS, optimizers.adam(0.01), batch_size=16)
    order = [batch_indices(start.key, jnp.int32(t), 96, 16) for t in range(6)]
    bad = examples[0].at[order[3][0], 0].set(jnp.inf)
    state, infos = epoch(train.copy(start), (bad, examples[1]))
    np.testing.assert_array_equal(infos.finite, [True] * 3 + [False] * 3)
    assert state.step == 3
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))


@pytest.mark.parametrize(
    ("x", "labels", "message"),
    [
        (np.zeros((0, 5), np.float32), np.zeros(0, np.int32), "at least one example, got 0"),
        (np.zeros((8, 5), np.float32), np.zeros(8, np.int32), "to the 8 examples, got 16"),
        (np.zeros((32, 5), np.float32), np.zeros(31, np.int32), "one entry an example"),
    ],
)
def test_examples_that_make_no_epoch(start, x, labels, message):
    epoch = train.epoch(network(), LOSS, optimizers.adam(0.01), batch_size=16)
    with pytest.raises(ValueError, match=message):
        epoch(train.copy(start), (jnp.asarray(x), jnp.asarray(labels)))


@pytest.mark.parametrize("steps", [0, -1])
def test_no_steps(steps):
    with pytest.raises(ValueError, match=f"at least one step a call.*got {steps}"):
        train.epoch(network(), LOSS, optimizers.sgd(0.1), batch_size=16, steps=steps)


@pytest.mark.parametrize("steps", [1, 6])
def test_donates_the_state(examples, start, steps):
    epoch = train.epoch(network(), LOSS, optimizers.adam(0.01), batch_size=16, steps=steps)
    compiled = epoch.lower(start, examples).compile()
    size = sum(leaf.nbytes for leaf in jax.tree.leaves((start.params, start.optimizer)))
    assert compiled.memory_analysis().alias_size_in_bytes >= size


def test_without_compilation_every_call_runs(start, examples):
    """A debugger's mode, in which a function is called anew every time."""
    step = train.step(network(), LOSS, optimizers.adam(1e-2))
    batch = jax.tree.map(lambda a: a[:4], examples)
    state = train.copy(start)
    with jax.disable_jit():
        for _ in range(2):
            state, _ = step(state, batch)
    assert int(state.step) == 2
