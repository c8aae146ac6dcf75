"""Minimizers: what holds for all of them, whatever they ask for."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tables import public

from fnn import optimizers
from fnn.optimizers import ENDINGS, Minimizer, apply_updates, minimize, with_hyperparameters
from fnn.tree import paths

MINIMIZERS = {
    "bfgs": optimizers.bfgs,
    "lbfgs": lambda: optimizers.lbfgs(history=3),
    "newton_cg": optimizers.newton_cg,
    "sam": lambda: optimizers.sam(optimizers.sgd(0.1), 1e-3),
    "as_minimizer": lambda: optimizers.as_minimizer(optimizers.momentum(0.05)),
}
# Those that are built by themselves, rather than from an optimizer.
SEARCHING = ("bfgs", "lbfgs", "newton_cg")


@pytest.fixture(params=MINIMIZERS)
def minimizer(request):
    return MINIMIZERS[request.param]()


def bowl(params):
    """Σ (cosh(x - 1) - 1): no quadratic, with its minimum at 1; computed in float32."""
    wide = jax.tree.map(lambda p: p.astype(float) - 1, params)
    value = sum((jnp.cosh(x) - 1).sum() for x in jax.tree.leaves(wide))
    grads = jax.tree.map(lambda x, p: jnp.sinh(x).astype(p.dtype), wide, params)
    return jnp.asarray(value, float), grads


def test_every_public_minimizer_is_tested_here():
    assert set(public(optimizers, Minimizer)) == set(MINIMIZERS)


def test_finds_the_minimum_of_a_bowl(minimizer):
    start = {"a": jnp.asarray([3.0, -2.0]), "b": jnp.asarray(2.5)}
    found = minimize(minimizer, bowl, start, steps=300, tolerance=2e-3)
    for leaf in jax.tree.leaves(found.params):
        np.testing.assert_allclose(leaf, 1, atol=3e-3)
    assert ENDINGS[int(found.ending)] == "the gradient's norm is at most the tolerance"
    assert found.evaluations > found.steps


def test_many_starts_at_once_are_single_runs(minimizer):
    starts = jnp.asarray([[3.0, -2.0], [1.5, 0.5], [1.0, 1.0]])

    def run(start):
        return minimize(minimizer, bowl, start, steps=6, tolerance=1e-3)

    together = jax.jit(jax.vmap(run))(starts)
    alone = jax.jit(run)
    for i, start in enumerate(starts):
        single = alone(start)
        np.testing.assert_allclose(together.params[i], single.params, rtol=1e-4, atol=1e-5)
        assert together.steps[i] == single.steps
        assert together.evaluations[i] == single.evaluations
    # The last one begins at the minimum.
    assert (together.steps[2], together.evaluations[2]) == (0, 1)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16], ids=str)
def test_parameters_keep_their_dtype_and_memory_is_wide(minimizer, dtype):
    params = {"w": jnp.full((3, 2), 2, dtype)}
    state = minimizer.init(params)
    value, grads = bowl(params)
    step = jax.jit(lambda g, s, p: minimizer.update(bowl, value, g, s, p))
    updates, new_state = step(grads, state, params)
    assert updates["w"].dtype == jnp.float32
    assert apply_updates(params, updates)["w"].dtype == dtype
    assert (updates["w"] < 0).all()
    for (path, before), (_, after) in zip(paths(state), paths(new_state), strict=True):
        assert (after.shape, after.dtype) == (before.shape, before.dtype), path
        if not path.startswith("reached/grads"):  # which are the parameters' own
            assert after.dtype in (jnp.float32, jnp.int32, bool), path


@pytest.mark.parametrize("params", [{}, {"w": ()}, {"w": jnp.zeros((0, 3))}], ids=str)
def test_empty_trees_and_leaves(minimizer, params):
    found = minimize(minimizer, bowl, params, steps=2)
    assert jax.tree.structure(found.params) == jax.tree.structure(params)
    assert (found.value, found.steps) == (0, 0)
    updates, _ = minimizer.update(bowl, *bowl(params), minimizer.init(params), params)
    assert jax.tree.structure(apply_updates(params, updates)) == jax.tree.structure(params)


def test_a_gradient_that_is_not_finite_is_seen(minimizer):
    params = jnp.asarray([2.0, 2.0])
    grads = jnp.asarray([jnp.nan, 1.0])
    step = jax.jit(lambda g, s, p: minimizer.update(bowl, jnp.ones(()), g, s, p)[0])
    assert np.isnan(step(grads, minimizer.init(params), params)).any()


def test_a_gradient_of_zero_moves_nothing(minimizer):
    params = jnp.ones(2)
    step = jax.jit(lambda g, s, p: minimizer.update(bowl, jnp.zeros(()), g, s, p)[0])
    np.testing.assert_array_equal(step(jnp.zeros(2), minimizer.init(params), params), 0)


@pytest.mark.parametrize("name", SEARCHING)
def test_the_search_has_hyperparameters_that_are_leaves(name):
    """With c2 near 1 the first trial is good enough, with a tiny one it takes more."""
    minimizer, params = MINIMIZERS[name](), jnp.asarray([3.0])
    state = minimizer.init(params)
    step = jax.jit(lambda s, p: minimizer.update(bowl, *bowl(p), s, p)[1].reached.evaluations)
    strict = with_hyperparameters(state, c1=1e-6, c2=1e-5)
    assert step(state, params) < step(strict, params)
    with pytest.raises(ValueError, match="c2 at least 0 and below 1, got 2"):
        with_hyperparameters(state, c2=2.0)


@pytest.mark.parametrize("name", SEARCHING)
def test_a_schedule_may_drive_the_first_step_length(name):
    given = {"rate": optimizers.schedules.constant(0.5)}
    scheduled, plain = getattr(optimizers, name)(**given), getattr(optimizers, name)(rate=0.5)
    start = jnp.asarray([3.0, -2.0])
    ends = [minimize(m, bowl, start, steps=3) for m in (scheduled, plain)]
    np.testing.assert_array_equal(ends[0].params, ends[1].params)
    assert ends[0].state.steps == 3


@pytest.mark.parametrize("name", [*SEARCHING, "sam"])
def test_the_constructors_docstrings_give_rule_and_source(name):
    text = inspect.getdoc(getattr(optimizers, name))
    assert "←" in text
    assert "Hyperparameter" in text
    assert "Source" in text


def test_another_librarys_optimizer_can_be_minimized_with():
    """It has the protocol, and not the type."""
    with jax.numpy_dtype_promotion("standard"):
        theirs = minimize(optax.sgd(0.1), bowl, jnp.asarray([1.5, 0.5]), steps=3)
    ours = minimize(optimizers.sgd(0.1), bowl, jnp.asarray([1.5, 0.5]), steps=3)
    np.testing.assert_allclose(theirs.params, ours.params, rtol=1e-6)
    assert theirs.evaluations == ours.evaluations == 4


@pytest.mark.parametrize(
    "objective",
    [lambda p: (((p**2).sum(), "auxiliary"), 2 * p), lambda p: (p**2).sum()],
    ids=["an auxiliary", "no gradient"],
)
def test_an_objective_that_answers_something_else(objective):
    with pytest.raises(TypeError, match=r"expected objective\(params\) -> \(value, grads\)"):
        minimize(optimizers.lbfgs(), objective, jnp.ones(2), steps=3)
