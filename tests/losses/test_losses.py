"""Losses: every property over the table, closed forms, and targets that make no sense."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tables import LOSSES, LossRow, public

from fnn import check, losses
from fnn.layer import PyTree
from fnn.losses import Loss


@pytest.fixture(params=LOSSES.values(), ids=LOSSES)
def row(request: pytest.FixtureRequest) -> LossRow:
    return request.param


def prediction(row: LossRow, rng: np.random.Generator, dtype=jnp.float32) -> PyTree:
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), row.draw(rng))


def signature(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)


def test_every_public_loss_is_in_the_table():
    assert {name.partition(",")[0].partition(" ")[0] for name in LOSSES} == set(
        public(losses, Loss)
    )


def test_backward_is_proved_in_float64(row, rng):
    check.loss(row.build(), prediction(row, rng), row.target(rng)).raise_if_wrong()


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16], ids=str)
def test_one_loss_an_example_and_the_gradient_in_the_predictions_dtype(row, rng, dtype):
    loss, given = row.build(), prediction(row, rng, dtype)
    values, cache = loss.forward(given, row.target(rng))
    first = jax.tree.leaves(given)[0].shape
    assert values.shape in (first[:1], first[:-1])
    gradient = loss.backward(cache, np.ones(values.shape, np.float32))
    assert signature(gradient) == signature(given)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16], ids=str)
def test_narrow_predictions_have_wide_losses(row, rng, dtype):
    """As if the same numbers had come in float32: nothing is summed in the narrow dtype."""
    loss, narrow = row.build(), prediction(row, rng, dtype)
    target = row.target(rng)
    values, cache = loss.forward(narrow, target)
    wide = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), narrow)
    expected, wide_cache = loss.forward(wide, target)
    assert values.dtype == jnp.float32
    np.testing.assert_allclose(values, expected, rtol=1e-6)
    gradient = loss.backward(cache, jnp.ones_like(values))
    expected = loss.backward(wide_cache, jnp.ones_like(values))
    for got, wanted in zip(jax.tree.leaves(gradient), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(np.asarray(got), np.asarray(wanted.astype(dtype)))


def test_integer_predictions_are_refused(row, rng):
    integers = jax.tree.map(lambda leaf: leaf.astype(jnp.int32), prediction(row, rng))
    with pytest.raises(ValueError, match=r"floating .*, got int32"):
        row.build().forward(integers, row.target(rng))


@pytest.mark.parametrize("size", [1, 0])
def test_batches_of_one_and_none(row, rng, size):
    loss = row.build()
    given, target = jax.tree.map(lambda leaf: leaf[:size], (prediction(row, rng), row.target(rng)))
    values, cache = loss.forward(given, target)
    assert values.shape[0] == size
    assert signature(loss.backward(cache, jnp.ones_like(values))) == signature(given)


class TestSoftmaxCrossEntropy:
    loss = losses.softmax_cross_entropy()

    def test_naive_formula(self, rng):
        logits = rng.normal(size=(5, 4))
        target = rng.uniform(size=(5, 4))
        p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        expected = -(target * np.log(p)).sum(axis=1)
        got, _ = self.loss.forward(jnp.asarray(logits, jnp.float32), target.astype(np.float32))
        np.testing.assert_allclose(got, expected, rtol=1e-5)

    def test_labels_and_one_hot_agree(self, rng):
        logits = jnp.asarray(rng.normal(size=(5, 4)), jnp.float32)
        labels = rng.integers(0, 4, 5)
        a, cache_a = self.loss.forward(logits, labels)
        b, cache_b = self.loss.forward(logits, np.eye(4, dtype=np.float32)[labels])
        np.testing.assert_allclose(a, b, rtol=1e-6)
        g = jnp.asarray(rng.normal(size=5), jnp.float32)
        np.testing.assert_allclose(
            self.loss.backward(cache_a, g), self.loss.backward(cache_b, g), atol=1e-7
        )

    def test_unnormalized_targets_scale_the_softmax(self, rng):
        """The lecture note's y - p would forget that p sums to 0.8."""
        logits = jnp.asarray(rng.normal(size=(1, 3)), jnp.float32)
        p = np.asarray([[0.5, 0.2, 0.1]], np.float32)
        _, cache = self.loss.forward(logits, p)
        got = self.loss.backward(cache, jnp.asarray([2.0]))
        np.testing.assert_allclose(got, 2 * (0.8 * jax.nn.softmax(logits) - p), rtol=1e-5)

    def test_logits_that_break_the_composed_form(self):
        """-log(softmax(z)) at (200, 0, -200) is infinite with a NaN gradient; this is exact."""
        logits = jnp.asarray([[200.0, 0.0, -200.0]])
        value, cache = self.loss.forward(logits, np.asarray([2]))
        np.testing.assert_allclose(value, 400)
        np.testing.assert_allclose(self.loss.backward(cache, jnp.ones(1)), [[1, 0, -1]], atol=1e-7)

    @pytest.mark.parametrize("dense", [False, True])
    def test_an_impossible_class_is_safe_in_both_modes(self, dense):
        logits = jnp.asarray([[0.0, 1.0, -jnp.inf]])
        target = np.asarray([[1.0, 0.0, 0.0]], np.float32) if dense else np.asarray([0])

        def total(z):
            return self.loss.forward(z, target)[0].sum()

        value, cache = self.loss.forward(logits, target)
        e = np.exp(1)
        np.testing.assert_allclose(value, np.log(1 + e), rtol=1e-6)
        expected = [[1 / (1 + e) - 1, e / (1 + e), 0]]
        by_hand = self.loss.backward(cache, jnp.ones(1))
        np.testing.assert_allclose(by_hand, expected, rtol=1e-5)
        np.testing.assert_allclose(jax.grad(total)(logits), expected, rtol=1e-5)
        np.testing.assert_allclose(jax.jacfwd(total)(logits), expected, rtol=1e-5)

    def test_impossible_label_costs_infinity(self):
        value, _ = self.loss.forward(jnp.asarray([[0.0, -jnp.inf]]), np.asarray([1]))
        assert value[0] == np.inf

    @pytest.mark.parametrize("label", [-1, 3, 100])
    def test_labels_out_of_range_raise_and_in_jit_poison_only_their_example(self, label):
        logits = jnp.zeros((4, 3))
        labels = np.asarray([0, 2, label, 1])
        with pytest.raises(ValueError, match=rf"labels in \[0, 3\), got {label} at example \(2,\)"):
            self.loss.forward(logits, labels)

        @jax.jit
        def run(logits, labels):
            value, cache = self.loss.forward(logits, labels)
            return value, self.loss.backward(cache, jnp.ones(4))

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
    def test_labels_of_any_integer_dtype(self, rng, dtype, classes, labels, traced):
        logits = jnp.asarray(rng.normal(size=(3, classes)), jnp.float32)

        def run(target):
            losses, cache = self.loss.forward(logits, target)
            return losses, self.loss.backward(cache, jnp.ones(3))

        run = jax.jit(run) if traced else run
        got, expected = run(np.asarray(labels, dtype)), run(np.asarray(labels, np.int32))
        for a, b in zip(got, expected, strict=True):
            assert np.isfinite(a).all()
            np.testing.assert_array_equal(a, b)

    @pytest.mark.parametrize(("dtype", "label"), [(np.uint8, 200), (np.int8, -1)])
    def test_narrow_labels_out_of_range(self, dtype, label):
        with pytest.raises(ValueError, match=rf"labels in \[0, 3\), got {label} at example \(1,\)"):
            self.loss.forward(jnp.zeros((2, 3)), np.asarray([0, label], dtype))

    def test_an_infinite_logit_poisons_its_example_alone(self):
        """∞ - ∞ has no value, and none is made up: the other rows and the shift are unharmed."""
        logits = jnp.asarray([[np.inf, 0.0], [-np.inf, -np.inf], [1.0, 2.0]])
        value, _ = self.loss.forward(logits, np.asarray([1, 0, 0]))
        assert value[0] == np.inf  # the label's probability is 0
        assert not np.isfinite(value[1])
        np.testing.assert_allclose(value[2], np.log1p(np.e), rtol=1e-6)

    @pytest.mark.parametrize("value", [-0.1, np.nan, np.inf])
    def test_probabilities_that_make_no_sense_raise(self, value):
        target = np.full((2, 3), 1 / 3, np.float32)
        target[1, 2] = value
        with pytest.raises(ValueError, match=r"finite probabilities >= 0.*example \(1,\)"):
            self.loss.forward(jnp.zeros((2, 3)), target)

    def test_shapes_and_dtypes_that_do_not_fit(self):
        with pytest.raises(ValueError, match=r"integer targets of shape \(2,\).*got \(3,\)"):
            self.loss.forward(jnp.zeros((2, 3)), np.zeros(3, np.int32))
        with pytest.raises(ValueError, match=r"floating targets of shape \(2, 3\)"):
            self.loss.forward(jnp.zeros((2, 3)), np.zeros((2, 4), np.float32))
        with pytest.raises(ValueError, match="integer or floating targets, got bool"):
            self.loss.forward(jnp.zeros((2, 3)), np.zeros(2, bool))


class TestSquaredError:
    def test_closed_forms(self):
        prediction, target = jnp.asarray([[1.0, 3.0]]), np.asarray([[0.0, 1.0]], np.float32)
        for reduction, value, gradient in (
            ("sum", 5.0, [[2, 4]]), ("half", 2.5, [[1, 2]]), ("mean", 2.5, [[1, 2]]),
        ):  # fmt: skip
            loss = losses.squared_error(reduction)
            got, cache = loss.forward(prediction, target)
            np.testing.assert_allclose(got, [value])
            np.testing.assert_allclose(loss.backward(cache, jnp.ones(1)), gradient)

    def test_narrow_sums_do_not_stall(self):
        """257 ones: bfloat16 counts to 256."""
        prediction = jnp.ones((1, 257), jnp.bfloat16)
        values, _ = losses.squared_error().forward(prediction, np.zeros((1, 257), np.float32))
        np.testing.assert_array_equal(values, [257])

    def test_a_small_error_is_taken_before_rounding(self):
        prediction = jnp.ones((1, 1), jnp.bfloat16)
        target = np.full((1, 1), 1 + 2.0**-10, np.float32)
        values, cache = losses.squared_error().forward(prediction, target)
        np.testing.assert_allclose(values, [2.0**-20])
        gradient = losses.squared_error().backward(cache, jnp.ones(1))
        assert (gradient.dtype, float(gradient[0, 0])) == (jnp.bfloat16, -(2.0**-9))

    def test_bad_input(self):
        with pytest.raises(ValueError, match="'sum', 'half' or 'mean', got 'total'"):
            losses.squared_error("total")
        with pytest.raises(ValueError, match=r"prediction's shape \(2, 1\), got \(2,\)"):
            losses.squared_error().forward(jnp.zeros((2, 1)), np.zeros(2, np.float32))
        with pytest.raises(ValueError, match="floating target, got int32"):
            losses.squared_error().forward(jnp.zeros((2, 1)), np.zeros((2, 1), np.int32))
