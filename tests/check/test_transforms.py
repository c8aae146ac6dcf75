"""Transformations: backward passes that are right alone and another thing in a loop."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from planted import X, affine, batch_norm, data, gate, lookup, soft, spoiled, square

from fnn import check, layers
from fnn.check.methods.transforms import loops, remat, retrace, sharding, transforms
from fnn.layer import Layer, Static, pure


def failed(rows):
    return {row.method for row in rows if not row.ok}


@pytest.mark.parametrize(
    ("layer", "x"),
    [(affine(3), X), (batch_norm, X), (soft, X), (lookup, np.array([1, 4, 4, 0]))],
    ids=lambda value: getattr(value, "name", ""),
)
def test_right_layers_agree(layer, x):
    trial = check.trial_of(layer, x)
    rows = transforms(trial)
    leaves = len({row.path for row in check.reverse_mode(trial)})
    assert failed(rows) == set(), rows
    assert Counter(row.method for row in rows if row.method != "sharding") == {
        "vmap": leaves, "scan": leaves, "remat": leaves, "retrace": 2,
    }  # fmt: skip


def test_keys_trees_and_empty_batches():
    for layer, x in (
        (layers.dropout(0.3), X),
        (gate, (data(4, 3), data(4, 3, seed=1))),
        (affine(3), np.zeros((0, 5), np.float32)),
        (layers.max_pool(2), data(2, 4, 4, 3)),
    ):
        assert failed(transforms(check.trial_of(layer, x))) == set()


def test_the_same_nan_is_no_other_result():
    layer = spoiled(
        square, lambda p, x, dp, dx, dy: (dp, dx.at[1, 2].set(jnp.nan).at[0].set(jnp.inf))
    )
    assert failed(transforms(check.trial_of(layer, X))) == set()


def test_a_backward_that_looks_at_values_does_not_run_in_a_loop():
    """A branch on dy runs outside of `jit`; here a tracer of `jit` is let through, one of `vmap` not."""

    def backward(params, x, dy):
        if dy.ndim == 2 and type(dy).__name__ == "BatchTracer":
            raise NotImplementedError("no batching rule for this kernel\nmore lines")
        return params, 2 * x * dy

    layer = square._replace(backward=backward)
    trial = check.trial_of(layer, X)
    rows = transforms(trial)
    assert failed(rows) == {"vmap"}
    (row,) = (row for row in rows if not row.ok)
    assert row.hand == "NotImplementedError: no batching rule for this kernel"
    assert {row.method for row in loops(trial)} == {"vmap", "scan"}


def test_a_batching_rule_that_is_wrong_is_found():
    @jax.custom_batching.custom_vmap
    def double(v):
        return 2 * v

    @double.def_vmap
    def _(size, batched, v):
        return jnp.where(jnp.arange(size)[:, None, None] == 0, 2 * v, 3 * v), True

    layer = spoiled(square, lambda p, x, dp, dx, dy: (dp, double(dx) / 2))
    trial = check.trial_of(layer, X)
    others = (check.reverse_mode, check.forward_mode, check.numerical, check.linearity, check.eager)
    assert all(row.ok for method in others for row in method(trial))
    assert failed(transforms(trial)) == {"vmap"}


def test_a_backward_that_counts_its_traces_differs_in_a_loop():
    calls = []

    def spoil(params, x, dparams, dx, dy):
        calls.append(1)
        return dparams, dx * (1 if len(calls) == 1 else 1 + 1e-6)

    assert {"scan", "vmap"} <= failed(loops(check.trial_of(spoiled(square, spoil), X)))


def test_a_forward_whose_second_run_saves_something_else_is_found():
    runs = []

    def forward(params, x):
        runs.append(1)
        return x * x, (2 if len(runs) == 1 else 2.001) * x

    layer = pure("square", forward, lambda params, cache, dy: (params, cache * dy))
    assert failed(remat(check.trial_of(layer, X))) == {"remat"}


class _Settings:
    """What hashes by identity."""


def test_what_is_traced_again_is_found():
    def forward(params, x):
        return x * x, (x, Static(_Settings()))

    layer = pure("square", forward, lambda params, cache, dy: (params, 2 * cache[0] * dy))
    trial = check.trial_of(layer, X)
    rows = retrace(trial)
    assert [(row.path, row.hand) for row in rows if not row.ok] == [
        ("backward", "traced 1 more time")
    ]
    assert failed((*loops(trial), *remat(trial))) == set()


def growing(next_state):
    def forward(params, state, x, key):
        del key
        return x * x, next_state(state), x

    return Layer(
        "growing",
        lambda key, x: ((), jnp.zeros(1, jnp.float32)),
        forward,
        lambda params, x, dy: (params, 2 * x * dy),
        lambda params, state, x: x * x,
    )


def test_a_state_that_changes_its_shape_is_traced_again():
    trial = check.trial_of(growing(lambda state: jnp.concatenate([state, state])), X)
    assert [row.path for row in retrace(trial) if not row.ok] == ["forward"]
    for kept in (lambda state: state + 1, lambda state: (state + 1).astype(jnp.float32)):
        assert failed(retrace(check.trial_of(growing(kept), X))) == set()


SHARDED = """
import numpy as np, jax
from fnn import check, layers, chain
from fnn.check.methods.transforms import sharding
from fnn.layer import pure
assert len(jax.devices()) == 8
x = np.random.default_rng(0).standard_normal((16, 5)).astype(np.float32)
net = chain(layers.linear(4), layers.batch_norm(), layers.dropout(0.3))
rows = sharding(check.trial_of(net, x))
assert len(rows) == 5 and all(row.ok for row in rows), rows
assert len(sharding(check.trial_of(layers.relu(), x[:7]))) == 1
assert sharding(check.trial_of(layers.relu(), x[:1])) == ()
def spoiled(params, x, dy):
    return params, 2 * x * dy * (1.01 if isinstance(x, jax.core.Tracer) and spoiled.runs else 1)
spoiled.runs = 0
layer = pure("square", lambda params, x: (x * x, x), lambda params, x, dy: spoiled(params, x, dy))
trial = check.trial_of(layer, x)
spoiled.runs = 1
jax.clear_caches()
assert [row.verdict for row in sharding(trial)] == ["wrong"]
print("sharded")
"""


def test_a_batch_over_eight_devices():
    """In a process of its own: the number of devices is fixed when jax starts."""
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        "PYTHONPATH": str(Path(check.__file__).parents[2]),
    }
    done = subprocess.run(
        [sys.executable, "-c", SHARDED],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "sharded\n", done.stderr


def test_one_device_has_no_row_for_sharding():
    if len(jax.devices()) > 1:
        pytest.skip("this process has several devices")
    assert sharding(check.trial_of(square, X)) == ()
