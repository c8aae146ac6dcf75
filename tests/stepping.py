"""Optimizers at work on small problems, for the tests of all of them."""

import inspect

import jax
import jax.numpy as jnp
import pytest
from selection import first_of_each
from tables import OPTIMIZERS, OptimizerRow, public

from fnn import optimizers
from fnn.optimizers import Optimizer, apply_updates

# What takes a rate first is an optimizer, but for the pieces of which every optimizer has one at its end;
# the rest are transforms, and wrappers of optimizers.
CONSTRUCTORS = {
    name: function
    for name, function in public(optimizers, Optimizer).items()
    if next(iter(inspect.signature(function).parameters), None) == "rate"
    and name not in ("descend", "velocity")
}


def every_row(test):
    """Run a test for every row that does not say why it lacks the property, which is the test's name."""
    rows = [pytest.param(row, id=i) for i, row in OPTIMIZERS.items() if _has(row, test)]
    return pytest.mark.parametrize("row", rows)(test)


def every_row_compiled(test):
    """As `every_row`, for what has to be compiled: rows that repeat an optimizer are slow tests."""
    rows = [
        pytest.param(OPTIMIZERS[name.id], id=name.id, marks=name.marks)
        for name in first_of_each(OPTIMIZERS)
        if _has(OPTIMIZERS[name.id], test)
    ]
    return pytest.mark.parametrize("row", rows)(test)


def _has(row, test):
    return test.__name__.removeprefix("test_") not in row.without


def run(optimizer, params, gradient, steps):
    """The parameters after each step."""
    state, trajectory = optimizer.init(params), []
    for _ in range(steps):
        updates, state = optimizer.update(gradient(params), state, params)
        params = apply_updates(params, updates)
        trajectory.append(params)
    return trajectory


def scan(optimizer, params, gradient, steps):
    """The parameters after all steps, and after each."""

    def step(carry, _):
        params, state = carry
        updates, state = optimizer.update(gradient(params), state, params)
        params = apply_updates(params, updates)
        return (params, state), params

    (params, _), trajectory = jax.lax.scan(step, (params, optimizer.init(params)), length=steps)
    return params, trajectory


def without_decay(row: OptimizerRow) -> dict[str, float]:
    """The hyperparameters that let the row's optimizer rest where the gradient is 0."""
    return {"weight_decay": 0.0} if "weight_decay" in row.hyperparameters else {}


def to_rest(row: OptimizerRow, rate, steps) -> Optimizer:
    """The row's optimizer so that it can come to rest at a minimum: no pull towards zero, and a rate
    that falls in a straight line to 0 where it needs one."""
    plain = without_decay(row)
    if row.needs_falling_rate:
        return row.optimizer(lambda count: rate * (1 - count / steps), **plain)
    return row.optimizer(rate, **plain)


def parabola(params):
    """The gradient of the sum of (p - 1)²."""
    return jax.tree.map(lambda p: 2 * (p - 1), params)


def wavy(params):
    """A gradient with bends and one zero, so that no rounding is blown up on the way there."""
    return jax.tree.map(lambda p: p - 2 + 0.3 * jnp.sin(3 * p), params)
