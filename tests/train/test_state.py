"""The state before the first step: its memory is its own, and it can be made within a transformation."""

import jax
import jax.numpy as jnp
import numpy as np
from training import equal, network

from fnn import optimizers, train

OPTIMIZER = optimizers.adam(1e-3)
X = jax.ShapeDtypeStruct((4, 5), jnp.float32)


def test_init_under_vmap_is_that_of_each_key():
    """So that a sweep over seeds is one line."""
    keys = jax.random.split(jax.random.key(3), 2)
    many = jax.jit(jax.vmap(lambda key: train.init(network(), OPTIMIZER, key, X)))(keys)
    for i, key in enumerate(keys):
        alone = train.init(network(), OPTIMIZER, key, X)
        for (path, a), (_, b) in zip(
            jax.tree.leaves_with_path((many.params, many.optimizer)),
            jax.tree.leaves_with_path((alone.params, alone.optimizer)),
            strict=True,
        ):
            np.testing.assert_allclose(a[i], b, rtol=1e-5, atol=1e-7, err_msg=str(path))
        np.testing.assert_array_equal(
            jax.random.key_data(many.key[i]), jax.random.key_data(alone.key)
        )


def test_shapes_alone_allocate_nothing():
    shapes = jax.eval_shape(lambda key: train.init(network(), OPTIMIZER, key, X), jax.random.key(0))
    assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(shapes))


def test_a_copy_outlives_the_donation_of_the_original():
    state = train.init(network(), OPTIMIZER, jax.random.key(0), X)
    kept, before = train.copy(state), jax.tree.map(np.array, state.params)
    jax.jit(lambda tree: jax.tree.map(lambda a: a + 1, tree), donate_argnums=0)(state.params)
    equal(kept.params, before)
