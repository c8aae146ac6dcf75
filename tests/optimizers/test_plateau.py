"""Reducing a rate on a plateau: torch's and optax's machines, in a loop and in a scan."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fnn.optimizers import apply_updates, sgd, with_hyperparameters
from fnn.optimizers.schedules import reduce_on_plateau


def scales(values, **options):
    plateau = reduce_on_plateau(**options)
    state, seen = plateau.init(), []
    for value in values:
        state = plateau.update(value, state)
        seen.append(float(state.scale))
    return seen


def as_torch(values, *, patience, factor, cooldown, threshold, relative, minimum, mode):
    """ReduceLROnPlateau's step, from its documentation, for a rate of 1."""
    best, bad, cooling, scale, seen = np.inf if mode == "min" else -np.inf, 0, 0, 1.0, []
    for value in values:
        if mode == "min":
            wanted = best * (1 - threshold) if relative else best - threshold
            better = value < wanted
        else:
            wanted = best * (1 + threshold) if relative else best + threshold
            better = value > wanted
        if better:
            best, bad = value, 0
        else:
            bad += 1
        if cooling > 0:
            cooling -= 1
            bad = 0
        if bad > patience:
            scale, cooling, bad = max(scale * factor, minimum), cooldown, 0
        seen.append(scale)
    return seen


@pytest.mark.parametrize("cooldown", [0, 2])
@pytest.mark.parametrize("patience", [0, 1, 3])
@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("relative", [True, False])
def test_is_that_of_torch(cooldown, patience, mode, relative, rng):
    values = np.round(5 + rng.normal(size=40).cumsum() * 0.3, 3)
    options = {
        "patience": patience,
        "factor": 0.5,
        "cooldown": cooldown,
        "threshold": 0.01,
        "relative": relative,
        "minimum": 0.05,
        "mode": mode,
    }
    np.testing.assert_allclose(scales(values, **options), as_torch(values, **options), rtol=1e-6)


@pytest.mark.parametrize("cooldown", [0, 2])
@pytest.mark.parametrize("patience", [1, 3])
def test_is_that_of_optax(cooldown, patience, rng):
    values = np.round(5 + rng.normal(size=40).cumsum() * 0.3, 3)
    options = {"patience": patience, "factor": 0.5, "cooldown": cooldown}
    theirs = optax.contrib.reduce_on_plateau(**options, rtol=0.01, atol=0.0, min_scale=0.05)
    p = jnp.asarray(1.0)
    with jax.numpy_dtype_promotion("standard"):

        def body(state, value):
            _, state = theirs.update(p, state, value=value)
            return state, state.scale

        _, seen = jax.lax.scan(body, theirs.init(p), jnp.asarray(values, jnp.float32))
    ours = scales(values, **options, threshold=0.01, minimum=0.05, dialect="optax")
    np.testing.assert_allclose(ours, seen, rtol=1e-6)
    assert seen.min() < 1  # the test sees reductions


def test_the_dialects_differ_by_one_bad_value():
    flat = [1.0] * 5  # the first is the best, the others are bad
    assert scales(flat, patience=2, factor=0.5) == [1, 1, 1, 0.5, 0.5]
    assert scales(flat, patience=2, factor=0.5, dialect="optax") == [1, 1, 0.5, 0.5, 0.25]


def test_values_that_are_not_finite_are_bad():
    got = scales([1.0, np.nan, np.nan, 0.5, np.inf, np.inf], patience=1, factor=0.5)
    assert got == [1, 1, 0.5, 0.5, 0.5, 0.25]
    assert scales([np.nan, np.inf], patience=1, factor=0.5) == [1, 0.5]


def test_in_a_scan_as_in_a_loop(rng):
    values = jnp.asarray(rng.normal(size=30), jnp.float32)
    plateau = reduce_on_plateau(patience=2, factor=0.5, cooldown=1)

    def body(state, value):
        state = plateau.update(value, state)
        return state, state.scale

    _, together = jax.lax.scan(body, plateau.init(), values)
    np.testing.assert_array_equal(together, scales(values, patience=2, factor=0.5, cooldown=1))


def test_drives_the_rate_of_a_run_in_one_compiled_scan():
    """On |p|, descent at a constant rate jumps about 0; with a rate that falls it settles."""
    optimizer, plateau = sgd(0.4), reduce_on_plateau(patience=1, factor=0.5)

    def end(reduces):
        def body(carry, _):
            p, state, seen = carry
            seen = plateau.update(jnp.abs(p), seen)
            if reduces:
                state = with_hyperparameters(state, rate=0.4 * seen.scale)
            updates, state = optimizer.update(jnp.sign(p), state, p)
            return (apply_updates(p, updates), state, seen), None

        p = jnp.asarray(1.0)
        start = (p, optimizer.init(p), plateau.init())
        return abs(float(jax.lax.scan(body, start, None, length=100)[0][0]))

    assert end(False) > 0.1
    assert end(True) < 1e-3


@pytest.mark.parametrize(
    "options",
    [
        {"factor": 1.0},
        {"factor": 0.0},
        {"patience": -1},
        {"patience": 0, "dialect": "optax"},
        {"cooldown": -1},
        {"threshold": -0.1},
        {"threshold": np.nan},
        {"minimum": 2.0},
        {"mode": "least"},
        {"dialect": "keras"},
    ],
)
def test_options_that_make_no_sense(options):
    with pytest.raises(ValueError, match="expected"):
        reduce_on_plateau(**options)


def test_a_state_may_be_donated():
    plateau = reduce_on_plateau(patience=1)
    update = jax.jit(lambda state: plateau.update(1.0, state), donate_argnums=0)
    assert update(update(plateau.init())).bad == 1


@pytest.mark.parametrize(("mode", "unbeatable"), [("min", -np.inf), ("max", np.inf)])
def test_an_infinity_that_is_the_best_stays_the_best(mode, unbeatable):
    values = [1.0, unbeatable, 5.0, 4.0, 6.0]
    assert scales(values, patience=1, factor=0.5, mode=mode) == [1, 1, 1, 0.5, 0.5]
