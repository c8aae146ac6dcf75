"""What a subject does at points that its user did not give: raise, end, draw other numbers."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from planted import X, data

from fnn import check, layers
from fnn.check.branches.cover import cover
from fnn.check.diagnosis import explained
from fnn.check.functions.function import function
from fnn.check.methods.complex_step import complex_step
from fnn.check.methods.kinks import kinks
from fnn.check.methods.subdifferential import Interval, verdict_on
from fnn.check.points import structured_points
from fnn.check.reports.verdicts import words_row
from fnn.check.subjects import trial_of
from fnn.layer import pure


def particular(x):
    """NumPy's inverse, which raises where jax's gives NaN."""
    y = jax.pure_callback(np.linalg.inv, jax.ShapeDtypeStruct(x.shape, x.dtype), x)
    return jnp.where(y.sum() > 100, 2 * y, y)


inverse = pure(
    "inverse",
    lambda params, x: (particular(x), particular(x)),
    lambda params, y, dy: (params, -y.T @ dy @ y.T),
)


def test_an_exception_where_nobody_asked_skips_the_point_and_the_row_says_so():
    x = 3 * np.eye(3, dtype=np.float32) + data(3, 3)
    report = check.layer(inverse, x, methods=("structure", "kinks"))
    (row,) = (row for row in report.rows if row.method == "kinks")
    assert row.verdict == "undecided"
    assert "cannot be evaluated at x of zeros: " in row.predicate
    assert "LinAlgError" in row.predicate


def test_an_exception_at_the_given_point_passes():
    with pytest.raises(Exception, match="Singular matrix"):
        check.layer(inverse, np.ones((3, 3), np.float32), methods=("kinks",))


def test_a_search_goes_on_where_the_subject_raises():
    trial = trial_of(inverse, 3 * np.eye(3, dtype=np.float32) + data(3, 3))
    assert any("true" in branch.missing for branch in cover(trial).branches)


def test_a_pole_without_a_reference_is_undecided():
    """jnp.linalg.pinv(0) is 0, and 1 / h beside it."""
    report = function(jnp.linalg.pinv, data(4, 3), methods=("kinks",))
    (row,) = (row for row in report.rows if row.method == "kinks")
    assert row.verdict == "undecided", str(row)
    pole = Interval(9e13, 9e13, 6e13, 9e13)
    assert verdict_on(0.0, np.nan, pole)[0] == "undecided"
    assert verdict_on(-1e200, np.nan, pole)[0] == "undecided"
    assert verdict_on(np.nan, np.inf, Interval(0.0, 1.0, 1e-9, 1.0))[0] == "undecided"
    # Differences that have a limit still convict, also where it is 0.
    assert verdict_on(5.0, np.nan, Interval(-1e-10, 1e-10, 1e-9, 1e-10))[0] == "wrong"
    assert verdict_on(5.0, np.nan, Interval(0.0, 1.0, 1e-9, 1.0))[0] == "wrong"
    assert verdict_on(np.nan, 1.0, Interval(0.0, 1.0, 1e-9, 1.0))[0] == "wrong"


def test_foreign_code_may_warn_of_complex_numbers():
    def forward(params, x):
        if jnp.iscomplexobj(x):
            warnings.warn("only real numbers", RuntimeWarning, stacklevel=2)
        return 2 * x, ()

    layer = pure("twice", forward, lambda params, cache, dy: (params, 2 * dy))
    assert {row.verdict for row in complex_step(trial_of(layer, X))} == {"ok"}


def test_other_draws_in_float16_are_another_function():
    def noisy(x, key):
        return x * jax.random.uniform(key, x.shape, x.dtype)

    report = function(noisy, X, jax.random.key(0), methods=("low precision",))
    rows = [row for row in report.rows if row.method in ("float16", "bfloat16")]
    assert {row.verdict for row in rows} == {"undecided"}
    assert all("another function in" in row.predicate for row in rows)


def test_nothing_is_said_of_an_exception():
    trial = trial_of(layers.linear(3), X)
    refusal = words_row("bfloat16", "backward", "TypeError: no", "no exception", "it runs")
    assert explained(trial, [refusal])[0].likely == ""


def dropout_without(mask_of):
    """Drops half in forward, and in backward what `mask_of` says."""

    def forward(params, state, x, key):
        mask = jax.random.bernoulli(key, 0.5, x.shape)
        return x * mask, state, mask

    return pure("dropped", lambda params, x: (x, ()), lambda p, c, dy: (p, dy))._replace(
        forward=forward, backward=lambda params, mask, dy: (params, dy * mask_of(mask))
    )


def test_a_layer_that_draws_is_checked_with_another_key():
    trial = trial_of(layers.dropout(0.5), X)
    (point,) = (p for p in structured_points(trial) if p.name == "another key")
    assert not np.array_equal(
        jax.random.key_data(point.subject.key), jax.random.key_data(trial.subject.key)
    )
    plain = trial_of(layers.linear(3), X)
    assert "another key" not in {p.name for p in structured_points(plain)}
    # Right for the first draw alone: it remembers the mask of the given key.
    fixed = np.asarray(trial_of(dropout_without(lambda m: m), X).cache)
    wrong = trial_of(dropout_without(lambda m: jnp.asarray(fixed, m.dtype)), X)
    row = next(row for row in kinks(wrong) if row.path == "x")
    assert row.verdict == "wrong"
    assert "another key" in row.predicate


def test_a_key_among_the_arguments_is_another_one_too():
    report = function(
        lambda x, key: x * jax.random.bernoulli(key, 0.5, x.shape),
        X,
        jax.random.key(0),
        methods=("kinks",),
    )
    (row,) = (row for row in report.rows if row.method == "kinks")
    assert "another key" in row.predicate
