"""Hinge, logistic, focal, and the losses of probabilities: naive formulas, other libraries, corners."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fnn import losses


def published(*shape):
    """The numbers of which `torch.nn.functional` gave the values below."""
    return 3 * np.sin(np.arange(np.prod(shape)) * 1.7).reshape(shape)


def run(loss, prediction, target):
    """Losses, and the gradient of their sum."""
    values, cache = loss.forward(jnp.asarray(prediction, jnp.float32), target)
    return np.asarray(values), np.asarray(loss.backward(cache, jnp.ones(values.shape)))


class TestHinge:
    @pytest.mark.parametrize("squared", [False, True])
    @pytest.mark.parametrize("form", ["sum", "max"])
    def test_naive_formula(self, rng, form, squared):
        scores, labels = 2 * rng.normal(size=(7, 4)), rng.integers(0, 4, 7)
        expected = []
        for row, label in zip(scores, labels, strict=True):
            terms = [max(0, row[j] - row[label] + 0.5) for j in range(4) if j != label]
            terms = [h**2 if squared else h for h in terms]
            expected.append(sum(terms) if form == "sum" else max(terms))
        values, _ = run(losses.hinge(form, margin=0.5, squared=squared), scores, labels)
        np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-6)

    def test_the_example_of_the_notes(self):
        """CS231n: scores 13, -7, 11 of which the first is right, margin 10: 0 + 8 = 8."""
        values, gradient = run(losses.hinge(margin=10), [[13, -7, 11]], np.asarray([0]))
        np.testing.assert_array_equal(values, [8])
        np.testing.assert_array_equal(gradient, [[-1, 0, 1]])

    def test_as_pytorch_which_divides_by_the_number_of_classes(self):
        """multi_margin_loss(p=1 and p=2, reduction="none") of torch 2.15, times 4 classes."""
        labels = np.asarray([1, 3, 0])
        values, _ = run(losses.hinge(), published(3, 4), labels)
        np.testing.assert_allclose(values, [0, 4 * 2.585352834659742, 0], rtol=1e-5)
        values, _ = run(losses.hinge(squared=True), published(3, 4), labels)
        np.testing.assert_allclose(values, [0, 4 * 11.734569886993365, 0], rtol=1e-5)

    def test_max_form_as_optax(self, rng):
        scores, labels = rng.normal(size=(6, 4)).astype(np.float32), rng.integers(0, 4, 6)
        values, _ = run(losses.hinge("max"), scores, labels)
        expected = optax.losses.multiclass_hinge_loss(scores, labels)
        np.testing.assert_allclose(values, expected, rtol=1e-5)

    def test_at_the_margin_the_gradient_is_zero_and_the_first_of_equals_takes_it(self):
        _, gradient = run(losses.hinge(), [[2, 1, 0]], np.asarray([0]))
        np.testing.assert_array_equal(gradient, 0)
        loss = losses.hinge("max")
        _, gradient = run(loss, [[0, 3, 3]], np.asarray([0]))
        np.testing.assert_array_equal(gradient, [[-1, 1, 0]])
        by_autodiff = jax.grad(lambda s: loss.forward(s, np.asarray([0]))[0].sum())(
            jnp.asarray([[0.0, 3, 3]])
        )
        np.testing.assert_array_equal(by_autodiff, [[-1, 1, 0]])

    @pytest.mark.parametrize("form", ["sum", "max"])
    def test_infinities_and_nan(self, form):
        scores = [[0, -np.inf, 1], [-np.inf, 0, 0], [np.nan, 0, 0]]
        values, gradient = run(losses.hinge(form), scores, np.asarray([0, 0, 1]))
        np.testing.assert_array_equal(values, [2, np.inf, np.nan])
        np.testing.assert_array_equal(gradient[0], [-1, 0, 1])
        assert np.isfinite(gradient[1]).all()
        assert np.isnan(gradient[2]).any()

    @pytest.mark.parametrize("squared", [False, True])
    @pytest.mark.parametrize("form", ["sum", "max"])
    def test_an_infinite_score_of_the_label_and_of_another(self, form, squared):
        """Neither is above the other, so that nothing is missing between them."""
        loss, scores = losses.hinge(form, squared=squared), [[np.inf, np.inf, 0]]
        values, gradient = run(loss, scores, np.asarray([0]))
        np.testing.assert_array_equal(values, [0])
        np.testing.assert_array_equal(gradient, [[0, 0, 0]])
        by_autodiff = jax.grad(lambda s: loss.forward(s, np.asarray([0]))[0].sum())
        np.testing.assert_array_equal(by_autodiff(jnp.asarray(scores)), [[0, 0, 0]])
        impossible = [[-np.inf, -np.inf, 0]]
        values, gradient = run(loss, impossible, np.asarray([0]))
        slope = np.inf if squared else 1
        np.testing.assert_array_equal(values, [np.inf])
        np.testing.assert_array_equal(gradient, [[-slope, 0, slope]])

    def test_options_that_make_no_sense(self):
        with pytest.raises(ValueError, match="form 'sum' or 'max', got 'mean'"):
            losses.hinge("mean")
        with pytest.raises(ValueError, match="0 < margin < ∞, got 0"):
            losses.hinge(margin=0)


class TestLogistic:
    def test_as_pytorch(self):
        """binary_cross_entropy_with_logits(pos_weight=3) of torch 2.15, summed over an example."""
        target = np.asarray([[1, 0, 0.3], [0, 1, 0.8]], np.float32)
        values, _ = run(losses.binary_logistic(positive_weight=3), published(2, 3), target)
        np.testing.assert_allclose(values, [6.404693148299686, 1.3801641974346701], rtol=1e-6)

    def test_a_confident_logit_keeps_its_digits(self):
        """1 - σ(30) is 0 in float32; the gradient of a yes at 30 is not."""
        values, gradient = run(losses.binary_logistic(), [30, -30], np.asarray([1, 0]))
        np.testing.assert_allclose(values, np.exp(-30), rtol=1e-5)
        np.testing.assert_allclose(gradient, [-np.exp(-30), np.exp(-30)], rtol=1e-5)

    @pytest.mark.parametrize("build", [losses.binary_logistic, losses.binary_focal])
    def test_infinite_logits(self, build):
        logits = [np.inf, -np.inf, np.inf, -np.inf]
        target = np.asarray([True, False, False, True])
        values, gradient = run(build(), logits, target)
        np.testing.assert_array_equal(values, [0, 0, np.inf, np.inf])
        np.testing.assert_array_equal(gradient, [0, 0, 1, -1])

        def total(z):
            return build().forward(z[:2], target[:2])[0].sum()

        for mode in (jax.grad, jax.jacfwd):
            np.testing.assert_array_equal(mode(total)(jnp.asarray(logits)), 0)

    def test_focal_as_optax(self, rng):
        logits = rng.normal(size=(4, 3)).astype(np.float32)
        target = rng.integers(0, 2, (4, 3)).astype(np.float32)
        values, _ = run(losses.binary_focal(1.5, alpha=0.3), logits, target)
        expected = optax.losses.sigmoid_focal_loss(
            jnp.asarray(logits), jnp.asarray(target), alpha=0.3, gamma=1.5
        )
        np.testing.assert_allclose(values, expected.sum(axis=1), rtol=1e-5)

    def test_without_focus_it_is_cross_entropy(self, rng):
        logits = rng.normal(size=(5, 3))
        fractions = rng.uniform(size=(5, 3)).astype(np.float32)
        labels = rng.integers(0, 3, 5)
        for focal, plain, target in (
            (losses.binary_focal(0), losses.binary_logistic(), fractions),
            (losses.softmax_focal(0), losses.softmax_cross_entropy(), labels),
        ):
            for got, expected in zip(
                run(focal, logits, target), run(plain, logits, target), strict=True
            ):
                np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)

    def test_softmax_focal_naive_formula(self, rng):
        logits, labels = rng.normal(size=(5, 4)), rng.integers(0, 4, 5)
        q = np.exp(logits)[np.arange(5), labels] / np.exp(logits).sum(axis=1)
        values, _ = run(losses.softmax_focal(2.5), logits, labels)
        np.testing.assert_allclose(values, -((1 - q) ** 2.5) * np.log(q), rtol=1e-5)

    def test_softmax_focal_where_the_label_is_sure_or_all_others_cannot_be(self):
        logits = [[40, 0], [0, -np.inf], [-np.inf, 0], [0, -np.inf]]
        values, gradient = run(losses.softmax_focal(), logits, np.asarray([0, 0, 0, 1]))
        np.testing.assert_allclose(values[0], np.exp(-120.0), atol=1e-37)
        np.testing.assert_array_equal(values[1:], [0, np.inf, np.inf])
        np.testing.assert_array_equal(gradient[1:], [[0, 0], [-1, 1], [1, -1]])

    def test_options_that_make_no_sense(self):
        for build in (losses.binary_focal, losses.softmax_focal):
            with pytest.raises(ValueError, match="0 <= gamma < ∞, got -1"):
                build(-1)
        with pytest.raises(ValueError, match=r"alpha in \[0, 1\] or None, got 2"):
            losses.binary_focal(alpha=2)
        with pytest.raises(ValueError, match="0 < positive_weight < ∞, got 0"):
            losses.binary_logistic(positive_weight=0)
        with pytest.raises(ValueError, match="'sum' or 'mean', got 'none'"):
            losses.binary_logistic(reduction="none")
        with pytest.raises(ValueError, match="two classes at least"):
            losses.softmax_focal().forward(jnp.zeros((1, 1)), np.asarray([0]))


class TestProbabilities:
    def test_why_the_fused_loss_exists(self):
        """E12: the composed form at logits (200, 0, -200) is ∞ with a NaN, the fused one exact."""
        logits, label = jnp.asarray([[200.0, 0, -200]]), np.asarray([2])

        def composed(z):
            return losses.cross_entropy().forward(jax.nn.softmax(z), label)[0].sum()

        assert composed(logits) == np.inf
        assert np.isnan(jax.grad(composed)(logits)).any()
        values, gradient = run(losses.softmax_cross_entropy(), logits, label)
        np.testing.assert_allclose(values, [400])
        np.testing.assert_allclose(gradient, [[1, 0, -1]], atol=1e-7)

    def test_nothing_is_clipped(self):
        values, gradient = run(losses.cross_entropy(), [[0, 1], [1e-30, 1]], np.asarray([0, 0]))
        np.testing.assert_allclose(values, [np.inf, 30 * np.log(10)], rtol=1e-6)
        np.testing.assert_allclose(gradient, [[-np.inf, 0], [-1e30, 0]], rtol=1e-6)

    def test_a_zero_that_is_not_asked_for_costs_nothing(self):
        y, p = jnp.asarray([[0.5, 0.5, 0]]), np.asarray([[1, 0, 0]], np.float32)

        def total(y):
            return losses.cross_entropy().forward(y, p)[0].sum()

        for mode in (jax.grad, jax.jacfwd):
            np.testing.assert_array_equal(mode(total)(y), [[-2, 0, 0]])

    @pytest.mark.parametrize("bad", [-0.1, 1.5])
    def test_logits_in_place_of_probabilities(self, bad):
        y = np.asarray([[0.5, 0.5], [bad, 0.5]], np.float32)
        with pytest.raises(ValueError, match=r"probabilities in \[0, 1\].*softmax_cross_entropy"):
            losses.cross_entropy().forward(y, np.asarray([0, 0]))
        values, gradient = jax.jit(lambda y: run_traced(y, np.asarray([0, 0])))(y)
        np.testing.assert_array_equal(np.isnan(values), [False, True])
        np.testing.assert_array_equal(np.isnan(gradient).all(axis=1), [False, True])

    @pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16], ids=str)
    def test_above_one_is_what_rounding_makes_and_no_more(self, dtype):
        """One step of a narrow dtype; 16 of one that sums are taken in. A logit of 1.005 is none."""
        eps = float(jnp.finfo(dtype).eps)
        steps = 16 if dtype == jnp.float32 else 1
        labels = np.asarray([0, 0])
        y = jnp.asarray([[1 + steps * eps, 0], [1 + (steps + 1) * eps, 0]], dtype)
        with pytest.raises(ValueError, match=r"probabilities in \[0, 1\].* at example \(1, 0\)"):
            losses.cross_entropy().forward(y, labels)
        value, _ = losses.cross_entropy().forward(y[:1], labels[:1])
        np.testing.assert_allclose(value, [-np.log1p(steps * eps)], rtol=1e-5)
        values, gradient = jax.jit(lambda y: run_traced(y, labels))(y)
        np.testing.assert_array_equal(np.isnan(values), [False, True])
        np.testing.assert_array_equal(np.isnan(gradient).any(axis=1), [False, True])

    def test_a_probability_that_is_nan_stays_one(self):
        values, gradient = run(losses.cross_entropy(), [[np.nan, 1], [0.5, 1]], np.asarray([0, 0]))
        np.testing.assert_array_equal(np.isnan(values), [True, False])
        np.testing.assert_array_equal(np.isnan(gradient).any(axis=1), [True, False])

    def test_divergence_as_pytorch_and_optax(self, rng):
        """kl_div(log_softmax(x), p, reduction="none") of torch 2.15, summed."""
        x = published(2, 4) / 3
        values, _ = run(losses.kl_divergence(), jax.nn.log_softmax(x), softmax(2 * x))
        np.testing.assert_allclose(values, [0.1480070818992636, 0.09173916692276568], rtol=1e-5)
        expected = optax.losses.kl_divergence(jax.nn.log_softmax(x), softmax(2 * x))
        np.testing.assert_allclose(values, expected, rtol=1e-5)

    def test_divergence_of_the_target_itself_is_zero_also_with_zeros(self):
        p = np.asarray([[0.25, 0.75, 0]], np.float32)
        log_y = jnp.log(p)
        values, gradient = run(losses.kl_divergence(), log_y, p)
        np.testing.assert_array_equal(values, [0])
        np.testing.assert_array_equal(gradient, -p)

        def total(log_y):
            return losses.kl_divergence().forward(log_y, p)[0].sum()

        for mode in (jax.grad, jax.jacfwd):
            np.testing.assert_array_equal(mode(total)(log_y), -p)

    def test_divergence_caches_the_target_alone(self):
        p = np.full((3, 4), 0.25, np.float32)
        _, cache = losses.kl_divergence().forward(jnp.zeros((3, 4)), p)
        assert [leaf.shape for leaf in jax.tree.leaves(cache)] == [(3, 4)]


def run_traced(y, labels):
    values, cache = losses.cross_entropy().forward(y, labels)
    return values, losses.cross_entropy().backward(cache, jnp.ones(values.shape))


def softmax(x):
    e = np.exp(x)
    return (e / e.sum(axis=-1, keepdims=True)).astype(np.float32)


class TestInitialLoss:
    @pytest.mark.parametrize(
        ("loss", "expected"),
        [
            (losses.softmax_cross_entropy(), np.log(10)),
            (losses.softmax_cross_entropy(smoothing=0.1), np.log(10)),
            (losses.softmax_cross_entropy(class_weights=range(10)), 4.5 * np.log(10)),
            (losses.softmax_cross_entropy(ignore=0), np.log(10)),
            (losses.softmax_cross_entropy(ignore=-1), np.log(10)),
            (losses.softmax_cross_entropy(class_weights=range(10), ignore=9), 4 * np.log(10)),
            (losses.linear_softmax_cross_entropy(3, ignore=9), np.log(10)),
            (losses.cross_entropy(), np.log(10)),
            (losses.kl_divergence(), np.log(10)),
            (losses.linear_softmax_cross_entropy(3), np.log(10)),
            (losses.softmax_focal(2), 0.81 * np.log(10)),
            (losses.binary_logistic(), 10 * np.log(2)),
            (losses.binary_logistic(reduction="mean"), np.log(2)),
            (losses.binary_focal(2), 10 * np.log(2) / 4),
            (losses.hinge(), 9),
            (losses.hinge(margin=3), 27),
            (losses.hinge("max"), 1),
            (losses.hinge(margin=3, squared=True), 81),
        ],
        ids=lambda value: getattr(value, "name", ""),
    )
    def test_of_ten_classes(self, loss, expected):
        np.testing.assert_allclose(losses.expected_initial_loss(loss, 10), expected, rtol=1e-12)

    def test_a_loss_without_classes(self):
        with pytest.raises(ValueError, match="loss of classes, got squared_error"):
            losses.expected_initial_loss(losses.squared_error(), 10)
        with pytest.raises(ValueError, match="one class at least, got 0"):
            losses.expected_initial_loss(losses.hinge(), 0)
        with pytest.raises(ValueError, match="a class that counts, got 1 for softmax_cross"):
            losses.expected_initial_loss(losses.softmax_cross_entropy(ignore=0), 1)
