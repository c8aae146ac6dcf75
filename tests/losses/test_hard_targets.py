"""Targets that mean nothing, for every loss: an error that says why, or NaN; never another class.

optax 0.2 takes the label -1 of 3 classes for class 2, and gives label 7 a finite gradient.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tables import LOSSES

from fnn import losses
from fnn.layer import PyTree

LABELLED = [
    name for name in LOSSES
    if name.startswith(("softmax", "cross_entropy, labels", "hinge", "linear"))
    and "distribution" not in name
]  # fmt: skip
DISTRIBUTIONS = [name for name in LOSSES if "distribution" in name or name.startswith("kl")]
FRACTIONS = [name for name in LOSSES if name.startswith("binary")]
NUMBERS = ("squared_error", "absolute_error", "huber", "log_cosh", "cosine_distance")
NUMBERS = [name for name in LOSSES if name.startswith(NUMBERS)]
NOTHING = [name for name in LOSSES if name.startswith(("triplet", "nt_xent"))]


def given(name, rng):
    """The loss of a row, its prediction and a target that is right."""
    row = LOSSES[name]
    return row.build(), jax.tree.map(jnp.asarray, row.draw(rng)), row.target(rng)


def traced(loss, prediction: PyTree, target: PyTree):
    """Losses and gradient where no value can be looked at, as lists of NumPy arrays."""

    @jax.jit
    def run(prediction, target):
        values, cache = loss.forward(prediction, target)
        return values, loss.backward(cache, jnp.ones_like(values))

    values, gradient = run(prediction, target)
    return np.asarray(values), [np.asarray(leaf) for leaf in jax.tree.leaves(gradient)]


def test_every_loss_is_tried():
    kinds = (LABELLED, DISTRIBUTIONS, FRACTIONS, NUMBERS, NOTHING, ["ctc"])
    assert sorted(name for kind in kinds for name in kind) == sorted(LOSSES)


def changed(target, value):
    """The target with one element of its second example changed."""
    target = np.array(target)
    target[(1,) + (0,) * (target.ndim - 1)] = value
    return target


def assert_only_the_second_is_nan(values, gradient, example_axis_first=True):
    rows = np.isnan(values).reshape(len(values), -1).any(axis=1)
    np.testing.assert_array_equal(rows, np.arange(len(values)) == 1)
    if example_axis_first:
        leaf = gradient[0].reshape(len(values), -1)
        np.testing.assert_array_equal(np.isnan(leaf).any(axis=1), np.arange(len(values)) == 1)
    else:
        assert any(np.isnan(leaf).any() for leaf in gradient)


@pytest.mark.parametrize("label", [-2, 99, np.iinfo(np.int32).min, np.iinfo(np.int32).max])
@pytest.mark.parametrize("name", LABELLED)
def test_labels_out_of_range(name, label, rng):
    loss, prediction, target = given(name, rng)
    bad = changed(target, label)
    with pytest.raises(ValueError, match=rf"labels in \[0, \d\), got {label} at example \(1"):
        loss.forward(prediction, bad)
    if label == 99:  # a compilation each; one label stands for all
        assert_only_the_second_is_nan(*traced(loss, prediction, bad))


def test_a_label_of_64_bits_is_not_cut_to_a_class():
    """2³² + 1 is 1 in 32 bits, which is what jax makes of it."""
    for loss in (losses.softmax_cross_entropy(), losses.hinge(), losses.softmax_focal()):
        with pytest.raises(ValueError, match=f"got {2**32 + 1} at example"):
            loss.forward(jnp.zeros((2, 3)), np.asarray([0, 2**32 + 1]))


@pytest.mark.parametrize("name", LABELLED)
def test_labels_of_another_kind(name, rng):
    loss, prediction, target = given(name, rng)
    for bad in (target[:-1], target[..., None], np.zeros((), np.int32)):
        with pytest.raises(ValueError, match=r"targets of shape .* got"):
            loss.forward(prediction, bad)
    for dtype in (bool, complex):
        with pytest.raises(ValueError, match=r"expected integer .*targets, got"):
            loss.forward(prediction, target.astype(dtype))
    with pytest.raises(ValueError, match=r"expected (integer|floating) targets"):
        loss.forward(prediction, target.astype(np.float32))


@pytest.mark.parametrize("value", [-0.1, np.nan, np.inf])
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_distributions_that_are_none(name, value, rng):
    loss, prediction, target = given(name, rng)
    bad = changed(target, value)
    with pytest.raises(ValueError, match=r"finite probabilities >= 0, got .* at example \(1, 0\)"):
        loss.forward(prediction, bad)
    assert_only_the_second_is_nan(*traced(loss, prediction, bad))
    with pytest.raises(ValueError, match=r"floating targets of shape .* got"):
        loss.forward(prediction, target[:, :-1])


@pytest.mark.parametrize("value", [-0.1, 1.1, np.nan])
@pytest.mark.parametrize("name", FRACTIONS)
def test_fractions_out_of_range(name, value, rng):
    loss, prediction, target = given(name, rng)
    bad = changed(target, value)
    with pytest.raises(ValueError, match=r"targets in \[0, 1\], got .* at example \(1, 0\)"):
        loss.forward(prediction, bad)
    assert_only_the_second_is_nan(*traced(loss, prediction, bad))
    with pytest.raises(ValueError, match=r"targets of shape \(6, 2\), got \(6,\)"):
        loss.forward(prediction, target[:, 0])
    with pytest.raises(ValueError, match=r"targets in \[0, 1\], got 2"):
        loss.forward(prediction, np.full((6, 2), 2))


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_that_are_nan_or_of_another_kind(name, rng):
    loss, prediction, target = given(name, rng)
    assert_only_the_second_is_nan(*traced(loss, prediction, changed(target, np.nan)))
    with pytest.raises(ValueError, match=r"floating targets of shape .* got"):
        loss.forward(prediction, target[:1])  # would broadcast
    for dtype in (np.int32, bool, complex):
        with pytest.raises(ValueError, match="floating targets, got"):
            loss.forward(prediction, target.astype(dtype))


@pytest.mark.parametrize("name", NOTHING)
def test_targets_of_a_loss_that_has_none(name, rng):
    loss, prediction, _ = given(name, rng)
    with pytest.raises(ValueError, match="expected no target"):
        loss.forward(prediction, np.zeros(6, np.int32))


@pytest.mark.parametrize("name", LOSSES)
def test_a_prediction_that_is_nan_gives_nan(name, rng):
    loss, prediction, target = given(name, rng)
    poisoned = jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), prediction)
    values, cache = loss.forward(poisoned, target)
    gradient = loss.backward(cache, jnp.ones_like(values))
    counts = ~np.asarray(target == -1) if "ignored" in name else np.full(values.shape, True)
    np.testing.assert_array_equal(np.isnan(values), counts)
    if not name.startswith("kl"):  # its gradient is the target, whatever the prediction
        assert all(np.isnan(leaf).any() for leaf in jax.tree.leaves(gradient))
