"""Adam and its relatives: what is known of single steps, and what they refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import optimizers
from fnn.optimizers import apply_updates, with_hyperparameters
from fnn.optimizers.radam import _effective_steps


def run(optimizer, p, gradients):
    """The updates for a list of gradients."""
    state, made = optimizer.init(p), []
    for g in gradients:
        update, state = optimizer.update(jnp.full_like(p, g), state, p)
        p = apply_updates(p, update)
        made.append(update)
    return np.asarray(made)


@pytest.mark.parametrize("g", [1e-3, 1.0, -1e3])
def test_the_first_step_without_correction_is_too_long(g):
    """(1 - b1) / √(1 - b2) = 3.16 times the rate, where the corrected one is the rate exactly."""
    zero = jnp.zeros(())
    corrected = run(optimizers.adam(0.1), zero, [g])[0]
    np.testing.assert_allclose(corrected, -0.1 * np.sign(g), rtol=2e-5)
    short_form = run(optimizers.adam(0.1, dialect="cs231n"), zero, [g])[0]
    expected = -0.1 * np.sign(g) * 0.1 / np.sqrt(0.001)
    np.testing.assert_allclose(short_form, expected, rtol=1e-3)
    assert abs(short_form / corrected) == pytest.approx(3.162, abs=0.01)


def test_keras_eps_weighs_32_times_as_much_at_the_first_step():
    """With a gradient as small as eps: 1 / 2 of the rate, or 1 / (1 + 1 / √(1 - b2))."""
    zero, eps = jnp.zeros(()), 1e-3
    assert run(optimizers.adam(1.0, eps=eps), zero, [eps])[0] == pytest.approx(-1 / 2, rel=1e-4)
    keras = run(optimizers.adam(1.0, eps=eps, dialect="keras"), zero, [eps])[0]
    assert keras == pytest.approx(-1 / (1 + 1 / np.sqrt(1e-3)), rel=1e-4)


class TestAdamW:
    def test_without_gradients_weights_decay_by_the_rate_times_the_decay(self):
        p = jnp.asarray([2.0, -4.0])
        torch = run(optimizers.adamw(0.1, weight_decay=0.5), p, [0.0])[0]
        np.testing.assert_allclose(torch, -0.1 * 0.5 * p, rtol=1e-6)
        paper = run(optimizers.adamw(0.1, weight_decay=0.5, dialect="paper"), p, [0.0])[0]
        np.testing.assert_allclose(paper, -0.5 * p, rtol=1e-6)

    @pytest.mark.parametrize("dialect", ["torch", "paper"])
    def test_only_what_the_rule_selects_decays(self, dialect):
        params = {"hidden": {"w": jnp.ones((2, 2)), "b": jnp.ones(2)}}
        optimizer = optimizers.adamw(0.1, weight_decay=0.5, decayed="*/w", dialect=dialect)
        zeros = jax.tree.map(jnp.zeros_like, params)
        updates, _ = optimizer.update(zeros, optimizer.init(params), params)
        assert (np.asarray(updates["hidden"]["w"]) < 0).all()
        np.testing.assert_array_equal(updates["hidden"]["b"], 0)

    def test_the_decay_is_a_leaf_of_the_state(self):
        p = jnp.ones(2)
        optimizer = optimizers.adamw(0.1, weight_decay=0.5, decayed=lambda path, leaf: True)
        state = with_hyperparameters(optimizer.init(p), weight_decay=0.0)
        update, _ = optimizer.update(jnp.zeros(2), state, p)
        np.testing.assert_array_equal(update, 0)

    def test_a_pattern_that_matches_nothing(self):
        with pytest.raises(ValueError, match=r"a pattern that matches a parameter, got '\*/v'"):
            optimizers.adamw(decayed="*/v").init({"w": jnp.ones(2)})


def test_amsgrad_does_not_forget_a_large_gradient():
    """After one gradient of 100, Adam's steps for gradients of 1 grow again; AMSGrad's do not."""
    p, gradients = jnp.zeros(()), [100.0] + [1.0] * 60
    adam = np.abs(run(optimizers.adam(0.1, 0.0, 0.9), p, gradients))
    assert adam[60] > 5 * adam[20] > 0
    ams = np.abs(run(optimizers.amsgrad(0.1, 0.0, 0.9, dialect="optax"), p, gradients))
    np.testing.assert_allclose(ams[1:], ams[1], rtol=1e-5)


class TestYogi:
    @pytest.mark.parametrize("initial", [-1e-6, np.inf, np.nan])
    def test_an_initial_square_that_has_no_root(self, initial):
        with pytest.raises(ValueError, match="expected initial finite and at least 0"):
            optimizers.yogi(initial=initial)

    def test_a_small_gradient_after_large_ones_is_forgotten_slowly(self):
        """From v = 1 and g = 0.1, Adam's v falls by (1 - b2)(v - g²), Yogi's by (1 - b2) g² only."""
        optimizer = optimizers.yogi(0.1, b2=0.9, initial=1.0)
        p = jnp.zeros(())
        _, state = optimizer.update(jnp.asarray(0.1), optimizer.init(p), p)
        square = state["moments"].slots["square"]
        np.testing.assert_allclose(square, 1 - 0.1 * 0.01, rtol=1e-6)


class TestRadam:
    @pytest.mark.parametrize(("dialect", "steps"), [("torch", 5), ("optax", 5), ("paper", 4)])
    def test_the_first_steps_do_not_divide_by_the_root(self, dialect, steps):
        """They are momentum's, of the size of the gradient; the next is of the size of the rate."""
        updates = run(optimizers.radam(0.1, dialect=dialect), jnp.zeros(()), [100.0] * 7)
        np.testing.assert_allclose(updates[:steps], -10, rtol=1e-5)
        assert (np.abs(updates[steps:]) < 0.1).all()

    @pytest.mark.parametrize("b", [0.5, 0.9, 0.999, 0.99999])
    @pytest.mark.parametrize("x64", [True, False], ids=["f64", "f32"])
    def test_the_effective_steps_are_those_of_the_printed_formula(self, b, x64):
        with jax.enable_x64(x64):
            held = np.asarray(b, np.float64 if x64 else np.float32)
            t = jnp.asarray([1.0, 2, 5, 6, 50, 1000, 1e5], float)
            got = jax.vmap(lambda t: _effective_steps(jnp.asarray(held), t))(t)
        # In twice the digits, as the subtraction loses many.
        wide, exact = np.longdouble(held), []
        for steps in np.asarray(t, np.longdouble):
            power = steps * np.log1p(-(1 - wide))
            exact.append((1 + wide) / (1 - wide) + 2 * steps * np.exp(power) / np.expm1(power))
        tolerance = 1e-11 if x64 else 2e-6
        np.testing.assert_allclose(np.asarray(got, np.float64), np.float64(exact), rtol=tolerance)


def test_nadams_momentum_is_remembered_as_a_product():
    """b1 · (1 - ½ · 0.96^(t · decay)), of which the state holds the product."""
    optimizer, p = optimizers.nadam(0.1), jnp.zeros(3)
    state = optimizer.init(p)
    for _ in range(4):
        _, state = optimizer.update(jnp.ones(3), state, p)
    expected = np.prod([0.9 * (1 - 0.5 * 0.96 ** (t * 4e-3)) for t in (1, 2, 3, 4)])
    np.testing.assert_allclose(state["moments"].product, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("build", "known"),
    [
        (optimizers.adam, "'paper', 'keras', 'cs231n'"),
        (optimizers.adamw, "'torch', 'paper'"),
        (optimizers.adamax, "'torch', 'keras'"),
        (optimizers.amsgrad, "'torch', 'optax', 'keras', 'paper'"),
        (optimizers.yogi, "'paper', 'optax'"),
        (optimizers.radam, "'torch', 'optax', 'paper'"),
    ],
)
def test_a_dialect_that_there_is_none_of(build, known):
    with pytest.raises(ValueError, match=f"expected a dialect of {known}, got 'jax'"):
        build(dialect="jax")


@pytest.mark.parametrize(
    ("build", "given"),
    [
        (optimizers.nadam, {"momentum_decay": -1.0}),
        (optimizers.nadam, {"b1": 1.0}),
        (optimizers.adabelief, {"eps_root": -1.0}),
        (optimizers.adamw, {"weight_decay": np.nan}),
    ],
)
def test_values_out_of_range(build, given):
    with pytest.raises(ValueError, match=f"expected {next(iter(given))}"):
        build(**given)
