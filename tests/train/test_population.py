"""Populations: every member is what it would have become alone."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training import LOSS, METRICS, equal, network

from fnn import chain, layers, optimizers, train
from fnn.train import population
from fnn.train.batches import batch_indices

RATES = (0.01, 0.03, 0.1)
OPTIMIZER = optimizers.momentum(0.01)


@functools.cache  # so that a test does not compile what another one has
def net():
    return chain(
        hidden=layers.linear(8),
        act=layers.relu(),
        drop=layers.dropout(0.1),
        logits=layers.linear(3),
    )


@functools.cache
def together(**options):
    return population.epoch(net(), LOSS, OPTIMIZER, batch_size=16, **options)


@functools.cache
def single(**options):
    return train.epoch(net(), LOSS, OPTIMIZER, batch_size=16, **options)


@pytest.fixture
def members(examples, key):
    return made(key, examples)


def made(key, examples, **options):
    options.setdefault("hyperparameters", {"rate": RATES})
    return population.init(net(), OPTIMIZER, jax.random.split(key, 3), examples[0][:8], **options)


def close(a, b, tolerance=1e-4):
    for p, q in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        if jnp.issubdtype(p.dtype, jax.dtypes.prng_key):
            p, q = jax.random.key_data(p), jax.random.key_data(q)
        np.testing.assert_allclose(p, q, atol=tolerance, rtol=tolerance)


def alone(members, index, examples, **options):
    return single(**options)(train.copy(population.member(members, index)), examples)


def test_members_begin_as_single_runs_do(members, examples, key):
    keys = jax.random.split(key, 3)
    for i, rate in enumerate(RATES):
        equal(
            population.member(members, i),
            train.init(net(), optimizers.momentum(rate), keys[i], examples[0][:8]),
        )


@pytest.mark.parametrize("chunk", [None, pytest.param(2, marks=pytest.mark.slow)])
def test_members_become_what_they_would_alone(members, examples, chunk):
    after, infos = together(chunk=chunk)(train.copy(members), examples)
    assert infos.loss.shape == (3, 6)
    for i in range(3):
        state, info = alone(members, i, examples)
        close(population.member(after, i), state)
        close(population.member(infos, i), info)


@pytest.mark.slow
@pytest.mark.parametrize("chunk", [None, 1])
def test_with_running_statistics_metrics_and_another_optimizer(examples, key, chunk):
    # The bias before a batch norm has no gradient but rounding, which a small eps makes a step of.
    optimizer, keys = optimizers.adam(0.01, eps=1e-3), jax.random.split(key, 3)
    members = population.init(network(), optimizer, keys, examples[0][:8])
    options = {"batch_size": 16, "metrics": METRICS}
    epoch = population.epoch(network(), LOSS, optimizer, chunk=chunk, **options)
    after, infos = epoch(train.copy(members), examples)
    one = train.epoch(network(), LOSS, optimizer, **options)
    for i in range(3):
        state, info = one(train.copy(population.member(members, i)), examples)
        close(population.member(after, i), state)
        close(population.member(infos, i), info)


def test_members_with_one_run_key_see_the_same_batches(examples, key):
    members = made(key, examples, run_key=jax.random.key(7))
    drawn = together()
    shared = together(same_batches=True)
    close(drawn(train.copy(members), examples), shared(train.copy(members), examples), 1e-5)


def test_same_batches_need_one_key(members, examples):
    shared = together(same_batches=True)
    with pytest.raises(ValueError, match=r"share one key.*run_key"):
        shared(members, examples)


@pytest.mark.slow
def test_each_member_with_its_own_examples(members, examples, rng):
    resamples = np.stack([rng.integers(0, 96, 96) for _ in range(3)])
    own = jax.tree.map(lambda leaf: leaf[resamples], examples)
    epoch = together(own_examples=True)
    after, infos = epoch(train.copy(members), own)
    assert infos.loss.shape == (3, 6)
    for i in range(3):
        close(population.member(after, i), alone(members, i, population.member(own, i))[0])


@pytest.mark.parametrize("same_batches", [False, True])
def test_a_member_stops_alone(examples, key, same_batches):
    """The middle one's rate overflows float32 at its first step, the others go on."""
    options = {"run_key": jax.random.key(7)} if same_batches else {}
    members = made(key, examples, hyperparameters={"rate": (0.01, 1e38, 0.01)}, **options)
    epoch = together(same_batches=same_batches)
    after, infos = epoch(train.copy(members), examples)
    state, info = alone(members, 1, examples)
    np.testing.assert_array_equal(infos.finite[1], info.finite)
    assert not info.finite[-1]
    close(population.member(after, 1), state)
    np.testing.assert_array_equal(after.step, [6, int(state.step), 6])
    for i in (0, 2):
        assert infos.finite[i].all()
        close(population.member(after, i), alone(members, i, examples)[0])


@pytest.mark.parametrize("same_batches", [False, True])
def test_a_bad_example_stops_every_member_where_it_comes(examples, key, same_batches):
    """Alone, it would see the same batch again and again; it does not go on with the next one."""
    members = made(key, examples, run_key=jax.random.key(7))
    batch = batch_indices(jax.random.key(7), jnp.int32(3), 96, 16)
    bad = examples[0].at[batch[0], 0].set(jnp.inf), examples[1]
    after, infos = together(same_batches=same_batches)(train.copy(members), bad)
    np.testing.assert_array_equal(infos.finite, [[True] * 3 + [False] * 3] * 3)
    np.testing.assert_array_equal(after.step, [3, 3, 3])
    close(population.member(after, 1), alone(members, 1, bad)[0])


@pytest.mark.slow
def test_going_on_is_going_on_from_there(members, examples):
    two = together(steps=2)
    six = together()
    at_once, _ = six(train.copy(members), examples)
    state = train.copy(members)
    for _ in range(3):
        state, _ = two(state, examples)
    equal(at_once, state)


@pytest.mark.slow
def test_one_step_a_call(members, examples):
    one = together(steps=1)
    after, infos = one(train.copy(members), examples)
    assert infos.loss.shape == (3, 1)
    close(population.member(after, 2), alone(members, 2, examples, steps=1)[0])


def test_evaluation_of_all_members(members, examples):
    judge = population.evaluate(net(), LOSS, batch_size=40, metrics=METRICS)
    one = train.evaluate(net(), LOSS, batch_size=40, metrics=METRICS)
    together = judge(members.params, members.state, examples)
    assert together.loss.shape == (3,)
    for i in range(3):
        state = population.member(members, i)
        close(population.member(together, i), one(state.params, state.state, examples), 1e-5)


def test_evaluation_refuses_targets_as_for_one(members, examples):
    judge = population.evaluate(net(), LOSS, batch_size=40, metrics=METRICS)
    with pytest.raises(ValueError, match="label"):
        judge(members.params, members.state, (examples[0], examples[1].at[5].set(7)))


def test_members_of_other_makes_do_not_stack(examples, key, start):
    other = train.init(net(), optimizers.sgd(0.1), key, examples[0][:8])
    with pytest.raises(ValueError, match="member 1 differs from member 0 in optimizer/"):
        population.stack([start, other])
    with pytest.raises(ValueError, match="at least one"):
        population.stack([])


@pytest.mark.parametrize(
    ("hyperparameters", "error", "message"),
    [
        ({"rate": (0.1, 0.2)}, ValueError, r"3 values of rate, one a member, got shape \(2,\)"),
        ({"rate": (0.1, -0.2, 0.3)}, ValueError, "rate finite and at least 0"),
        ({"speed": (1.0, 2.0, 3.0)}, KeyError, "got.*speed"),
    ],
)
def test_hyperparameters_that_make_no_population(examples, key, hyperparameters, error, message):
    with pytest.raises(error, match=message):
        made(key, examples, hyperparameters=hyperparameters)


def test_what_is_no_population(start, members, examples):
    epoch = together()
    with pytest.raises(ValueError, match=r"expected a population.*population\.init"):
        epoch(start, examples)
    with pytest.raises(IndexError, match="from 0 to 2, got 3"):
        population.member(members, 3)
    with pytest.raises(ValueError, match="one key a member"):
        population.init(net(), OPTIMIZER, jax.random.key(0), examples[0][:8])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "at least one step a call"),
        ({"chunk": 0}, "at least one member a chunk"),
        ({"same_batches": True, "own_examples": True}, "got both"),
        ({"shardings": object()}, "no shardings"),
    ],
)
def test_options_that_make_no_epoch(options, message):
    with pytest.raises(ValueError, match=message):
        together(**options)
