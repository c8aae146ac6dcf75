"""What the table of a step's ratios says of parameters that are 0."""

import jax.numpy as jnp

from fnn.diagnostics.updates import update_ratios


def test_what_is_0_has_no_ratio():
    params = {
        "a": {"w": jnp.full(4, 2.0), "b": jnp.zeros(2)},
        "c": {"b": jnp.zeros(2)},
        "d": {"w": jnp.ones(2)},
    }
    updates = {
        "a": {"w": jnp.full(4, 0.02), "b": jnp.ones(2)},
        "c": {"b": jnp.zeros(2)},
        "d": {"w": jnp.full(2, jnp.nan)},
    }
    rows = [line.rsplit("  ", 1) for line in str(update_ratios(params, updates)).splitlines()[2:]]
    assert {name.strip(): said.strip() for name, said in rows} == {
        "a/b": "from 0",
        "a/w": "1.0e-02",
        "c/b": "0 stays",
        "d/w": "nan",
        "all of a": "3.5e-01",
        "all of c": "0 stays",
        "all of d": "nan",
    }
