"""Softmax cross-entropy: formulas, labels of all kinds, smoothing, weights, ignored labels, -∞."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fnn import losses

LOSS = losses.softmax_cross_entropy()


def test_naive_formula(rng):
    logits = rng.normal(size=(5, 4))
    target = rng.uniform(size=(5, 4))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = -(target * np.log(p)).sum(axis=1)
    got, _ = LOSS.forward(jnp.asarray(logits, jnp.float32), target.astype(np.float32))
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_labels_and_one_hot_agree(rng):
    logits = jnp.asarray(rng.normal(size=(5, 4)), jnp.float32)
    labels = rng.integers(0, 4, 5)
    a, cache_a = LOSS.forward(logits, labels)
    b, cache_b = LOSS.forward(logits, np.eye(4, dtype=np.float32)[labels])
    np.testing.assert_allclose(a, b, rtol=1e-6)
    g = jnp.asarray(rng.normal(size=5), jnp.float32)
    np.testing.assert_allclose(LOSS.backward(cache_a, g), LOSS.backward(cache_b, g), atol=1e-7)


def test_unnormalized_targets_scale_the_softmax(rng):
    """The lecture note's y - p would forget that p sums to 0.8."""
    logits = jnp.asarray(rng.normal(size=(1, 3)), jnp.float32)
    p = np.asarray([[0.5, 0.2, 0.1]], np.float32)
    _, cache = LOSS.forward(logits, p)
    got = LOSS.backward(cache, jnp.asarray([2.0]))
    np.testing.assert_allclose(got, 2 * (0.8 * jax.nn.softmax(logits) - p), rtol=1e-5)


def test_logits_that_break_the_composed_form():
    """-log(softmax(z)) at (200, 0, -200) is infinite with a NaN gradient; this is exact."""
    logits = jnp.asarray([[200.0, 0.0, -200.0]])
    value, cache = LOSS.forward(logits, np.asarray([2]))
    np.testing.assert_allclose(value, 400)
    np.testing.assert_allclose(LOSS.backward(cache, jnp.ones(1)), [[1, 0, -1]], atol=1e-7)


@pytest.mark.parametrize("offset", [1e4, -1e4])
@pytest.mark.parametrize("kind", ["labels", "distribution", "smoothed"])
def test_logits_of_one_size_lose_no_digits(rng, kind, offset):
    """log Σ exp in one float32 is 1e-3 off at 1e4, and the softmax as much."""
    logits = (offset + rng.normal(size=(5, 4))).astype(np.float32)
    labels = rng.integers(0, 4, 5)
    share = 0.1 if kind == "smoothed" else 0.0
    q = (1 - share) * np.eye(4)[labels] + share / 4
    centred = logits.astype(np.float64) - offset
    p = np.exp(centred) / np.exp(centred).sum(axis=1, keepdims=True)
    target = q.astype(np.float32) if kind == "distribution" else labels
    loss = losses.softmax_cross_entropy(smoothing=share)
    value, cache = loss.forward(jnp.asarray(logits), target)
    np.testing.assert_allclose(value, -(q * np.log(p)).sum(axis=1), rtol=1e-6)
    np.testing.assert_allclose(loss.backward(cache, jnp.ones(5)), p - q, atol=2e-7)


@pytest.mark.parametrize("dense", [False, True])
def test_an_impossible_class_is_safe_in_both_modes(dense):
    logits = jnp.asarray([[0.0, 1.0, -jnp.inf]])
    target = np.asarray([[1.0, 0.0, 0.0]], np.float32) if dense else np.asarray([0])

    def total(z):
        return LOSS.forward(z, target)[0].sum()

    value, cache = LOSS.forward(logits, target)
    e = np.exp(1)
    np.testing.assert_allclose(value, np.log(1 + e), rtol=1e-6)
    expected = [[1 / (1 + e) - 1, e / (1 + e), 0]]
    by_hand = LOSS.backward(cache, jnp.ones(1))
    np.testing.assert_allclose(by_hand, expected, rtol=1e-5)
    np.testing.assert_allclose(jax.grad(total)(logits), expected, rtol=1e-5)
    np.testing.assert_allclose(jax.jacfwd(total)(logits), expected, rtol=1e-5)


def test_impossible_label_costs_infinity():
    value, _ = LOSS.forward(jnp.asarray([[0.0, -jnp.inf]]), np.asarray([1]))
    assert value[0] == np.inf


@pytest.mark.parametrize("label", [-1, 3, 100])
def test_labels_out_of_range_raise_and_in_jit_poison_only_their_example(label):
    logits = jnp.zeros((4, 3))
    labels = np.asarray([0, 2, label, 1])
    with pytest.raises(ValueError, match=rf"labels in \[0, 3\), got {label} at example \(2,\)"):
        LOSS.forward(logits, labels)

    @jax.jit
    def run(logits, labels):
        value, cache = LOSS.forward(logits, labels)
        return value, LOSS.backward(cache, jnp.ones(4))

    value, gradient = run(logits, labels)
    np.testing.assert_array_equal(np.isnan(value), [False, False, True, False])
    np.testing.assert_array_equal(np.isnan(gradient).all(axis=1), [False, False, True, False])
    assert np.isnan(gradient).sum() == 3


@pytest.mark.parametrize(
    ("dtype", "classes", "labels"),
    [
        (np.uint8, 300, [0, 255, 7]),
        (np.int8, 200, [0, 127, 7]),
        (np.uint16, 5, [0, 4, 2]),
        (np.uint32, 5, [0, 4, 2]),
    ],
)
@pytest.mark.parametrize("traced", [False, True])
def test_labels_of_any_integer_dtype(rng, dtype, classes, labels, traced):
    logits = jnp.asarray(rng.normal(size=(3, classes)), jnp.float32)

    def run(target):
        losses, cache = LOSS.forward(logits, target)
        return losses, LOSS.backward(cache, jnp.ones(3))

    run = jax.jit(run) if traced else run
    got, expected = run(np.asarray(labels, dtype)), run(np.asarray(labels, np.int32))
    for a, b in zip(got, expected, strict=True):
        assert np.isfinite(a).all()
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("dtype", "label"), [(np.uint8, 200), (np.int8, -1)])
def test_narrow_labels_out_of_range(dtype, label):
    with pytest.raises(ValueError, match=rf"labels in \[0, 3\), got {label} at example \(1,\)"):
        LOSS.forward(jnp.zeros((2, 3)), np.asarray([0, label], dtype))


def test_an_infinite_logit_poisons_its_example_alone():
    """∞ - ∞ has no value, and none is made up: the other rows and the shift are unharmed."""
    logits = jnp.asarray([[np.inf, 0.0], [-np.inf, -np.inf], [1.0, 2.0]])
    value, cache = LOSS.forward(logits, np.asarray([1, 0, 0]))
    assert value[0] == np.inf  # the label's probability is 0
    assert np.isnan(value[1])  # -∞ for all classes is no distribution
    gradient = LOSS.backward(cache, jnp.ones(3))
    assert np.isnan(gradient[1]).all()
    assert np.isfinite(gradient[2]).all()
    np.testing.assert_allclose(value[2], np.log1p(np.e), rtol=1e-6)


@pytest.mark.parametrize("value", [-0.1, np.nan, np.inf])
def test_probabilities_that_make_no_sense_raise(value):
    target = np.full((2, 3), 1 / 3, np.float32)
    target[1, 2] = value
    with pytest.raises(ValueError, match=r"finite probabilities >= 0.* at example \(1, 2\)"):
        LOSS.forward(jnp.zeros((2, 3)), target)


def test_shapes_and_dtypes_that_do_not_fit():
    with pytest.raises(ValueError, match=r"integer targets of shape \(2,\).*got \(3,\)"):
        LOSS.forward(jnp.zeros((2, 3)), np.zeros(3, np.int32))
    with pytest.raises(ValueError, match=r"floating targets of shape \(2, 3\)"):
        LOSS.forward(jnp.zeros((2, 3)), np.zeros((2, 4), np.float32))
    with pytest.raises(ValueError, match="integer or floating targets, got bool"):
        LOSS.forward(jnp.zeros((2, 3)), np.zeros(2, bool))


def published(*shape):
    """The numbers of which `torch.nn.functional` gave the values below."""
    return np.sin(np.arange(np.prod(shape)) * 1.7).reshape(shape)


def test_options_together_as_pytorch():
    """cross_entropy(weight, label_smoothing, ignore_index, reduction="none") of torch 2.15."""
    loss = losses.softmax_cross_entropy(smoothing=0.1, class_weights=(0.5, 2, 1), ignore=-100)
    with jax.enable_x64(True):
        values, cache = loss.forward(3 * published(4, 3), np.asarray([2, 0, -100, 1]))
        gradient = loss.backward(cache, np.ones(4))
    expected = [3.6150620387735786, 2.668366115039593, 0.0, 8.027912911973806]
    np.testing.assert_allclose(values, expected, rtol=1e-12)
    expected = [
        [0.03162164719676364, 0.8792779416340715, -0.9108995888308352],
        [-0.46438375827782535, 0.09495114158751751, 0.3694326166903078],
        [0.0, 0.0, 0.0],
        [1.5653648065068901, -1.8397686958981878, 0.27440388939129795],
    ]
    np.testing.assert_allclose(gradient, expected, rtol=1e-12)


def test_smoothed_labels_are_the_mixture_of_one_hot_and_uniform(rng):
    logits = jnp.asarray(rng.normal(size=(5, 4)), jnp.float32)
    labels = rng.integers(0, 4, 5)
    mixture = optax.smooth_labels(jax.nn.one_hot(labels, 4), 0.3)
    got, _ = losses.softmax_cross_entropy(smoothing=0.3).forward(logits, labels)
    np.testing.assert_allclose(got, optax.softmax_cross_entropy(logits, mixture), rtol=1e-5)


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("ignore", [-100, 1, 7])
def test_an_ignored_label_does_not_count_whatever_its_logits(ignore, traced):
    loss = losses.softmax_cross_entropy(ignore=ignore)
    logits = jnp.asarray([[0.0, 1.0], [jnp.nan, jnp.inf], [1.0, 1.0]])

    def run(logits, labels):
        values, cache = loss.forward(logits, labels)
        return values, loss.backward(cache, jnp.ones(3))

    run = jax.jit(run) if traced else run
    values, gradient = run(logits, np.asarray([0, ignore, 0]))
    np.testing.assert_allclose(values, [np.log1p(np.e), 0, np.log(2)], rtol=1e-6)
    np.testing.assert_array_equal(gradient[1], 0)
    assert (np.asarray(gradient[::2]) != 0).all()
    labels = np.asarray([0, ignore, 0])
    value = jax.jit(lambda z: loss.forward(z, labels)[0])
    np.testing.assert_array_equal(jax.vjp(value, logits)[1](jnp.ones(3))[0][1], 0)
    np.testing.assert_array_equal(jax.jvp(value, (logits,), (jnp.ones((3, 2)),))[1][1], 0)


def test_only_the_label_that_is_ignored_is():
    loss = losses.softmax_cross_entropy(ignore=-1)
    with pytest.raises(ValueError, match=r"labels in \[0, 2\), got -2 at example \(1,\)"):
        loss.forward(jnp.zeros((2, 2)), np.asarray([-1, -2]))
    with pytest.raises(ValueError, match="integer targets, of which -1 is ignored, got float32"):
        loss.forward(jnp.zeros((2, 2)), np.zeros((2, 2), np.float32))


def test_a_class_without_weight_may_be_impossible():
    loss = losses.softmax_cross_entropy(class_weights=(1, 0))
    values, cache = loss.forward(jnp.asarray([[0.0, -jnp.inf]]), np.asarray([1]))
    np.testing.assert_array_equal(values, [0])
    np.testing.assert_array_equal(loss.backward(cache, jnp.ones(1)), [[0, 0]])


def test_cached_are_the_logits_and_two_numbers_an_example():
    _, cache = jax.eval_shape(LOSS.forward, jnp.zeros((8, 1000)), jnp.zeros(8, jnp.int32))
    assert sum(leaf.size for leaf in jax.tree.leaves(cache)) == 8 * 1000 + 2 * 8 + 8


def test_options_that_make_no_sense():
    with pytest.raises(ValueError, match=r"0 <= smoothing < 1, got 1"):
        losses.softmax_cross_entropy(smoothing=1)
    for ignore in (1.5, True, "a", 2**40):
        for build in (losses.softmax_cross_entropy, losses.linear_softmax_cross_entropy):
            with pytest.raises(ValueError, match=f"int32 label to ignore, or None, got {ignore!r}"):
                build(ignore=ignore)
    for weights in ((1, -1), (1, np.nan), 2):
        with pytest.raises(ValueError, match=r"vector of class weights >= 0"):
            losses.softmax_cross_entropy(class_weights=weights)
    with pytest.raises(ValueError, match=r"expected 3 class weights .*, got 2"):
        losses.softmax_cross_entropy(class_weights=(1, 2)).forward(
            jnp.zeros((2, 3)), np.zeros(2, int)
        )
