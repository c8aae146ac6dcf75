"""Transforms and wrappers: every property over their tables."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tables import INNER, TRANSFORMS, WRAPPERS

from fnn import optimizers
from fnn.optimizers import apply_updates, hyperparameters, with_hyperparameters
from fnn.tree import paths

WRAPPED = {
    f"{name}({inner})": (row, make)
    for name, row in WRAPPERS.items()
    for inner, make in INNER.items()
}
ALL = {name: (row, None) for name, row in TRANSFORMS.items()} | WRAPPED


@pytest.fixture(params=ALL.values(), ids=ALL)
def case(request):
    return request.param


@pytest.fixture
def transform(case):
    row, inner = case
    return row.transform() if inner is None else row.build(inner())


def tree(rng, dtype=np.float32):
    return {
        "hidden": {"w": draw(rng, (4, 3), dtype), "b": draw(rng, (3,), dtype)},
        "head": {"w": draw(rng, (3, 2), dtype), "b": draw(rng, (2,), dtype)},
    }


def draw(rng, shape, dtype):
    return jnp.asarray(rng.normal(size=shape), dtype)


def same(a, b, **tolerance):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for (path, x), (_, y) in zip(paths(a), paths(b), strict=True):
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        assert (x.shape, x.dtype) == (y.shape, y.dtype), path
        np.testing.assert_allclose(x, y, err_msg=path, **tolerance)


def kinds(tree):
    return jax.tree.structure(tree), [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(tree)]


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16], ids=str)
def test_tree_and_dtypes_stay_and_slots_are_wide(transform, dtype, rng):
    params, grads = tree(rng, dtype), tree(rng, dtype)
    state = transform.init(params)
    updates, after = transform.update(grads, state, params)
    assert jax.tree.structure(updates) == jax.tree.structure(params)
    assert {leaf.dtype for leaf in jax.tree.leaves(updates)} == {jnp.dtype(jnp.float32)}
    assert kinds(apply_updates(params, updates)) == kinds(params)
    assert kinds(after) == kinds(state)
    for path, leaf in paths(state):
        assert leaf.dtype != jnp.bfloat16, path


def test_one_trace_and_the_same_result_as_without_jit(transform, rng):
    params, grads = tree(rng), [tree(rng) for _ in range(3)]
    traces = []

    @jax.jit
    def update(grads, state, params):
        traces.append(1)
        return transform.update(grads, state, params)

    plain = compiled = transform.init(params)
    for g in grads:
        expected, plain = transform.update(g, plain, params)
        got, compiled = update(g, compiled, params)
        same(got, expected, rtol=1e-5, atol=1e-6)
        same(compiled, plain, rtol=1e-5, atol=1e-6)
    for path, value in hyperparameters(compiled).items():
        update(grads[0], with_hyperparameters(compiled, **{path: value / 2}), params)
    assert len(traces) == 1


def test_the_state_goes_through_scan_and_cond(transform, rng):
    params, state = tree(rng), None
    state = transform.init(params)
    grads = [tree(rng) for _ in range(3)]
    stacked = jax.tree.map(lambda *g: jnp.stack(g), *grads)

    def body(carry, g):
        params, state = carry

        def make(operands):
            updates, after = transform.update(g, operands[1], operands[0])
            return apply_updates(operands[0], updates), after

        return jax.lax.cond(jnp.asarray(True), make, lambda same: same, (params, state)), None

    (scanned, _), _ = jax.lax.scan(body, (params, state), stacked)
    for g in grads:
        updates, state = transform.update(g, state, params)
        params = apply_updates(params, updates)
    same(scanned, params, rtol=1e-4, atol=1e-5)


def test_vmap_equals_single_updates(transform, rng):
    params = [tree(rng) for _ in range(3)]
    grads = [tree(rng) for _ in range(3)]
    p, g = (jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees) for trees in (params, grads))
    states = jax.vmap(transform.init)(p)
    together, _ = jax.vmap(transform.update)(g, states, p)
    for i in range(3):
        one, _ = transform.update(grads[i], transform.init(params[i]), params[i])
        same(jax.tree.map(lambda u, i=i: u[i], together), one, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "params", [{}, {"w": ()}, {"a": {"w": jnp.zeros((0, 3)), "b": jnp.zeros(0)}}], ids=str
)
def test_empty_trees_and_leaves(transform, params):
    updates, _ = transform.update(params, transform.init(params), params)
    assert jax.tree.structure(apply_updates(params, updates)) == jax.tree.structure(params)


def test_zero_gradients_and_zero_parameters_give_finite_updates(transform, rng):
    zero = jax.tree.map(jnp.zeros_like, tree(rng))
    state = transform.init(zero)
    for params in (zero, tree(rng)):
        updates, state = transform.update(zero, state, params)
        assert all(np.isfinite(u).all() for u in jax.tree.leaves(updates))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_in_a_gradient_is_not_hidden(case, transform, bad, rng):
    params, grads = tree(rng), tree(rng)
    grads["hidden"]["w"] = grads["hidden"]["w"].at[1, 2].set(bad)
    state = transform.init(params)
    seen = False
    for _ in range(4):  # a wrapper may act on some steps only
        updates, state = transform.update(grads, state, params)
        seen |= not np.isfinite(updates["hidden"]["w"][1, 2])
    row, _ = case
    hidden = row.stops_nan or (np.isinf(bad) and row.stops_infinity)
    assert seen != bool(hidden)


@pytest.mark.parametrize("name", [name for name, row in TRANSFORMS.items() if row.hyperparameters])
def test_schedules_drive_any_hyperparameter(name, rng):
    row = TRANSFORMS[name]
    params = tree(rng)
    given = {
        name: optimizers.schedules.constant(value) for name, value in row.hyperparameters.items()
    }
    plain, scheduled = row.transform(), row.transform(**given)
    state, other = plain.init(params), scheduled.init(params)
    assert {path.rpartition("/")[2] for path in hyperparameters(state)} == set(row.hyperparameters)
    assert hyperparameters(other) == {}
    for _ in range(3):
        grads = tree(rng)
        expected, state = plain.update(grads, state, params)
        got, other = scheduled.update(grads, other, params)
        same(got, expected, rtol=1e-6)


PEERS = {name: row for name, row in TRANSFORMS.items() if row.peer}


@pytest.mark.parametrize("name", PEERS)
def test_updates_are_those_of_optax(name, rng):
    row = PEERS[name]
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        params = tree(rng, np.float64)
        ours, theirs = row.transform(), row.peer(**row.hyperparameters)
        state, other = ours.init(params), theirs.init(params)
        for _ in range(4):
            grads = tree(rng, np.float64)
            got, state = ours.update(grads, state, params)
            expected, other = theirs.update(grads, other, params)
            same(got, expected, rtol=1e-12)
            params = optax.apply_updates(params, got)


def test_other_trees_are_refused(transform, rng):
    params = tree(rng)
    state = transform.init(params)
    with pytest.raises(ValueError, match="head/b"):
        transform.update({**params, "head": {"w": params["head"]["w"]}}, state, params)


def test_docstrings_say_what_the_hyperparameters_are():
    for name, row in TRANSFORMS.items():
        text = inspect.getdoc(getattr(optimizers, name.partition(" ")[0]))
        assert ("Hyperparameter" in text) == bool(row.hyperparameters), name
        for hyperparameter in row.hyperparameters:
            assert hyperparameter in text


@pytest.mark.parametrize("name", [name for name in ALL if not name.startswith("groups")])
def test_a_state_that_is_none_of_its_own(name, rng):
    row, inner = ALL[name]
    transform = row.transform() if inner is None else row.build(inner())
    params = tree(rng)
    for foreign in ({}, ()):
        with pytest.raises(
            ValueError, match=r"expected this optimizer's state, of .*with this opt"
        ):
            transform.update(params, foreign, params)


@pytest.mark.parametrize(("dtype", "other"), [(np.float32, np.float64), (np.float64, np.float32)])
def test_gradients_of_another_precision_than_the_parameters(transform, dtype, other, rng):
    with jax.enable_x64(True):
        params, grads = tree(rng, dtype), tree(rng, other)
        state = transform.init(params)
        updates, after = transform.update(grads, state, params)
        assert kinds(apply_updates(params, updates)) == kinds(params)
        assert kinds(after) == kinds(state)


def test_the_state_is_memory_of_its_own(transform, rng):
    """It may be donated together with the parameters."""
    params = tree(rng)
    held = [
        jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
        for leaf in jax.tree.leaves((params, transform.init(params)))
    ]
    addresses = [leaf.unsafe_buffer_pointer() for leaf in held]
    assert len(set(addresses)) == len(addresses)
