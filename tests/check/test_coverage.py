"""Coverage: what no point reached is named, and an input that reaches it shows the fault there."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from planted import affine, data, elementwise, rectifier, square
from tables import LAYERS

from fnn import layers
from fnn.check.branches.cover import MOST_POINTS, cover
from fnn.check.branches.coverage import coverage
from fnn.check.methods.kinks import kinks
from fnn.check.subjects import trial_of
from fnn.layer import pure

X = data(4, 3)


def backward_of_double(gradient):
    """y = 2 x, and a backward pass that is right for X."""
    return pure(
        "double", lambda params, x: (2 * x, x), lambda params, x, dy: (params, gradient(x, dy))
    )


def looped(x, dy):
    """2 dy, one row at a time, unless the row sums to more than 50."""

    def step(carry, row):
        x, dy = row
        return carry, jnp.where(x.sum() > 50, dy, 2 * dy)

    return jax.lax.scan(step, 0, (x, dy))[1]


HIDDEN = {
    "> 3": lambda x, dy: jnp.where(x > 3, 5 * dy, 2 * dy),
    "< -40": lambda x, dy: jnp.where(x < -40, 5 * dy, 2 * dy),
    "> 1e+06": lambda x, dy: jnp.where(x > 1e6, 5 * dy, 2 * dy),
    "== 2.5": lambda x, dy: jnp.where(x == 2.5, 5 * dy, 2 * dy),
    "> 700": lambda x, dy: jnp.where((x**2).sum() > 700, dy, 2 * dy),
    "> 90": lambda x, dy: jax.lax.cond(x.mean() > 90, lambda: dy, lambda: 2 * dy),
    "> 50": looped,
    "maximum 9": lambda x, dy: 2 * dy + jnp.maximum(x, 9) - 9,
    "clamp, upper bound": lambda x, dy: 2 * dy + jax.lax.clamp(-99.0, x, 9.0) - x,
    "where": lambda x, dy: jnp.where((x > 0.5) & (x < -0.5 + x**2 / 20), 5 * dy, 2 * dy),
}


@pytest.mark.parametrize("operation", HIDDEN)
def test_a_fault_in_a_branch_that_no_point_reached_is_found(operation):
    trial = trial_of(backward_of_double(HIDDEN[operation]), X)
    assert all(row.ok for row in kinks(trial))
    found = cover(trial)
    missed = [branch for branch in found.branches if branch.operation == operation]
    assert missed, found.branches
    assert missed[0].reached_by
    assert missed[0].source.startswith("test_coverage.py:")
    rows = kinks(trial, points=found.points)
    assert [row.verdict for row in rows] == ["wrong"], rows


def test_the_missing_side_and_the_line_are_named():
    layer = backward_of_double(HIDDEN["> 3"])
    (branch,) = coverage(layer, X)
    assert (branch.operation, branch.missing) == ("> 3", "true")
    line = HIDDEN["> 3"].__code__.co_firstlineno
    assert branch.source == f"test_coverage.py:{line}"
    assert coverage(layer, X + 3) == ()
    (alone,) = coverage(layer, X, search=False)
    assert alone == branch._replace(reached_by="")
    assert not cover(trial_of(layer, X), search=False).points


def test_a_branch_that_nothing_reaches_is_reported_without_an_input():
    layer = backward_of_double(lambda x, dy: jnp.where(x * x < -1, dy, 2 * dy))
    (branch,) = coverage(layer, X)
    assert (branch.operation, branch.missing, branch.reached_by) == ("< -1", "true", "")


def test_a_branch_of_the_forward_pass_that_backward_forgot_is_found():
    layer = elementwise("kinked", lambda x: jnp.where(x > 8, 3 * x, x), jnp.ones_like)
    trial = trial_of(layer, X)
    assert all(row.ok for row in kinks(trial))
    assert not all(row.ok for row in kinks(trial, points=cover(trial).points))


@pytest.mark.parametrize("threshold", [-0.1, 0.1, -1e-3, 3e-4])
def test_a_threshold_that_no_data_is_near_is_tried_from_both_sides(threshold):
    layer = elementwise("r", lambda x: jnp.where(x > 0, x, 0), lambda x: x > threshold)
    x = np.where(np.abs(X) < 0.2, 0.5, X)
    trial = trial_of(layer, x)
    found = cover(trial)
    assert found.branches == ()
    approach = {a.operation: a.margins for a in found.approaches}[f"> {threshold:g}"]
    below = max(value for value in (*x.ravel(), 0.0) if value <= threshold)
    assert approach["false"] == pytest.approx(threshold - below)
    assert not all(row.ok for row in kinks(trial, points=found.points))


def test_points_around_a_threshold_are_neighbours():
    trial = trial_of(elementwise("r", lambda x: x, lambda x: jnp.where(x > 0.3, 1.0, 1.0)), X)
    below, above, exact = cover(trial).points
    assert (below.name[:12], above.name[:12], exact.name[:4]) == (
        "x just below",
        "x just above",
        "x at",
    )
    moved = np.asarray(below.subject.x) != np.asarray(above.subject.x)
    assert (np.asarray(exact.subject.x) == 0.3).any()
    gap = np.asarray(above.subject.x)[moved] - np.asarray(below.subject.x)[moved]
    assert np.abs(gap).max() < 1e-12


def test_the_threshold_of_a_parameter_is_found():
    layer = pure(
        "scale",
        lambda params, x: (params * x, x),
        lambda params, x, dy: (jnp.where(params > 30, 0, (x * dy).sum()), params * dy),
        lambda key, x: jnp.ones(()),
    )
    trial = trial_of(layer, X)
    found = cover(trial)
    assert found.branches[0].reached_by
    verdicts = {row.path: row.ok for row in kinks(trial, points=found.points)}
    assert verdicts == {"params": False, "x": True}


reverse = pure(  # with comparisons of integers
    "reverse",
    lambda params, x: (x[::-1], ()),
    lambda params, cache, dy: (params, jnp.take(dy, jnp.arange(3, -1, -1), 0)),
)


@pytest.mark.parametrize(
    "layer",
    [
        affine(3),
        square,
        layers.tanh(),
        layers.softmax(),  # whose maximum starts from -inf, which nothing is below
        layers.dropout(0.3),  # which compares what the key gives, not x
        reverse,
        elementwise("nan", lambda x: jnp.where(jnp.isnan(x), 0, x), lambda x: ~jnp.isnan(x)),
    ],
    ids=lambda layer: layer.name,
)
def test_what_does_not_depend_on_x_is_no_branch(layer):
    assert cover(trial_of(layer, X)) == ((), (), ())


def test_a_mask_is_one_decision_with_the_comparison_behind_it():
    found = cover(trial_of(rectifier, X))
    assert [a.operation for a in found.approaches] == ["> 0", "> 0"]  # one forward, one backward


def test_too_long_a_loop_is_said_and_not_run():
    def backward(params, x, dy):
        scaled = jax.lax.scan(lambda c, _: (jnp.where(x > 3, c, c), None), dy, length=5000)[0]
        return params, 2 * scaled

    layer = pure("long", lambda params, x: (2 * x, x), backward)
    (branch,) = cover(trial_of(layer, X)).branches
    assert "loops unrolled" in branch.missing


def test_the_points_are_few_and_the_same_again():
    def many(x, dy):
        return sum(jnp.where(x > k, dy, dy) for k in (0.1, 0.2, 3, 4, 5, 6, 7, 8, 9)) * (2 / 9)

    layer = backward_of_double(many)
    once, again = (cover(trial_of(layer, X, seed=3)) for _ in range(2))
    assert len(once.points) <= MOST_POINTS
    assert [p.name for p in once.points] == [p.name for p in again.points]
    same = partial(np.testing.assert_array_equal, strict=True)
    for a, b in zip(once.points, again.points, strict=True):
        jax.tree.map(same, a.subject.x, b.subject.x)


# A causal query sees itself at least, so that the branch for a query without any key is never taken; and
# the index of a maximum is not negative, so that `take_along_axis` never counts one from the end; and a
# region of one pixel has no other to take; and what lies behind lengths is finite, so that no row of it
# has to be taken as zeros.
NEVER_TAKEN = {
    "attention, causal, in blocks",
    "multi_head_attention",
    "multi_head_attention, rotary",
    "multi_head_attention of a memory",
    "global_max_pool",
    "adaptive_max_pool, enlarging",
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in ("relu", "max_pool") else pytest.mark.slow)
        for name in LAYERS
    ],
)
def test_no_false_alarm_at_the_points_found(name):
    row, layer = LAYERS[name], LAYERS[name].build()
    trial = trial_of(layer, row.draw(np.random.default_rng(0)))
    found = cover(trial)
    if name not in NEVER_TAKEN:
        assert all(branch.reached_by for branch in found.branches)  # and so it is among the points
    if found.points:
        verdicts = {row.verdict for row in kinks(trial, points=found.points)}
        assert verdicts == {"ok"}
