"""The whole Jacobian: what a random sum over all of its rows cannot see."""

import jax.numpy as jnp
import numpy as np
import pytest
from planted import X, affine, data, gate, lookup, spoiled, square

from fnn import check
from fnn.check.methods.jacobian import jacobian
from fnn.check.methods.reverse import reverse_mode
from fnn.layer import pure

# Outputs of very different size: the second column's gradient is below the rounding of the first's.
SCALES = np.array([1e12, 1.0])
scaled = pure(
    "scaled",
    lambda params, x: (x * jnp.asarray(SCALES, x.dtype)[None, :], x),
    lambda params, x, dy: (params, dy * jnp.asarray(SCALES, x.dtype)[None, :]),
)


def test_a_row_is_found_that_is_lost_in_the_rounding_of_the_others():
    """Both outputs are functions of one number, so that their gradients are added."""

    def forward(params, x):
        return x[:, :1] * jnp.asarray(SCALES, x.dtype)[None, :], x

    def backward(params, x, dy):
        first = dy[:, :1] * SCALES[0] + 2 * dy[:, 1:]  # 1, not 2
        return params, jnp.concatenate([first, jnp.zeros_like(first)], 1)

    trial = check.trial_of(pure("pair", forward, backward), data(4, 2), seed=1)
    without_basis = trial._replace(probes=trial.probes[:2], hand=trial.hand[:2])
    assert all(row.ok for row in reverse_mode(without_basis))
    (row,) = jacobian(trial)
    assert row.verdict == "wrong"
    assert "y[0, 1]" in row.predicate
    assert (row.hand, row.reference, row.element) == (2.0, 1.0, (0, 0))


def test_a_fault_under_one_basis_vector_alone_is_found():
    only = np.zeros(X.shape)
    only[4, 2] = 1
    layer = spoiled(square, lambda p, x, dp, dx, dy: (dp, jnp.where((dy == only).all(), 2, 1) * dx))
    trial = check.trial_of(layer, X)
    assert all(row.ok for row in reverse_mode(trial))
    (row,) = jacobian(trial)
    assert not row.ok
    assert "y[4, 2]" in row.predicate
    assert row.element == (4, 2)


@pytest.mark.parametrize("features", [1, 9])
def test_every_leaf_by_forward_or_by_reverse_mode(features):
    """With few outputs the reference is of reverse mode, with many of forward mode."""
    x = data(6, 5) if features == 1 else data(64, 2)
    rows = jacobian(check.trial_of(affine(features), x))
    assert [(row.path, row.verdict) for row in rows] == [
        ("params/w", "ok"),
        ("params/b", "ok"),
        ("x", "ok"),
    ]
    layer = spoiled(affine(features), lambda p, c, dp, dx, dy: (dp._replace(b=0.5 * dp.b), dx))
    wrong = [row.path for row in jacobian(check.trial_of(layer, x)) if not row.ok]
    assert wrong == ["params/b"]


def test_trees_and_integers():
    rows = jacobian(check.trial_of(gate, (data(4, 3), data(4, 3, seed=1))))
    assert {(row.path, row.verdict) for row in rows} == {
        ("params/in/gain", "ok"),
        ("x/0", "ok"),
        ("x/1", "ok"),
    }
    assert [row.path for row in jacobian(check.trial_of(lookup, np.array([1, 4, 4, 0])))] == [
        "params"
    ]


def test_none_beyond_the_largest_and_none_without_outputs():
    trial = check.trial_of(square, X)
    assert jacobian(trial, largest=X.size**2)
    assert jacobian(trial, largest=X.size**2 - 1) == ()
    assert jacobian(check.trial_of(affine(3), np.zeros((0, 5), np.float32))) == ()
    assert jacobian(check.trial_of(scaled, data(3, 2)))[0].ok
