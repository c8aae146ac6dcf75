"""Accumulation equals the large batch, with the hand-written gradient of a real network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import chain, layers, losses, optimizers
from fnn.gradient import value_and_grad
from fnn.optimizers import accumulate, apply_updates
from fnn.tree import paths

STEPS = 4


def network(normalize):
    norm = {"norm": layers.batch_norm()} if normalize else {}
    return chain(hidden=layers.linear(8), **norm, act=layers.tanh(), logits=layers.linear(3))


def train(net, optimizer, params, state, batches):
    differentiate = value_and_grad(net, losses.softmax_cross_entropy())
    memory = optimizer.init(params)

    @jax.jit
    def step(params, memory, x, labels):
        _, grads = differentiate(params, state, x, labels)
        updates, memory = optimizer.update(grads, memory, params)
        return apply_updates(params, updates), memory

    for x, labels in batches:
        params, memory = step(params, memory, x, labels)
    return params


def draw(rng):
    return jnp.asarray(rng.normal(size=(48, 5)), float), jnp.asarray(rng.integers(0, 3, 48))


def cut(data, size):
    x, labels = data
    return [(x[i : i + size], labels[i : i + size]) for i in range(0, len(x), size)]


def distance(net, make, data, key):
    """How far the small batches with accumulation end from the large ones, relative, per parameter."""
    params, state = net.init(key, data[0][:2])
    large = train(net, make(), params, state, cut(data, 12))
    small = train(net, accumulate(make(), STEPS), params, state, cut(data, 12 // STEPS))
    return {
        path: float(jnp.linalg.norm(a - b) / jnp.linalg.norm(a - c))
        for (path, a), (_, b), (_, c) in zip(paths(large), paths(small), paths(params), strict=True)
    }


@pytest.mark.parametrize(
    "make", [lambda: optimizers.sgd(0.3), lambda: optimizers.adam(0.02)], ids=["sgd", "adam"]
)
def test_equals_the_large_batch(make, rng, key):
    with jax.enable_x64(True):
        assert max(distance(network(False), make, draw(rng), key).values()) < 1e-9


def test_batch_norm_still_sees_the_small_batches(rng, key):
    """The caveat of the docstring: statistics of 3 examples are not those of 12."""
    apart = distance(network(True), lambda: optimizers.sgd(0.3), draw(rng), key)
    assert apart["hidden/w"] > 0.05


def test_zero_updates_in_between_and_one_tree_more():
    params = {"w": jnp.ones((16, 16)), "b": jnp.ones(16)}
    optimizer = accumulate(optimizers.adam(0.1), 3)
    state = optimizer.init(params)
    counts = []
    for _ in range(6):
        updates, state = optimizer.update(params, state, params)
        counts.append(int(jnp.count_nonzero(updates["w"])))
    assert counts == [0, 0, 256, 0, 0, 256]
    inner = optimizers.adam(0.1).init(params)

    def size(tree):
        return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))

    assert size(state) == size(inner) + size(params) + 4


def test_schedules_count_updates():
    seen = optimizers.sgd(lambda count: 1.0 + jnp.asarray(count, float))
    optimizer, p = accumulate(seen, 2), jnp.asarray(1.0)
    state, moved = optimizer.init(p), []
    for _ in range(6):
        updates, state = optimizer.update(p, state, p)
        moved.append(float(updates))
    assert moved == [0, -1, 0, -2, 0, -3]


def test_low_precision_gradients_are_summed_in_float32():
    """In bfloat16, 256 + 1 is 256: the small gradients would be lost."""
    p = jnp.asarray(0.0, jnp.bfloat16)
    optimizer = accumulate(optimizers.sgd(1.0), 5)
    state = optimizer.init(p)
    for g in (256, 1, 1, 1, 1):
        updates, state = optimizer.update(jnp.asarray(g, jnp.bfloat16), state, p)
    np.testing.assert_allclose(updates, -260 / 5, rtol=1e-6)


def test_no_step_at_all():
    with pytest.raises(ValueError, match="at least one step to accumulate, got 0"):
        accumulate(optimizers.sgd(0.1), 0)
