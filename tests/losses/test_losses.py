"""Losses: every property, over the table."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from selection import batteries
from tables import LAYERS, LOSSES, LossRow, public

from fnn import check, losses
from fnn.layer import Layer, PyTree
from fnn.losses import Loss


@pytest.fixture(params=LOSSES.values(), ids=LOSSES)
def row(request: pytest.FixtureRequest) -> LossRow:
    return request.param


def prediction(row: LossRow, rng: np.random.Generator, dtype=jnp.float32) -> PyTree:
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), row.draw(rng))


def signature(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)


def test_every_public_loss_is_in_the_table():
    assert {name.partition(",")[0].partition(" ")[0] for name in LOSSES} == set(
        public(losses, Loss)
    )


def test_help_says_what_a_loss_of_ones_own_is_made_of():
    for said in (
        "forward(prediction, target) -> (losses, cache)",
        "backward(cache, dlosses)    -> dprediction",
        "chance(classes)             -> (prediction, target)",
    ):
        assert said in Loss.__doc__


@pytest.mark.parametrize("name", public(losses, Loss))
def test_docstring_gives_both_formulas_and_the_source(name):
    text = inspect.getdoc(getattr(losses, name))
    for word in ("Forward", "Backward", "Shapes", "Cache", "Source", "Raises"):
        assert word in text


@pytest.mark.parametrize("name", public(losses, Layer))
def test_a_layer_for_a_loss_is_in_the_table_of_layers_and_says_what_it_is(name):
    assert name in LAYERS
    text = inspect.getdoc(getattr(losses, name))
    for word in ("Forward", "Backward", "Shapes", "Cache", "Source", "Raises"):
        assert word in text


@batteries
def test_backward_is_proved_in_float64(row, rng, methods):
    given, target = prediction(row, rng), row.target(rng)
    check.loss(row.build(), given, target, methods=methods).raise_if_wrong()


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16], ids=str)
def test_one_loss_an_example_and_the_gradient_in_the_predictions_dtype(row, rng, dtype):
    loss, given = row.build(), prediction(row, rng, dtype)
    values, cache = loss.forward(given, row.target(rng))
    first = jax.tree.leaves(given)[0].shape
    assert values.shape in (first[:1], first[:-1])
    gradient = loss.backward(cache, np.ones(values.shape, np.float32))
    assert signature(gradient) == signature(given)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16], ids=str)
def test_narrow_predictions_have_wide_losses(row, rng, dtype):
    """As if the same numbers had come in float32: nothing is summed in the narrow dtype."""
    loss, narrow = row.build(), prediction(row, rng, dtype)
    target = row.target(rng)
    values, cache = loss.forward(narrow, target)
    wide = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), narrow)
    expected, wide_cache = loss.forward(wide, target)
    assert values.dtype == jnp.float32
    np.testing.assert_allclose(values, expected, rtol=1e-6)
    gradient = loss.backward(cache, jnp.ones_like(values))
    expected = loss.backward(wide_cache, jnp.ones_like(values))
    for got, wanted in zip(jax.tree.leaves(gradient), jax.tree.leaves(expected), strict=True):
        # A product of two narrow arrays is as narrow: so are those of the layer `linear`.
        slack = 4 * jnp.finfo(dtype).eps if loss.name.startswith("linear") else 0
        wanted = np.asarray(wanted.astype(dtype), np.float32)
        atol = slack * float(np.abs(wanted).max())
        np.testing.assert_allclose(np.asarray(got, np.float32), wanted, rtol=0, atol=atol)


def test_integer_predictions_are_refused(row, rng):
    integers = jax.tree.map(lambda leaf: leaf.astype(jnp.int32), prediction(row, rng))
    with pytest.raises(ValueError, match=r"floating .*, got int32"):
        row.build().forward(integers, row.target(rng))


@pytest.mark.parametrize("size", [1, 0])
def test_batches_of_one_and_none(row, rng, size):
    loss = row.build()
    given, target = prediction(row, rng), row.target(rng)
    count = jax.tree.leaves(given)[0].shape[0]
    # The weights that a vocabulary's loss takes have no batch.
    given, target = jax.tree.map(
        lambda leaf: leaf[:size] if leaf.shape[0] == count else leaf, (given, target)
    )
    values, cache = loss.forward(given, target)
    assert values.shape[0] == size
    assert signature(loss.backward(cache, jnp.ones_like(values))) == signature(given)
