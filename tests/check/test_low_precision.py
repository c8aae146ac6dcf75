"""Low precision: the arithmetic that training runs in, in units in its last place."""

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
    layer_norm,
    rectifier,
    soft,
    spoiled,
    square,
)

from fnn import chain, check
from fnn.check.methods.low_precision import low_precision
from fnn.check.subjects import given_subject
from fnn.check.trial import attempt
from fnn.layer import pure


def rows_of(layer, x, **settings):
    given = given_subject(layer, x, params=None, state=None, key=None, seed=0)
    return low_precision(given, attempt(given), **settings)


def failed(rows):
    return {(row.method, row.path) for row in rows if not row.ok}


@pytest.mark.parametrize("layer", [affine(3), batch_norm, layer_norm, rectifier, soft, square])
def test_right_layers_lose_less_than_a_unit_in_the_last_place(layer):
    rows = rows_of(layer, X)
    assert {row.method for row in rows} == {"bfloat16", "float16"}
    assert {row.verdict for row in rows} == {"ok"}, rows


def test_a_gradient_that_is_off_by_a_twentieth_is_found_in_either_dtype():
    layer = spoiled(affine(4), lambda p, c, dp, dx, dy: (dp._replace(b=1.05 * dp.b), dx))
    assert failed(rows_of(layer, X)) == {("bfloat16", "params/b"), ("float16", "params/b")}


def test_sine_passes_and_a_derivative_of_zero_fails():
    """With differences in bfloat16 it is the other way round: x + 1e-4 is x."""
    assert failed(rows_of(elementwise("sin", jnp.sin, jnp.cos), X)) == set()
    found = failed(rows_of(elementwise("sin", jnp.sin, lambda x: 0 * x), X))
    assert found == {("bfloat16", "x"), ("float16", "x")}


def naive_sum(dy):
    """One term after the other, in dy's own dtype."""
    return jax.lax.scan(lambda total, row: (total + row, None), jnp.zeros_like(dy[0]), dy)[0]


def test_a_sum_of_4096_terms_taken_in_bfloat16_is_found():
    def bias(total):
        return pure(
            "bias",
            lambda b, x: (x + b[None, :], ()),
            lambda b, cache, dy: (total(dy), dy),
            lambda key, x: jnp.zeros(x.shape[1]),
        )

    x = data(4096, 3)
    assert failed(rows_of(bias(lambda dy: dy.sum(0)), x)) == set()
    rows = rows_of(bias(naive_sum), x)
    assert ("bfloat16", "params") in failed(rows)
    (row,) = (row for row in rows if row.method == "bfloat16" and row.path == "params")
    assert row.relative > 100  # a sum of ones stops at 256, 120 units from 4096
    assert row.hand == 256


def test_a_fault_in_bfloat16_alone_is_found():
    def spoil(params, x, dparams, dx, dy):
        return dparams, dx * 1.1 if dx.dtype == jnp.bfloat16 else dx

    layer = spoiled(square, lambda *given: spoil(*given))
    trial = check.trial_of(layer, X)
    others = (check.reverse_mode, check.forward_mode, check.numerical, check.linearity, check.eager)
    assert all(row.ok for method in others for row in method(trial))
    assert failed(rows_of(layer, X)) == {("bfloat16", "x")}


def test_a_backward_that_raises_in_one_dtype_is_found():
    def backward(params, x, dy):
        if dy.dtype == jnp.float16:
            raise NotImplementedError("float16")
        return params, 2 * x * dy

    (row,) = (row for row in rows_of(square._replace(backward=backward), X) if not row.ok)
    assert (row.method, row.hand) == ("float16", "NotImplementedError: float16")


def test_what_overflows_on_the_way_is_found_and_what_is_too_large_itself_is_not():
    def through_squares(x):
        return jnp.sqrt(x * x * x * x)  # 300⁴ is beyond float16, 300² is not

    layer = elementwise("root", lambda x: x * x, lambda x: 2 * x)
    wrong = elementwise("root", lambda x: x * x, lambda x: 2 * through_squares(x) / x)
    x = 200 + 10 * X
    assert failed(rows_of(layer, x)) == set()
    assert failed(rows_of(wrong, x)) == {("float16", "x")}
    steep = elementwise("steep", lambda x: 1e5 * x, lambda x: jnp.full_like(x, 1e5))
    rows = rows_of(steep, 0.1 * X)  # outputs in range, gradients beyond float16
    assert failed(rows) == set()


def test_beyond_the_range_is_undecided():
    large = elementwise("large", lambda x: x * x, lambda x: 2 * x)
    for x, why in (
        (1e3 * X, "the output is not finite or"),
        (1e5 * (1 + X**2), "the point is not finite or"),
    ):
        verdicts = {row.method: row for row in rows_of(large, x)}
        assert verdicts["bfloat16"].verdict == "ok"
        assert verdicts["float16"].verdict == "undecided"
        assert why in verdicts["float16"].predicate


def test_other_draws_in_another_dtype_are_undecided():
    def noise(key, x):
        return jax.random.uniform(key, x.shape, x.dtype)

    layer = square._replace(
        forward=lambda params, state, x, key: (x * noise(key, x), state, noise(key, x)),
        backward=lambda params, cache, dy: (params, cache * dy),
    )
    rows = rows_of(layer, X)
    assert {row.verdict for row in rows} == {"undecided"}
    assert "draws other numbers" in rows[0].predicate


def test_a_gradient_that_is_zero_by_its_structure_is_no_fault():
    """A bias before a batch norm, and a softmax under ones."""
    net = chain(affine(4), batch_norm, soft)
    for seed in range(3):
        rows = rows_of(net, data(64, 5, seed=seed))
        assert {row.verdict for row in rows} == {"ok"}, rows


def test_a_kink_that_rounding_crosses_is_no_fault():
    net = chain(affine(16), rectifier, affine(16), rectifier)
    for seed in range(3):
        assert failed(rows_of(net, data(64, 16, seed=seed))) == set()


def test_a_tie_that_rounding_makes_is_no_fault():
    """The first of equals by hand, half and half by autodiff."""

    def backward(params, x, dy):
        first = jnp.argmax(x, -1, keepdims=True) == jnp.arange(x.shape[-1])[None, :]
        return params, first * dy[:, None]

    largest = pure("largest", lambda params, x: (x.max(-1), x), backward)
    x = np.array([[1.0, 1.0001, 0.5], [0.1, 0.2, 0.3], [2.0, -1.0, 2.0001]], np.float32)
    assert failed(rows_of(largest, x)) == set()


def test_a_kink_at_zero_is_undecided_and_a_fault_beside_it_is_found():
    layer = elementwise("maximum", lambda x: jnp.maximum(x, 0), lambda x: x > 0)
    x = np.array([[0.0, 1.0, -1.0], [2.0, 0.0, 3.0]], np.float32)
    rows = rows_of(layer, x)
    assert {row.verdict for row in rows} == {"undecided"}, rows
    wrong = spoiled(layer, lambda p, x, dp, dx, dy: (dp, 1.1 * dx))
    assert len(failed(rows_of(wrong, x))) == 2


def test_an_infinite_gradient_is_found_and_warns_of_nothing():
    layer = spoiled(square, lambda p, x, dp, dx, dy: (dp, dx.at[1, 2].set(jnp.inf)))
    assert len(failed(rows_of(layer, X))) == 2
