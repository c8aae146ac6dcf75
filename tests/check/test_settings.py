"""Float64 without asking, the user's settings untouched, and results that do not depend on them."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from planted import X, affine, spoiled, square

from fnn import check
from fnn.check.battery import AT_SIZE
from fnn.check.functions.function import function
from fnn.layer import Layer, pure

# What a user may have switched on, and what a check runs under instead.
SETTINGS = {
    "jax_enable_x64": lambda: jax.enable_x64(True),
    "jax_default_matmul_precision": lambda: jax.default_matmul_precision("bfloat16"),
    "jax_debug_nans": lambda: jax.debug_nans(True),
    "jax_debug_infs": lambda: jax.debug_infs(True),
    "jax_debug_key_reuse": lambda: jax.debug_key_reuse(True),
    "jax_check_tracer_leaks": lambda: jax.checking_leaks(),
    "jax_transfer_guard": lambda: jax.transfer_guard("disallow"),
    "jax_legacy_prng_key": lambda: jax.legacy_prng_key("error"),
    "jax_numpy_rank_promotion": lambda: jax.numpy_rank_promotion("raise"),
    "jax_numpy_dtype_promotion": lambda: jax.numpy_dtype_promotion("strict"),
    "jax_disable_jit": lambda: jax.disable_jit(),
    "jax_threefry_partitionable": lambda: jax.threefry_partitionable(False),
    "jax_default_prng_impl": lambda: jax.default_prng_impl("rbg"),
}


def settings():
    return {name: getattr(jax.config, name) for name in SETTINGS}  # as this thread sees them


def test_everything_inside_is_float64_and_nothing_outside():
    seen = []

    def forward(params, x):
        seen.append((x.dtype, jnp.zeros(()).dtype, jax.config.jax_default_matmul_precision))
        return x * x, x

    layer = pure("watched", forward, square.backward)._replace(backward=square.backward)
    before = settings()
    assert check.layer(layer, X).ok
    assert settings() == before
    # The structure in the dtypes given runs nothing; the complex step and low precision run besides.
    given = (jnp.dtype("float32"), jnp.dtype("float32"), None)
    assert {found[1:] for found in seen if found != given} == {(jnp.dtype("float64"), "highest")}
    assert (jnp.dtype("float64"), jnp.dtype("float64"), "highest") in seen


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


def promoting_layer():
    """It promotes ranks and dtypes, multiplies matrices, draws from a key, and keeps what it saw."""
    shift = np.arange(5, dtype=np.float32)
    seen = []

    def forward(params, state, x, key):
        seen.append(x)  # `check_tracer_leaks` would raise at it
        mask = jax.random.bernoulli(key, 0.5, x.shape)
        return jnp.where(mask, (x @ params) * (x @ params) + shift, 0), state, (x, mask)

    def backward(params, cache, dy):
        x, mask = cache
        dz = jnp.where(mask, np.float32(2) * (x @ params) * dy, 0)
        return x.T @ dz, dz @ params.T

    def init(key, x):
        return jax.random.normal(key, (5, 5), jnp.float32), ()

    return Layer("promoting", init, forward, backward, None)


def tables():
    """Every number of the reports of a layer, of a broken one, and of a function, as they are printed."""
    layer = promoting_layer()
    nan = spoiled(layer, lambda p, c, dp, dx, dy: (dp, dx.at[0, 1].set(jnp.nan)))
    infinite = spoiled(layer, lambda p, c, dp, dx, dy: (dp, dx.at[0, 1].set(jnp.inf)))
    reports = [
        check.layer(layer, X),
        check.layer(nan, X, methods=AT_SIZE),
        check.layer(infinite, X, methods=AT_SIZE),
        function(_noisy, X, OLD_KEY, methods=AT_SIZE),
        function(_wrong, X, methods=AT_SIZE),
        function(_wrong, X, dtype="given"),
    ]
    return [[tuple(map(repr, row)) for row in report.rows] for report in reports]


OLD_KEY = np.array([0, 3], np.uint32)  # as `jax.random.PRNGKey(3)` makes it


def _noisy(x, key):
    return x * jax.random.uniform(key, x.shape, jnp.float32)  # in all dtypes the same draw


@jax.custom_vjp
def _wrong(x):
    return jnp.tanh(x) + np.float32(1)


_wrong.defvjp(lambda x: (_wrong(x), x), lambda x, dy: (dy * (1 - jnp.tanh(x)) * np.float32(0.5),))


@contextlib.contextmanager
def defaults():
    """jax's own settings, in place of the tests' strict ones."""
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture(scope="module")
def expected():
    with defaults():
        return tables()


@pytest.mark.parametrize("name", SETTINGS)
def test_results_do_not_depend_on_the_users_settings(name, expected):
    """Bit for bit, a NaN and an infinity among them, which `debug_nans` would raise at."""
    with defaults():
        outside = settings()
        with SETTINGS[name]():
            inside = settings()
            assert inside[name] != outside[name]
            found = tables()
            assert settings() == inside
        assert settings() == outside
    assert found == expected


def test_the_report_is_not_empty(expected):
    right, nan, infinite, noisy, *wrong = ([row[8] for row in rows] for rows in expected)
    assert all("'wrong'" not in verdicts for verdicts in (right, noisy))
    assert all("'wrong'" in verdicts for verdicts in (nan, infinite, *wrong))


@pytest.mark.parametrize("name", SETTINGS)
def test_the_users_settings_are_put_back_after_an_exception(name):
    def fails(x):
        raise ZeroDivisionError

    with SETTINGS[name]():
        before = settings()
        for dtype in ("float64", "given"):
            with pytest.raises(ZeroDivisionError):
                function(fails, X, dtype=dtype)
        assert settings() == before


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
    # but for a part in 2^30: a float32 would not feel a cast to float32
    np.testing.assert_allclose(trial.subject.params.w, params.w, rtol=2.0**-29)
