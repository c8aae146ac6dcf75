"""One step: against plain jax, by hand and by autodiff, traced once, and not made if not finite."""

import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training import LOSS, METRICS, counting, equal, network

from fnn import chain, layers, optimizers, pure, train, value_and_grad
from fnn.train.step import global_norm, gradient_distance


def test_makes_one_hand_written_step(examples, start):
    """Against the step written out in plain jax."""
    net, rate = network(), 0.1
    optimizer = optimizers.sgd(rate)
    start = start._replace(optimizer=optimizer.init(start.params))
    key = jax.random.fold_in(start.key, 0)

    def loss(params):
        y, state, _ = net.forward(params, start.state, examples[0], key)
        log_p = jax.nn.log_softmax(y)
        return -jnp.take_along_axis(log_p, examples[1][:, None], axis=1).mean(), state

    (value, state), grads = jax.value_and_grad(loss, has_aux=True)(start.params)
    expected = jax.tree.map(lambda p, g: p - rate * g, start.params, grads)
    after, info = train.step(net, LOSS, optimizer, metrics=METRICS)(train.copy(start), examples)
    np.testing.assert_allclose(info.loss, value, rtol=1e-5)
    squares = sum((g**2).sum() for g in jax.tree.leaves(grads))
    np.testing.assert_allclose(info.gradient_norm, np.sqrt(squares), rtol=1e-5)
    for got, want in zip(
        jax.tree.leaves((after.params, after.state)),
        jax.tree.leaves((expected, state)),
        strict=True,
    ):
        np.testing.assert_allclose(got, want, atol=1e-5)
    assert after.step == 1
    assert 0 <= info.metrics["accuracy"] <= 1
    assert info.distance is None


def test_carries_the_optimizers_state_from_step_to_step(examples, start):
    """Three steps with momentum are those of the optimizer called by itself."""
    net, optimizer = network(), optimizers.momentum(0.05)
    start = start._replace(optimizer=optimizer.init(start.params))
    step, state = train.step(net, LOSS, optimizer), train.copy(start)
    params, network_state, memory = start.params, start.state, start.optimizer
    for t in range(3):
        state, _ = step(state, examples)
        key = jax.random.fold_in(start.key, t)
        (_, auxiliary), grads = value_and_grad(net, LOSS)(params, network_state, *examples, key)
        updates, memory = optimizer.update(grads, memory, params)
        params, network_state = optimizers.apply_updates(params, updates), auxiliary.state
    got, expected = jax.tree.leaves((state.params, state.optimizer)), (params, memory)
    for a, b in zip(got, jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_hand_and_auto_agree_and_both_says_by_how_much(examples, start):
    # Not Adam, which would make a full step out of the rounding of a gradient that is truly 0.
    optimizer, results = optimizers.sgd(0.1), {}
    start = start._replace(optimizer=optimizer.init(start.params))
    for gradient in ("hand", "auto", "both"):
        step = train.step(network(), LOSS, optimizer, gradient=gradient)
        results[gradient] = step(train.copy(start), examples)
    assert 0 < results["both"][1].distance <= 1e-5
    for a, b in zip(
        jax.tree.leaves(results["hand"][0].params),
        jax.tree.leaves(results["auto"][0].params),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_both_sees_a_wrong_backward(examples, start):
    net = network()
    hidden = net.parts["hidden"]

    def wrong(params, cache, dy):
        dparams, dx = hidden.backward(params, cache, dy)
        return dparams._replace(w=dparams.w * 1.001), dx

    bad = net.rebuild({**net.parts, "hidden": hidden._replace(backward=wrong)})
    step = train.step(bad, LOSS, optimizers.adam(0.01), gradient="both")
    assert step(train.copy(start), examples)[1].distance > 5e-4


def test_is_traced_once_and_a_second_trace_names_the_leaf(examples, start):
    net, traces = counting(network())
    step = train.step(net, LOSS, optimizers.adam(0.01))
    state, _ = step(train.copy(start), examples)
    state, _ = step(state, examples)
    assert len(traces) == 1
    ragged = (examples[0][:50], examples[1][:50])
    with pytest.raises(
        train.RetraceError, match=r"argument 1/0: expected float32\[96,5\], got float32\[50,5\]"
    ):
        step(state, ragged)


def test_donates_the_state(examples, start):
    step = train.step(network(), LOSS, optimizers.adam(0.01))
    compiled = step.lower(start, examples).compile()
    size = sum(leaf.nbytes for leaf in jax.tree.leaves((start.params, start.optimizer)))
    assert compiled.memory_analysis().alias_size_in_bytes >= size


def test_a_step_that_is_not_finite_is_not_made(examples, start):
    step = train.step(network(), LOSS, optimizers.adam(0.01))
    bad = examples[0].at[3, 2].set(jnp.nan)
    after, info = step(train.copy(start), (bad, examples[1]))
    assert not info.finite
    equal(after, start)


def test_unknown_gradient():
    with pytest.raises(ValueError, match="'hand', 'auto' or 'both', got 'magic'"):
        train.step(network(), LOSS, optimizers.sgd(0.1), gradient="magic")


def test_carries_on_through_a_schedule(examples, start):
    """A schedule's count goes up by one a step, in the compiled step as well."""
    net = network()
    optimizer = optimizers.sgd(optimizers.schedules.cosine_with_warmup(0.2, 4, warmup_steps=1))
    state = start._replace(optimizer=optimizer.init(start.params))
    step = train.step(net, LOSS, optimizer)
    rates = [0.1, 0.2, 0.2 * (1 + np.cos(np.pi / 3)) / 2, 0.2 * (1 + np.cos(2 * np.pi / 3)) / 2]
    for t, rate in enumerate(rates):
        key = jax.random.fold_in(start.key, t)
        _, grads = value_and_grad(net, LOSS)(state.params, state.state, *examples, key)
        expected = state.params["logits"].b - rate * grads["logits"].b
        state, _ = step(train.copy(state), examples)
        np.testing.assert_allclose(state.params["logits"].b, expected, atol=1e-6)


class TestNotFinite:
    def test_the_networks_next_state(self, examples, start):
        """A feature of 1e20 gives a variance of infinity, and a normalized output that is finite."""
        x = examples[0].at[:, 0].multiply(1e20)
        net = chain(norm=layers.batch_norm(), logits=layers.linear(3))
        optimizer = optimizers.sgd(0.1)
        before = train.init(net, optimizer, start.key, x)
        after, info = train.step(net, LOSS, optimizer)(train.copy(before), (x, examples[1]))
        assert np.isfinite(info.loss)
        assert np.isfinite(info.gradient_norm)
        assert not info.finite
        equal(after, before)

    @pytest.mark.parametrize("rate", [np.inf, np.nan])
    def test_the_update(self, examples, start, rate):
        optimizer = optimizers.sgd(lambda count: jnp.full(jnp.shape(count), rate))
        before = start._replace(optimizer=optimizer.init(start.params))
        after, info = train.step(network(), LOSS, optimizer)(train.copy(before), examples)
        assert np.isfinite(info.gradient_norm)
        assert not info.finite
        equal(after, before)

    def test_the_bias_correction_of_adam(self, examples, start):
        """b1 = 1 divides 0 by 0 in every parameter, with a finite loss and gradient."""
        optimizer = optimizers.adam(0.1, b1=optimizers.schedules.constant(1.0))
        before = start._replace(optimizer=optimizer.init(start.params))
        after, info = train.step(network(), LOSS, optimizer)(train.copy(before), examples)
        assert not info.finite
        equal(after, before)

    def test_the_derivation_that_it_is_compared_with(self, examples, start):
        """ "both" must not train on with a distance of NaN."""

        @jax.custom_vjp
        def poisoned(x):
            return x

        poisoned.defvjp(lambda x: (x, ()), lambda _, dy: (dy * jnp.nan,))
        bomb = pure("bomb", lambda p, x: (poisoned(x), ()), lambda p, c, dy: (p, dy))
        net, optimizer = chain(hidden=layers.linear(3), bomb=bomb), optimizers.sgd(0.1)
        before = train.init(net, optimizer, start.key, examples[0])
        for gradient, finite in (("hand", True), ("auto", False), ("both", False)):
            step = train.step(net, LOSS, optimizer, gradient=gradient)
            after, info = step(train.copy(before), examples)
            assert info.finite == finite
            if not finite:
                equal(after, before)


class TestInit:
    def test_the_first_step_takes_nothing_of_the_callers(self, examples):
        """Key, rate and an initializer's own array are alive after a step that donates its state."""
        key, rate, b = jax.random.key(3), jnp.float32(0.1), jnp.ones(3)
        net = chain(logits=layers.linear(3, bias_init=lambda *_: b))
        for _ in range(2):
            optimizer = optimizers.sgd(rate)
            state = train.init(net, optimizer, key, examples[0])
            train.step(net, LOSS, optimizer)(state, examples)
            jax.random.split(key)
            np.testing.assert_array_equal(b, 1)
            np.testing.assert_allclose(rate, 0.1)

    def test_the_parameters_are_drawn_with_a_key_of_their_own(self, examples, key):
        """Not the run's own key, from which the steps' draws come."""
        net = network()
        params = train.init(net, optimizers.sgd(0.1), key, examples[0]).params
        expected, _ = net.init(jax.random.fold_in(key, zlib.crc32(b"init")), examples[0])
        equal(params, expected)

    def test_copies_are_not_views_of_numpys_memory(self, start):
        given = np.ones((64, 64), np.float32)
        copied = train.copy(start._replace(params=given))
        given[:] = 2
        np.testing.assert_array_equal(copied.params, 1)


def test_jit_once_forgets_a_trace_that_failed():
    """A call with wrong arguments must not be taken for the one that was compiled."""

    def function(x):
        if x.shape != (3,):
            raise ValueError("three are wanted")
        return x + 1

    run = train.jit_once("run", function)
    with pytest.raises(ValueError, match="three are wanted"):
        run(jnp.ones(2))
    np.testing.assert_array_equal(run(jnp.ones(3)), 2)
    with pytest.raises(train.RetraceError, match=r"expected float32\[3\], got float32\[4\]"):
        run(jnp.ones(4))


def test_norms_and_distances_of_parameters_of_two_precisions():
    with jax.enable_x64(True):
        tree = {"a": jnp.asarray([3.0], jnp.float32), "b": jnp.asarray([4.0], jnp.float64)}
        np.testing.assert_allclose(global_norm(tree), 5, rtol=1e-7)
        assert global_norm(tree).dtype == jnp.float64
        other = tree | {"b": jnp.asarray([4.4])}
        np.testing.assert_allclose(gradient_distance(other, tree), 0.1, rtol=1e-6)


def test_the_function_instead_of_the_optimizer(examples, key):
    with pytest.raises(
        TypeError, match=r"train.init: expected an optimizer, .* call it: adam\(…\)"
    ):
        train.init(network(), optimizers.adam, key, examples[0])
