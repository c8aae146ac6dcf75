"""The cost table compares like with like: both programs of a row have the same gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from selection import few

from experiments import cost
from experiments.cost_rows import FAMILIES, ROWS


def test_no_two_rows_have_one_name():
    assert len(ROWS) == sum(map(len, FAMILIES.values()))


@pytest.mark.parametrize("name", few(ROWS, 24))
def test_plain_form_is_the_same_function(name):
    """What autodiff is asked for is an oracle, not only an opponent: value and every gradient."""
    distance = getattr(ROWS[name], "distance", 2e-5)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        problem = ROWS[name].problem("small", jnp.dtype("float32"), in_scan=False)
        hand, auto = (
            jax.jit(run)(problem.moving, problem.fixed) for run in (problem.hand, problem.auto)
        )
    for got, expected in zip(jax.tree.leaves(hand), jax.tree.leaves(auto), strict=True):
        assert (got.shape, got.dtype) == (expected.shape, expected.dtype)
        if distance is not None:
            scale = max(np.abs(np.asarray(expected, np.float64)).max(initial=0), 1e-3)
            np.testing.assert_allclose(got, expected, rtol=5 * distance, atol=distance * scale)


def test_a_row_is_measured(capsys):
    cost.main(["--only", "relu", "--family", "activations", "--size", "small", "--seconds", "0"])
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("relu") for line in lines)
    assert any(line.startswith("geometric means") for line in lines)


def test_what_no_row_is_called_is_an_error(capsys):
    with pytest.raises(SystemExit):
        cost.main(["--only", "perceptron"])
    assert "no row begins with" in capsys.readouterr().err
