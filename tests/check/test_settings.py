"""Float64 without asking, the user's settings untouched, and results that do not depend on them."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from planted import X, affine, spoiled, square

from fnn import check
from fnn.layer import pure

SETTINGS = (
    "jax_enable_x64",
    "jax_default_matmul_precision",
    "jax_debug_nans",
    "jax_debug_infs",
    "jax_numpy_rank_promotion",
    "jax_numpy_dtype_promotion",
)


def settings():
    return {name: getattr(jax.config, name) for name in SETTINGS}


def test_everything_inside_is_float64_and_nothing_outside():
    seen = []

    def forward(params, x):
        seen.append((x.dtype, jnp.zeros(()).dtype, jax.config.jax_default_matmul_precision))
        return x * x, x

    layer = pure("watched", forward, square.backward)._replace(backward=square.backward)
    before = settings()
    assert check.layer(layer, X).ok
    assert settings() == before
    float64 = (jnp.dtype("float64"), jnp.dtype("float64"), "highest")
    given = (jnp.dtype("float32"), jnp.dtype("float32"), None)  # the structure in the dtypes given
    assert set(seen) == {float64, given}


def test_settings_are_put_back_after_an_exception():
    def forward(params, x):
        if x.dtype == jnp.float64:
            raise ZeroDivisionError
        return x, x

    before = settings()
    with pytest.raises(ZeroDivisionError):
        check.layer(pure("raises", forward, square.backward), np.float64(X))
    with pytest.raises(ZeroDivisionError), check.exact():
        raise ZeroDivisionError
    assert settings() == before


def test_integers_and_keys_are_not_converted():
    with check.exact():
        from fnn.check.precision import widen

        tree = {"f": np.float32(1), "h": jnp.ones(2, jnp.bfloat16), "i": np.int8(3), "b": True}
        wide = widen({**tree, "key": jax.random.key(0)})
    assert {name: str(leaf.dtype) for name, leaf in wide.items()} == {
        "f": "float64",
        "h": "float64",
        "i": "int8",
        "b": "bool",
        "key": "key<fry>",
    }


@pytest.mark.parametrize(
    "setting",
    [
        lambda: jax.numpy_rank_promotion("raise"),
        lambda: jax.numpy_dtype_promotion("strict"),
        lambda: jax.debug_nans(True),
        lambda: jax.enable_x64(True),
        lambda: jax.default_matmul_precision("bfloat16"),
    ],
)
def test_results_do_not_depend_on_the_users_settings(setting):
    """This layer promotes ranks and dtypes; the fault is a NaN, which `debug_nans` would raise at."""
    shift = np.arange(5, dtype=np.float32)
    promoting = pure("promoting", lambda params, x: (x * x + shift, x), square.backward)._replace(
        backward=lambda params, x, dy: (params, np.float32(2) * x * dy)
    )
    broken = spoiled(promoting, lambda p, c, dp, dx, dy: (dp, dx.at[0, 1].set(jnp.nan)))
    results = []
    for context in (contextlib.nullcontext, setting):
        with context():
            results.append((check.layer(promoting, X), check.layer(broken, X).failures[0][:6]))
    assert results[0][0] == results[1][0]
    assert results[0][0].ok
    assert str(results[0][1]) == str(results[1][1])  # a NaN is not equal to itself
    assert results[0][1][4] == (0, 1)


def test_seeds_decide_what_is_drawn():
    first, again, other = (check.trial_of(affine(3), X, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first.probes[0].dy, again.probes[0].dy)
    assert not np.array_equal(first.probes[0].dy, other.probes[0].dy)
    assert not np.array_equal(first.subject.params.b, other.subject.params.b)
    assert np.all(
        np.asarray(first.subject.params.b) != 0
    )  # an initial 0 would hide what a bias does


def test_given_parameters_are_not_displaced():
    params = affine(3).init(jax.random.key(0), X)[0]
    trial = check.trial_of(affine(3), X, params=params)
    np.testing.assert_array_equal(trial.subject.params.w, params.w)
