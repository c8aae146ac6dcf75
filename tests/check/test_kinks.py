"""Kinks: any convention passes, what no convention gives does not, and nothing right is called wrong."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from planted import affine, data, elementwise, rectifier, spoiled, square
from tables import LAYERS, LOSSES

from fnn import chain, layers
from fnn.check.methods.kinks import kinks
from fnn.check.methods.one_sided import one_sided
from fnn.check.points import Point, structured_points
from fnn.check.subjects import loss_subject, trial_of
from fnn.check.trial import attempt
from fnn.layer import pure

X = data(4, 3)


def judged(layer, x=X, **settings):
    """The row for x."""
    return {row.path: row for row in kinks(trial_of(layer, x), **settings)}["x"]


def maximum(shares):
    """The largest of each row, with ``shares(x, y)`` of dy for each element."""
    return pure(
        "maximum",
        lambda params, x: (x.max(-1), x),
        lambda params, x, dy: (params, dy[:, None] * shares(x, x.max(-1, keepdims=True))),
    )


def split(x, y):
    return (x == y) / (x == y).sum(-1, keepdims=True)


def first(x, y):
    return jax.nn.one_hot(x.argmax(-1), x.shape[-1], dtype=x.dtype)


def last(x, y):
    return first(x[:, ::-1], y)[:, ::-1]


def rectifier_with(derivative):
    return elementwise("rectifier", lambda x: jnp.where(x > 0, x, 0), derivative)


def absolute(at_zero):
    return elementwise("abs", jnp.abs, lambda x: jnp.where(x == 0, at_zero, jnp.sign(x)))


@pytest.mark.parametrize(
    ("function", "x", "direction", "left", "right"),
    [
        (jnp.abs, np.zeros(()), (), -1.0, 1.0),
        (lambda x: jnp.maximum(x, 0).sum(), np.zeros((2, 3)), (1, 2), 0.0, 1.0),
        (lambda x: x.max(), np.full(4, 2.0), (1,), 0.0, 1.0),
        (lambda x: x.max(), np.full(4, 2.0), np.array([3.0, -1, 0, 1]), -1.0, 3.0),
        (lambda x: jnp.exp(x).sum(), np.full(4, 2.0), 1, np.exp(2), np.exp(2)),
        (lambda x: jnp.where(x > 0, jnp.exp(x), 1 + 3 * x)[0], np.zeros(1), (0,), 3.0, 1.0),
        (lambda x: jnp.sin(jnp.abs(x - 1e3))[0], np.full(1, 1e3), (0,), -1.0, 1.0),
    ],
)
def test_one_sided_derivatives_are_the_closed_form_within_their_error(
    function, x, direction, left, right
):
    found = one_sided(function, x, direction)
    assert found.error < 1e-5
    assert abs(found.left - left) <= 3 * found.error
    assert abs(found.right - right) <= 3 * found.error


def test_one_sided_says_where_it_has_no_limit():
    jump = one_sided(lambda x: jnp.where(x > 0, 1.0, 0.0) + 2 * x, np.zeros(()), ())
    assert jump.error > 1e3
    assert np.isinf(one_sided(jnp.sqrt, np.zeros(()), ()).error)
    with pytest.raises(ValueError, match=r"direction of its shape \(3,\), got shape \(2,\)"):
        one_sided(jnp.sum, np.zeros(3), np.ones(2))


def test_structured_points_hold_what_random_data_does_not():
    trial = trial_of(affine(3), data(6, 5))
    points = {point.name: point.subject for point in structured_points(trial)}
    assert set(points) == {"x of zeros", "x of ones", "x with ties", "params of zeros"}
    assert len(np.unique(points["x with ties"].x)) < 10
    assert (np.asarray(points["x with ties"].x) == 0).any()
    assert not np.any(points["params of zeros"].params.w)
    np.testing.assert_array_equal(points["params of zeros"].x, trial.subject.x)
    far = trial_of(square, 100 + data(6, 5).astype(np.float64))
    assert "x with zeros" in {point.name for point in structured_points(far)}


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_any_subgradient_at_a_kink_is_a_convention(value):
    layer = rectifier_with(lambda x: jnp.where(x == 0, value, x > 0))
    row = judged(layer)
    assert row.ok
    assert row.verdict == ("ok" if value == 0 else "kink")
    if value:
        assert row.element is not None
        dy = trial_of(layer, X).probes[0].dy[row.element]
        assert row.hand == pytest.approx(value * dy)
        assert row.reference == 0
        assert "not differentiable here" in row.predicate
        assert "x of zeros" in row.predicate


@pytest.mark.parametrize("value", [2.0, -1.5, np.nan, np.inf])
def test_a_value_outside_of_the_interval_is_wrong(value):
    row = judged(absolute(value))
    assert row.verdict == "wrong"
    assert "x of zeros" in row.predicate


@pytest.mark.parametrize("value", [-1.0, 0.0, 0.7, 1.0])
def test_a_value_inside_of_the_interval_is_none(value):
    assert judged(absolute(value)).ok


def test_a_fault_at_zero_alone_is_wrong_where_the_function_is_differentiable():
    layer = elementwise("square", lambda x: x * x, lambda x: jnp.where(x == 0, 1e-3, 2 * x))
    row = judged(layer)
    assert row.verdict == "wrong"
    assert row.hand != row.reference == 0


@pytest.mark.parametrize("shares", [split, first, last])
def test_equal_maxima_may_share_in_any_way(shares):
    row = judged(maximum(shares))
    assert row.verdict == ("ok" if shares is split else "kink"), str(row)  # autodiff's is to split


@pytest.mark.parametrize(
    "shares",
    [
        lambda x, y: 1.0 * (x == y),  # each takes all
        lambda x, y: 0.9 * split(x, y),  # some is lost, though each share is possible
        lambda x, y: split(x, y) ** 2,
    ],
)
def test_equal_maxima_share_the_whole_and_no_more(shares):
    layer = maximum(
        lambda x, y: jnp.where((x == y).sum(-1, keepdims=True) > 1, shares(x, y), x == y)
    )
    row = judged(layer)
    assert row.verdict == "wrong", str(row)


def test_nan_where_reverse_mode_is_finite_is_wrong():
    layer = elementwise("square", lambda x: x * x, lambda x: 2 * x * (x / x))
    assert judged(layer).verdict == "wrong"


def test_a_point_without_a_finite_forward_pass_is_skipped_and_named():
    row = judged(elementwise("log", jnp.log, lambda x: 1 / x), np.abs(X) + 1)
    assert row.verdict == "ok"
    assert row.predicate.endswith("not finite at x of zeros, x with zeros")
    never = pure(
        "never",
        lambda params, x: (jnp.log(-x * x), x),
        lambda params, x, dy: (params, 2 * dy / x),
    )
    assert judged(never).verdict == "undecided"


def test_autodiff_that_misses_a_derivative_convicts_nobody():
    """relu(x) - relu(-x) is x; by the convention for each part, autodiff finds 0 at 0."""
    layer = elementwise("x", lambda x: jax.nn.relu(x) - jax.nn.relu(-x), jnp.ones_like)
    assert judged(layer).verdict == "ok"


def test_where_kinks_of_parts_meet_neither_value_is_proved():
    layer = elementwise(
        "x", lambda x: jax.nn.relu(x) - jax.nn.relu(-x), lambda x: jnp.where(x == 0, 2, 1)
    )
    assert judged(layer).verdict == "undecided"


def test_a_wrong_gradient_of_params_of_zeros_is_found():
    layer = affine(3)
    layer = spoiled(
        layer,
        lambda p, c, dp, dx, dy: (dp._replace(b=jnp.where((p.w == 0).all(), 0, dp.b)), dx),
    )
    rows = {row.path: row for row in kinks(trial_of(layer, X))}
    assert [path for path, row in rows.items() if not row.ok] == ["params/b"]
    assert "params of zeros" in rows["params/b"].predicate


def test_points_of_ones_own():
    layer = elementwise(
        "sharp", lambda x: jnp.abs(x - 2.5), lambda x: jnp.sign(x - 2.5) + 0.5 * (x == 2.5)
    )
    assert judged(layer).verdict == "ok"
    trial = trial_of(layer, np.full((2, 2), 2.5))
    (row,) = kinks(trial, points=[Point("the given point", trial.subject)])
    assert row.verdict == "kink"
    assert "the given point" in row.predicate


def test_the_documented_convention_is_kept_or_not():
    """That of fnn's own layers: relu'(0) = 0, and the first of several equal pixels."""
    relu, pool, image = layers.relu(), layers.max_pool(2), data(1, 4, 4, 2)
    assert judged(relu, documented=0.0).verdict == "kink"
    row = judged(relu, documented=1.0)
    assert (row.verdict, row.hand, row.reference) == ("wrong", 0.0, 1.0)
    assert "documented convention 1.0" in row.predicate
    assert judged(rectifier_with(lambda x: x >= 0), documented=1.0).verdict == "kink"
    assert judged(rectifier_with(lambda x: x >= 0), documented=0.0).verdict == "wrong"
    assert judged(pool, image, documented="first").verdict == "kink"
    for other in ("last", "split"):
        assert judged(pool, image, documented=other).verdict == "wrong"


@pytest.mark.parametrize("named", ["first", "last", "split"])
def test_each_convention_for_equal_maxima_is_told_from_the_others(named):
    for shares in (first, last, split):
        verdict = judged(maximum(shares), documented=named).verdict
        assert verdict == ("kink" if shares.__name__ == named else "wrong")


def test_a_convention_needs_a_kink_and_the_function_that_it_speaks_of():
    assert judged(square, documented=0.0).verdict == "undecided"
    with pytest.raises(ValueError, match="convention of an elementwise function, but x has shape"):
        judged(maximum(split), documented=0.0)
    with pytest.raises(ValueError, match=r"element \d+ of x moves outputs"):
        judged(layers.softmax(), documented=0.0)
    with pytest.raises(ValueError, match="expected a number, 'first', 'last' or 'split'"):
        judged(rectifier, documented="zero")


# What has the most kinks; the others take their turn among the slow tests.
QUICK = ("relu", "max_pool", "residual")
EVERY = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in LAYERS]


@pytest.mark.parametrize("name", EVERY)
def test_no_false_alarm_for_a_layer(name):
    row, layer = LAYERS[name], LAYERS[name].build()
    for seed in range(2):
        x = row.draw(np.random.default_rng(seed))
        found = kinks(trial_of(layer, x, seed=seed))
        assert {row.verdict for row in found} == {"ok"}, "\n".join(map(str, found))


@pytest.mark.slow
@pytest.mark.parametrize("name", LOSSES)
def test_no_false_alarm_for_a_loss(name):
    row, loss = LOSSES[name], LOSSES[name].build()
    for seed in range(2):
        rng = np.random.default_rng(seed)
        found = kinks(attempt(loss_subject(loss, row.draw(rng), row.target(rng)), seed=seed))
        assert {row.verdict for row in found} == {"ok"}, "\n".join(map(str, found))


def test_no_false_alarm_where_rounding_decides_a_kink():
    """A constant batch leaves of x - mean its rounding, whose sign a compiled program may change."""
    net = chain(affine(4), layers.batch_norm(), layers.relu(), affine(3))
    params, state = net.init(jax.random.key(0), data(7, 5))
    for seed in range(5):
        trial = trial_of(net, data(7, 5, seed=seed), params=params, state=state, seed=seed)
        assert all(row.verdict != "wrong" for row in kinks(trial))
