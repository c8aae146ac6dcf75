"""CTC against the enumeration of all alignments, against PyTorch, and where it is easily wrong."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import losses
from fnn.losses import CTCTarget


def enumerated(logits, labels, blank=0):
    """-log of the sum over every alignment, one by one, of the product of its probabilities."""
    y = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    total = 0.0
    for path in itertools.product(range(logits.shape[1]), repeat=logits.shape[0]):
        merged = [symbol for symbol, _ in itertools.groupby(path)]
        if [symbol for symbol in merged if symbol != blank] == list(labels):
            total += np.prod([y[t, symbol] for t, symbol in enumerate(path)])
    return -np.log(total) if total else np.inf


@partial(jax.jit, static_argnums=0)
def derived(loss, logits, target):
    """Losses, and the gradient of their sum by hand, in reverse and in forward mode."""

    def total(z):
        return loss.forward(z, target)[0].sum()

    values, cache = loss.forward(logits, target)
    hand = loss.backward(cache, jnp.ones(values.shape))
    return values, hand, jax.grad(total)(logits), jax.jacfwd(total)(logits)


def target_of(labels, lengths, frames):
    return CTCTarget(*(np.asarray(a, np.int32) for a in (labels, lengths, frames)))


@pytest.mark.parametrize("blank", [0, 2])
def test_every_alignment_is_counted_once(rng, blank):
    one, two = sorted({0, 1, 2} - {blank})
    texts = [[], [one], [two, two], [one, two], [one, one, two], [two, one, two, one]]
    logits = rng.normal(size=(len(texts), 4, 3))
    labels = np.full((len(texts), 4), blank)
    for row, text in zip(labels, texts, strict=True):
        row[: len(text)] = text
    target = target_of(labels, [len(text) for text in texts], [4] * len(texts))
    got, _ = losses.ctc(blank=blank).forward(logits.astype(np.float32), target)
    expected = [enumerated(z, text, blank) for z, text in zip(logits, texts, strict=True)]
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_loss_and_gradient_as_pytorch():
    """log_softmax and ctc_loss(reduction="none") of torch 2.15."""
    logits = (3 * np.sin(np.arange(72) * 1.7)).reshape(3, 6, 4)
    target = target_of([[1, 1, 2], [3, 2, 1], [1, 0, 0]], [3, 3, 1], [6, 5, 4])
    with jax.enable_x64(True):
        values, cache = losses.ctc().forward(logits, target)
        gradient = np.asarray(losses.ctc().backward(cache, np.ones(3)))
    expected = [7.132924323608213, 1.2837635208897054, 0.2904573917680711]
    np.testing.assert_allclose(values, expected, rtol=1e-12)
    expected = [
        [0.03266676847815753, -0.057613216314334866, 0.022000983650674693, 0.0029454641855026402],
        [0.0019112774198658102, 0.01359607663362455, -0.061565984570974605, 0.046058630517484246],
        [-0.1326459044044557, 0.029445156701733758, 0.0022379611544829595, 0.10096278654823898],
    ]
    np.testing.assert_allclose(gradient[[0, 1, 2], [0, 2, 3]], expected, rtol=1e-10)
    np.testing.assert_array_equal(gradient[1, 5:], 0)
    np.testing.assert_array_equal(gradient[2, 4:], 0)


def test_the_gradient_of_a_frame_sums_to_zero(rng):
    logits = jnp.asarray(rng.normal(size=(2, 5, 4)), jnp.float32)
    _, gradient, *_ = derived(losses.ctc(), logits, target_of([[1, 1], [2, 3]], [2, 2], [5, 3]))
    np.testing.assert_allclose(gradient.sum(axis=-1), 0, atol=1e-6)


@pytest.mark.parametrize("infeasible", [np.inf, 0.0])
def test_what_cannot_be_said_costs_infinity_and_pulls_nowhere(rng, infeasible):
    """Two frames for two equal labels, no frames for one, and a logit of -∞ in the only way."""
    loss = losses.ctc(infeasible=infeasible)
    logits = rng.normal(size=(4, 3, 3)).astype(np.float32)
    logits[2, :, 1] = -np.inf
    target = target_of([[1, 1], [1, 0], [1, 0], [1, 2]], [2, 1, 1, 2], [2, 0, 3, 3])

    values, gradient, *by_autodiff = derived(loss, logits, target)
    np.testing.assert_array_equal(values[:3], infeasible)
    assert np.isfinite(values[3])
    np.testing.assert_array_equal(gradient[:3], 0)
    assert np.abs(gradient[3]).max() > 0
    for other in by_autodiff:
        np.testing.assert_allclose(gradient, other, atol=1e-6)


def test_a_class_that_cannot_be_is_safe_in_both_modes(rng):
    logits = rng.normal(size=(1, 4, 3)).astype(np.float32)
    logits[0, 1, 2] = -np.inf
    target = target_of([[1, 2]], [2], [4])

    value, gradient, *by_autodiff = derived(losses.ctc(), logits, target)
    np.testing.assert_allclose(value, [enumerated(logits[0], [1, 2])], rtol=1e-5)
    for other in by_autodiff:
        np.testing.assert_allclose(gradient, other, atol=1e-6)


def test_padding_may_hold_anything(rng):
    """Frames and labels beyond the lengths, NaN and numbers of no class among them."""
    logits = rng.normal(size=(1, 5, 3)).astype(np.float32)
    expected, expected_gradient, *_ = derived(
        losses.ctc(), logits[:, :3], target_of([[1]], [1], [3])
    )
    logits[0, 3:] = np.nan
    target = target_of([[1, -7, 99]], [1], [3])
    assert np.isfinite(losses.ctc().forward(logits, target)[0]).all()
    values, gradient, *by_autodiff = derived(losses.ctc(), logits, target)
    np.testing.assert_allclose(values, expected, rtol=1e-6)
    np.testing.assert_allclose(gradient[:, :3], expected_gradient, rtol=1e-5)
    np.testing.assert_array_equal(gradient[:, 3:], 0)
    for other in by_autodiff:
        np.testing.assert_allclose(gradient, other, atol=1e-6)


def test_two_thousand_frames_do_not_underflow(rng):
    """The product of 2,000 probabilities of a third is 10^-954."""
    logits = jnp.zeros((1, 2000, 3))
    value, cache = losses.ctc().forward(logits, target_of([[1, 2]], [2], [2000]))
    # ε* a+ ε* b+ ε*: choose where the four changes are, the blank between a and b being optional.
    ways = sum(np.longdouble(1) * w for w in (_choose(2000 + 1, 4), _choose(2000 + 1, 3)))
    np.testing.assert_allclose(value, [2000 * np.log(3) - float(np.log(ways))], rtol=1e-6)
    assert np.isfinite(losses.ctc().backward(cache, jnp.ones(1))).all()


def _choose(n, k):
    result = 1
    for i in range(k):
        result = result * (n - i) // (i + 1)
    return result


def test_no_labels_at_all(rng):
    logits = jnp.asarray(rng.normal(size=(2, 3, 4)), jnp.float32)
    value, cache = losses.ctc().forward(logits, target_of(np.zeros((2, 0)), [0, 0], [3, 0]))
    all_blank = -jax.nn.log_softmax(logits)[0, :, 0].sum()
    np.testing.assert_allclose(value, [all_blank, 0], rtol=1e-6)
    assert losses.ctc().backward(cache, jnp.ones(2)).shape == logits.shape


GOOD = ([[1, 2], [2, 1]], [2, 1], [3, 2])


@pytest.mark.parametrize(
    ("labels", "lengths", "frames", "message"),
    [
        ([[1, 3], [2, 1]], *GOOD[1:], r"labels in \[0, 3\) .* got 3 at example \(0, 1\)"),
        ([[1, 0], [2, 1]], *GOOD[1:], r"not the blank 0, got 0 at example \(0, 1\)"),
        ([[-1, 2], [2, 1]], *GOOD[1:], r"labels in .* got -1 at example \(0, 0\)"),
        (GOOD[0], [2, 3], GOOD[2], r"label_lengths in \[0, 2\], got 3 at example \(1,\)"),
        (GOOD[0], [2, -1], GOOD[2], r"label_lengths in \[0, 2\], got -1"),
        (GOOD[0], GOOD[1], [4, 2], r"input_lengths in \[0, 3\], got 4 at example \(0,\)"),
    ],
)
def test_targets_out_of_range(rng, labels, lengths, frames, message):
    logits = jnp.asarray(rng.normal(size=(2, 3, 3)), jnp.float32)
    target = target_of(labels, lengths, frames)
    with pytest.raises(ValueError, match=message):
        losses.ctc().forward(logits, target)

    @jax.jit
    def run(logits, target):
        values, cache = losses.ctc().forward(logits, target)
        return values, losses.ctc().backward(cache, jnp.ones(2))

    values, gradient = run(logits, target)
    assert np.isnan(values).sum() == 1
    np.testing.assert_array_equal(np.isnan(gradient).any(axis=(1, 2)), np.isnan(values))


def test_shapes_and_dtypes_that_do_not_fit():
    good = target_of(*GOOD)
    with pytest.raises(ValueError, match=r"logits of shape \(N, T, C\), got \(2, 3\)"):
        losses.ctc().forward(jnp.zeros((2, 3)), good)
    with pytest.raises(ValueError, match=r"CTCTarget\(labels"):
        losses.ctc().forward(jnp.zeros((2, 3, 3)), good.labels)
    with pytest.raises(ValueError, match="integer targets, got float32"):
        losses.ctc().forward(
            jnp.zeros((2, 3, 3)), good._replace(labels=np.zeros((2, 2), np.float32))
        )
    with pytest.raises(ValueError, match=r"blank in \[0, 3\), got 3"):
        losses.ctc(blank=3).forward(jnp.zeros((2, 3, 3)), good)
    with pytest.raises(ValueError, match="blank >= 0, got -1"):
        losses.ctc(blank=-1)
