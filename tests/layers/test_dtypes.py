"""Which dtypes go in and which come out, over every layer: mixed, integer, numpy, float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from selection import first_of_each
from tables import LAYERS, LayerRow, floating

from fnn import chain, layers, pure
from fnn.layer import PyTree

# x's, the parameters', and how far from float32 the gradients may be, as a relative norm. A rounding
# to bfloat16 moves a number by up to 2⁻⁹ of it, and a few of them (the output, each result) add up.
MIXED = [
    (jnp.bfloat16, jnp.float32, 2.0**-5),
    (jnp.float32, jnp.bfloat16, 2.0**-5),
    pytest.param(jnp.float16, jnp.bfloat16, 2.0**-5, marks=pytest.mark.slow),
]
mixed = pytest.mark.parametrize(
    ("x_dtype", "params_dtype", "tolerance"),
    MIXED,
    ids=lambda value: np.dtype(value).name if isinstance(value, type(jnp.float32)) else "",
)


@pytest.fixture(params=first_of_each(LAYERS))
def row(request: pytest.FixtureRequest) -> LayerRow:
    return LAYERS[request.param]


def cast(tree: PyTree, dtype) -> PyTree:
    """The floating leaves of a tree in another dtype; indices and masks stay what they are."""
    return jax.tree.map(
        lambda leaf: jnp.asarray(leaf).astype(dtype) if floating(leaf) else leaf, tree
    )


def directions(tree: PyTree) -> PyTree:
    """The leaves that have a derivative; None for the others, as in dx."""
    return jax.tree.map(lambda leaf: leaf if floating(leaf) else None, tree)


def dtypes(tree: PyTree) -> set[str]:
    return {str(leaf.dtype) for leaf in jax.tree.leaves(tree)}


def as_dtype_of(a: np.ndarray, leaf: jax.Array) -> jax.Array:
    return jnp.asarray(a, leaf.dtype)


def signature(tree: PyTree) -> list:
    return [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(tree)]


def distance(got: PyTree, expected: PyTree) -> float:
    """Of all leaves together: one that is 0 but for rounding counts with the size of the others."""

    def flat(tree):
        return np.concatenate([np.ravel(np.asarray(a, np.float64)) for a in jax.tree.leaves(tree)])

    size = np.linalg.norm(flat(expected))
    return float(np.linalg.norm(flat(got) - flat(expected)) / (size if size else 1.0))


def inputs(row: LayerRow, rng: np.random.Generator) -> PyTree:
    """Numbers that every dtype of this file holds."""
    return jax.tree.map(
        lambda leaf: leaf.astype(jnp.bfloat16).astype(np.float32) if floating(leaf) else leaf,
        row.draw(rng),
    )


def cotangent(y: PyTree) -> PyTree:
    """Unequal numbers that bfloat16 holds."""
    return jax.tree.map(lambda a: (1 + np.arange(a.size) % 5).reshape(a.shape) / np.float32(4), y)


@mixed
def test_y_and_dx_are_of_xs_dtype_and_dparams_of_the_parameters(
    row, rng, key, x_dtype, params_dtype, tolerance
):
    layer, x = row.build(), inputs(row, rng)
    wide_params, state = layer.init(key, x)
    params = cast(wide_params, params_dtype)
    expected = {}
    for name, p, given in (
        ("wide", cast(params, jnp.float32), x),
        ("mixed", params, cast(x, x_dtype)),
    ):
        y, new_state, cache = layer.forward(p, state, given, key)
        dparams, dx = layer.backward(p, cache, jax.tree.map(as_dtype_of, cotangent(y), y))
        assert signature(dx) == signature(directions(given))
        if dtypes(dx):
            assert dtypes(row.of_x(y)) == dtypes(dx)
        assert dtypes(layer.predict(p, state, given)) == dtypes(y)
        assert signature(dparams) == signature(p)
        assert signature(new_state) == signature(state)
        expected[name] = y, dparams, dx
    for got, wanted in zip(expected["mixed"], expected["wide"], strict=True):
        if jax.tree.leaves(wanted):
            assert distance(got, wanted) <= tolerance


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "dy_dtype"),
    [(jnp.bfloat16, np.float32), (jnp.float32, jnp.bfloat16)],
    ids=["float32 in bfloat16", "bfloat16 in float32"],
)
def test_numpy_cotangents_of_another_dtype_change_no_dtype(row, rng, key, dtype, dy_dtype):
    layer, x = row.build(), cast(inputs(row, rng), dtype)
    params, state = layer.init(key, x)
    y, _, cache = layer.forward(params, state, x, key)
    dy = cotangent(y)  # the same numbers in every dtype
    expected = layer.backward(params, cache, cast(dy, dtype))
    got = layer.backward(params, cache, jax.tree.map(lambda a: np.asarray(a, dy_dtype), dy))
    assert signature(got) == signature(expected) == signature((params, directions(x)))
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


@pytest.mark.slow
def test_float64_in_a_float32_program_is_taken_in_one_dtype_throughout(row, rng, key):
    """Under x64 a network of float32 gets a float64 cotangent from much of numpy."""
    with jax.enable_x64(True):
        layer, x = row.build(), cast(inputs(row, rng), jnp.float32)
        params, state = layer.init(key, x)
        y, _, cache = layer.forward(params, state, x, key)
        dy = jax.tree.map(np.float64, cotangent(y))
        assert signature(layer.backward(params, cache, dy)) == signature((params, directions(x)))


@pytest.mark.parametrize("dtype", [pytest.param(np.float32, marks=pytest.mark.slow), np.float64])
def test_numpy_inputs_are_welcome(row, rng, key, dtype):
    """Float64 without x64 is float32, as everywhere in jax: without a warning, and as fast to draw."""
    layer, x = row.build(), inputs(row, rng)
    given = jax.tree.map(lambda leaf: leaf.astype(dtype) if floating(leaf) else leaf, x)
    x = jax.tree.map(jnp.asarray, x)
    params, state = layer.init(key, given)
    expected_params, _ = layer.init(key, x)
    assert signature(params) == signature(expected_params)
    for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(expected_params), strict=True):
        np.testing.assert_array_equal(a, b)
    y, new_state, cache = layer.forward(params, state, given, key)
    expected, _, _ = layer.forward(params, state, x, key)
    for a, b in zip(jax.tree.leaves(y), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(a, b)
    assert dtypes(layer.predict(params, new_state, given)) == {"float32"}
    assert dtypes(layer.backward(params, cache, cotangent(y))) <= {"float32"}


OF_FLOATS = [
    name
    for name, row in LAYERS.items()
    if dtypes(directions(inputs(row, np.random.default_rng(0))))
]


@pytest.mark.parametrize("name", first_of_each(OF_FLOATS))
@pytest.mark.parametrize(
    "dtype",
    [np.int32, *(pytest.param(d, marks=pytest.mark.slow) for d in (np.uint8, np.bool_))],
    ids=lambda d: d.__name__,
)
def test_integers_are_refused_with_a_reason_or_have_no_gradient(name, rng, key, dtype):
    row = LAYERS[name]
    layer, given = row.build(), cast(inputs(row, rng), jnp.float32)
    params, state = layer.init(key, given)
    x = jax.tree.map(lambda leaf: (leaf > 0).astype(dtype) if floating(leaf) else leaf, given)
    if row.takes_integers:
        y, _, cache = layer.forward(params, state, x, key)
        assert dtypes((y, layer.predict(params, state, x))) == {np.dtype(dtype).name}
        for dy in (None, cotangent(y)):
            dparams, dx = layer.backward(params, cache, dy)
            assert signature(dparams) == signature(params)
            assert not jax.tree.leaves(dx)
        return
    for run in (
        lambda: layer.forward(params, state, x, key),
        lambda: layer.predict(params, state, x),
        lambda: chain(first=layer).init(key, x),
    ):
        with pytest.raises(TypeError, match=f"floating dtype, got {np.dtype(dtype).name}"):
            run()


def test_indices_may_be_flattened_before_they_are_looked_up(key):
    """A layer that reads integers sends None back, through what only changes their shape."""

    def backward(params, index, dy):
        return jnp.zeros_like(params).at[index].add(dy), None

    embedding = pure(
        "embedding",
        lambda params, index: (params[index], index),
        backward,
        lambda key, x: jax.random.normal(key, (7, 3)),
    )
    net = chain(flat=layers.flatten(), embed=embedding, pool=layers.flatten())
    x = jnp.asarray([[[1, 2], [3, 1]], [[0, 6], [6, 6]]], jnp.int32)
    params, state = net.init(key, x)
    y, _, cache = net.forward(params, state, x, None)
    dparams, dx = net.backward(params, cache, jnp.ones_like(y))
    assert dx is None
    np.testing.assert_array_equal(dparams["embed"][:, 0], [1, 2, 1, 1, 0, 0, 3])
