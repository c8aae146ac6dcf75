"""Minimizers where an optimizer is taken: one step, an epoch, the loop, by hand and by autodiff."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training import LOSS, METRICS, counting, equal, network

from fnn import chain, layers, optimizers, train, value_and_grad
from fnn.optimizers import apply_updates, with_hyperparameters

METHODS = {
    "lbfgs": lambda: optimizers.lbfgs(history=3, max_evaluations=5),
    "newton_cg": lambda: optimizers.newton_cg(max_products=3, max_evaluations=5),
    "sam": lambda: optimizers.sam(optimizers.momentum(0.05)),
}


def network_of(name):
    """With all kinds of state; a smaller one where derivatives of derivatives are compiled."""
    if name == "newton_cg":
        return chain(norm=layers.batch_norm(), logits=layers.linear(3))
    return network()


@functools.cache
def built(name):
    """One compiled step of each, which counts how often its network is traced."""
    minimizer = METHODS[name]()
    net, traces = counting(network_of(name))
    return minimizer, train.step(net, LOSS, minimizer, metrics=METRICS), traces


@pytest.fixture(params=METHODS)
def name(request):
    return request.param


@pytest.fixture
def begin(name, examples, key):
    return train.init(network_of(name), METHODS[name](), key, examples[0])


def network_without_noise():
    return chain(hidden=layers.linear(8), act=layers.tanh(), logits=layers.linear(3))


def test_two_steps_are_those_of_the_minimizer_called_by_itself(examples, begin, name):
    minimizer, step, _ = built(name)
    net, state = network_of(name), train.copy(begin)

    @jax.jit
    def expected_step(params, network_state, memory, key):
        def evaluated(params):
            return value_and_grad(net, LOSS)(params, network_state, *examples, key)

        def objective(params):
            (value, _), grads = evaluated(params)
            return value, grads

        (value, auxiliary), grads = evaluated(params)
        updates, memory = minimizer.update(objective, value, grads, memory, params)
        return apply_updates(params, updates), auxiliary.state, memory, value

    params, network_state, memory = begin.params, begin.state, begin.optimizer
    for t in range(2):
        state, info = step(state, examples)
        params, network_state, memory, value = expected_step(
            params, network_state, memory, jax.random.fold_in(begin.key, t)
        )
        np.testing.assert_allclose(info.loss, value, rtol=1e-5)
        assert info.finite
        assert 0 <= info.metrics["accuracy"] <= 1
    got, expected = (state.params, state.state, state.optimizer), (params, network_state, memory)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
    assert state.step == 2
    assert state.optimizer.reached.evaluations >= 2


def test_the_networks_state_is_that_of_the_first_evaluation(examples, begin, name):
    """The running statistics have seen the batch once, with the parameters before the step."""
    _, step, _ = built(name)
    key = jax.random.fold_in(begin.key, 0)
    expected = jax.jit(network_of(name).forward)(begin.params, begin.state, examples[0], key)[1]
    after, _ = step(train.copy(begin), examples)
    for a, b in zip(jax.tree.leaves(after.state), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_hand_and_auto_agree_and_both_says_by_how_much(examples, start):
    net, minimizer, results = network_without_noise(), METHODS["sam"](), {}
    start = train.init(net, minimizer, start.key, examples[0])
    for gradient in ("hand", "auto", "both"):
        step = train.step(net, LOSS, minimizer, gradient=gradient)
        results[gradient] = step(train.copy(start), examples)
    assert 0 < results["both"][1].distance <= 1e-5
    for name in ("auto", "both"):
        for a, b in zip(
            jax.tree.leaves(results["hand"][0].params),
            jax.tree.leaves(results[name][0].params),
            strict=True,
        ):
            np.testing.assert_allclose(a, b, atol=1e-6)


def test_auto_asks_autodiff_at_every_point(examples, start):
    """With a backward that is wrong, the search by autodiff does not see it."""
    net, minimizer = network_without_noise(), METHODS["sam"]()
    wrong = net._replace(
        backward=lambda p, c, dy: jax.tree.map(jnp.zeros_like, net.backward(p, c, dy))
    )
    start = train.init(net, minimizer, start.key, examples[0])
    right, _ = train.step(net, LOSS, minimizer, gradient="auto")(train.copy(start), examples)
    same, _ = train.step(wrong, LOSS, minimizer, gradient="auto")(train.copy(start), examples)
    equal(right.params, same.params)
    other, _ = train.step(wrong, LOSS, minimizer)(train.copy(start), examples)
    equal(other.params, start.params)


def test_is_traced_once_whatever_the_hyperparameters(examples, begin, name):
    _, step, traces = built(name)
    state, _ = step(train.copy(begin), examples)
    made = len(traces)
    assert made >= 2  # the first evaluation, and the search's
    for rate in (0.5, 0.25):
        changed = with_hyperparameters(state.optimizer, rate=rate)
        state, _ = step(state._replace(optimizer=changed), examples)
    assert len(traces) == made


def test_a_step_that_is_not_finite_is_not_made(examples, begin, name):
    _, step, _ = built(name)
    bad = examples[0].at[3, 2].set(jnp.nan)
    after, info = step(train.copy(begin), (bad, examples[1]))
    assert not info.finite
    equal(after, begin)


def test_an_update_that_is_not_finite_is_not_made_and_named(examples, start):
    """The way up is endless: the second gradient is not finite."""
    endless = optimizers.sam(optimizers.sgd(0.1), lambda count: jnp.full(count.shape, jnp.inf))
    net = chain(logits=layers.linear(3))
    start = train.init(net, endless, start.key, examples[0])
    with pytest.raises(train.NonFiniteError, match="the optimizer's update of the parameters") as e:
        list(train.fit(net, LOSS, endless, start, examples, epochs=1, batch_size=96))
    equal(e.value.train_state, start)


def test_the_loop_trains_and_goes_on_from_a_report(examples, start):
    """Full batches: each loss is lower than the one before."""
    net, minimizer = network_without_noise(), METHODS["lbfgs"]()
    first_state = train.init(net, minimizer, start.key, examples[0])

    def losses(state, epochs):
        reports = list(
            train.fit(net, LOSS, minimizer, state, examples, epochs=epochs, batch_size=96)
        )
        return [float(r.info.loss[0]) for r in reports], reports[-1].train_state

    whole, _ = losses(first_state, 6)
    assert (np.diff(whole) < 0).all()
    first, middle = losses(first_state, 3)
    second, _ = losses(middle, 6)
    np.testing.assert_array_equal(first + second, whole)
    with pytest.raises(ValueError, match="another optimizer's: they differ in history"):
        losses(middle._replace(optimizer=optimizers.sgd(0.1).init(middle.params)), 6)
