"""The adapter over jaxprs, against the functions that it traces."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn.check.jaxprs import (
    apply,
    bodies,
    enclosing,
    equations,
    evaluate,
    replace,
    source,
    trace,
    without_custom_rules,
)

X = jnp.array([1.0, 2.0, 3.0])


@jax.custom_vjp
def doubled(x):
    return x * 2


doubled.defvjp(lambda x: (x * 2, None), lambda _, dy: (7 * dy,))


@jax.custom_jvp
def tripled(x):
    return x * 3


tripled.defjvp(lambda x, t: (tripled(x[0]), 11 * t[0]))


def nested(tree):
    """Everything that is entered, and something that is not (a solve)."""
    x = tree["x"]
    y = jax.checkpoint(lambda x: jnp.sin(x) * x)(x)
    y = jax.lax.cond(x.sum() > 0, lambda y: tripled(y) + 1, lambda y: y * 2, y)
    y = jax.lax.fori_loop(0, 3, lambda i, y: doubled(y) * 2.0, y)
    y = jax.lax.while_loop(lambda y: y.sum() < 1e4, lambda y: y * 2, y)
    y, rows = jax.lax.scan(lambda c, r: (c * 2, c + r), y, jnp.arange(3.0), reverse=True)
    y = jax.lax.platform_dependent(y, cpu=lambda y: y + 1, default=lambda y: y * 2)
    y = jax.lax.custom_linear_solve(lambda v: 2 * v, y, lambda _, b: b / 2, lambda _, b: b / 2)
    return {"y": jax.jit(jnp.cos)(y) + rows[0], "nothing": None, "first": y[0]}


def names(program):
    return [equation.primitive.name for _, equation in equations(program)]


def same(a, b):
    np.testing.assert_allclose(a["y"], b["y"], rtol=1e-5)
    np.testing.assert_allclose(a["first"], b["first"], rtol=1e-5)
    assert a["nothing"] is b["nothing"] is None


def test_a_program_computes_what_its_function_does():
    program = trace(nested, {"x": X})
    expected = nested({"x": X})
    same(evaluate(program, {"x": X}), expected)
    same(evaluate(program, {"x": X}, visit=lambda *_: None), expected)
    same(jax.jit(lambda tree: evaluate(program, tree))({"x": X}), expected)


def test_calls_are_entered_and_not_listed():
    program = trace(lambda x: jax.jit(tripled)(jax.checkpoint(jnp.sin)(doubled(x))), X)
    assert names(program) == ["mul", "sin", "mul"]


def test_bodies_follow_their_equation():
    def function(x):
        return jax.lax.cond(x[0] > 0, jnp.sin, jnp.cos, x)

    program = trace(function, X)
    listed = names(program)
    (at,) = [location for location, e in equations(program) if e.primitive.name == "cond"]
    inside = [(e.primitive.name, location) for location, e in equations(program)][-2:]
    assert listed[-3:] == ["cond", "cos", "sin"]  # the branch for False comes first
    assert inside == [("cos", (*at, 0, 0)), ("sin", (*at, 1, 0))]
    assert [e.primitive.name for e in enclosing(program, (*at, 1, 0))] == ["sin", "cond"]
    assert len(bodies(enclosing(program, at)[0])) == 2


def test_the_visitor_sees_what_ran_and_how_often():
    seen = []

    def function(x):
        return jax.lax.scan(
            lambda c, _: (jax.lax.cond(c.sum() > 0, jnp.sin, jnp.cos, c), c), x, length=4
        )

    evaluate(
        trace(function, X),
        X,
        visit=lambda location, equation, inputs, outputs: seen.append(equation.primitive.name),
    )
    assert (seen.count("sin"), seen.count("cos"), seen.count("scan")) == (4, 0, 1)


@pytest.mark.parametrize("compiled", [False, True])
def test_every_equation_can_be_replaced(compiled):
    program = trace(nested, {"x": X})
    ran = set()
    evaluate(program, {"x": X}, visit=lambda location, *_: ran.add(location))
    in_while = [e.primitive.name for _, e in equations(program)].index("while")
    changed = 0
    for number, (location, equation) in enumerate(equations(program)):
        if location not in ran or number in range(in_while + 1, in_while + 4):
            continue
        calls = []

        def rule(equation, inputs, calls=calls):
            calls.append(equation)
            return apply(equation, inputs)

        mutant = replace(program, location, rule)
        run = jax.jit(lambda tree, m=mutant: evaluate(m, tree)) if compiled else None
        same((run or (lambda tree, m=mutant: evaluate(m, tree)))({"x": X}), nested({"x": X}))
        assert calls, equation
        changed += 1
        if compiled and changed == 6:
            break


def test_a_rule_is_what_is_computed():
    program = trace(lambda x: jax.jit(jnp.sin)(x) + 1, X)
    ((location, _), _) = equations(program)
    mutant = replace(program, location, lambda equation, inputs: [jnp.cos(inputs[0])])
    np.testing.assert_allclose(evaluate(mutant, X), jnp.cos(X) + 1)
    np.testing.assert_allclose(evaluate(program, X), jnp.sin(X) + 1)  # the first is as it was
    np.testing.assert_allclose(
        jax.vmap(lambda x: evaluate(mutant, x))(jnp.stack([X, 2 * X])),
        jnp.cos(jnp.stack([X, 2 * X])) + 1,
        rtol=1e-6,
    )


def test_what_cannot_be_addressed():
    program = trace(jnp.sin, X)
    with pytest.raises(KeyError, match="location of an equation"):
        replace(program, (9,), apply)
    with pytest.raises(TypeError, match="expected arguments of the tree"):
        evaluate(program, (X, X))


def test_custom_derivatives_are_gone_everywhere():
    def function(x):
        y = jax.lax.cond(x.sum() > 0, lambda x: tripled(doubled(x)), lambda x: x, x)
        return jax.lax.scan(lambda c, _: (doubled(c), None), y, length=2)[0].sum()

    np.testing.assert_allclose(jax.grad(function)(X), 7 * 7 * 11 * 7.0)
    plain = without_custom_rules(function)
    np.testing.assert_allclose(plain(X), function(X))
    np.testing.assert_allclose(jax.grad(plain)(X), 24.0)
    np.testing.assert_allclose(jax.jit(jax.grad(plain))(X), 24.0)
    np.testing.assert_allclose(jax.jvp(plain, (X,), (jnp.ones(3),))[1], 72.0)


def test_the_source_is_a_line_of_the_user():
    program = trace(lambda x: jax.nn.relu(x) * 2, X)
    lines = {source(*enclosing(program, location)) for location, _ in equations(program)}
    (line,) = lines
    assert line.startswith("test_jaxprs.py:")
