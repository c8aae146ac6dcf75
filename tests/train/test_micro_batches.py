"""A batch in parts: the gradient of the whole, less memory, a key and a state from part to part."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training import LOSS, METRICS, equal

from fnn import chain, layers, losses, optimizers, train, value_and_grad

PLAIN = chain(hidden=layers.linear(16), act=layers.tanh(), logits=layers.linear(3))
SGD = optimizers.sgd(0.1)


def begin(net, key, optimizer=SGD):
    return train.init(net, optimizer, key, jnp.zeros((8, 5)))


def close(a, b, tolerance=2e-6):
    for p, q in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(p, q, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("gradient", "weighted"),
    [
        ("hand", True),
        ("both", False),
        pytest.param("hand", False, marks=pytest.mark.slow),
        pytest.param("auto", True, marks=pytest.mark.slow),
        pytest.param("both", True, marks=pytest.mark.slow),
    ],
)
def test_the_step_of_the_whole_batch(examples, key, rng, gradient, weighted):
    """With weights of 0 for one whole part."""
    weights = rng.uniform(size=96).astype(np.float32)
    weights[3::4] = 0
    batch = (*examples, jnp.asarray(weights)) if weighted else examples
    start = begin(PLAIN, key)
    options = {"gradient": gradient, "metrics": METRICS}
    whole, info = jax.jit(train.step_function(PLAIN, LOSS, SGD, **options))(start, batch)
    parts, own = jax.jit(train.step_function(PLAIN, LOSS, SGD, micro_batches=4, **options))(
        start, batch
    )
    close(whole.params, parts.params)
    close((info.loss, info.metrics, info.gradient_norm), (own.loss, own.metrics, own.gradient_norm))
    assert (own.distance is None) == (gradient != "both")
    if gradient == "both":
        assert own.distance < 1e-5


def test_losses_of_several_positions_an_example(key, rng):
    """(N, T) losses and weights, as of a language model."""
    net = chain(logits=layers.linear(3))
    x = jnp.asarray(rng.normal(size=(8, 4, 5)), jnp.float32)
    labels, weights = rng.integers(0, 3, (8, 4)), rng.integers(0, 2, (8, 4)).astype(bool)
    start = train.init(net, SGD, key, x)
    for batch in ((x, labels), (x, labels, weights)):
        whole, info = jax.jit(train.step_function(net, LOSS, SGD))(start, batch)
        parts, own = jax.jit(train.step_function(net, LOSS, SGD, micro_batches=2))(start, batch)
        close((whole.params, info.loss), (parts.params, own.loss))


def test_low_precision_gradients_are_summed_in_float32(key):
    """512 parts: a sum in bfloat16 would stand still after some, as 256 + 1 = 256 in it."""
    net = chain(out=layers.linear(1, bias=False))
    x = jnp.ones((512, 1), jnp.bfloat16)
    start = train.init(net, SGD, key, x)
    loss = losses.Loss("sum", lambda y, t: (y[:, 0], ()), lambda c, dlosses: dlosses[:, None])
    step = jax.jit(train.step_function(net, loss, SGD, micro_batches=512))
    _, info = step(start, (x, jnp.zeros(512)))
    np.testing.assert_allclose(np.asarray(info.gradient_norm, np.float64), 1, rtol=1e-2)


def test_state_and_key_go_from_part_to_part(examples, key):
    """Against the parts, written out one by one."""
    net = chain(norm=layers.batch_norm(), drop=layers.dropout(0.5), logits=layers.linear(3))
    start = begin(net, key)
    after, info = jax.jit(train.step_function(net, LOSS, SGD, micro_batches=3))(start, examples)
    gradient, state, total, values = jax.jit(value_and_grad(net, LOSS)), start.state, None, []
    for i in range(3):
        own = jax.random.fold_in(jax.random.fold_in(start.key, 0), i)
        x, labels = (leaf[i::3] for leaf in examples)
        (value, auxiliary), grads = gradient(start.params, state, x, labels, own)
        state = auxiliary.state
        values.append(value)
        total = grads if total is None else jax.tree.map(jnp.add, total, grads)
    expected = jax.tree.map(lambda p, g: p - 0.1 * g / 3, start.params, total)
    close((after.params, after.state, info.loss), (expected, state, np.mean(values)))
    assert after.step == 1


@pytest.mark.slow
def test_a_minimizer_descends_the_whole(examples, key):
    optimizer = optimizers.bfgs()
    start = begin(PLAIN, key, optimizer)
    whole, _ = jax.jit(train.step_function(PLAIN, LOSS, optimizer))(start, examples)
    parts, _ = jax.jit(train.step_function(PLAIN, LOSS, optimizer, micro_batches=2))(
        start, examples
    )
    close(whole.params, parts.params, 1e-4)


def test_an_epoch_in_parts_goes_on_where_it_was_left(examples, key):
    start = begin(PLAIN, key)
    settings = {"batch_size": 32, "micro_batches": 4, "steps_per_call": 1}
    whole = list(train.fit(PLAIN, LOSS, SGD, start, examples, epochs=2, **settings))
    rest = list(train.fit(PLAIN, LOSS, SGD, whole[2].train_state, examples, epochs=2, **settings))
    equal(whole[-1].train_state, rest[-1].train_state)


def test_holds_the_cache_of_one_part_at_a_time(key):
    """Eight parts need a third of the temporary memory at most; an eighth and what is fixed is true."""
    net = chain(**{name: layers.linear(256) for name in "abcdef"}, logits=layers.linear(10))
    x, labels = jnp.zeros((4096, 16)), jnp.zeros(4096, jnp.int32)
    start = train.init(net, SGD, key, x)

    def temporary(**options):
        lowered = jax.jit(train.step_function(net, LOSS, SGD, **options)).lower(start, (x, labels))
        return lowered.compile().memory_analysis().temp_size_in_bytes

    assert temporary(micro_batches=8) < temporary() / 3


def test_one_part_is_the_same_program(examples, key):
    start = begin(PLAIN, key)
    step, one = (train.step(PLAIN, LOSS, SGD, **options) for options in ({}, {"micro_batches": 1}))
    assert step.lower(start, examples).as_text() == one.lower(start, examples).as_text()


@pytest.mark.parametrize(
    ("parts", "error", "message"),
    [
        (0, ValueError, "at least one micro-batch, got 0"),
        (2.0, TypeError, r"an int for micro_batches, got 2\.0"),
        (True, TypeError, "an int for micro_batches, got True"),
    ],
)
def test_refuses_what_is_no_count(parts, error, message):
    with pytest.raises(error, match=message):
        train.step(PLAIN, LOSS, SGD, micro_batches=parts)


@pytest.mark.parametrize("count", [95, 3])
def test_refuses_a_batch_that_is_not_divided(examples, key, count):
    step = train.step(PLAIN, LOSS, SGD, micro_batches=4)
    batch = examples[0][:count], examples[1][:count]
    with pytest.raises(ValueError, match=f"that 4 micro-batches divide, got {count} examples"):
        step(begin(PLAIN, key), batch)


def test_refuses_weights_of_another_shape(examples, key):
    step = train.step(PLAIN, LOSS, SGD, micro_batches=4)
    with pytest.raises(
        ValueError, match=r"losses' shape \(24,\), got shape \(24, 1\), in each of 4"
    ):
        step(begin(PLAIN, key), (*examples, jnp.ones((96, 1))))


def test_the_culprit_is_named_with_its_part(examples, key):
    """Of three parts, the last is examples 2, 5, 8, …, so that example 5 is its second."""
    x, labels = examples
    bad = x.at[5, 1].set(jnp.nan)

    def reordered(key, batch):
        del key, batch  # so that the order of the batch is known
        return bad, labels

    run = train.fit(
        PLAIN, LOSS, SGD, begin(PLAIN, key), examples,
        epochs=1, batch_size=96, micro_batches=3, augment=reordered,
    )  # fmt: skip
    expected = r"In micro-batch 2 of 3, from 0\. First not finite: the input x, at index \(1, 1\)"
    with pytest.raises(train.NonFiniteError, match=expected) as error:
        list(run)
    assert error.value.train_state.step == 0
