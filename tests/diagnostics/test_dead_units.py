"""Units that never fire: planted, then told from those that fire on one example of many."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import chain, layers
from fnn.compose import repeat
from fnn.diagnostics.dead_units import dead_units
from fnn.diagnostics.health import health
from fnn.losses import softmax_cross_entropy

RNG = np.random.default_rng(7)


def planted():
    """Units 1 and 4 of six never fire, unit 2 on example 10 alone; the first sigmoid is stuck at 1."""
    net = chain(
        hidden=layers.linear(6),
        act=layers.relu(),
        flat=layers.dropout(0.5),
        again=layers.relu(),
        last=layers.linear(3),
        gate=layers.sigmoid(),
    )
    x = RNG.normal(size=(23, 4)).astype(np.float32)
    x[10] = [100, 0, 0, 0]
    params, state = net.init(jax.random.key(0), x)
    hidden, last = params["hidden"], params["last"]
    b = hidden.b.at[jnp.asarray([1, 4])].set(-1e4).at[2].set(-50)
    w = hidden.w.at[:, 2].set(0).at[0, 2].set(1)
    params["hidden"] = hidden._replace(w=w, b=b)
    params["last"] = last._replace(b=last.b.at[0].set(1e4))
    return net, params, state, x


@pytest.mark.parametrize("batch_size", [None, 5])
def test_they_are_found_over_all_examples(batch_size):
    net, params, state, x = planted()
    found = dead_units(net, params, state, x, batch_size=batch_size)
    known = {layer.path: (layer.silent, layer.constant) for layer in found.layers}
    assert known == {"act": ((1, 4), ()), "again": ((), ()), "gate": ((), (0,))}
    assert found.examples.value == 23
    assert "2 of 15 units never fire on the 23 examples seen" in str(found)
    assert "2: 1, 4" in str(found)


def test_of_the_others_one_example_is_proof_enough():
    net, params, state, x = planted()
    found = dead_units(net, params, state, np.delete(x, 10, axis=0))
    assert found.layers[0].silent == (1, 2, 4)


def test_health_finds_them_on_a_batch_and_blames_no_dropout():
    net, params, state, x = planted()
    look = health(net, softmax_cross_entropy())
    found = look(params, state, x, RNG.integers(0, 3, 23), jax.random.key(0))
    rows = {row.path: row for row in found.rows}
    np.testing.assert_array_equal(np.flatnonzero(rows["act"].dead), [1, 4])
    assert rows["flat"].dead is None
    assert rows["gate"].saturated >= 1 / 3


def test_blocks_have_units_of_their_own():
    net = repeat(chain(hidden=layers.linear(3), act=layers.relu()), 3)
    x = RNG.normal(size=(9, 3)).astype(np.float32)
    params, state = net.init(jax.random.key(1), x)
    own = params["block"]["hidden"]
    b = jnp.zeros_like(own.b).at[1, 2].set(-1e4) + 50
    same = jnp.broadcast_to(jnp.eye(3, dtype=b.dtype), own.w.shape)
    params["block"]["hidden"] = own._replace(w=same, b=b)
    found = dead_units(net, params, state, x)
    assert [(each.path, each.silent) for each in found.layers] == [
        ("block[0]/act", ()),
        ("block[1]/act", (2,)),
        ("block[2]/act", ()),
    ]


def test_a_network_without_activations_has_none():
    net = layers.linear(2)
    x = RNG.normal(size=(3, 2)).astype(np.float32)
    found = dead_units(net, *net.init(jax.random.key(0), x), x)
    assert found.layers == ()


def test_a_batch_size_below_one_is_refused():
    net, params, state, x = planted()
    with pytest.raises(ValueError, match="batch size of at least 1, got 0"):
        dead_units(net, params, state, x, batch_size=0)
    with pytest.raises(ValueError, match="one or more examples"):
        dead_units(net, params, state, x[:0])
