"""The measure of the checker: what can be planted, what is found, and what is no fault."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import layers, losses
from fnn.check.jaxprs import equations, evaluate, replace, trace
from fnn.check.mutation import mutation_score, mutation_score_of_loss
from fnn.check.mutation.operators import operators
from fnn.check.precision import exact
from fnn.check.reports.report import GradientError
from fnn.layer import pure

A = np.random.default_rng(0).standard_normal((3, 3))
B = np.random.default_rng(1).standard_normal((3, 3))


def mutated(function, *arguments):
    """{operator: result} of every fault in every equation."""
    results = {}
    with exact():
        arguments = [jnp.asarray(a) for a in arguments]
        program = trace(function, *arguments)
        for location, equation in equations(program):
            for operator in operators(equation):
                mutant = replace(program, location, operator.rule)
                eager = evaluate(mutant, *arguments)
                compiled = jax.jit(lambda *a, m=mutant: evaluate(m, *a))(*arguments)
                np.testing.assert_allclose(eager, compiled, rtol=1e-6, err_msg=operator.name)
                assert (eager.shape, eager.dtype) == (compiled.shape, compiled.dtype)
                results[f"{equation.primitive.name}: {operator.name}"] = np.asarray(eager)
    return results


@pytest.mark.parametrize(
    ("function", "arguments", "fault", "expected"),
    [
        (lambda a, b: a + b, (A, B), "add: first operand dropped", B),
        (lambda a, b: a - b, (A, B), "sub: first operand dropped", -B),
        (lambda a, b: a + b, (A, B), "add: - for +", A - B),
        (lambda a, b: a * b, (A, B), "mul: second factor dropped", A),
        (lambda a, b: a * b, (A, B), "mul: first factor squared", A * A),
        (lambda a, b: a / b, (A, B), "div: upside down", B / A),
        (lambda a: 2 * a, (A,), "mul: constant 2.0 × 1.001", 2.002 * A),
        (lambda a: 2 * a, (A,), "mul: constant 2.0 + 1", 3 * A),
        (lambda a: a.sum(0), (A,), "reduce_sum: last of axis 0 dropped", A[:2].sum(0)),
        (lambda a: a.sum(0), (A,), "reduce_sum: mean for sum", A.mean(0)),
        (lambda a: a.sum(0), (A,), "reduce_sum: n / (n - 1)", A.sum(0) * 1.5),
        (lambda a: a.sum(0), (A,), "reduce_sum: axis 1 for axis 0", A.sum(1)),
        (lambda a, b: a @ b, (A, B), "dot_general: operand 0 transposed, axes 0 1", A.T @ B),
        (lambda a, b: a @ b, (A, B), "dot_general: ones for operand 1", A @ np.ones((3, 3))),
        (lambda a: a > 0, (A,), "gt: lt for gt", A < 0),
        (lambda a: a > 0, (A,), "gt: threshold moved by 0.1", A > 0.1),
        (lambda a: a > 0, (np.zeros((2, 2)),), "gt: ge for gt", np.ones((2, 2), bool)),
        (jnp.exp, (A,), "exp: expm1 in its place", np.expm1(A)),
        (jnp.tanh, (A,), "tanh: times 1.001", 1.001 * np.tanh(A)),
        (jnp.tanh, (A,), "tanh: negated", -np.tanh(A)),
        (jnp.tanh, (A,), "tanh: through float32", np.tanh(A).astype(np.float32)),
        (lambda a: a.T, (A,), "transpose: not transposed", A),
        (lambda a: a.reshape(9), (A,), "reshape: read column by column", A.T.reshape(9)),
        (lambda a, b: jnp.where(a > 0, a, b), (A, B), "select_n: cases swapped",
         np.where(A > 0, B, A)),
        (lambda a: a[1:], (A,), "slice: shifted by -1, axis 0", A[:2]),
    ],
)  # fmt: skip
def test_an_operator_does_what_its_name_says(function, arguments, fault, expected):
    results = mutated(function, *arguments)
    assert fault in results, list(results)
    np.testing.assert_allclose(results[fault], expected, rtol=1e-12)


def test_faults_are_planted_into_bodies():
    def function(a):
        a = jax.lax.scan(lambda c, row: (c * row, None), jnp.ones(3), a)[0]
        return jax.lax.cond(a[0] > -99, lambda a: a + 1, lambda a: a, a)

    results = mutated(function, jnp.asarray(A))
    np.testing.assert_allclose(results["mul: second factor dropped"], np.full(3, 2.0))
    np.testing.assert_allclose(results["add: - for +"], A.prod(0) - 1)


def layer_of(derivative, function=lambda x: x * x):
    return pure("small", lambda _, x: (function(x), x), lambda p, x, dy: (p, derivative(x, dy)))


SQUARE = layer_of(lambda x, dy: 2 * x * dy)
X = A.astype(np.float32)


def test_a_right_layer_scores_in_full_and_says_by_what():
    report = mutation_score(SQUARE, X)
    report.raise_if_survivors()
    assert report.ok
    assert report.score == 1
    assert len(report.killed) > 40
    assert "mutation score 100 %" in str(report)
    sources = {each.mutant.source.partition(":")[0] for each in report.findings}
    assert {"test_mutation.py", "x"} <= sources
    assert all(finding.reason for finding in report.findings)


def test_a_blind_checker_has_survivors():
    report = mutation_score(SQUARE, X, methods=["linearity"])
    assert report.score < 0.8
    found = {finding.mutant.fault for finding in report.survivors}
    assert {"0.1 % too large", "wrong sign", "another row's gradient"} <= found
    assert "no upstream dy" not in found
    with pytest.raises(GradientError, match="largest relative difference"):
        report.raise_if_survivors()
    assert "100 %" not in str(report).splitlines()[0]


def test_a_wrong_backward_is_not_measured():
    with pytest.raises(GradientError, match="a backward that passes"):
        mutation_score(layer_of(lambda x, dy: 3 * x * dy), X)


def test_no_fault_no_survivor_the_evidence_says_why():
    def derivative(x, dy):
        unused = jnp.sin(x)
        tiny = 1e-14 * x * jnp.cos(x)
        other = jax.lax.platform_dependent(x, cpu=lambda x: 2 * x, default=lambda x: jnp.exp(x) * 5)
        return (other + 0 * unused + tiny) * dy

    report = mutation_score(layer_of(derivative), X)
    report.raise_if_survivors()
    reasons = {finding.mutant.fault: finding.reason for finding in report.equivalents}
    assert "another platform" in reasons["exp: negated"]
    assert "last bit" in reasons["sin: negated"]
    assert "rounding" in reasons["cos: negated"]
    below = mutation_score(
        layer_of(lambda x, dy: (2 * x + 1e-11 * jnp.tanh(x)) * dy), X
    ).equivalents
    assert any("is tolerated" in each.reason and "tanh" in each.mutant.fault for each in below)


def test_what_no_input_reaches_survives():
    def derivative(x, dy):
        never = jnp.isnan(x).any()
        return jax.lax.cond(never, lambda x: 2 * jnp.sqrt(x * x), lambda x: 2 * x, x) * dy

    report = mutation_score(layer_of(derivative), X)
    assert any(
        "sqrt" in each.mutant.fault and "no input" in each.reason for each in report.survivors
    )


def test_a_convention_at_a_kink_is_no_fault():
    rectifier = layer_of(lambda x, dy: jnp.where(x > 0, dy, 0), lambda x: jnp.where(x > 0, x, 0))
    for x in (X[:2], np.where(X[:2] > 0.5, 0, X[:2])):
        report = mutation_score(rectifier, x)
        report.raise_if_survivors()
        found = {each.mutant.fault: each for each in report.findings}
        assert found["gt: ge for gt"].outcome == "equivalent"
        assert "kink" in found["gt: ge for gt"].reason
        assert found["gt: threshold moved by 0.1"].outcome in ("killed", "survived")


def test_a_loss_and_a_layer_with_parameters():
    mutation_score_of_loss(
        losses.softmax_cross_entropy(), A.astype(np.float32), np.array([0, 2, 1])
    ).raise_if_survivors()
    mutation_score(layers.linear(3), X).raise_if_survivors()
