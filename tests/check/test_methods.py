"""What each method can see that the others cannot, and what it must not mistake for a fault."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from planted import X, affine, batch_norm, data, elementwise, rectifier, spoiled, square

from fnn import chain, check, layers
from fnn.layer import Layer, pure


def first_six(layer, x, **settings):
    """By those that this file is about: the others have files of their own."""
    return check.layer(layer, x, methods=check.METHODS[:6], **settings)


def by_method(report):
    """Whether a method found everything right, by its name."""
    found = {}
    for row in report.rows:
        found[row.method] = found.get(row.method, True) and row.ok
    return found


def test_every_method_is_run_on_every_leaf():
    found = {}
    for row in check.layer(affine(3), X).rows:
        found.setdefault(row.method, []).append(row.path)
    each = ["params/w", "params/b", "x"]
    for method in (*check.METHODS[:6], "jacobian", "second order", "complex step", "kinks"):
        assert found.pop(method) == each
    for method in ("vmap", "scan", "remat", "bfloat16", "float16"):
        assert found.pop(method) == each
    assert found == {"deterministic": ["y", *each], "retrace": ["forward", "backward"]}


def test_some_methods_alone_in_the_order_of_the_battery():
    report = check.layer(affine(3), X, methods=("numerical", "reverse mode"))
    assert list(dict.fromkeys(row.method for row in report.rows)) == ["reverse mode", "numerical"]
    with pytest.raises(ValueError, match=r"expected methods among structure, .* got differences"):
        check.layer(affine(3), X, methods=("differences",))


def test_only_differences_see_that_autodiff_is_wrong_itself():
    @jax.custom_jvp
    def third(x):
        return x**3

    third.defjvp(lambda primals, tangents: (third(*primals), 2 * primals[0] ** 2 * tangents[0]))
    report = first_six(elementwise("third", third, lambda x: 2 * x**2), X)
    assert [name for name, ok in by_method(report).items() if not ok] == ["numerical"]


def test_a_backward_that_is_not_linear_in_dy_is_found():
    layer = spoiled(square, lambda p, x, dp, dx, dy: (dp, dx * jnp.abs(dy)))
    assert not by_method(first_six(layer, X))["linearity"]


def test_nan_for_a_zero_cotangent_is_found():
    layer = spoiled(square, lambda p, x, dp, dx, dy: (dp, dx * (dy.sum() / dy.sum())))
    report = first_six(layer, X)
    assert [name for name, ok in by_method(report).items() if not ok] == ["linearity"]


def test_a_cotangent_of_numpy_arrays_is_handed_over():
    def backward(params, x, dy):
        return params, (2 * x).at[:].multiply(dy) if isinstance(dy, jax.Array) else dy.at[:]

    layer = square._replace(backward=backward)
    with pytest.raises(AttributeError) as raised:
        first_six(layer, X)
    assert "as_arrays" in raised.value.__notes__[-1]


def test_another_result_outside_of_jit_is_found():
    def spoil(params, x, dparams, dx, dy):
        return dparams, dx if isinstance(dx, jax.core.Tracer) else 1.01 * dx

    report = first_six(spoiled(square, spoil), X)
    assert [name for name, ok in by_method(report).items() if not ok] == ["eager"]


def test_the_dtypes_given_are_checked_too():
    """In float64 this is right; in float32, too, but bfloat16 comes back as float32."""

    def spoil(params, x, dparams, dx, dy):
        return dparams, dx.astype(jnp.promote_types(dx.dtype, jnp.float32))

    layer = spoiled(square, spoil)
    assert first_six(layer, X).ok
    report = first_six(layer, jnp.asarray(X, jnp.bfloat16))
    assert [(row.method, row.hand, row.reference) for row in report.failures] == [
        ("structure", "float32[6,5]", "bfloat16[6,5]")
    ]


def test_a_gradient_that_cancels_to_rounding_is_no_fault():
    """A bias before a batch norm has none; nor has a softmax under a cotangent of ones."""
    net = chain(affine(4), batch_norm)
    for seed in range(20):
        report = first_six(net, data(32, 5, seed=seed), seed=seed)
        assert {row.verdict for row in report.rows} == {"ok"}, str(report)


@pytest.mark.parametrize(("mean", "tolerance"), [(1e4, 1e-9), (1e6, 1e-7)])
def test_a_large_mean_is_no_fault(mean, tolerance):
    """It costs as many digits as it has, and no more."""
    x = data(16, 5).astype(np.float64) + mean
    report = first_six(batch_norm, x, tolerance=tolerance)
    assert report.ok, str(report)
    assert {row.verdict for row in report.rows} == {"ok"}, str(report)


def test_a_step_across_a_kink_is_no_fault():
    """Half the inputs lie at the kink, others within the first step of it."""
    x = data(20, 10).astype(np.float64)
    x[::2] = 0
    x[1::4, :5] = 1e-6 * data(5, 5)
    report = first_six(rectifier, x)
    assert by_method(report)["numerical"]
    assert {row.verdict for row in report.rows} == {"ok"}, str(report)


def test_a_fault_beside_a_kink_is_found_by_differences():
    x = data(20, 10)
    x[::2] = 0
    layer = spoiled(rectifier, lambda p, c, dp, dx, dy: (dp, 1.001 * dx))
    assert not check.numerical(check.trial_of(layer, x))[0].ok


def test_a_noisy_forward_widens_the_tolerance_of_differences():
    """As that of an iterative solver, which stops at 1e-10."""

    def forward(params, x):
        return x * x + jax.lax.stop_gradient(5e-11 * jnp.sin(1e12 * x)), x

    (row,) = check.numerical(check.trial_of(pure("noisy", forward, square.backward), X))
    assert row.verdict == "ok"
    assert row.tolerance > 1e-6


def test_a_step_with_more_rounding_does_not_cure_a_failure():
    def forward(params, x):
        return x * x + jax.lax.stop_gradient(2e-12 * jnp.sin(1e12 * x)), x

    layer = pure("noisy", forward, lambda params, x, dy: (params, 2.00004 * x * dy))
    (row,) = check.numerical(check.trial_of(layer, X))
    assert row.verdict == "wrong"


def test_a_slope_below_the_rounding_leaves_differences_undecided():
    """Any gradient would agree within an error estimate that is as large as the gradient."""
    layer = pure(
        "flat",
        lambda params, x: (1e6 + 1e-6 * x, ()),
        lambda params, cache, dy: (params, 1.5e-6 * dy),
    )
    report = first_six(layer, X)
    assert not report.ok
    assert [row.verdict for row in report.rows if row.method == "numerical"] == ["undecided"]


def test_where_every_output_has_a_kink_differences_are_undecided():
    total = pure(
        "total",
        lambda params, x: (jnp.where(x > 0, x, 0).sum(1), x),
        lambda params, x, dy: (params, (x > 0) * dy[:, None]),
    )
    report = first_six(total, np.zeros((4, 3), np.float32))
    assert report.ok
    assert [row.method for row in report.rows if row.verdict == "undecided"] == ["numerical"]
    assert "x: numerical, undecided" in str(report)
    assert "4 of 4 outputs have a kink" in str(report)


def test_integers_beside_floats_in_the_input():
    """Only floats have a gradient; the integers' place holds None."""
    take = pure(
        "take",
        lambda params, x: (x["table"][x["rows"]], x),
        lambda params, x, dy: (
            params,
            {"rows": None, "table": jnp.zeros_like(x["table"]).at[x["rows"]].add(dy)},
        ),
    )
    report = first_six(take, {"rows": np.array([2, 2, 0]), "table": X})
    assert report.ok, str(report)
    assert {row.path for row in report.rows} == {"x/rows", "x/table"}


def test_state_key_and_parameters_are_the_given_ones():
    def forward(params, state, x, key):
        noise = jax.random.uniform(key, x.shape, x.dtype)
        return params * state * noise * x, state + 1, (params * state * noise, state * noise * x)

    def backward(params, cache, dy):
        return (cache[1] * dy).sum(), cache[0] * dy

    layer = Layer("noisy", lambda key, x: (jnp.ones(()), jnp.zeros(())), forward, backward, None)
    key = jax.random.key(3)
    report = first_six(layer, X, params=np.float32(2), state=np.float32(3), key=key)
    assert report.ok, str(report)
    trial = check.trial_of(layer, X, params=np.float32(2), state=np.float32(3), key=key)
    with check.exact():
        noise = jax.random.uniform(key, X.shape, jnp.float64)
        np.testing.assert_allclose(trial.y, 6 * noise * X.astype(np.float64), rtol=1e-8)  # 2^-30


def test_a_cotangent_of_ones_own_is_used_besides_the_probes():
    layer = spoiled(square, lambda p, x, dp, dx, dy: (dp, jnp.where(dy == 7, 0, dx)))
    assert first_six(layer, X).ok
    report = first_six(layer, X, dy=np.full(X.shape, 7.0))
    assert "given dy" in report.worst.predicate
    with pytest.raises(ValueError, match=r"expected dy of shapes \(6, 5\), got \(5, 6\)"):
        first_six(layer, X, dy=X.T)


@pytest.mark.parametrize(
    ("probe", "only"),
    [
        ("ones", lambda dy: dy.min() == dy.max()),
        ("basis", lambda dy: jnp.sum(dy != 0) == 1),
        ("normal", lambda dy: dy.std() > 0.5),
    ],
)
def test_a_fault_is_found_that_only_one_probe_meets(probe, only):
    layer = spoiled(square, lambda p, x, dp, dx, dy: (dp, jnp.where(only(dy), 1.01, 1) * dx))
    report = first_six(layer, X)
    assert report.worst.method == "reverse mode"
    assert f"{probe} dy" in report.worst.predicate


def test_an_empty_batch_passes():
    assert first_six(affine(3), np.zeros((0, 5), np.float32)).ok


def test_integer_outputs_and_complex_inputs_are_refused():
    top = pure("top", lambda params, x: (x.argmax(-1), x), lambda params, x, dy: (params, x))
    with pytest.raises(TypeError, match=r"top: expected floating outputs, got int\d+ at 'y/'"):
        first_six(top, X)
    with pytest.raises(TypeError, match="expected real leaves, got complex64"):
        first_six(square, X.astype(np.complex64))


def test_references_are_not_compiled_together():
    """Under `jit`, autodiff of this maximum is 7 % off on a CPU: see `fnn.check.methods.reverse`."""

    def windows(x):
        n, h, w, c = x.shape
        return x.reshape(n, h // 2, 2, w // 2, 2, c)

    def backward(params, x, dy):
        parts = windows(x)
        largest = parts == parts.max((2, 4), keepdims=True)
        shares = largest / largest.sum((2, 4), keepdims=True)
        return params, (shares * dy[:, :, None, :, None]).reshape(x.shape)

    pool = pure("pool", lambda params, x: (windows(x).max((2, 4)), x), backward)
    net = chain(layers.batch_norm(), layers.relu(), pool)
    report = first_six(net, data(32, 14, 14, 64))
    assert report.ok, str(report)
