"""The loop over a population, its choice of the best, and its estimate of memory."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training import LOSS, METRICS, equal

from fnn import chain, layers, losses, mixed, models, optimizers, train
from fnn.train import population

OPTIMIZER = optimizers.sgd(0.1)


@functools.cache
def net():
    return chain(hidden=layers.linear(8), act=layers.relu(), logits=layers.linear(3))


@pytest.fixture
def members(examples, key):
    return made(examples, key, (0.1, 0.2, 0.4))


def made(examples, key, rates):
    keys = jax.random.split(key, len(rates))
    return population.init(net(), OPTIMIZER, keys, examples[0][:8], hyperparameters={"rate": rates})


def fit(members, examples, **options):
    options = {"epochs": 2, "batch_size": 16} | options
    return population.fit(net(), LOSS, OPTIMIZER, members, examples, **options)


def test_reports_on_all_members(members, examples):
    reports = list(fit(members, examples, validation=examples, metrics=METRICS))
    assert [report.steps for report in reports] == [6, 12]
    assert [report.epochs for report in reports] == [1.0, 2.0]
    last = reports[-1]
    assert last.info.loss.shape == (3, 6)
    assert last.running.all()
    assert last.evaluation.loss.shape == last.evaluation.metrics["accuracy"].shape == (3,)
    assert (last.evaluation.loss < reports[0].info.loss[:, 0]).all()
    goes_on = list(fit(reports[0].members, examples))
    equal(goes_on[-1].members, last.members)


def test_full_batch_descent_is_what_train_fit_makes_of_it(members, examples):
    *_, last = fit(members, examples, batch_size=None, steps_per_call=1, same_batches=False)
    assert (last.steps, last.examples) == (2, 3 * len(examples[0]))
    one = population.member(members, 1)
    *_, alone = train.fit(net(), LOSS, OPTIMIZER, one, examples, epochs=2, batch_size=None)
    for a, b in zip(
        jax.tree.leaves(population.member(last.members, 1).params),
        jax.tree.leaves(alone.train_state.params),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_reductions_of_each_member(members, examples):
    given = {"confusion": train.confusion(3)}
    (report,) = fit(members, examples, epochs=1, validation=examples, reductions=given)
    counts = report.evaluation.reductions["confusion"].counts
    x, labels = examples
    for i in range(3):
        one = population.member(report.members, i)
        said = np.asarray(net().predict(one.params, one.state, x)).argmax(axis=1)
        np.testing.assert_array_equal(counts[i], train.confusion_matrix(said, labels, 3))
    with pytest.raises(ValueError, match=r"for the reductions \['confusion'\], got none"):
        fit(members, examples, reductions=given)


def test_what_does_not_fit_the_predictions_is_refused_before_the_first_step(members, examples):
    for given, words in (
        ({"reductions": {"two": train.confusion(2)}}, "expected scores of 2 classes, got shape"),
        ({"metrics": {"one": lambda said, y: said.mean()}}, "a number an example of the metric"),
    ):
        with pytest.raises(ValueError, match=words):  # at the call; nothing asks for a report
            population.fit(
                net(), LOSS, OPTIMIZER, members, examples, epochs=1, batch_size=8, validation=examples,
                **given,
            )  # fmt: skip


@pytest.mark.slow
def test_a_member_is_what_train_fit_makes_of_it(members, examples):
    *_, last = fit(members, examples)
    for i in (0, 2):
        one = population.member(members, i)
        *_, alone = train.fit(net(), LOSS, OPTIMIZER, one, examples, epochs=2, batch_size=16)
        for a, b in zip(
            jax.tree.leaves(population.member(last.members, i).params),
            jax.tree.leaves(alone.train_state.params),
            strict=True,
        ):
            np.testing.assert_allclose(a, b, atol=1e-5)


def test_members_that_overflow_stop_and_keep_a_finite_state(examples, key):
    """One overflows where the step sees it; the weights of the other where only its parameters tell."""
    members = made(examples, key, (0.1, 3e38, 0.1))
    large = members.params["hidden"].w.at[2, 0, 0].set(jnp.inf)
    broken = members.params | {"hidden": members.params["hidden"]._replace(w=large)}
    *_, last = fit(members, examples)
    np.testing.assert_array_equal(last.running, [True, False, True])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(last.members.params))
    *_, last = fit(members._replace(params=broken), examples)
    np.testing.assert_array_equal(last.running, [True, False, False])
    assert last.members.step[0] == 12


@pytest.mark.slow
def test_parameters_that_only_their_own_look_finds_are_rolled_back(members, examples):
    """The step looks at the smallest parameter alone; this optimizer overflows the largest."""

    def update(grads, state, params):
        updates, state = OPTIMIZER.update(grads, state, params)
        faulty = members_with_large_rate(state)
        w = jnp.where(faulty, jnp.inf, updates["hidden"].w)
        return updates | {"hidden": updates["hidden"]._replace(w=w)}, state

    def members_with_large_rate(state):
        (rate,) = optimizers.hyperparameters(state).values()
        return rate > 0.3

    overflowing = OPTIMIZER._replace(update=update)
    *_, last = population.fit(
        net(), LOSS, overflowing, members, examples, epochs=1, batch_size=16, steps_per_call=1
    )
    np.testing.assert_array_equal(last.running, [True, True, False])
    equal(population.member(last.members, 2).params, population.member(members, 2).params)


def test_all_members_stopped(examples, key):
    members = made(examples, key, (3e38, 3e38))
    with pytest.raises(train.NonFiniteError, match="all 2 members have stopped") as caught:
        list(fit(members, examples, epochs=9))
    assert caught.value.train_state.step.shape == (2,)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"epochs": 0}, ValueError, "at least one epoch"),
        ({"batch_size": 97}, ValueError, "to the 96 examples"),
        ({"gradient": "none"}, ValueError, "gradient 'hand'"),
        ({"memory_limit": 100}, MemoryError, "within 100 B a device, got an estimate of .* kB"),
    ],
)
def test_what_no_loop_can_be_made_with(members, examples, options, error, message):
    with pytest.raises(error, match=message):
        fit(members, examples, **options)


def test_the_best_and_the_others():
    values = jnp.array([0.5, jnp.nan, 0.9, 0.7])
    best = population.best(values, "max")
    assert (best.member, best.finite, best.members) == (2, 3, 4)
    np.testing.assert_allclose([best.value, best.mean, best.std], [0.9, 0.7, 0.2], rtol=1e-6)
    assert population.best(values).member == 0
    assert "its value on others is expected to be worse" in str(best)
    with pytest.raises(ValueError, match="at least one of them finite"):
        population.best(jnp.array([jnp.nan]))
    with pytest.raises(ValueError, match="mode"):
        population.best(values, "most")


def images(rng, *shape):
    x = rng.normal(size=(64, *shape)).astype(np.float32)
    return jnp.asarray(x), jnp.asarray(rng.integers(0, 10, 64), jnp.int32)


SUBJECTS = {
    "mlp": (lambda: models.mlp((32,), 10), (16,), 12, None),
    "mlp in chunks": (lambda: models.mlp((32,), 10), (16,), 12, 4),
    "convnet": (lambda: models.convnet(10), (12, 12, 1), 2, None),
}


@pytest.mark.parametrize(
    "subject", ["mlp", *(pytest.param(n, marks=pytest.mark.slow) for n in list(SUBJECTS)[1:])]
)
def test_the_estimate_is_near_what_xla_allocates(subject, rng):
    make, shape, count, chunk = SUBJECTS[subject]
    network, optimizer, loss = make(), optimizers.adam(), losses.softmax_cross_entropy()
    examples = images(rng, *shape)
    options = {"batch_size": 16, "chunk": chunk}
    estimate = population.memory_estimate(network, loss, optimizer, count, examples, **options)
    keys = jax.random.split(jax.random.key(0), count)
    members = population.init(network, optimizer, keys, examples[0])
    epoch = population.epoch(network, loss, optimizer, **options)
    memory = epoch.lower(members, examples).compile().memory_analysis()
    truth = (
        memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
        + memory.temp_size_in_bytes
    )
    assert 0.75 < estimate.total / truth < 1.33
    state = sum(
        leaf.size * (8 if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf.itemsize)
        for leaf in jax.tree.leaves(members)
    )
    if chunk is None:
        assert estimate.state == state


def test_the_estimate_knows_copies_devices_and_own_examples(examples):
    def estimate(count=8, given=examples, **options):
        return population.memory_estimate(
            net(), LOSS, OPTIMIZER, count, given, batch_size=16, **options
        )

    whole, half = estimate(), estimate(devices=2)
    assert (half.state, half.working, half.members) == (whole.state // 2, whole.working // 2, 4)
    assert half.examples == whole.examples
    assert estimate(donate=False).state == 2 * whole.state
    assert estimate(chunk=2).working == whole.working // 4
    own = jax.tree.map(lambda leaf: jnp.stack([leaf] * 8), examples)
    assert estimate(given=own, own_examples=True).examples == 8 * whole.examples
    with pytest.raises(ValueError, match="3 devices divide, got 8"):
        estimate(devices=3)


def test_a_batch_that_loss_scaling_skips_stops_nobody(examples, key):
    """Scales of 2²⁴ overflow float16 until they have been halved some times: each member's own."""
    small = mixed(net(), jnp.float16)
    scaled = train.loss_scaling(OPTIMIZER, initial=2.0**24)
    keys = jax.random.split(key, 2)
    members = population.init(small, scaled, keys, examples[0][:8])
    options = {"epochs": 2, "batch_size": 16, "steps_per_call": 4}
    reports = list(population.fit(small, LOSS, scaled, members, examples, **options))
    assert not reports[0].info.finite[:, -1].any()
    assert reports[-1].info.finite[:, -1].all()
    assert all(report.running.all() for report in reports)
    last = reports[-1].members
    np.testing.assert_array_equal(last.step, [12, 12])
    skipped = sum((~report.info.finite).sum(axis=1) for report in reports)
    np.testing.assert_array_equal(last.optimizer.skipped, skipped)
