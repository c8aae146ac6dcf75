"""The complex step: exact where the function is analytic, and silent where it is not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from planted import (
    X,
    affine,
    batch_norm,
    data,
    elementwise,
    gate,
    layer_norm,
    rectifier,
    soft,
    spoiled,
    square,
)

from fnn import check, layers, losses
from fnn.check.methods.complex_step import complex_step
from fnn.check.subjects import loss_subject
from fnn.check.trial import attempt


@pytest.mark.parametrize("layer", [affine(3), batch_norm, layer_norm, rectifier, soft, square])
def test_right_layers_agree_to_rounding(layer):
    rows = complex_step(check.trial_of(layer, X))
    assert {row.verdict for row in rows} == {"ok"}, rows
    assert max(row.relative for row in rows) < 1e-13


def test_a_rule_of_autodiff_that_is_wrong_is_found_to_the_last_digits():
    """The error is a hundredth of what differences tolerate."""

    @jax.custom_jvp
    def third(x):
        return x**3

    third.defjvp(lambda p, t: (third(*p), 3 * (1 + 1e-8) * p[0] ** 2 * t[0]))
    layer = elementwise("third", third, lambda x: 3 * (1 + 1e-8) * x**2)
    trial = check.trial_of(layer, X)
    others = (check.reverse_mode, check.forward_mode, check.numerical)
    assert all(row.ok for method in others for row in method(trial))
    (row,) = complex_step(trial)
    assert row.verdict == "wrong"
    assert 1e-9 < row.relative < 1e-7


def test_the_leaf_is_named():
    layer = spoiled(affine(4), lambda p, c, dp, dx, dy: (dp._replace(b=1.001 * dp.b), dx))
    assert [row.path for row in complex_step(check.trial_of(layer, X)) if not row.ok] == [
        "params/b"
    ]
    rows = complex_step(check.trial_of(gate, (data(4, 3), data(4, 3, seed=1))))
    assert {row.verdict for row in rows} == {"ok"}


@pytest.mark.parametrize(
    ("function", "derivative", "why"),
    [
        (jnp.abs, jnp.sign, "abs at "),
        (lambda x: jnp.real(x * jnp.conj(x)), lambda x: 2 * x, "gives real numbers for complex"),
        (lambda x: x * jnp.conj(x), lambda x: 2 * x, "conj at test_complex_step.py"),
        (lambda x: jnp.floor(x) * x, jnp.floor, "TypeError"),
        (jax.lax.lgamma, jax.lax.digamma, "TypeError"),
        (lambda x: x.astype(jnp.float64) ** 2, lambda x: 2 * x, "convert_element_type at"),
    ],
)
def test_what_is_not_analytic_is_undecided(function, derivative, why):
    layer = elementwise("other", function, derivative)
    (row,) = complex_step(check.trial_of(layer, np.abs(X) if "lgamma" in str(function) else X))
    assert row.verdict == "undecided"
    assert why in row.predicate


def test_one_output_among_many_that_is_not_analytic_accuses_nobody():
    mask = np.zeros(X.shape, bool)
    mask[3, 1] = True
    layer = elementwise(
        "mixed",
        lambda x: jnp.where(mask, 1e-6 * jnp.abs(x), x**2),
        lambda x: jnp.where(mask, 1e-6 * jnp.sign(x), 2 * x),
    )
    (row,) = complex_step(check.trial_of(layer, X))
    assert row.verdict == "undecided"


def test_a_convolution_and_the_states_of_a_normalization():
    """jax's own product of complex images rounds the step away; a running mean is real."""
    for layer, shape in ((layers.convolution(4, 3), (2, 5, 4, 3)), (layers.batch_norm(), (8, 3))):
        rows = complex_step(check.trial_of(layer, data(*shape)))
        assert {row.verdict for row in rows} == {"ok"}, rows
    wrong = spoiled(layers.convolution(4, 3), lambda p, c, dp, dx, dy: (dp, 1.001 * dx))
    rows = complex_step(check.trial_of(wrong, data(2, 5, 4, 3)))
    assert [row.path for row in rows if not row.ok] == ["x"]


def test_a_loss_whose_target_has_to_be_real():
    subject = loss_subject(losses.squared_error(), X, X + 1)
    assert complex_step(attempt(subject))[0].verdict == "ok"
