"""What the tests of training share: a small network with all kinds of state, and comparisons."""

import jax
import jax.numpy as jnp
import numpy as np

from fnn import chain, layers, losses, train

LOSS = losses.softmax_cross_entropy()
METRICS = {"accuracy": train.accuracy}


def network():
    return chain(
        hidden=layers.linear(16),
        norm=layers.batch_norm(),
        act=layers.relu(),
        drop=layers.dropout(0.1),
        logits=layers.linear(3),
    )


def equal(a, b):
    for p, q in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        if jnp.issubdtype(p.dtype, jax.dtypes.prng_key):
            p, q = jax.random.key_data(p), jax.random.key_data(q)
        np.testing.assert_array_equal(p, q)


def all_finite(tree):
    return all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tree))


def counting(net):
    """The network, and a list that grows by one whenever its forward pass is traced."""
    traces = []

    def forward(*args):
        traces.append(1)
        return net.forward(*args)

    return net._replace(forward=forward), traces
