"""An example of weight 0 has no part in training, whatever its target: over every loss."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tables import LOSSES, LossRow

from fnn import layers, losses, optimizers, train
from fnn.layer import PyTree


def spoiled(target: PyTree) -> PyTree:
    """The first example's target as what is neither a class, nor a length, nor a probability."""

    def leaf(given: np.ndarray) -> np.ndarray:
        changed = np.array(given, np.float32 if given.dtype == bool else given.dtype)
        changed[0] = -7
        return changed

    return jax.tree.map(leaf, target)


@pytest.mark.parametrize("name", LOSSES)
def test_its_target_may_mean_nothing(name, rng):
    row: LossRow = LOSSES[name]
    loss, target = row.build(), row.target(rng)
    prediction = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), row.draw(rng))
    try:
        loss.forward(prediction, spoiled(target))
    except ValueError:
        pass
    else:
        pytest.skip("every number of a target means something, or there is no target")

    @jax.jit
    def gradient(target: PyTree, counts: float) -> tuple[jax.Array, PyTree]:
        values, cache = loss.forward(prediction, target)
        return values, loss.backward(cache, jnp.ones(values.shape).at[0].set(counts))

    values, found = gradient(spoiled(target), 0.0)
    assert np.isnan(values[0]).any()  # the mean leaves it out, as its weight is 0
    wanted = gradient(jax.tree.map(np.asarray, target), 0.0)[1]
    for got, expected in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_array_equal(got, expected)
    poisoned = jax.tree.leaves(gradient(spoiled(target), 1.0)[1])
    assert any(np.isnan(leaf).any() for leaf in poisoned)


def test_a_probability_of_zero_may_be_its_labels():
    loss = losses.cross_entropy()
    _, cache = loss.forward(jnp.asarray([[0.5, 0.5], [0.0, 1.0]]), np.asarray([0, 0]))
    np.testing.assert_array_equal(loss.backward(cache, jnp.asarray([1.0, 0])), [[-2, 0], [0, 0]])


def test_a_step_is_made_with_it(key):
    net, loss, optimizer = layers.linear(3), losses.softmax_cross_entropy(), optimizers.sgd(0.1)
    x, labels, weights = jnp.ones((2, 4)), np.asarray([1, -1], np.int32), np.asarray([1.0, 0])
    start = train.init(net, optimizer, key, x)
    moved = {}
    for gradient in ("hand", "auto"):
        step = jax.jit(train.step(net, loss, optimizer, gradient=gradient))
        state, info = step(start, (x, labels, jnp.asarray(weights, jnp.float32)))
        assert info.finite
        moved[gradient] = state.params.w
    np.testing.assert_allclose(moved["hand"], moved["auto"], rtol=1e-6)
    assert (moved["hand"] != start.params.w).any()
