"""Every optimizer over trees, dtypes and gradients of all kinds, and what it refuses."""

import inspect
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from stepping import CONSTRUCTORS, every_row
from tables import OPTIMIZERS

from fnn import optimizers
from fnn.optimizers import apply_updates, with_hyperparameters
from fnn.tree import paths


def test_every_public_optimizer_is_in_the_table():
    assert set(CONSTRUCTORS) - {row.build.__name__ for row in OPTIMIZERS.values()} == set()


def test_the_first_row_of_each_has_the_defaults():
    seen = set()
    for name, row in OPTIMIZERS.items():
        if row.build.__name__ in CONSTRUCTORS.keys() - seen:
            seen.add(row.build.__name__)
            parameters = inspect.signature(row.build).parameters
            asked_for = {
                k for k in row.arguments if parameters[k].default is inspect.Parameter.empty
            }
            state = row.build(row.rate, **{k: row.arguments[k] for k in asked_for}).init(
                jnp.ones(2)
            )
            held = {path.rpartition("/")[2]: leaf for path, leaf in hyper(state)}
            expected = {**row.hyperparameters, **({"rate": row.rate} if row.rate_is_leaf else {})}
            assert held == {k: np.float32(v) for k, v in expected.items()}, name
            assert set(row.arguments) == asked_for, name
    assert seen == set(CONSTRUCTORS)


def hyper(state):
    return [(path, leaf) for path, leaf in paths(state) if "hyper/" in path]


def test_what_a_row_lacks_is_a_property_and_has_a_reason():
    source = "".join(p.read_text() for p in pathlib.Path(__file__).parent.glob("test_*.py"))
    known = set(re.findall(r"@every_row\w*\n(?:@.*\n)*def test_(\w+)", source))
    for name, row in OPTIMIZERS.items():
        assert set(row.without) <= known, name
        assert all(len(reason) > 20 for reason in row.without.values()), name


def test_the_constructors_docstrings_give_rule_and_source():
    for function in CONSTRUCTORS.values():
        text = inspect.getdoc(function)
        assert "←" in text, function
        assert "Hyperparameter" in text, function
        assert "Source" in text, function


@every_row
@pytest.mark.parametrize(
    "dtype", [jnp.float32, jnp.bfloat16, jnp.float64], ids=lambda d: d.__name__
)
def test_parameters_keep_their_dtype_and_slots_are_wide(row, dtype):
    """The tree is kept, too: names, order, and a tuple stays one."""
    with jax.enable_x64(dtype == jnp.float64):
        params = {"w": jnp.ones((3, 2), dtype), "pair": (jnp.ones(2, dtype), [jnp.ones((), dtype)])}
        wide = jnp.float64 if dtype == jnp.float64 else jnp.float32
        optimizer = row.optimizer()
        state = optimizer.init(params)
        updates, new_state = optimizer.update(params, state, params)
        after = apply_updates(params, updates)
    assert jax.tree.structure(after) == jax.tree.structure(params)
    assert {leaf.dtype for leaf in jax.tree.leaves(after)} == {jnp.dtype(dtype)}
    assert {leaf.dtype for leaf in jax.tree.leaves(updates)} == {jnp.dtype(wide)}
    for (path, before), (_, leaf) in zip(paths(state), paths(new_state), strict=True):
        assert (leaf.shape, leaf.dtype) == (before.shape, before.dtype), path
        assert leaf.dtype in (wide, jnp.int32), path


@every_row
def test_low_precision_parameters_go_the_way_of_wide_ones(row):
    """The slots of bfloat16 parameters are those of float32 ones with the same numbers."""
    small = {"w": jnp.asarray([[1.0, -2.0], [0.5, 3.0]], jnp.bfloat16)}
    large = jax.tree.map(lambda p: p.astype(jnp.float32), small)
    optimizer = row.optimizer()
    states = optimizer.init(small), optimizer.init(large)
    for _ in range(2):  # of the same parameters, so that only the dtype differs
        updates = [optimizer.update(p, s, p) for p, s in zip((small, large), states, strict=True)]
        states = tuple(state for _, state in updates)
    np.testing.assert_allclose(updates[0][0]["w"], updates[1][0]["w"], rtol=1e-6)
    for a, b in zip(jax.tree.leaves(states[0]), jax.tree.leaves(states[1]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


@every_row
@pytest.mark.parametrize("params", [{}, {"w": ()}, {"w": jnp.zeros((0, 3))}], ids=str)
def test_empty_trees_and_leaves(row, params):
    optimizer = row.optimizer()
    updates, state = optimizer.update(params, optimizer.init(params), params)
    assert jax.tree.structure(apply_updates(params, updates)) == jax.tree.structure(params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))


@every_row
def test_a_leaf_of_no_elements_beside_others(row):
    params = {"none": jnp.zeros((0, 3)), "w": jnp.asarray([[1.0, -2.0]])}
    alone = {"w": params["w"]}
    optimizer = row.optimizer()
    updates, _ = optimizer.update(params, optimizer.init(params), params)
    expected, _ = optimizer.update(alone, optimizer.init(alone), alone)
    np.testing.assert_array_equal(updates["w"], expected["w"])
    assert updates["none"].shape == (0, 3)


@every_row
def test_inputs_are_not_changed(row):
    params = {"w": np.ones(3, np.float32)}
    optimizer = row.optimizer()
    state = optimizer.init(params)
    before = [np.array(leaf) for leaf in jax.tree.leaves(state)]
    optimizer.update({"w": np.ones(3, np.float32)}, state, params)
    for leaf, old in zip(jax.tree.leaves(state), before, strict=True):
        np.testing.assert_array_equal(leaf, old)
    np.testing.assert_array_equal(params["w"], 1)


@every_row
def test_zero_gradients_give_finite_updates(row):
    """From the start, of dead units, and after gradients that were none."""
    params = {"w": jnp.asarray([[1.0, -2.0], [0.0, 3.0]]), "b": jnp.zeros(2)}
    none = jax.tree.map(jnp.zeros_like, params)
    optimizer = row.optimizer()
    state = optimizer.init(params)
    for grads in (none, none, params, none, none):
        updates, state = optimizer.update(grads, state, params)
        for path, leaf in [*paths(updates), *paths(state)]:
            assert np.isfinite(leaf).all(), path


@every_row
@pytest.mark.parametrize("bad", [np.nan, np.inf], ids=str)
def test_a_gradient_that_is_no_number_does_not_disappear(row, bad):
    """NaN has to reach the parameter; of infinity something that is not finite, or a sign, is left."""
    params = {"w": jnp.asarray([[1.0, -2.0], [0.5, 3.0]])}
    optimizer = row.optimizer()
    state = optimizer.init(params)
    grads = {"w": params["w"].at[0, 1].set(bad)}
    updates, _ = optimizer.update(grads, state, params)
    moved = updates["w"][0, 1]
    assert np.isnan(moved) if np.isnan(bad) else moved != 0


@every_row
def test_parameters_may_be_called_like_hyperparameters(row):
    """Their slots have the same names, and are left alone."""
    params = {"rate": jnp.ones(3), "hyper": {"rate": jnp.ones(2), "b1": jnp.ones(1)}}
    optimizer = row.optimizer()
    _, state = optimizer.update(params, optimizer.init(params), params)
    name = "rate" if row.rate_is_leaf else next(iter(row.hyperparameters))
    changed = with_hyperparameters(state, **{name: 0.75})
    differing = [
        path
        for (path, before), (_, after) in zip(paths(state), paths(changed), strict=True)
        if not np.array_equal(before, after)
    ]
    own = [path for path in optimizers.hyperparameters(state) if path.endswith(f"hyper/{name}")]
    assert differing == own
    assert own
    assert not any("slots" in path for path in own)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"rate": np.inf}, "rate finite and at least 0, got inf"),
        ({"rate": -0.1}, "rate finite and at least 0, got -0.1"),
        ({"rate": jnp.float32(np.nan)}, "rate finite and at least 0, got nan"),
        ({"b1": 1.0}, "b1 at least 0 and below 1, got 1.0"),
        ({"b2": -0.5}, "b2 at least 0 and below 1, got -0.5"),
        ({"b2": 1.5}, "b2 at least 0 and below 1, got 1.5"),
        ({"eps": -1e-8}, "eps finite and at least 0, got -1e-08"),
    ],
)
def test_values_that_no_step_is_made_with(given, expected):
    with pytest.raises(ValueError, match=expected):
        optimizers.adam(**given)
    state = optimizers.adam().init(jnp.ones(2))
    with pytest.raises(ValueError, match=expected):
        with_hyperparameters(state, **given)


@pytest.mark.parametrize("rate", ["0.1", None, True], ids=repr)
def test_what_is_no_number(rate):
    with pytest.raises(ValueError, match=f"expected rate to be a number, got {rate!r}"):
        optimizers.sgd(rate)


def test_a_schedule_for_a_state_that_holds_a_number():
    state = optimizers.sgd(0.1).init(jnp.ones(2))
    with pytest.raises(ValueError, match="expected rate to be a number, got <function"):
        with_hyperparameters(state, rate=optimizers.schedules.constant(0.1))


@pytest.mark.parametrize("decay", [1.0, -0.1, np.nan])
@pytest.mark.parametrize("dialect", ["trace", "velocity"])
def test_a_decay_that_does_not_decay(decay, dialect):
    with pytest.raises(ValueError, match="decay at least 0 and below 1, got"):
        optimizers.nesterov(0.1, decay, dialect=dialect)
    with pytest.raises(ValueError, match="momentum at least 0 and below 1, got"):
        optimizers.rmsprop(0.1, momentum=decay)


@pytest.mark.parametrize("shape", [(1,), (2,), (3, 1)], ids=str)
def test_several_numbers_for_one(shape):
    """They would be broadcast against the parameters, which took their shape."""
    with pytest.raises(ValueError, match=r"rate to be one number, got shape .* jax.vmap"):
        optimizers.sgd(np.full(shape, 0.1))
    with pytest.raises(ValueError, match=r"eps to be one number, got shape .* jax.vmap"):
        jax.eval_shape(lambda eps: optimizers.adam(eps=eps).init(jnp.ones(2)), jnp.ones(shape))


@every_row
def test_another_optimizers_state(row):
    params = {"w": jnp.ones((2, 2))}
    state = {"other": optimizers.momentum(0.1).init(params)}
    with pytest.raises(ValueError, match=r"expected this optimizer's state, .* got .*other"):
        row.optimizer().update(params, state, params)


@every_row
@pytest.mark.parametrize(
    ("grads", "error", "expected"),
    [
        ({"w": jnp.ones((2, 2))}, ValueError, "got no leaf 'b'"),
        ({"w": jnp.ones((2, 2)), "b": jnp.ones(2), "c": jnp.ones(1)}, ValueError, "leaf 'c'"),
        ({"w": jnp.ones((2, 3)), "b": jnp.ones(2)}, ValueError, r"\(2, 2\) at 'w', got \(2, 3\)"),
        ({"w": jnp.ones((2, 2)), "b": jnp.arange(2)}, TypeError, "real .* got int32 at 'b'"),
        ({"w": jnp.ones((2, 2)), "b": jnp.ones(2, complex)}, TypeError, "got complex64 at 'b'"),
    ],
    ids=["missing", "one more", "shape", "integers", "complex"],
)
def test_gradients_that_do_not_fit_are_refused_by_their_path(row, grads, error, expected):
    params = {"w": jnp.ones((2, 2)), "b": jnp.ones(2)}
    optimizer = row.optimizer()
    with pytest.raises(error, match=expected):
        optimizer.update(grads, optimizer.init(params), params)


@every_row
def test_parameters_without_a_direction_are_refused_by_their_path(row):
    for leaf in (jnp.arange(3), jnp.ones(3, complex)):
        with pytest.raises(TypeError, match=f"real floating dtype, got {leaf.dtype} at 'w'"):
            row.optimizer().init({"w": leaf})


def test_a_python_number_is_no_parameter():
    with pytest.raises(TypeError, match=r"expected parameters to be arrays, got 1\.0 at 'w'"):
        optimizers.adam().init({"w": 1.0})


@every_row
def test_is_a_static_argument(row):
    """Functions and nothing else, so it is hashable, and equal to itself alone."""
    optimizer = row.optimizer()
    init = jax.jit(lambda optimizer, params: optimizer.init(params), static_argnums=0)
    state = init(optimizer, jnp.ones(2))
    assert jax.tree.structure(state) == jax.tree.structure(optimizer.init(jnp.ones(2)))
    assert len({optimizer, optimizer, row.optimizer()}) == 2


WITH_DIALECTS = {
    name: function
    for name, function in CONSTRUCTORS.items()
    if "dialect" in inspect.signature(function).parameters
}


@pytest.mark.parametrize("name", WITH_DIALECTS)
def test_unknown_dialects_are_refused_and_known_ones_in_the_table(name):
    """The message lists them, each stands in the docstring, and each has a row."""
    with pytest.raises(ValueError, match=r"expected a dialect of .*, got 'mine'") as refusal:
        WITH_DIALECTS[name](0.1, dialect="mine")
    listed = set(re.findall(r"'(\w+)'", str(refusal.value))) - {"mine"}
    default = inspect.signature(WITH_DIALECTS[name]).parameters["dialect"].default
    rows = [row for row in OPTIMIZERS.values() if row.build is WITH_DIALECTS[name]]
    assert listed == {row.arguments.get("dialect", default) for row in rows}
    assert all(f'"{dialect}"' in inspect.getdoc(WITH_DIALECTS[name]) for dialect in listed)
