"""Batches from the host: the same run as with arrays on the device, and what a pipeline may do wrong."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training import LOSS, METRICS, equal, network

from fnn import chain, layers, losses, optimizers, train
from fnn.data.host_batches import empty
from fnn.train.batches import batch_indices

ADAM = optimizers.adam(0.01)


class Host:
    """Examples in NumPy, whose one buffer for a batch is written again and again."""

    def __init__(self, examples, broken=None, ends=1 << 30):
        self.x, self.labels = (np.asarray(leaf) for leaf in examples)
        self.count, self.broken, self.ends = len(self.x), broken, ends
        self.asked, self.closed = [], 0

    def batches(self, key, step, batch_size):
        # Aligned, as a device of the host may take over such memory as its own.
        buffer = empty((batch_size, *self.x.shape[1:]), self.x.dtype)
        try:
            for now in range(step, self.ends):
                self.asked.append(now)
                indices = np.asarray(batch_indices(key, jnp.int32(now), self.count, batch_size))
                buffer[:] = self.x[indices]
                if now == self.broken:
                    buffer[3, 1] = np.nan
                yield buffer, self.labels[indices]
                buffer[:] = np.nan
        finally:
            self.closed += 1


def run(examples, start, **options):
    given = {"epochs": 2, "batch_size": 16, "validation": None} | options
    return train.fit(network(), LOSS, ADAM, start, examples, **given)


@pytest.fixture
def whole(examples, start):
    return list(run(examples, start, steps_per_call=3, metrics=METRICS))


@pytest.mark.parametrize("micro_batches", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_the_run_of_arrays_on_the_device(examples, start, micro_batches):
    """Bit for bit: the states, the reports of three steps each, and the evaluations."""
    options = {"metrics": METRICS, "validation": examples, "micro_batches": micro_batches}
    device = list(run(examples, start, steps_per_call=3, **options))
    host = Host(examples)
    reports = list(run(host, start, steps_per_call=3, **options))
    assert len(reports) == len(device) == 4
    for a, b in zip(reports, device, strict=True):
        assert (a.steps, a.epochs, a.examples) == (b.steps, b.epochs, b.examples)
        equal((a.train_state, a.info), (b.train_state, b.info))
        assert (a.evaluation is None) == (b.evaluation is None)
    equal(reports[-1].evaluation, device[-1].evaluation)
    assert host.asked == list(range(12))  # each once, and none after the last
    assert host.closed == 1


def test_a_call_of_the_step_for_each_batch(examples, start, whole):
    """Without `steps_per_call`: the report of an epoch, of a program without a loop."""
    host = Host(examples)
    reports = list(run(host, start, metrics=METRICS))
    assert [r.steps for r in reports] == [6, 12]
    assert reports[0].info.loss.shape == reports[0].info.metrics["accuracy"].shape == (6,)
    equal(reports[-1].train_state, whole[-1].train_state)
    assert host.asked == list(range(12))


def test_goes_on_where_it_was_left(examples, start, whole):
    host = Host(examples)
    first = run(host, start, steps_per_call=3)
    state = next(first).train_state
    first.close()
    assert host.closed == 1
    again = Host(examples)
    *_, last = run(again, state, steps_per_call=3)
    assert again.asked == list(range(3, 12))
    equal(last.train_state, whole[-1].train_state)


@pytest.mark.parametrize("steps_per_call", [pytest.param(None, marks=pytest.mark.slow), 3])
def test_names_the_culprit(examples, start, steps_per_call):
    expected = r"stopped at step 4: .*First not finite: the input x, at index \(3, 1\): nan"
    with pytest.raises(train.NonFiniteError, match=expected) as error:
        list(run(Host(examples, broken=4), start, steps_per_call=steps_per_call))
    assert error.value.train_state.step == 4


def test_a_pipeline_that_ends(examples, start):
    with pytest.raises(ValueError, match="a batch for every step to come, but the pipeline ended"):
        list(run(Host(examples, ends=5), start))


def test_a_pipeline_of_other_batches(examples, start):
    host = Host(examples)
    own = host.batches

    def ragged(key, step, size):
        for i, (x, labels) in enumerate(own(key, step, size)):
            yield (x[:7], labels[:7]) if i == 2 else (x, labels)

    host.batches = ragged
    with pytest.raises(train.RetraceError, match=r"expected float32\[16,5\], got float32\[7,5\]"):
        list(run(host, start))


def test_refuses_a_batch_larger_than_the_set(examples, start):
    with pytest.raises(ValueError, match="to the 96 examples, got 97"):
        run(Host(examples), start, batch_size=97)


@pytest.mark.slow
def test_the_pipeline_of_fnn_data(examples, start, whole):
    """Threads that read ahead, and the device's own arrays."""
    pytest.importorskip("grain")
    from fnn.data import pipeline

    source = pipeline(tuple(np.asarray(leaf) for leaf in examples))
    *_, last = run(source, start, steps_per_call=3)
    equal(last.train_state, whole[-1].train_state)


def test_all_examples_at_once(examples, start):
    """batch_size=None: the gradient of the whole set, in its order."""
    host = Host(examples)
    *_, last = run(examples, start, batch_size=None, epochs=3)
    assert (last.steps, last.epochs, last.examples) == (3, 3.0, 96)
    step, state = train.step(network(), LOSS, ADAM), train.copy(start)
    for _ in range(3):
        state, _ = step(state, examples)
    for a, b in zip(
        jax.tree.leaves(state.params), jax.tree.leaves(last.train_state.params), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    *_, hosted = run(host, start, batch_size=None, epochs=1)
    assert (hosted.steps, hosted.examples) == (1, 96)


def test_one_example_at_a_time(key):
    """batch_size=1: the delta rule (Widrow, Hoff, 1960), in the order of the permutation."""
    x = jnp.asarray([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    target = jnp.asarray([[1.0], [2.0], [3.0]])
    net = chain(out=layers.linear(1, bias=False))
    optimizer = optimizers.sgd(0.25)
    start = train.init(net, optimizer, key, x)
    *_, last = train.fit(
        net, losses.squared_error(), optimizer, start, (x, target), epochs=4, batch_size=1
    )
    w = np.asarray(start.params["out"].w, np.float64)
    slope = np.asarray(losses.squared_error().backward(
        losses.squared_error().forward(jnp.asarray([[1.0]]), jnp.zeros((1, 1)))[1], jnp.ones(1)
    ))[0, 0]  # fmt: skip
    for step in range(12):
        (i,) = np.asarray(batch_indices(start.key, jnp.int32(step), 3, 1))
        error = np.asarray(x)[i] @ w - np.asarray(target)[i]
        w = w - 0.25 * slope * np.outer(np.asarray(x)[i], error)
    assert last.steps == 12
    np.testing.assert_allclose(last.train_state.params["out"].w, w, rtol=1e-5)
