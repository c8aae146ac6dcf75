"""Metrics gathered batch by batch, against scikit-learn and NumPy on whole arrays."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training import LOSS

from fnn import chain, layers, train
from fnn.train.metrics.streaming import Sum, plus

CUTS = [0, 25, 50, 60]


@pytest.fixture
def scores(rng):
    return rng.normal(size=(60, 4)).astype(np.float32)


@pytest.fixture
def labels(rng):
    return rng.integers(0, 4, 60).astype(np.int32)


@pytest.fixture
def weights(rng):
    """Of which some are 0."""
    return (rng.uniform(size=60) * rng.integers(0, 2, 60)).astype(np.float32)


def gathered(reduction, *arrays):
    """In ragged batches, one by itself and two together."""
    update = jax.jit(reduction.update)

    @jax.jit
    def said(a, b):
        return reduction.result(reduction.combine(a, b))

    first, *rest = ([a[i:j] for a in arrays] for i, j in itertools.pairwise(CUTS))
    alone, together = update(reduction.init(), *first), reduction.init()
    for part in rest:
        together = update(together, *part)
    return said(alone, together)


def softmax(scores):
    e = np.exp(np.asarray(scores, np.float64) - scores.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def test_accuracy_and_top_k(scores, labels, weights):
    sklearn = pytest.importorskip("sklearn.metrics")
    for k in (1, 3):
        found = gathered(train.mean_of(train.top_k(k)), scores, labels, weights)
        expected = sklearn.top_k_accuracy_score(labels, scores, k=k, sample_weight=weights)
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    found = gathered(train.mean_of(train.accuracy), scores, labels)
    np.testing.assert_allclose(found, (scores.argmax(1) == labels).mean(), rtol=1e-6)


def test_top_k_of_ties_nan_and_what_is_no_class():
    """Scores of three values: a stable sort from the largest says which are the first k."""
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 3, (200, 5)).astype(np.float32)
    labels = rng.integers(0, 5, 200)
    order = np.argsort(-scores, axis=1, kind="stable")
    for k in (1, 2, 5):
        expected = [labels[i] in order[i, :k] for i in range(200)]
        np.testing.assert_array_equal(train.top_k(k)(scores, labels), expected)
    np.testing.assert_array_equal(train.top_k(1)(scores, labels), train.accuracy(scores, labels))
    bad = train.top_k(2)(
        jnp.asarray([[0.0, jnp.nan], [1.0, 0.0], [1.0, 0.0]]), jnp.asarray([0, 2, -1])
    )
    np.testing.assert_array_equal(bad, 0)
    with pytest.raises(ValueError, match="at least 3 classes, got 2"):
        train.top_k(3)(jnp.zeros((1, 2)), jnp.zeros(1, jnp.int32))
    with pytest.raises(ValueError, match="k of at least 1, got 0"):
        train.top_k(0)


def test_confusion_matrix(scores, labels, weights):
    sklearn = pytest.importorskip("sklearn.metrics")
    predicted = scores.argmax(axis=1)
    found = gathered(train.confusion(4), scores, labels)
    np.testing.assert_array_equal(found.counts, sklearn.confusion_matrix(labels, predicted))
    found = gathered(train.confusion(4), scores, labels, weights)
    expected = sklearn.confusion_matrix(labels, predicted, sample_weight=weights)
    np.testing.assert_allclose(found.counts, expected, rtol=1e-6)
    assert found.left_out == 0


def test_confusion_leaves_out_what_has_no_cell(scores, labels):
    scores[3, 2], labels[5], labels[6] = np.nan, 4, -1
    found = gathered(train.confusion(4), scores, labels)
    kept = np.delete(np.arange(60), [3, 5, 6])
    counts = train.confusion_matrix(scores[kept].argmax(1), labels[kept], 4)
    np.testing.assert_array_equal(found.counts, counts)
    assert found.left_out == 3
    with pytest.raises(ValueError, match=r"scores of 5 classes, got shape \(60, 4\)"):
        train.confusion(5).update(train.confusion(5).init(), scores, labels)


def calibrated(p, labels, weights, bins):
    """The definition, in a loop over bins, in float64."""
    confidence, right = p.max(axis=1), p.argmax(axis=1) == labels
    error, gaps = 0.0, []
    for m in range(bins):
        own = (confidence > np.float32(m / bins)) & (confidence <= np.float32((m + 1) / bins))
        n = weights[own].sum()
        if n > 0:
            gap = abs(
                np.average(right[own], weights=weights[own])
                - np.average(confidence[own], weights=weights[own])
            )
            gaps.append(gap)
            error += n / weights.sum() * gap
    return error, max(gaps)


@pytest.mark.parametrize("bins", [1, 15])
def test_calibration(scores, labels, weights, bins):
    p = softmax(scores)
    for own in (np.ones(60, np.float32), weights):
        found = gathered(train.calibration(bins), scores, labels, own)
        error, largest = calibrated(p, labels, np.asarray(own, np.float64), bins)
        np.testing.assert_allclose(found.error, error, rtol=1e-4)
        np.testing.assert_allclose(found.largest, largest, rtol=1e-4)
        np.testing.assert_allclose(found.examples.sum(), own.sum(), rtol=1e-5)


def test_calibration_at_the_edges_of_bins():
    """A confidence of exactly 1/2 lies in (0, 1/2]; one of 1 in (1/2, 1]."""
    p = np.asarray([[0.5, 0.5], [1.0, 0.0], [0.75, 0.25]], np.float32)
    found = gathered_once(train.calibration(2, probabilities=True), p, np.asarray([0, 0, 1]))
    np.testing.assert_array_equal(found.examples, [1, 2])
    np.testing.assert_array_equal(found.accuracy, [1, 0.5])
    np.testing.assert_array_equal(found.confidence, [0.5, 0.875])
    np.testing.assert_allclose([found.error, found.largest], [1.25 / 3, 0.5], rtol=1e-6)
    empty = gathered_once(train.calibration(4, probabilities=True), p, np.asarray([0, 0, 1]))
    assert np.isnan(empty.confidence[0])
    assert np.isfinite(empty.error)
    p[0] = np.nan
    assert np.isnan(gathered_once(train.calibration(2), p, np.asarray([0, 0, 1])).error)


def gathered_once(reduction, *arrays):
    @jax.jit
    def said(*arrays):
        return reduction.result(reduction.update(reduction.init(), *arrays))

    return said(*arrays)


def test_likelihood_and_brier(scores, labels, weights):
    sklearn = pytest.importorskip("sklearn.metrics")
    p, hot = softmax(scores), np.eye(4)[labels]
    for given, probabilities in ((scores, False), (p.astype(np.float32), True)):
        nll = train.mean_of(train.negative_log_likelihood(probabilities=probabilities))
        expected = sklearn.log_loss(labels, p, sample_weight=weights, labels=range(4))
        np.testing.assert_allclose(gathered(nll, given, labels, weights), expected, rtol=1e-5)
        found = gathered(train.mean_of(train.brier(probabilities=probabilities)), given, labels)
        np.testing.assert_allclose(found, ((p - hot) ** 2).sum(axis=1).mean(), rtol=1e-5)
    soft = 0.9 * hot + 0.025
    np.testing.assert_allclose(
        train.negative_log_likelihood()(scores, soft), -(soft * np.log(p)).sum(axis=1), rtol=1e-5
    )


def test_likelihood_of_zero_and_of_no_class():
    p = jnp.asarray([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [jnp.nan, 1.0]])
    nll = train.negative_log_likelihood(probabilities=True)(p, jnp.asarray([0, 1, 2, 0]))
    np.testing.assert_array_equal(nll, [0, np.inf, np.nan, np.nan])
    score = train.brier(probabilities=True)(p, jnp.asarray([0, 1, 2, 0]))
    np.testing.assert_array_equal(score, [0, 2, np.nan, np.nan])


def test_a_weight_of_zero_takes_what_is_not_finite_out(scores, labels):
    scores[4] = np.nan
    weights = np.ones(60, np.float32)
    assert np.isnan(gathered(train.mean_of(train.brier()), scores, labels, weights))
    weights[4] = 0
    kept = np.delete(np.arange(60), 4)
    for reduction in (train.mean_of(train.brier()), train.calibration()):
        found = jax.tree.leaves(gathered(reduction, scores, labels, weights))[0]
        wanted = jax.tree.leaves(gathered_once(reduction, scores[kept], labels[kept]))[0]
        np.testing.assert_allclose(found, wanted, rtol=1e-5)
    assert gathered(train.confusion(4), scores, labels, weights).left_out == 0


def test_a_sum_of_more_ones_than_float32_can_count():
    ones = train.mean_of(lambda y, t: y)
    state = {"total": Sum(jnp.float32(2.0**24), jnp.float32(0)), "weight": ones.init()["weight"]}
    for _ in range(5):
        state = ones.update(state, jnp.ones(1), None)
    total = state["total"]
    assert np.float64(total.high) + np.float64(total.low) == 2**24 + 5


def test_combining_is_associative_and_keeps_infinities(rng):
    a, b, c = (
        Sum(jnp.asarray(rng.normal(size=50) * 10.0**i, jnp.float32), jnp.zeros(50))
        for i in (0, 3, 6)
    )
    left, right = plus(plus(a, b), c), plus(a, plus(c, b))
    exact = sum(np.asarray(s.high, np.float64) for s in (a, b, c))
    for total in (left, right):
        got = np.asarray(total.high, np.float64) + np.asarray(total.low, np.float64)
        np.testing.assert_allclose(got, exact, rtol=1e-12)
    infinite = plus(Sum(jnp.float32(np.inf), jnp.float32(0)), Sum(jnp.float32(1), jnp.float32(0)))
    assert infinite.value == np.inf


def test_in_scan_and_vmap(scores, labels):
    """Three models side by side, over batches in a scan."""
    reduction = train.calibration(5)
    models = jnp.stack([scores, 2 * scores, -scores])

    def run(scores):
        batches = scores.reshape(6, 10, 4), jnp.asarray(labels).reshape(6, 10)
        state, _ = jax.lax.scan(
            lambda state, batch: (reduction.update(state, *batch), None), reduction.init(), batches
        )
        return reduction.result(state).error

    for found, own in zip(jax.jit(jax.vmap(run))(models), models, strict=True):
        expected, _ = calibrated(softmax(np.asarray(own)), labels, np.ones(60), 5)
        np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_what_evaluate_gathers(examples, key):
    """40 examples in batches of 14, 14 and 12, weighted; predictions are not kept."""
    net = chain(logits=layers.linear(3))
    x, labels = examples[0][:40], examples[1][:40]
    weights = jnp.asarray(np.arange(40) % 3, jnp.float32)
    params, state = net.init(key, x)
    reductions = {
        "confusion": train.confusion(3),
        "loss": train.mean_of(lambda y, t: LOSS.forward(y, t)[0]),
    }
    judge = train.evaluate(net, LOSS, batch_size=16, reductions=reductions, predictions=False)
    result = judge(params, state, (x, labels, weights))
    y = net.predict(params, state, x)
    assert result.prediction is None
    np.testing.assert_allclose(result.reductions["loss"], result.loss, rtol=1e-6)
    counts = np.zeros((3, 3))
    np.add.at(counts, (np.asarray(labels), np.asarray(y).argmax(axis=1)), weights)
    np.testing.assert_allclose(result.reductions["confusion"].counts, counts)


def test_what_is_no_reduction():
    net = chain(logits=layers.linear(3))
    for given, words in (
        (train.accuracy, r"of a metric, give mean_of\(accuracy\)"),
        (train.confusion, r"if it makes one, call it: confusion\("),
    ):
        with pytest.raises(
            TypeError, match=rf"'top': expected a Reduction, got function .*{words}"
        ):
            train.evaluate(net, LOSS, batch_size=8, reductions={"top": given})
    with pytest.raises(ValueError, match=r"expected weights of shape \(2,\), got shape \(3,\)"):
        gathered_once(train.mean_of(train.accuracy), np.zeros((2, 2)), np.zeros(2, int), np.ones(3))
    for make in (train.confusion, train.calibration):
        with pytest.raises(ValueError, match="at least one"):
            make(0)
