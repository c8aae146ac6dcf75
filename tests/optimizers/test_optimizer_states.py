"""States of every optimizer: compiled once, swept, scheduled, saved, and carried through control flow."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from selection import compiled
from stepping import every_row, every_row_compiled, parabola, run, scan, wavy, without_decay

from fnn import optimizers
from fnn.optimizers import apply_updates, with_hyperparameters
from fnn.tree import paths

START = {"w": np.float32([[3.0, -2.0], [0.5, 1.5]]), "b": np.float32([0.0, 1.0])}


@every_row_compiled
def test_one_compilation_serves_every_hyperparameter(row):
    """And jit changes nothing: the same steps as outside of it."""
    optimizer, traces = row.optimizer(), []

    @jax.jit
    def step(params, state):
        traces.append(1)
        updates, state = optimizer.update(wavy(params), state, params)
        return apply_updates(params, updates), state

    params = jax.tree.map(jnp.asarray, START)
    state = optimizer.init(params)
    once, state_once = step(params, state)
    twice, _ = step(once, state_once)
    for got, expected in zip((once, twice), run(optimizer, params, wavy, 2), strict=True):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-6), got, expected)
    if row.rate_is_leaf:
        still, _ = step(params, with_hyperparameters(state, rate=0.0, **without_decay(row)))
        jax.tree.map(np.testing.assert_array_equal, still, params)
    for name, value in row.hyperparameters.items():
        step(params, with_hyperparameters(state, **{name: (1 + value) / 2 if value < 1 else 2}))
    assert len(traces) == 1
    names = {path.rpartition("/")[2] for path, _ in paths(state) if "hyper/" in path}
    assert names == {*(["rate"] if row.rate_is_leaf else []), *row.hyperparameters}


@every_row_compiled
def test_vmap_over_64_rates_equals_64_runs(row):
    rates = row.rate * jnp.linspace(0.01, 1.0, 64)

    def train(rate):
        return scan(row.optimizer(rate), START, wavy, 10)[0]

    together = jax.jit(jax.vmap(train))(rates)
    single = jax.jit(lambda: jax.lax.map(train, rates))()
    for got, expected in zip(jax.tree.leaves(together), jax.tree.leaves(single), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    assert len(np.unique(together["w"][:, 0, 0])) > 32  # they are not all one


@every_row
def test_schedules_drive_any_hyperparameter(row):
    """A constant schedule gives the trajectory of the number; one that changes, that of a change."""
    start = jnp.asarray([[3.0, -2.0], [1.0, 0.5]])
    defaults = {**({"rate": row.rate} if row.rate_is_leaf else {}), **row.hyperparameters}
    given = {name: optimizers.schedules.constant(value) for name, value in defaults.items()}
    plain = run(row.optimizer(), start, parabola, 10)[-1]
    np.testing.assert_array_equal(run(row.optimizer(**given), start, parabola, 10)[-1], plain)
    state = row.optimizer(**given).init(start)
    name = next(iter(defaults))
    with pytest.raises(KeyError, match=f"{name}.*what a schedule drives is not in the state"):
        with_hyperparameters(state, **{name: 0.1})
    later = {name: (1 + value) / 2 if value < 1 else 2.0 for name, value in defaults.items()}
    changing = {
        name: lambda count, name=name: jnp.where(count < 2, defaults[name], later[name])
        for name in defaults
    }
    params, state = start, row.optimizer().init(start)
    for count in range(4):
        if count == 2:
            state = with_hyperparameters(state, **later)
        updates, state = row.optimizer().update(wavy(params), state, params)
        params = apply_updates(params, updates)
    ended = run(row.optimizer(**changing), start, wavy, 4)[-1]
    np.testing.assert_allclose(ended, params, rtol=1e-6)
    assert not np.allclose(ended, run(row.optimizer(), start, wavy, 4)[-1], rtol=1e-3)


@every_row
def test_the_state_is_memory_of_its_own(row):
    """It may be donated, again and again, whatever arrays the optimizer and the parameters are."""
    params = {"w": jnp.asarray([[3.0, -2.0]])}
    given = {name: jnp.asarray(value, float) for name, value in row.hyperparameters.items()}
    optimizer = row.optimizer(jnp.asarray(row.rate, float), **given)
    state = optimizer.init(params)
    held = [*given.values(), *jax.tree.leaves((params, state))]
    addresses = [leaf.unsafe_buffer_pointer() for leaf in held]
    assert len(set(addresses)) == len(addresses)


@every_row
def test_a_compiled_init_holds_no_arrays(row):
    """A program that holds a model's zeros takes as much memory as the model, and long to compile."""
    shapes = {"w": jax.ShapeDtypeStruct((300, 200), jnp.float32)}
    held = jax.make_jaxpr(row.optimizer().init)(shapes).consts
    assert all(np.size(constant) <= 1 for constant in held)


@every_row
def test_an_init_compiles_nothing_for_a_new_shape(row):
    """A network of a hundred shapes would wait for seconds."""
    row.optimizer().init({"w": np.ones((3, 2), np.float32)})
    init = row.optimizer().init
    assert compiled(lambda: init({"w": np.ones((17, 19), np.float32)})) == []


@every_row
def test_after_the_last_count_of_an_int32_steps_go_on(row):
    """The count stays there; one that wraps to a negative number would turn the update around."""
    last = np.int32(2**31 - 1)
    params = {"w": jnp.asarray([[3.0, -2.0], [0.5, 1.5]])}
    optimizer = row.optimizer()
    state = jax.tree.map(
        lambda leaf: jnp.asarray(last) if leaf.dtype == jnp.int32 else leaf, optimizer.init(params)
    )
    for _ in range(2):
        updates, state = optimizer.update(params, state, params)
        assert np.isfinite(updates["w"]).all()
    for path, leaf in paths(state):
        assert leaf.dtype != jnp.int32 or leaf == last, path


@every_row
def test_a_saved_state_goes_on_bit_for_bit(row):
    """Leaves by their paths, into a file and back into another process's fresh state."""
    optimizer = row.optimizer()
    params, state = START, optimizer.init(START)

    def steps(params, state, count):
        for _ in range(count):
            updates, state = optimizer.update(wavy(params), state, params)
            params = apply_updates(params, updates)
        return params, state

    params, state = steps(params, state, 3)
    file = io.BytesIO()
    np.savez(file, **dict(paths({"params": params, "state": state})))
    file.seek(0)
    fresh = {"params": START, "state": row.optimizer().init(START)}
    with np.load(file) as saved:
        assert len(saved.files) == len(paths(fresh))
        leaves = [saved[path] for path, _ in paths(fresh)]
    loaded = jax.tree.unflatten(jax.tree.structure(fresh), leaves)
    with_break = steps(loaded["params"], loaded["state"], 3)
    without = steps(params, state, 3)
    for (path, a), (_, b) in zip(paths(with_break), paths(without), strict=True):
        np.testing.assert_array_equal(a, b, err_msg=path)
        assert a.dtype == b.dtype, path


@every_row_compiled
def test_the_state_goes_through_cond_and_scan(row):
    """Both branches of a cond have to agree in structure, shapes, dtypes and weak types."""
    optimizer = row.optimizer()

    def skip_every_other(carry, count):
        params, state = carry

        def move(state):
            updates, state = optimizer.update(wavy(params), state, params)
            return apply_updates(params, updates), state

        return jax.lax.cond(count % 2 == 0, move, lambda state: (params, state), state), None

    start = (jax.tree.map(jnp.asarray, START), optimizer.init(START))
    (params, state), _ = jax.jit(lambda: jax.lax.scan(skip_every_other, start, jnp.arange(6)))()
    expected = run(optimizer, START, wavy, 3)[-1]
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), params, expected
    )
    assert jax.tree.structure(state) == jax.tree.structure(start[1])


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (
            {"w": jnp.ones(1)},
            r"parameters of shape \(3,\) at 'w', got slots of \[\(1,\)\]",
        ),
        (
            {"w": jnp.ones(3), "b": jnp.ones(3)},
            r"one with trace of others: only one of them has \['b'\]",
        ),
        ({"v": jnp.ones(3)}, r"one with trace of others: only one of them has \['w'\]"),
    ],
    ids=["shape", "one more", "another name"],
)
def test_the_state_of_other_parameters(other, expected):
    optimizer, params = optimizers.momentum(0.1), {"w": jnp.ones(3)}
    with pytest.raises(ValueError, match=expected):
        optimizer.update(params, optimizer.init(other), params)
