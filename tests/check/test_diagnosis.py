"""Each kind of fault is named for what it is, and what fits no hypothesis is not given a name."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from named_faults import (
    NAMED,
    cast,
    on_w,
    on_x,
)
from planted import (
    FAULTS,
    X,
    affine,
    batch_norm,
    data,
    elementwise,
    spoiled,
    with_zeros,
)

from fnn import check
from fnn.check.diagnosis import diagnose, explained
from fnn.layer import pure

# What the diagnosis of each of the planted faults says, by the fault's name.
PLANTED = {
    "a missing term": "cache/inverse·mean(params/scale·cache/normal·dy, axis 1) is missing",
    "n / (n - 1)": "n / (n - 1) with n = 6, the size of x's axis 0",
    "bias from one row": "only index 0 of dy's axis 0 counts: the sum over its 6 positions is missing",
    "transposed weight": "the gradient for params/w transposed",
    "0.1 % too large": "1.001 times the right one in every element",
    "sigmoid without dy": "does not depend on dy: the upstream gradient is missing; for dy = 1",
    "wrong sign": "the wrong sign in every element",
    "factor 2 missing": "1/2 times the right one",
    "mask >= for >": "wrong only where x = 0: there it is dy, where the right one is 0",
    "softmax: s - sum s": "it has -sum(y·dy, axis 1) where -y·sum(y·dy, axis 1) is right",
    "relu without dy": "the upstream gradient is missing",
    "no mean term": "the term -params/scale·cache/inverse·mean(dy, axis 0) is missing",
    "detached deviation": "cache/inverse·mean(params/scale·cache/normal·dy, axis 0) is missing",
    "scale forgotten": "the factor params/scale is missing",
    "leaves swapped": "the two are swapped",
    "wrong dtype": "cast to float32",
    "wrong shape": "the right numbers in the shape (1, 4)",
    "another row's gradient": "rolled by 1 along axis 0",
    "last example dropped": "index 5, the last, of dy's axis 0 is left out of the sum",
    "mean for sum": "1/n with n = 6, the size of x's axis 0; a mean where a sum is right",
    "one element wrong": "wrong only at [2, 3]: there it is 1.01 times the right one",
    "NaN": "NaN only at [1], where the right one is finite",
    "inputs swapped": "the two are swapped",
    "zero for a deep leaf": "zero in every element",
    "a leaf left out": "no gradient is returned for params/in/gain",
    "a leaf too many": "the gradient of something that is no parameter",
    "no dx": "no gradient is returned for x",
    "dx for integers": "x is of integers: its gradient is None",
    "repeated rows not added": "index 1 of dy's axis 0 is left out of the sum",
    "another tree": "the gradients are in a dict, the parameters in a Affine",
}


def likely(layer, x, path=None):
    """The diagnosis of the leaf at `path`, or of the first that fails."""
    trial = check.trial_of(layer, x)
    methods = (check.structure, check.reverse_mode)
    rows = [row for method in methods for row in method(trial) if not row.ok]
    return diagnose(trial, next(row for row in rows if path in (None, row.path)))


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_planted_fault_is_named(fault):
    for path in fault.leaves:
        assert PLANTED[fault.name] in likely(spoiled(fault.layer, fault.spoil), fault.x, path)


@pytest.mark.parametrize("name", NAMED)
def test_a_fault_is_named(name):
    layer, spoil, x, words = NAMED[name]
    assert words in likely(spoiled(layer, spoil), x)


def test_an_intermediate_in_float32_is_named_with_its_line():
    layer = spoiled(affine(5), on_x(lambda p, c, dx, dy: cast(dy, jnp.float32) @ p.w.T))
    assert "cast down to float32 at named_faults.py:" in likely(layer, X)


NOISE = {
    "a random matrix": on_x(lambda p, c, dx, dy: dx + 0.01 * dy @ data(5, 5, seed=3)),
    "every element by itself": on_x(lambda p, c, dx, dy: dx * (1 + 0.01 * data(*dx.shape, seed=3))),
    "scattered elements": on_x(lambda p, c, dx, dy: dx * (1 + (data(*dx.shape, seed=3) > 0.5) / 7)),
    "a random power": on_x(lambda p, c, dx, dy: dx + 0.01 * jnp.cos(9 * dx)),
    "parameters": on_w(lambda p, c, dw, dy: dw * (1 + 0.01 * data(5, 5, seed=3))),
    "a vector": lambda p, c, dp, dx, dy: (dp._replace(b=dp.b * (1 + data(5, seed=3))), dx),
}


@pytest.mark.parametrize("name", NOISE)
@pytest.mark.parametrize("size", [(6, 5), (24, 5)])
def test_noise_is_given_no_name(name, size):
    assert likely(spoiled(affine(5), NOISE[name]), data(*size)) == ""


def test_a_report_is_filled_in_once_a_leaf_and_only_where_it_fails():
    fault = next(fault for fault in FAULTS if fault.name == "leaves swapped")
    trial = check.trial_of(spoiled(fault.layer, fault.spoil), fault.x)
    rows = (*check.reverse_mode(trial), *check.forward_mode(trial))
    filled = explained(trial, rows)
    assert [row._replace(likely="") for row in filled] == list(rows)
    assert {row.path for row in filled if row.likely} == fault.leaves
    assert all(bool(row.likely) == (not row.ok) for row in filled)
    right = check.trial_of(fault.layer, fault.x)
    rows = check.reverse_mode(right)
    assert explained(right, rows) == rows
    assert diagnose(right, rows[0]) == ""


def test_small_faults_are_named_too():
    layer = spoiled(affine(4), on_w(lambda p, c, dw, dy: dw * (1 + 1e-8)))
    assert likely(layer, X) == "the gradient is 1.00000001 times the right one in every element"


def test_a_large_layer():
    x = data(64, 256)
    layer = spoiled(batch_norm, on_x(lambda p, c, dx, dy: dx - c.inverse * dy.mean(0)[None, :]))
    assert "cache/inverse·mean(dy, axis 0) is missing" in likely(layer, x)
    noisy = spoiled(batch_norm, on_x(lambda p, c, dx, dy: dx * (1 + 0.01 * data(64, 256, seed=3))))
    assert likely(noisy, x) == ""


def test_a_fault_that_only_a_structured_point_shows_is_named_there():
    twice_at_zero = elementwise(
        "rectifier", lambda x: jnp.where(x > 0, x, 0), lambda x: (x > 0) + 2.0 * (x == 0)
    )
    (row,) = check.layer(twice_at_zero, X).failures
    assert row.likely == "at x of zeros, the gradient is nothing but 2 · dy"


def test_several_outputs():
    layer = pure(
        "two",
        lambda w, x: ((x @ w, (x * x).sum(1)), x),
        lambda w, x, dy: (x.T @ dy[0], dy[0] @ w.T + x * dy[1][:, None]),
        lambda key, x: jax.random.normal(key, (5, 4), jnp.float32),
    )
    assert "the term x·dy/1 is missing" in likely(layer, X)


def test_the_flags_of_the_user_do_not_matter():
    zeros = with_zeros(6, 5)
    fault = next(fault for fault in FAULTS if fault.name == "mask >= for >")
    with jax.debug_nans(True), jax.numpy_rank_promotion("raise"):
        assert "where x = 0" in likely(spoiled(fault.layer, fault.spoil), zeros)
    assert np.isfinite(zeros).all()
