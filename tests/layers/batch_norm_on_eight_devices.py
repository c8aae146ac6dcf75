"""A program, not a test: batch norm on eight devices against one. Run by test_normalization.py."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from fnn import layers


def passes(layer, params, state, x, dy):
    """All that one training pass gives."""
    y, state, cache = layer.forward(params, state, x, None)
    dparams, dx = layer.backward(params, cache, dy)
    return y, state, dparams, dx


def main():
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(2, 3, (16, 3, 4)), jnp.float32)
    dy = jnp.asarray(rng.normal(size=x.shape), jnp.float32)
    layer = layers.batch_norm()
    params, state = layer.init(None, x)
    expected = passes(layer, params, state, x, dy)

    mesh = Mesh(np.array(jax.devices()), ("data",))
    rows, everywhere = PartitionSpec("data"), PartitionSpec()
    spread = jax.device_put((x, dy), NamedSharding(mesh, rows))
    jitted = jax.jit(lambda x, dy: passes(layer, params, state, x, dy))(*spread)
    assert len(jitted[0].sharding.device_set) == 8

    synchronized = layers.batch_norm(axis_name="data")

    def part(x, dy):
        y, new_state, dparams, dx = passes(synchronized, params, state, x, dy)
        return y, new_state, jax.tree.map(lambda d: jax.lax.psum(d, "data"), dparams), dx

    mapped = jax.shard_map(
        part, mesh=mesh, in_specs=(rows, rows), out_specs=(rows, everywhere, everywhere, rows)
    )
    for got in (jitted, jax.jit(mapped)(*spread)):
        for mine, one in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(mine, one, rtol=2e-5, atol=2e-6)
    print(f"{len(jax.devices())} devices: jit and shard_map as on one")


if __name__ == "__main__":
    main()
