"""What a person may hand over by mistake: each gets a wrong row or an error in words of the contract."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from planted import Affine, X, affine, lookup, spoiled, square

from fnn import check
from fnn.check.functions.function import function
from fnn.check.methods.contract import deterministic
from fnn.layer import pure


def backward_of(result):
    """An affine layer whose backward gives back what `result(dparams, dx)` makes of the right one."""
    return spoiled(affine(3), lambda p, c, dp, dx, dy: result(dp, dx))


def failed(report):
    return {(row.method, row.path) for row in report.failures}


WRONG = {
    "None for the parameters": (lambda dp, dx: (None, dx), {"params/w", "params/b"}),
    "None for the input": (lambda dp, dx: (dp, None), {"x"}),
    "None for a leaf": (lambda dp, dx: (dp._replace(b=None), dx), {"params/b"}),
    "a dict for a named tuple": (lambda dp, dx: (dp._asdict(), dx), {"params"}),
    "a list around the input": (lambda dp, dx: (dp, [dx]), {"x", "x/0"}),
    "a leaf too many": (
        lambda dp, dx: ((*dp, dx), dx),
        {"params/w", "params/b", "params/0", "params/1", "params/2"},
    ),
    "transposed": (lambda dp, dx: (dp._replace(w=dp.w.T), dx), {"params/w"}),
    "not summed": (lambda dp, dx: (dp._replace(b=jnp.zeros((6, 3))), dx), {"params/b"}),
    "another dtype": (lambda dp, dx: (dp, dx.astype(jnp.float16)), {"x"}),
    "integers": (lambda dp, dx: (dp._replace(b=dp.b.astype(int)), dx), {"params/b"}),
    "a Python number": (lambda dp, dx: (dp._replace(w=0), dx), {"params/w"}),
    "NumPy zeros": (lambda dp, dx: (dp._replace(w=np.zeros((5, 3))), dx), {"params/w"}),
    "NaN": (lambda dp, dx: (dp, dx.at[2, 1].set(jnp.nan)), {"x"}),
    "infinity": (lambda dp, dx: (dp, dx.at[2, 1].set(jnp.inf)), {"x"}),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_backward_that_returns_something_else_has_wrong_rows(name):
    result, leaves = WRONG[name]
    report = check.layer(backward_of(result), X)
    assert {row.path for row in report.failures} == leaves, str(report)
    assert str(report)
    with pytest.raises(check.GradientError, match=next(iter(leaves))):
        report.raise_if_wrong()


def test_a_right_gradient_in_numpy_arrays_passes():
    """Where nothing is traced: NumPy arrays are jax's to convert, as everywhere."""
    constant = pure(
        "constant",
        lambda p, x: (jnp.ones(3), None),
        lambda p, c, dy: (p, np.zeros((6, 5), np.float32)),
    )
    with pytest.raises(check.GradientError, match=r"float32\[6,5\]"):  # float64 was given
        check.layer(constant, X).raise_if_wrong()
    constant = constant._replace(backward=lambda p, c, dy: (p, np.zeros((6, 5), dy.dtype)))
    assert check.layer(constant, X).ok


NO_PAIR = {
    "one array": (lambda dp, dx: dx, r"\(dparams, dx\), got one array of shape \(6, 5\)"),
    "nothing": (lambda dp, dx: None, "got a NoneType"),
    "three": (lambda dp, dx: (dp, dx, dx), "got a tuple of 3"),
    "a dict": (lambda dp, dx: {"params": dp, "x": dx}, "got a dict"),
}


@pytest.mark.parametrize("name", NO_PAIR)
def test_a_backward_that_returns_no_pair_is_refused(name):
    result, message = NO_PAIR[name]
    layer = backward_of(result)
    with pytest.raises(TypeError, match=rf"affine\(3\): expected backward to return .*{message}"):
        check.layer(layer, X)


def test_a_forward_that_returns_no_triple_is_refused():
    layer = square._replace(forward=lambda params, state, x, key: (x * x, x))
    with pytest.raises(
        TypeError, match=r"expected forward to return \(y, state, cache\), got a tuple of 2"
    ):
        check.layer(layer, X)
    layer = square._replace(forward=lambda params, state, x, key: x * x)
    with pytest.raises(TypeError, match=r"got one array of shape \(6, 5\)"):
        check.layer(layer, X)


@pytest.mark.parametrize("phase", ["forward", "backward"])
def test_an_exception_says_whose_it_is_and_in_which_pass(phase):
    def fails(*arguments):
        raise ZeroDivisionError("within")

    layer = square._replace(**{phase: fails})
    with pytest.raises(ZeroDivisionError, match="within") as raised:
        check.layer(layer, X.astype(np.float64))
    assert any(
        note.startswith(f"square: raised in its {phase} pass") for note in raised.value.__notes__
    )
    assert "float64" in "".join(raised.value.__notes__)


def test_an_exception_of_a_function_says_so_too():
    def fails(x):
        raise ZeroDivisionError("within")

    with pytest.raises(ZeroDivisionError) as raised:
        function(fails, X)
    assert "fails: raised in its forward pass, on arrays of float64" in "".join(
        raised.value.__notes__
    )

    f = jax.custom_vjp(lambda x: x)
    f.defvjp(lambda x: (x, None), lambda cache, dy: fails(dy))
    with pytest.raises(ZeroDivisionError) as raised:
        function(f, X)
    assert "in its backward pass" in "".join(raised.value.__notes__)


@pytest.mark.parametrize(
    "result",
    [lambda dy: dy, lambda dy: (dy, dy), lambda dy: (dy[0],), lambda dy: (dy.astype("float16"),)],
)
def test_a_custom_vjp_with_the_wrong_tree_raises_with_a_note(result):
    f = jax.custom_vjp(lambda x: 2 * x)
    f.defvjp(lambda x: (2 * x, None), lambda cache, dy: result(dy))
    with pytest.raises((TypeError, ValueError)) as raised:
        function(f, X)
    assert "<lambda>" in "".join((str(raised.value), *getattr(raised.value, "__notes__", ())))


def counting():
    calls = []

    def scale():
        calls.append(None)
        return 1.0 + len(calls)

    return scale


IMPURE = {
    "np.random": lambda: np.random.default_rng().normal(),
    "a counter": counting(),
}


@pytest.mark.parametrize("name", IMPURE)
@pytest.mark.parametrize("phase", ["forward", "backward"])
def test_a_pass_that_is_not_a_function_of_its_arguments_is_found(name, phase):
    draw = IMPURE[name]
    if phase == "forward":
        layer = pure("impure", lambda p, x: (draw() * x, x), lambda p, x, dy: (p, dy))
    else:
        layer = pure("impure", lambda p, x: (x, x), lambda p, x, dy: (p, draw() * dy))
    rows = deterministic(check.trial_of(layer, X))
    assert {row.path for row in rows if not row.ok} == {"y" if phase == "forward" else "x"}
    assert "remembers its earlier calls" in next(row.likely for row in rows if not row.ok)
    assert ("deterministic", "y" if phase == "forward" else "x") in failed(check.layer(layer, X))


def test_an_impure_function_is_found():
    scale = counting()
    assert ("deterministic", "y") in failed(function(lambda x: scale() * x, X))


def test_right_layers_are_deterministic_to_the_bit():
    for layer, x in ((affine(3), X), (square, X), (lookup, np.array([1, 4, 4, 0]))):
        rows = deterministic(check.trial_of(layer, x))
        assert rows
        assert all(row.ok and row.relative == 0 for row in rows)


def test_a_leaked_tracer_is_named():
    kept = []

    def forward(params, x):
        kept.append(x)
        return x * kept[0], x

    layer = pure("leaky", forward, square.backward)._replace(backward=square.backward)
    with pytest.raises(jax.errors.UnexpectedTracerError) as raised:
        check.layer(layer, X.astype(np.float64))
    assert "leaky: raised in its forward pass" in "".join(raised.value.__notes__)


def test_a_pass_that_changes_what_it_was_given_is_refused():
    def forward(params, state, x, key):
        x["a"] = 2 * x["a"]
        return x["a"], state, None

    # `pure` hands over a tree of its own, so that only a full layer can get at the caller's.
    layer = pure("greedy", None, lambda params, cache, dy: (params, {"a": 2 * dy}))
    layer = layer._replace(forward=forward)
    with pytest.raises(ValueError, match="greedy: its forward pass changed the x it was given"):
        check.layer(layer, {"a": X})

    def backward(params, cache, dy):
        dy *= 2
        return params, dy

    double = pure("double", lambda params, x: (2 * x, None), backward)._replace(backward=backward)
    before = X.copy()
    with pytest.raises(ValueError, match="read-only") as raised:
        check.layer(double, X)
    assert "as_arrays" in "".join(raised.value.__notes__)
    np.testing.assert_array_equal(X, before)


def test_integer_outputs_have_no_gradient():
    with pytest.raises(TypeError, match="argmax: expected an output of a floating dtype, got none"):
        function(jnp.argmax, X)
    layer = pure("top", lambda params, x: (x.argmax(-1), x), lambda params, x, dy: (params, x))
    with pytest.raises(TypeError, match=r"top: expected floating outputs, got int\d+ at 'y/'"):
        check.layer(layer, X)


def test_a_function_needs_something_to_differentiate():
    with pytest.raises(
        TypeError, match=r"<lambda>: expected an argument with floating leaves, got none among i"
    ):
        function(lambda i: 1.0 * i, np.arange(3))
    with pytest.raises(TypeError, match="got none among no arguments"):
        function(lambda: 1.0)
    with pytest.raises(TypeError, match="got none among i;"):
        function(lambda x, i: x * i, X, np.arange(5), argnums=1)


def test_a_layer_without_anything_to_differentiate_has_a_structure_to_check():
    one_hot = pure("one_hot", lambda p, i: (jax.nn.one_hot(i, 3), None), lambda p, c, dy: (p, None))
    report = check.layer(one_hot, np.array([0, 2, 1]))
    assert report.ok
    one_hot = one_hot._replace(backward=lambda p, c, dy: (p, dy[:, 0]))
    assert failed(check.layer(one_hot, np.array([0, 2, 1]))) == {("structure", "x")}


def test_complex_leaves_are_refused_by_name():
    with pytest.raises(TypeError, match="expected real leaves, got complex64") as raised:
        function(lambda p: p["w"].real, {"w": X.astype(np.complex64)})
    assert "at 'p/w'" in "".join(raised.value.__notes__)
    with pytest.raises(TypeError, match="complex64") as raised:
        check.layer(affine(3), X, params=Affine(X[0].astype(np.complex64), X[0]))
    assert "affine(3): at 'params/w'" in "".join(raised.value.__notes__)
    with pytest.raises(TypeError, match="expected real leaves, got complex128"):
        function(lambda x: x + 1j, X)


def test_what_is_no_array_is_bound_by_the_caller():
    with pytest.raises(TypeError) as raised:
        function(lambda x, mode: x, X, "fast")
    assert "functools.partial" in "".join(raised.value.__notes__)
    with pytest.raises(TypeError, match="too many positional arguments") as raised:
        function(lambda x: x, X, X)
    assert "was given 2 arguments" in "".join(raised.value.__notes__)


@pytest.mark.parametrize("shape", [(0,), (0, 5), (3, 0)])
def test_empty_arrays_pass(shape):
    report = function(lambda x, w: jnp.tanh(x) * w, np.zeros(shape, np.float32), np.float32(2))
    assert report.ok, str(report)
    assert check.layer(square, np.zeros(shape, np.float32)).ok


def test_nothing_is_left_behind_by_a_bad_subject():
    settings = (jax.config.jax_enable_x64, jax.config.jax_disable_jit)
    for bad in (lambda x: None, lambda x: 1 / 0, lambda x: x.astype(int)):
        with contextlib.suppress(TypeError, ZeroDivisionError):
            function(bad, X)
    assert (jax.config.jax_enable_x64, jax.config.jax_disable_jit) == settings
