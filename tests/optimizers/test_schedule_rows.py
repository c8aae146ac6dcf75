"""Every property of a schedule, over the table of them."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tables.schedules import SCHEDULES, ScheduleRow

from fnn.optimizers import schedules

FAR = np.asarray([2**24, 2**24 + 1, 2**30, 2**31 - 2, 2**31 - 1])
PEERS = {name: row for name, row in SCHEDULES.items() if row.peer is not None}
OTHERS = {"schedule_table", "reduce_on_plateau"}  # a picture of schedules, and one of another kind
NAMES = [
    name
    for name, function in vars(schedules).items()
    if inspect.isfunction(function) and name not in OTHERS
]


@pytest.fixture(params=SCHEDULES.values(), ids=SCHEDULES)
def row(request: pytest.FixtureRequest) -> ScheduleRow:
    return request.param


def test_every_public_schedule_is_in_the_table():
    assert {row.build.__name__ for row in SCHEDULES.values()} == set(NAMES)


def test_values_are_the_closed_forms(row):
    """At every count until well after the end; in float64 to its last places."""
    counts = np.arange(80)
    expected = row.formula(counts.astype(np.float64))
    np.testing.assert_allclose(row.schedule()(counts), expected, rtol=3e-6, atol=1e-7)
    with jax.enable_x64(True):
        values = row.schedule()(jnp.asarray(counts))
        assert values.dtype == jnp.float64
        np.testing.assert_allclose(values, expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("row", PEERS.values(), ids=PEERS)
def test_values_are_those_of_optax(row):
    counts = jnp.arange(80)
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        # Of a step as a float, where optax's own powers and quotients have float64's digits.
        peer = jax.vmap(row.peer())(counts.astype(jnp.float64))
        np.testing.assert_allclose(row.schedule()(counts), peer, rtol=1e-6, atol=1e-15)


def test_one_count_under_jit_and_vmap_and_as_a_float(row):
    """One program for all int32 counts, and the same value whichever way it is asked for."""
    schedule, traces = row.schedule(), []

    @jax.jit
    def compiled(count):
        traces.append(count)
        return schedule(count)

    counts = jnp.arange(0, 66, 5)
    together = jax.vmap(schedule)(counts)
    assert together.dtype == jnp.float32
    assert together.shape == counts.shape
    for count, value in zip(counts, together, strict=True):
        single = compiled(count)
        assert (single.shape, single.dtype, single.weak_type) == ((), jnp.float32, False)
        np.testing.assert_allclose(single, value, rtol=1e-6, atol=1e-7)
    assert len(traces) == 1
    np.testing.assert_allclose(schedule(counts.astype(float)), together, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(schedule(int(counts[3])), together[3], rtol=1e-6, atol=1e-9)
    np.testing.assert_array_equal(schedule(np.int8(5)), schedule(5))


def test_finite_and_not_negative_up_to_the_last_int32(row):
    values = np.asarray(
        row.schedule()(jnp.asarray(np.concatenate([np.arange(200), FAR]), jnp.int32))
    )
    assert np.isfinite(values).all()
    assert (values >= 0).all()
    assert np.isfinite(row.schedule()(jnp.asarray(3e38)))
    if row.end is not None:
        assert np.unique(values[row.end :]).size == 1
        assert row.end == 0 or values[row.end] != values[row.end - 1]


def test_a_count_that_is_no_number(row):
    with pytest.raises(TypeError, match="count of steps, an integer or a float, got bool"):
        row.schedule()(jnp.asarray(True))


def test_each_value_may_be_traced(row):
    """A sweep over peaks is one compiled program."""
    counts = jnp.asarray([0, 7, 23, 60])
    swept = [n for n, v in row.arguments.items() if isinstance(v, float) and n not in STATIC]
    for name in swept:
        values = jnp.asarray([0.5, 1.0]) * row.arguments[name]
        together = jax.vmap(lambda value, n=name: row.schedule(**{n: value})(counts))(values)
        for got, value in zip(together, values, strict=True):
            expected = row.schedule(**{name: float(value)})(counts)
            np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-9)


STATIC = {"factor", "power", "shrink", "rise"}  # their logarithms are taken when it is built


def test_refuses_what_no_value_can_be(row):
    for name, given in row.arguments.items():
        if isinstance(given, float):
            for bad in (np.nan, np.inf, -0.1, "0.1", True, [0.1]):
                with pytest.raises(ValueError, match=rf"{row.build.__name__}: expected {name} "):
                    row.schedule(**{name: bad})


def test_refuses_what_no_number_of_steps_can_be(row):
    for name, given in row.arguments.items():
        if isinstance(given, int):
            for bad in (-1, 1.5, 2**31, True):
                with pytest.raises(ValueError, match=r": expected .*(steps|every|growth|cycle)"):
                    row.schedule(**{name: bad})


def test_refuses_another_word(row):
    for name, given in row.arguments.items():
        if isinstance(given, str):
            with pytest.raises(ValueError, match=rf"expected {name} to be one of .*'cubic'"):
                row.schedule(**{name: "cubic"})


@pytest.mark.parametrize("name", NAMES)
def test_the_docstrings_have_formula_source_and_the_counts_of_the_ends(name):
    text = inspect.getdoc(getattr(schedules, name))
    assert "Source" in text
    assert "count" in text
    assert "``" in text or "        " in text or "=" in text
    assert "Raises:" in text
