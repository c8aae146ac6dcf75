"""A weight for each example: in the mean loss, its gradient, a step, an epoch and an evaluation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import chain, layers, losses, optimizers, train
from fnn.gradient import auto_value_and_grad, mean_over_examples, value_and_grad

LOSS = losses.softmax_cross_entropy()
NET = chain(hidden=layers.linear(5), act=layers.tanh(), logits=layers.linear(3))
METRICS = {"accuracy": train.accuracy}


@pytest.fixture
def examples(rng):
    x = jnp.asarray(rng.normal(size=(8, 4)), jnp.float32)
    return x, jnp.asarray(rng.integers(0, 3, 8), jnp.int32)


@pytest.fixture
def start(examples, key):
    return train.init(NET, optimizers.sgd(0.1), key, examples[0])


def close(a, b, rtol=1e-5):
    for p, q in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(p, q, rtol=rtol, atol=1e-6)


def test_whole_weights_are_examples_that_come_more_often(examples, start):
    x, labels = examples
    times = np.asarray([1, 0, 2, 3, 1, 0, 1, 1])
    gradient = value_and_grad(NET, LOSS)
    (value, _), dparams = gradient(start.params, start.state, x, labels, weights=times)
    again = np.repeat(np.arange(8), times)
    (expected, _), wanted = gradient(start.params, start.state, x[again], labels[again])
    close((value, dparams), (expected, wanted))


def test_gradient_by_hand_is_autodiffs(examples, start, rng):
    weights = rng.uniform(size=8).astype(np.float32)
    arguments = (start.params, start.state, *examples, None, weights)
    (_, _), hand = value_and_grad(NET, LOSS)(*arguments)
    (_, _), auto = auto_value_and_grad(NET, LOSS)(*arguments)
    close(hand, auto)


def test_equal_weights_are_none(examples, start):
    plain = value_and_grad(NET, LOSS)(start.params, start.state, *examples)
    close(
        value_and_grad(NET, LOSS)(start.params, start.state, *examples, None, np.full(8, 7)), plain
    )


def test_what_a_mask_hides_does_not_count_even_if_it_is_not_finite():
    values = jnp.asarray([1.0, np.nan, 3.0, np.inf])
    mean, shares = mean_over_examples(values, np.asarray([True, False, True, False]))
    assert mean == 2
    np.testing.assert_array_equal(shares, [0.5, 0, 0.5, 0])
    slope = jax.grad(lambda v: mean_over_examples(v, np.asarray([True, False, True, False]))[0])
    np.testing.assert_array_equal(slope(values), shares)


def test_weights_of_another_shape_are_refused(examples, start):
    with pytest.raises(ValueError, match=r"losses' shape \(8,\), got shape \(8, 1\)"):
        value_and_grad(NET, LOSS)(
            start.params, start.state, *examples, None, np.ones((8, 1), np.float32)
        )


@pytest.mark.parametrize("gradient", ["hand", "auto", "both"])
def test_a_step_with_a_mask_is_one_on_what_it_leaves(examples, start, gradient):
    x, labels = examples
    mask = np.arange(8) < 5
    step = train.step(NET, LOSS, optimizers.sgd(0.1), gradient=gradient, metrics=METRICS)
    after, info = step(train.copy(start), (x, labels, mask))
    fewer = train.step(NET, LOSS, optimizers.sgd(0.1), metrics=METRICS)
    expected, wanted = fewer(train.copy(start), (x[:5], labels[:5]))
    close(after.params, expected.params)
    close((info.loss, info.metrics), (wanted.loss, wanted.metrics))


def test_an_epoch_gathers_the_weights_with_their_examples(examples, start):
    """Of examples without weight nothing is learned: other labels there change nothing."""
    x, labels = examples
    mask = np.arange(8) % 2 == 0
    ends = []
    for wrong in (labels, jnp.where(mask, labels, (labels + 1) % 3)):
        epoch = train.epoch(NET, LOSS, optimizers.sgd(0.1), batch_size=8)
        ends.append(epoch(train.copy(start), (x, wrong, mask))[0].params)
    close(*ends)


def test_an_evaluation_is_of_what_has_weight(examples, start):
    x, labels = examples
    mask = np.arange(8) >= 3
    weighted = train.evaluate(NET, LOSS, batch_size=3, metrics=METRICS)
    plain = train.evaluate(NET, LOSS, batch_size=3, metrics=METRICS)
    got = weighted(start.params, start.state, (x, labels, mask))
    expected = plain(start.params, start.state, (x[3:], labels[3:]))
    close((got.loss, got.metrics), (expected.loss, expected.metrics))
    assert len(got.prediction) == 8


def test_a_step_without_any_weight_is_not_made_and_says_why(examples, start):
    x, labels = examples
    with pytest.raises(train.NonFiniteError, match="the weights of all examples are 0"):
        list(
            train.fit(
                NET,
                LOSS,
                optimizers.sgd(0.1),
                start,
                (x, labels, np.zeros(8)),
                epochs=1,
                batch_size=8,
            )
        )


def test_a_batch_of_four_is_refused(examples, start):
    with pytest.raises(ValueError, match=r"\(x, target, weights\), got 4 entries"):
        train.step(NET, LOSS, optimizers.sgd(0.1))(train.copy(start), (*examples, None, None))


@pytest.mark.parametrize("dtype", [bool, np.int32])
def test_the_weighted_mean_of_values_that_are_no_floats(dtype):
    values, weights = (
        np.asarray([1, 0, 1, 1], dtype),
        np.asarray([0.5, 0.25, 0.125, 0.0], np.float32),
    )
    mean, shares = mean_over_examples(jnp.asarray(values), weights)
    np.testing.assert_allclose(mean, 0.625 / 0.875, rtol=1e-6)
    np.testing.assert_allclose(shares, weights / 0.875, rtol=1e-6)


@pytest.mark.parametrize(
    ("dtype", "count"), [(jnp.float16, 70_000), (jnp.bfloat16, 1003), (jnp.float32, 1003)]
)
def test_many_weights_in_low_precision(dtype, count):
    """float16 ends at 65504, and bfloat16 has no 1003."""
    values, ones = jnp.full(count, 3, dtype), jnp.ones(count, dtype)
    mean, shares = mean_over_examples(values, ones)
    assert mean.dtype == shares.dtype == dtype
    np.testing.assert_allclose(np.float32(mean), 3, rtol=1e-6)
    np.testing.assert_allclose(np.float32(shares), np.float32(dtype(1 / count)))


def test_a_batch_by_names_is_refused(examples, start):
    """Its two names would be taken for x and target."""
    x, labels = examples
    step = train.step(NET, LOSS, optimizers.sgd(0.1))
    with pytest.raises(TypeError, match=r"expected a batch \(x, target\) .*got dict"):
        step(train.copy(start), {"x": x, "target": labels})
