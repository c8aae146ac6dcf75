"""Every property of the contract, over every layer."""

import inspect
import re
import sys
from collections.abc import Iterable
from types import CodeType, ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from selection import batteries, first_of_each
from tables import LAYERS, LayerRow, floating, public

from fnn import check, compose, layers
from fnn.layer import Layer, PyTree
from fnn.tree import paths


@pytest.fixture(params=first_of_each(LAYERS))
def row(request: pytest.FixtureRequest) -> LayerRow:
    return LAYERS[request.param]


def inputs(row: LayerRow, rng: np.random.Generator, dtype=jnp.float32) -> PyTree:
    return jax.tree.map(
        lambda leaf: jnp.asarray(leaf, dtype if floating(leaf) else leaf.dtype), row.draw(rng)
    )


def started(row: LayerRow, x: PyTree, key: jax.Array) -> tuple[Layer, PyTree, PyTree]:
    """The layer with parameters that are not at a special point such as zero biases."""
    layer = row.build()
    params, state = layer.init(key, x)
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(key, max(len(leaves), 1))
    moved = [
        p + 0.3 * jax.random.normal(k, p.shape, p.dtype) for p, k in zip(leaves, keys, strict=False)
    ]
    return layer, jax.tree.unflatten(tree, moved), state


def signature(tree: PyTree) -> list[tuple[str, tuple[int, ...], str]]:
    return [(path, leaf.shape, str(leaf.dtype)) for path, leaf in paths(tree)]


def directions(tree: PyTree) -> PyTree:
    """The leaves that have a derivative; None for the others, as in dx."""
    return jax.tree.map(lambda leaf: leaf if floating(leaf) else None, tree)


def cotangent(y: PyTree, rng: np.random.Generator) -> PyTree:
    return jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), leaf.dtype), y)


def weights(y: PyTree) -> PyTree:
    """Unequal cotangents: equal ones are a direction in which a normalization has no gradient."""
    return jax.tree.map(
        lambda leaf: jnp.sin(1.0 + jnp.arange(leaf.size, dtype=leaf.dtype)).reshape(leaf.shape), y
    )


def relative(a: PyTree, b: PyTree) -> float:
    """The largest relative norm of a leaf's difference."""
    worst = 0.0
    for p, q in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        p, q = np.asarray(p, np.float64), np.asarray(q, np.float64)
        worst = max(worst, np.linalg.norm(p - q) / max(np.linalg.norm(q), 1e-3))
    return worst


def merged(moving: PyTree, x: PyTree) -> PyTree:
    """x with its floating leaves taken from `moving`."""
    leaves = iter(jax.tree.leaves(moving))
    return jax.tree.map(lambda leaf: next(leaves) if floating(leaf) else leaf, x)


def without_a_row(room: ModuleType, rows: Iterable[LayerRow]) -> list[str]:
    """The room's functions that made the layer of no row; to be called for a part of it is too little."""
    made: set[CodeType] = set()
    for row in rows:
        returned: list[tuple[CodeType, object]] = []

        def note(frame, event, value, returned=returned):
            if event == "return":
                returned.append((frame.f_code, value))

        before = sys.getprofile()
        sys.setprofile(note)
        try:
            layer = row.build()
        finally:
            sys.setprofile(before)
        made |= {code for code, value in returned if value is layer}
    return [name for name, f in public(room, Layer).items() if f.__code__ not in made]


@pytest.mark.parametrize("room", [layers, compose], ids=["layers", "containers"])
def test_every_public_function_is_in_the_table(room):
    assert without_a_row(room, LAYERS.values()) == []


def test_a_function_that_is_only_named_beside_the_table_is_found():
    """The test of the test: imports, comments and parts of other rows are there still."""
    rows = [row for name, row in LAYERS.items() if not re.match(r"(frozen|chain|tanh)\b", name)]
    assert without_a_row(compose, rows) == ["chain", "frozen"]
    assert without_a_row(layers, rows) == ["tanh"]


# Layers that no one can be named for: they only hand on, or renumber, what comes.
OF_NOBODY = ("identity", "flatten", "reshape")
FUNCTIONS = {**public(layers, Layer), **public(compose, Layer)}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_docstring_gives_both_passes_and_the_source(name):
    text = inspect.getdoc(FUNCTIONS[name])
    for section in ("Forward", "Backward", "Shapes:", "Cache:", "Raises:"):
        assert section in text
    # Someone, and a year.
    source = re.search(r"\bSources?: [A-Z][^()]* \((1[89]|20)\d\d\)", text)
    assert bool(source) != (name in OF_NOBODY)


@batteries
def test_backward_is_proved_in_float64(row, rng, key, methods):
    layer, params, state = started(row, inputs(row, rng), key)
    x = inputs(row, rng)
    check.layer(layer, x, params=params, state=state, key=key, methods=methods).raise_if_wrong()


def test_backward_equals_autodiff_in_float32(row, rng, key):
    x = inputs(row, rng)
    layer, params, state = started(row, x, key)
    y, _, cache = layer.forward(params, state, x, key)
    dy = cotangent(y, rng)
    _, pull = jax.vjp(
        lambda p, moving: layer.forward(p, state, merged(moving, x), key)[0], params, directions(x)
    )
    assert relative(layer.backward(params, cache, dy), pull(dy)) <= row.f32_tolerance


@pytest.mark.parametrize(
    "dtype",
    [jnp.float32, jnp.bfloat16, pytest.param(jnp.float16, marks=pytest.mark.slow)],
    ids=str,
)
def test_gradients_have_the_trees_shapes_and_dtypes_of_what_they_belong_to(row, rng, key, dtype):
    x = inputs(row, rng, dtype)
    layer = row.build()
    params, state = layer.init(key, x)
    y, new_state, cache = layer.forward(params, state, x, key)
    if jax.tree.leaves(directions(x)):  # without floats, as of an index, nothing asks for a dtype
        assert all(leaf.dtype == dtype for leaf in jax.tree.leaves((params, y)))
    assert signature(new_state) == signature(state)
    dparams, dx = layer.backward(params, cache, cotangent(y, rng))
    assert signature(dparams) == signature(params)
    assert jax.tree.structure(dparams) == jax.tree.structure(params)
    assert signature(dx) == signature(directions(x))


def test_predict_has_the_shape_of_forward(row, rng, key):
    x = inputs(row, rng)
    layer, params, state = started(row, x, key)
    y, state, _ = layer.forward(params, state, x, key)
    assert signature(layer.predict(params, state, x)) == signature(y)


@pytest.mark.slow  # `check.layer` above asks for it, too, in float64
def test_cache_crosses_jit_and_numpy_cotangents_are_welcome(row, rng, key):
    x = inputs(row, rng)
    layer, params, state = started(row, x, key)
    y, _, cache = layer.forward(params, state, x, key)
    y_jit, _, cache_jit = jax.jit(layer.forward)(params, state, x, key)
    dy = jax.tree.map(np.asarray, cotangent(y, rng))
    expected = layer.backward(params, cache, dy)
    got = jax.jit(layer.backward)(params, cache_jit, dy)
    assert relative(y_jit, y) <= 1e-5
    assert relative(got, expected) <= 1e-5


@pytest.mark.slow  # `check.layer` above asks for it, too, in float64
def test_runs_in_scan_and_vmap_as_outside(row, rng, key):
    each = [inputs(row, rng) for _ in range(3)]
    xs = jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
    layer, params, state = started(row, each[0], key)

    def gradients(x, key):
        y, _, cache = layer.forward(params, state, x, key)
        return y, layer.backward(params, cache, weights(y))

    keys = jax.random.split(key, 3)
    one_by_one = [gradients(x, k) for x, k in zip(each, keys, strict=True)]
    expected = jax.tree.map(lambda *leaves: jnp.stack(leaves), *one_by_one)
    scanned = jax.lax.scan(lambda _, xk: (None, gradients(*xk)), None, (xs, keys))[1]
    assert relative(scanned, expected) <= 1e-5
    assert relative(jax.vmap(gradients)(xs, keys), expected) <= 1e-5


@pytest.mark.slow  # `check.layer` above asks for it, too, in float64
def test_second_call_does_not_trace_again(row, rng, key):
    x = inputs(row, rng)
    layer, params, state = started(row, x, key)
    traces = []

    @jax.jit
    def gradients(params, state, x, key):
        traces.append(1)
        y, state, cache = layer.forward(params, state, x, key)
        return state, layer.backward(params, cache, jax.tree.map(jnp.ones_like, y))

    for _ in range(3):
        state, (params, dx) = gradients(params, state, x, key)
        x = merged(dx, x)
    assert len(traces) == 1


@pytest.mark.slow  # `check.layer` above asks for it, too, in another way
def test_forward_mode_reaches_second_order(row, rng, key):
    """The jvp of the hand-written gradient is that of autodiff's: Hessian-vector products."""
    x = inputs(row, rng)
    layer, params, state = started(row, x, key)
    moving = directions(x)
    tangent = (cotangent(params, rng), cotangent(moving, rng))
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda a: jnp.asarray(np.asarray(a), jnp.float64), (params, moving))
        tangent = jax.tree.map(lambda a: jnp.asarray(np.asarray(a), jnp.float64), tangent)

        def by_hand(params, moving):
            y, _, cache = layer.forward(params, state, merged(moving, x), key)
            return layer.backward(params, cache, jax.tree.map(jnp.multiply, weights(y), y))

        def by_autodiff(params, moving):
            def energy(params, moving):
                y = layer.forward(params, state, merged(moving, x), key)[0]
                terms = jax.tree.map(lambda w, leaf: (0.5 * w * leaf * leaf).sum(), weights(y), y)
                return sum(jax.tree.leaves(terms))

            return jax.grad(energy, (0, 1))(params, moving)

        hand = jax.jvp(by_hand, wide, tangent)[1]
        auto = jax.jvp(by_autodiff, wide, tangent)[1]
        assert relative(hand, auto) <= 1e-9


@pytest.mark.parametrize("name", first_of_each(name for name, row in LAYERS.items() if row.batched))
@pytest.mark.parametrize("batch", [1, 0])
def test_small_batches(name, rng, key, batch):
    row = LAYERS[name]
    whole = inputs(row, rng)
    x = jax.tree.map(lambda leaf: leaf[:batch], whole)
    layer, params, state = started(row, whole, key)
    if batch == 0 and row.refuses_empty_batch:
        with pytest.raises(ValueError, match="expected elements"):
            layer.forward(params, state, x, key)
        return
    y, _, cache = layer.forward(params, state, x, key)
    of_x, pull = jax.vjp(row.of_x, y)  # ones for what comes from x
    dparams, dx = layer.backward(params, cache, *pull(jax.tree.map(jnp.ones_like, of_x)))
    assert signature(dx) == signature(directions(x))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((y, dparams, dx)))
    if batch == 0:
        assert all((np.asarray(leaf) == 0).all() for leaf in jax.tree.leaves(dparams))


OF_FLOATS = [
    name
    for name, row in LAYERS.items()
    if jax.tree.leaves(directions(inputs(row, np.random.default_rng(0))))
]


@pytest.mark.parametrize("name", first_of_each(OF_FLOATS))
def test_a_nan_does_not_disappear(name, rng, key):
    row = LAYERS[name]
    whole = inputs(row, rng)
    x = jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan) if floating(leaf) else leaf, whole)
    layer, params, state = started(row, whole, key)
    y, _, _ = layer.forward(params, state, x, key)
    # Dropout may drop a NaN; it may not drop all of them.
    assert all(np.isnan(leaf).any() for leaf in jax.tree.leaves(row.of_x(y)))
