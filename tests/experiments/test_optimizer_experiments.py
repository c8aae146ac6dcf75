"""The optimizers' experiments measure what they say: quick forms of both."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import optimizer_cost, optimizer_paths, optimizer_race
from experiments.optimizer_programs import Program, copy, step, tree
from fnn import optimizers


@pytest.fixture(autouse=True)
def promotion():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def test_the_tree_is_the_one_of_the_claim():
    shapes = jax.eval_shape(lambda: tree("real", 0))
    assert len(shapes) == 300
    assert 10e6 < sum(leaf.size for leaf in shapes.values()) < 10.1e6


def test_every_optimizer_has_a_row_and_those_that_optax_has_a_peer():
    table, rows = optimizer_cost.OPTIMIZERS, optimizer_cost.rows()
    assert {row.build for row in rows.values()} == {row.build for row in table.values()}
    assert {name for name, row in table.items() if row.peer is not None} <= rows.keys()


def test_a_program_goes_on_from_its_own_results():
    params, grads = tree("small", 0), tree("small", 1)
    program = Program(optimizers.momentum(0.1), params, grads)
    expected, state = copy(params), optimizers.momentum(0.1).init(params)
    for _ in range(3):
        program()
        expected, state = step(optimizers.momentum(0.1))(expected, state, grads)
    for name, leaf in program.carried[0].items():
        np.testing.assert_allclose(leaf, expected[name], rtol=1e-5, atol=1e-7)
    count = sum(leaf.size for leaf in params.values())
    assert program.moved >= 5 * 4 * count  # gradient, parameter and trace in, the last two out


def test_rows_are_measured(capsys):
    optimizer_cost.main(["--only", "sgd", "--size", "small", "--seconds", "0", "--sweep", "2"])
    said = capsys.readouterr().out
    assert re.search(r"^sgd +[\d.]+ ", said, re.MULTILINE)
    assert "geometric means of 1 shared optimizers" in said
    assert "fnn 1 program," in said
    assert "optax 2 programs," in said


def test_what_no_row_is_called_is_an_error(capsys):
    with pytest.raises(SystemExit):
        optimizer_cost.main(["--only", "perceptron"])
    assert "no row begins with" in capsys.readouterr().err


def test_the_fastest_rate_of_a_parabola_is_newtons():
    """On x²/2 + y²/2 a rate of 1 arrives in one step; the grid's nearest one is taken."""
    bowl = optimizer_paths.Landscape(
        "bowl", lambda p: 0.5 * jnp.sum(p**2), (1.0, -1.0), ((0, 0),), 0.0, (-2, 2, -2, 2)
    )
    rate, path = optimizer_paths.fastest(optimizers.sgd, bowl, 10)
    nearest = optimizer_paths.RATES[np.abs(np.log(optimizer_paths.RATES)).argmin()]
    assert rate == nearest
    np.testing.assert_allclose(path[:, 0], (1 - rate) ** np.arange(11), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("land", optimizer_paths.LANDSCAPES, ids=lambda land: land.name)
def test_minima_are_minima(land):
    for minimum in land.minima:
        at = jnp.asarray(minimum, jnp.float32)
        assert abs(float(land.value(at)) - land.least) < 1e-6
        np.testing.assert_allclose(jax.grad(land.value)(at), 0, atol=1e-5)


def test_the_interval_is_students():
    errors = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    mean, half = optimizer_race.interval(errors)
    assert mean == 3
    assert half == pytest.approx(2.776 * np.sqrt(2.5 / 5), rel=1e-3)


def test_the_rate_is_chosen_without_the_test_set():
    validation = np.array([[9.0, 9.0], [2.0, 4.0], [1.0, 6.0]])
    test = np.array([[0.0, 0.0], [5.0, 7.0], [1.0, 1.0]])
    result = optimizer_race.Result(np.array([0.1, 1.0, 10.0]), validation, test, 0.0)
    assert result.chosen == 1
    np.testing.assert_array_equal(result.errors, [5.0, 7.0])


def test_of_equal_rates_the_middle_one_is_chosen():
    validation = np.array([[2.0], [1.0], [1.0], [1.0], [2.0]])
    assert optimizer_race.Result(np.arange(5.0), validation, validation, 0.0).chosen == 2


@pytest.mark.slow
def test_both_races_run(tmp_path, capsys):
    optimizer_race.main(["--quick", "--out", str(tmp_path)])
    said = capsys.readouterr().out
    assert all(re.search(rf"^{name} ", said, re.MULTILINE) for name in optimizer_race.SIX)
    for name in ("paths.png", "paths.gif", "digits.png"):
        assert (tmp_path / name).stat().st_size > 1000
