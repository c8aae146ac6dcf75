"""Second order: gradients that are right and whose own derivatives are not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from planted import (
    FAULTS,
    X,
    affine,
    batch_norm,
    elementwise,
    layer_norm,
    logistic,
    rectifier,
    soft,
    spoiled,
    square,
)

from fnn import check, layers
from fnn.check.methods.second_order import second_order
from fnn.layer import pure


@pytest.mark.parametrize("layer", [affine(3), batch_norm, layer_norm, logistic, soft, square])
def test_right_layers_are_right_at_second_order(layer):
    rows = second_order(check.trial_of(layer, X))
    assert {row.verdict for row in rows} == {"ok"}, rows
    assert max(row.relative for row in rows) < 1e-12


def test_a_cache_behind_stop_gradient_is_found_by_this_method_alone():
    def backward(params, x, dy):
        return params, 2 * jax.lax.stop_gradient(x) * dy

    trial = check.trial_of(square._replace(backward=backward), X)
    others = (check.reverse_mode, check.forward_mode, check.numerical, check.linearity, check.eager)
    assert all(row.ok for method in others for row in method(trial))
    (row,) = second_order(trial)
    assert (row.verdict, row.path) == ("wrong", "x")
    assert row.hand == 0


def test_the_leaf_is_named():
    def spoil(params, x, dparams, dx, dy):
        return dparams._replace(w=jax.lax.stop_gradient(dparams.w)), dx

    rows = second_order(check.trial_of(spoiled(affine(4), spoil), X))
    assert [row.path for row in rows if not row.ok] == ["params/w"]


def test_what_refuses_forward_mode_is_undecided():
    @jax.custom_vjp
    def double(v):
        return 2 * v

    double.defvjp(lambda v: (2 * v, None), lambda _, g: (2 * g,))
    hand = spoiled(square, lambda p, x, dp, dx, dy: (dp, double(dx) / 2))
    (row,) = second_order(check.trial_of(hand, X))
    assert (row.verdict, row.ok) == ("undecided", True)
    assert "refuses the hand-written passes: TypeError" in row.predicate


def test_a_wrong_gradient_is_left_to_first_order():
    found = {
        row.verdict for fault in FAULTS[:5] for row in _rows(fault) if row.path in fault.leaves
    }
    assert found == {"undecided"}


def _rows(fault):
    return second_order(check.trial_of(spoiled(fault.layer, fault.spoil), fault.x))


def test_a_kink_of_the_gradient_is_no_fault():
    """max(x, 0)²: at 0 the gradient is 0 on either side, its derivative 0 or 2, and autodiff says 1."""
    layer = elementwise(
        "half", lambda x: jnp.maximum(x, 0) ** 2, lambda x: jnp.where(x > 0, 2 * x, 0)
    )
    x = np.array([[0.0, 1.0, -1.0], [0.5, 0.0, 2.0]])
    (row,) = second_order(check.trial_of(layer, x))
    assert row.verdict == "undecided"
    assert "kink" in row.predicate
    (row,) = second_order(check.trial_of(layer, x + 0.25))
    assert row.verdict == "ok"
    wrong = spoiled(layer, lambda p, x, dp, dx, dy: (dp, jax.lax.stop_gradient(dx)))
    (row,) = second_order(check.trial_of(wrong, x))
    assert row.verdict == "wrong"


def test_integers_state_and_empty_batches():
    assert second_order(check.trial_of(rectifier, X))[0].ok
    rows = second_order(check.trial_of(affine(3), np.zeros((0, 5), np.float32)))
    assert all(row.ok for row in rows)
    assert second_order(check.trial_of(layers.dropout(0.3), X))[0].ok
    take = pure(
        "take",
        lambda params, x: (x["table"][x["rows"]] ** 2, x),
        lambda params, x, dy: (
            params,
            {
                "rows": None,
                "table": jnp.zeros_like(x["table"])
                .at[x["rows"]]
                .add(2 * dy * x["table"][x["rows"]]),
            },
        ),
    )
    (row,) = second_order(check.trial_of(take, {"rows": np.array([2, 2, 0]), "table": X}))
    assert (row.path, row.verdict) == ("x/table", "ok")
