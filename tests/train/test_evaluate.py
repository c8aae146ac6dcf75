"""The inference pass: every example once, compiled once, and the metrics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training import LOSS, METRICS, network

from fnn import losses, train


@pytest.mark.parametrize("count", [1, 16, 40, 96])
def test_counts_every_example_once(examples, start, count):
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


@pytest.mark.parametrize(("count", "sizes"), [(48, [16] * 3), (40, [14, 14, 12]), (7, [7])])
def test_a_loss_over_the_whole_batch_sees_examples_of_the_set_alone(examples, start, count, sizes):
    """An example that stood twice in its batch, to fill it up, would count as its own neighbour."""

    def forward(y, target):
        del target  # the others of the batch are what an example is compared with
        return jnp.square(y - y.mean(axis=0, keepdims=True)).sum(axis=1), y

    spread = losses.Loss("spread", forward, LOSS.backward)
    x, labels = examples[0][:count], examples[1][:count]
    result = train.evaluate(network(), spread, batch_size=16)(
        start.params, start.state, (x, labels)
    )
    y = np.asarray(network().predict(start.params, start.state, x), np.float64)
    batches = np.split(y, np.cumsum(sizes)[:-1])
    expected = sum(((b - b.mean(axis=0, keepdims=True)) ** 2).sum() for b in batches) / count
    np.testing.assert_allclose(result.loss, expected, rtol=1e-5)


def test_no_examples(examples, start):
    evaluate = train.evaluate(network(), LOSS, batch_size=16)
    with pytest.raises(ValueError, match="at least one example"):
        evaluate(start.params, start.state, (examples[0][:0], examples[1][:0]))


def test_confusion_matrix():
    counts = train.confusion_matrix(np.asarray([0, 1, 1, 2]), np.asarray([0, 1, 2, 2]), 3)
    np.testing.assert_array_equal(counts, [[1, 0, 0], [0, 1, 0], [0, 1, 1]])
    with pytest.raises(ValueError, match=r"predicted classes in \[0, 2\), got 0 to 2"):
        train.confusion_matrix(np.asarray([0, 2]), np.asarray([0, 1]), 2)


def test_a_nan_prediction_is_wrong():
    prediction = jnp.asarray([[jnp.nan, 0.0], [1.0, 0.0]])
    np.testing.assert_array_equal(train.accuracy(prediction, jnp.asarray([0, 0])), [0, 1])


def test_is_traced_once(examples, start):
    net, traces = network(), []

    def predict(*args):
        traces.append(1)
        return net.predict(*args)

    evaluate = train.evaluate(net._replace(predict=predict), LOSS, batch_size=16)
    for _ in range(3):
        evaluate(start.params, start.state, examples)
    assert len(traces) == 1
    with pytest.raises(train.RetraceError, match=r"expected float32\[96,5\], got float32\[50,5\]"):
        evaluate(start.params, start.state, (examples[0][:50], examples[1][:50]))


def test_a_label_out_of_range_is_named(examples, start):
    """In the compiled pass it gives NaN, without a word."""
    evaluate = train.evaluate(network(), LOSS, batch_size=16)
    with pytest.raises(ValueError, match=r"labels in \[0, 3\), got 7 at example \(41,\)"):
        evaluate(start.params, start.state, (examples[0], examples[1].at[41].set(7)))


def test_a_network_that_diverged_is_no_fault_of_the_labels(examples, start):
    params = jax.tree.map(lambda p: p * jnp.nan, start.params)
    result = train.evaluate(network(), LOSS, batch_size=16)(params, start.state, examples)
    assert np.isnan(result.loss)
