"""The checker on derivatives that are not ours: the right ones pass, and each known fault is found.

A finding is also shown without the checker. When its package mends it, that test says so, and the case
loses its `finding`.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from selection import few

from experiments.foreign_cases import cases, methods_of
from fnn import check

RIGHT = [name for name, case in cases().items() if not case.finding]
# What proves first derivatives; the rest is for `python -m experiments.foreign`, and takes minutes.
FIRST_ORDER = ("reverse mode", "forward mode", "numerical", "linearity", "eager")


def examined(name, methods):
    case = cases()[name]
    return check.function(case.function, *case.arguments, reference=case.reference, methods=methods)


@pytest.mark.parametrize("name", few(RIGHT, 5))
def test_right_derivatives_pass(name):
    report = examined(name, FIRST_ORDER)
    assert report.ok, report
    compared = {row.path for row in report.rows if row.verdict == "ok"}
    assert compared, "a report without a comparison proves nothing"


@pytest.mark.parametrize("name", ["jax.nn.softmax", "optax safe_norm at 0"])
def test_right_derivatives_pass_all_methods(name):
    report = examined(name, methods_of(cases()[name]))
    assert report.ok, report


def test_forward_mode_of_a_masked_logit():
    """Specification, E10."""
    report = examined("optax safe_softmax_cross_entropy, masked", FIRST_ORDER)
    assert {row.method for row in report.failures} == {"forward rule"}
    assert np.isnan(report.worst.hand)
    case = cases()["optax safe_softmax_cross_entropy, masked"]
    (logits,) = case.arguments
    # softmax − labels, at (−∞, 0, 0) with (0, ½, ½)
    assert np.allclose(jax.grad(case.function)(logits), [0, 0, 0], atol=1e-7)
    _, tangent = jax.jvp(case.function, (logits,), (jnp.ones(3),))
    assert np.isnan(tangent)


def test_reverse_mode_of_the_dilogarithm():
    report = examined("jax.scipy.special.spence", FIRST_ORDER)
    assert "reverse mode" in {row.method for row in report.failures}
    assert report.worst.element in {(2,), (3,)}, "1.3 and 1.7, the points between 1 and 2"
    spence = jax.scipy.special.spence
    point = 1.5
    assert np.isnan(jax.grad(spence)(point))
    _, slope = jax.jvp(spence, (point,), (1.0,))
    assert slope == pytest.approx(np.log(point) / (1 - point), rel=1e-5)


def test_the_projection_in_bfloat16():
    for name in ("optax projection_simplex", "optax multiclass_sparsemax_loss"):
        report = examined(name, (*FIRST_ORDER, "low precision"))
        assert {row.method for row in report.failures} == {"bfloat16", "float16"}
    with jax.numpy_dtype_promotion("standard"), pytest.raises(TypeError, match="Custom JVP rule"):
        jax.grad(lambda x: optax.projections.projection_simplex(x).astype(jnp.float32).sum())(
            jnp.asarray([0.5, -1, 2], jnp.bfloat16)
        )
