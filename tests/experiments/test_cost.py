"""The cost table compares like with like: both programs of a row have the same gradients."""

import inspect
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from selection import few

from experiments import cost, cost_rows
from experiments.cost_rows import FAMILIES, ROWS
from experiments.timing import Ratio
from fnn import compose, layers, losses

# Public functions that no row builds, each with the reason.
WITHOUT_A_ROW = {
    "conv_output_size": "arithmetic on sizes, which builds no layer",
    "linear_decay": "arithmetic on probabilities, which builds no layer",
    "expected_initial_loss": "runs a loss once, before training",
}


def test_no_two_rows_have_one_name():
    assert len(ROWS) == sum(map(len, FAMILIES.values()))


def test_every_public_function_is_in_a_row_or_says_why_not():
    """The rows name the functions; a layer, a container or a loss without a row is not measured."""
    source = "".join(inspect.getsource(getattr(cost_rows, family)) for family in FAMILIES)
    without = {
        name
        for room, prefix, call in (
            (layers, r"\blayers\.", r"\b"),
            (losses, r"\blosses\.", r"\b"),
            (
                compose,
                r"(?:\bcompose\.|(?<![\w.]))",
                r"\(",
            ),  # imported by name; what is called is built
        )
        for name, value in vars(room).items()
        if inspect.isfunction(value) and not re.search(f"{prefix}{name}{call}", source)
    }
    assert without == set(WITHOUT_A_ROW)


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


def test_what_is_not_cheaper_is_printed_with_its_reason():
    """Beside the name, where even the first quartile is above; a row without a reason stands alone."""

    def measured(name, low, reason=""):
        slow, even = Ratio(low + 0.1, low, low + 0.2), Ratio(1.0, 0.9, 1.1)
        return cost.Cost(name, even, slow, 1.0, (0, 0), 0, (1, 1), reason)

    lines = cost.summary(
        [measured("a", 1.5, "a guard, and more"), measured("b", 1.3), measured("c", 1.0, "unused")]
    ).splitlines()
    assert lines[-2].endswith("outside, first quartile too: none")
    assert lines[-1].endswith("in a scan, first quartile too: a 1.60 (a guard, and more); b 1.40")


def test_the_reason_of_a_row_is_that_of_its_measurement():
    row = ROWS["identity"]
    assert row.reason
    found = cost.measure("identity", row, "small", jnp.dtype("float32"), 0.0)
    assert found.reason == row.reason
