"""Training: steps, epochs, the loop, and what happens when something is wrong."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import chain, layers, losses, optimizers, pure, train, value_and_grad
from fnn.train.batches import batch_indices
from fnn.train.fit import nearest_divisor

LOSS = losses.softmax_cross_entropy()
METRICS = {"accuracy": train.accuracy}


def network():
    return chain(
        hidden=layers.linear(16),
        norm=layers.batch_norm(),
        act=layers.relu(),
        drop=layers.dropout(0.1),
        logits=layers.linear(3),
    )


@pytest.fixture
def examples(rng):
    """Three clouds, which a small network can tell apart."""
    labels = rng.integers(0, 3, 96).astype(np.int32)
    centres = 3 * rng.normal(size=(3, 5))
    x = (centres[labels] + rng.normal(size=(96, 5))).astype(np.float32)
    return jnp.asarray(x), jnp.asarray(labels)


@pytest.fixture
def start(examples, key):
    return train.init(network(), optimizers.adam(0.01), key, examples[0][:8])


def equal(a, b):
    for p, q in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        if jnp.issubdtype(p.dtype, jax.dtypes.prng_key):
            p, q = jax.random.key_data(p), jax.random.key_data(q)
        np.testing.assert_array_equal(p, q)


def counting(net):
    """The network, and a list that grows by one whenever its forward pass is traced."""
    traces = []

    def forward(*args):
        traces.append(1)
        return net.forward(*args)

    return net._replace(forward=forward), traces


class TestStep:
    def test_makes_one_hand_written_step(self, examples, start):
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

    def test_carries_the_optimizers_state_from_step_to_step(self, examples, start):
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

    def test_hand_and_auto_agree_and_both_says_by_how_much(self, examples, start):
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

    def test_both_sees_a_wrong_backward(self, examples, start):
        net = network()
        hidden = net.parts["hidden"]

        def wrong(params, cache, dy):
            dparams, dx = hidden.backward(params, cache, dy)
            return dparams._replace(w=dparams.w * 1.001), dx

        bad = net.rebuild({**net.parts, "hidden": hidden._replace(backward=wrong)})
        step = train.step(bad, LOSS, optimizers.adam(0.01), gradient="both")
        assert step(train.copy(start), examples)[1].distance > 5e-4

    def test_is_traced_once_and_a_second_trace_names_the_leaf(self, examples, start):
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

    def test_donates_the_state(self, examples, start):
        step = train.step(network(), LOSS, optimizers.adam(0.01))
        compiled = step.lower(start, examples).compile()
        size = sum(leaf.nbytes for leaf in jax.tree.leaves((start.params, start.optimizer)))
        assert compiled.memory_analysis().alias_size_in_bytes >= size

    def test_a_step_that_is_not_finite_is_not_made(self, examples, start):
        step = train.step(network(), LOSS, optimizers.adam(0.01))
        bad = examples[0].at[3, 2].set(jnp.nan)
        after, info = step(train.copy(start), (bad, examples[1]))
        assert not info.finite
        equal(after, start)

    def test_unknown_gradient(self):
        with pytest.raises(ValueError, match="'hand', 'auto' or 'both', got 'magic'"):
            train.step(network(), LOSS, optimizers.sgd(0.1), gradient="magic")


class TestEpoch:
    def test_is_the_steps_one_by_one(self, examples, start):
        optimizer = optimizers.adam(0.01)
        step = train.step(network(), LOSS, optimizer)
        state = train.copy(start)
        for t in range(6):
            indices = batch_indices(start.key, jnp.int32(t), 96, 16)
            state, info = step(state, (examples[0][indices], examples[1][indices]))
        epoch = train.epoch(network(), LOSS, optimizer, batch_size=16)
        together, infos = epoch(train.copy(start), examples)
        assert infos.loss.shape == (6,)
        np.testing.assert_allclose(infos.loss[-1], info.loss, rtol=1e-4)
        for a, b in zip(
            jax.tree.leaves(together.params), jax.tree.leaves(state.params), strict=True
        ):
            np.testing.assert_allclose(a, b, atol=1e-4)

    def test_resumes_bit_for_bit(self, examples, start):
        optimizer = optimizers.adam(0.01)
        six = train.epoch(network(), LOSS, optimizer, batch_size=16, steps=6)
        two = train.epoch(network(), LOSS, optimizer, batch_size=16, steps=2)
        at_once, _ = six(train.copy(start), examples)
        state = train.copy(start)
        for _ in range(3):
            state, _ = two(state, examples)
        equal(at_once, state)

    def test_is_traced_once(self, examples, start):
        net, traces = counting(network())
        epoch = train.epoch(net, LOSS, optimizers.adam(0.01), batch_size=16)
        state, _ = epoch(train.copy(start), examples)
        epoch(state, examples)
        assert len(traces) == 1

    def test_stops_at_the_first_step_that_is_not_finite(self, examples, start):
        epoch = train.epoch(network(), LOSS, optimizers.adam(0.01), batch_size=16)
        order = [batch_indices(start.key, jnp.int32(t), 96, 16) for t in range(6)]
        bad = examples[0].at[order[3][0], 0].set(jnp.inf)
        state, infos = epoch(train.copy(start), (bad, examples[1]))
        np.testing.assert_array_equal(infos.finite, [True] * 3 + [False] * 3)
        assert state.step == 3
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))

    @pytest.mark.parametrize(
        ("x", "labels", "message"),
        [
            (np.zeros((0, 5), np.float32), np.zeros(0, np.int32), "at least one example, got 0"),
            (np.zeros((8, 5), np.float32), np.zeros(8, np.int32), "to the 8 examples, got 16"),
            (np.zeros((32, 5), np.float32), np.zeros(31, np.int32), "one entry an example"),
        ],
    )
    def test_examples_that_make_no_epoch(self, start, x, labels, message):
        epoch = train.epoch(network(), LOSS, optimizers.adam(0.01), batch_size=16)
        with pytest.raises(ValueError, match=message):
            epoch(train.copy(start), (jnp.asarray(x), jnp.asarray(labels)))


class TestEvaluate:
    @pytest.mark.parametrize("count", [1, 16, 40, 96])
    def test_counts_every_example_once(self, examples, start, count):
        net = network()
        x, labels = examples[0][:count], examples[1][:count]
        result = train.evaluate(net, LOSS, batch_size=16, metrics=METRICS)(
            start.params, start.state, (x, labels)
        )
        y = net.predict(start.params, start.state, x)
        np.testing.assert_allclose(result.prediction, y, atol=1e-5)
        np.testing.assert_allclose(result.loss, LOSS.forward(y, labels)[0].mean(), rtol=1e-5)
        accuracy = (np.asarray(y).argmax(axis=1) == np.asarray(labels)).mean()
        np.testing.assert_allclose(result.metrics["accuracy"], accuracy, rtol=1e-6)

    def test_no_examples(self, examples, start):
        evaluate = train.evaluate(network(), LOSS, batch_size=16)
        with pytest.raises(ValueError, match="at least one example"):
            evaluate(start.params, start.state, (examples[0][:0], examples[1][:0]))

    def test_confusion_matrix(self):
        counts = train.confusion_matrix(np.asarray([0, 1, 1, 2]), np.asarray([0, 1, 2, 2]), 3)
        np.testing.assert_array_equal(counts, [[1, 0, 0], [0, 1, 0], [0, 1, 1]])
        with pytest.raises(ValueError, match=r"predicted classes in \[0, 2\), got 0 to 2"):
            train.confusion_matrix(np.asarray([0, 2]), np.asarray([0, 1]), 2)

    def test_a_nan_prediction_is_wrong(self):
        prediction = jnp.asarray([[jnp.nan, 0.0], [1.0, 0.0]])
        np.testing.assert_array_equal(train.accuracy(prediction, jnp.asarray([0, 0])), [0, 1])


class TestFit:
    def test_learns_and_yields_after_every_epoch(self, examples, start):
        reports = list(
            train.fit(
                network(), LOSS, optimizers.adam(0.01), start, examples,
                epochs=8, batch_size=16, validation=examples, metrics=METRICS,
            )
        )  # fmt: skip
        assert [r.steps for r in reports] == [6 * (i + 1) for i in range(8)]
        assert reports[-1].evaluation.metrics["accuracy"] > 0.95
        assert reports[-1].info.loss.mean() < reports[0].info.loss.mean() / 2

    def test_reports_and_the_given_state_outlive_the_next_call(self, examples, start):
        reports = list(
            train.fit(
                network(), LOSS, optimizers.adam(0.01), start, examples, epochs=3, batch_size=16
            )
        )
        for report in reports:
            assert np.isfinite(report.train_state.params["hidden"].w).all()
        assert start.step == 0

    def test_same_seed_same_parameters_bit_for_bit(self, examples, start):
        def last():
            *_, report = train.fit(
                network(), LOSS, optimizers.adam(0.01), start, examples, epochs=2, batch_size=16
            )
            return report.train_state

        equal(last(), last())

    def test_goes_on_from_a_report(self, examples, start):
        def fit(state, epochs):
            return train.fit(
                network(),
                LOSS,
                optimizers.adam(0.01),
                state,
                examples,
                epochs=epochs,
                batch_size=16,
            )

        *_, whole = fit(start, 4)
        *_, half = fit(start, 2)
        *_, rest = fit(half.train_state, 2)
        equal(whole.train_state, rest.train_state)

    def test_steps_per_call_divides_the_run(self, examples, start):
        reports = list(
            train.fit(
                network(), LOSS, optimizers.adam(0.01), start, examples,
                epochs=2, batch_size=16, validation=examples, steps_per_call=4,
            )
        )  # fmt: skip
        assert [r.steps for r in reports] == [4, 8, 12]
        assert [r.evaluation is not None for r in reports] == [False, True, True]
        assert [nearest_divisor(372, n) for n in (1, 8, 10, 1000)] == [1, 6, 12, 372]

    @pytest.mark.parametrize("place", ["x", "forward", "backward", "loss"])
    def test_a_run_that_is_not_finite_stops_and_names_the_layer(self, examples, start, place):
        def explode(name, factor_forward, factor_backward):
            return pure(
                name,
                lambda p, x: (x * factor_forward, ()),
                lambda p, c, dy: (p, dy * factor_backward),
            )

        x, labels = examples
        bad = {"forward": (np.inf, 1.0), "backward": (1.0, np.nan)}.get(place, (1.0, 1.0))
        net = chain(
            block=chain(hidden=layers.linear(4), bomb=explode("bomb", *bad)),
            logits=layers.linear(3),
        )
        optimizer = optimizers.sgd(0.01)
        state = train.init(net, optimizer, start.key, x)
        if place == "x":
            x = x.at[7, 1].set(jnp.nan)
        loss = LOSS
        if place == "loss":
            loss = LOSS._replace(backward=lambda c, g: jnp.inf * LOSS.backward(c, g))
        expected = {
            "x": r"the input x, at index \(\d+, 1\): nan",
            "forward": r"the output of layer block/bomb \(bomb\), at index",
            "backward": r"the gradient dx of layer block/bomb \(bomb\)",
            "loss": "the loss softmax_cross_entropy or its gradient",
        }[place]
        with pytest.raises(train.NonFiniteError, match=expected) as error:
            list(train.fit(net, loss, optimizer, state, (x, labels), epochs=1, batch_size=16))
        good = error.value.train_state
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(good.params))
        if place != "x":
            equal(good, state)

    def test_labels_out_of_range_stop_the_run(self, examples, start):
        bad = examples[1].at[5].set(3)
        with pytest.raises(train.NonFiniteError, match="the loss softmax_cross_entropy"):
            list(
                train.fit(
                    network(), LOSS, optimizers.adam(0.01), start, (examples[0], bad),
                    epochs=1, batch_size=16,
                )
            )  # fmt: skip

    def test_no_epochs(self, examples, start):
        with pytest.raises(ValueError, match="at least one epoch, got 0"):
            next(
                train.fit(
                    network(), LOSS, optimizers.adam(0.01), start, examples, epochs=0, batch_size=16
                )
            )
