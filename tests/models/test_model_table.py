"""What holds of every layer, of every model: its gradient, hard and bad inputs, its docstring."""

import inspect

import pytest
from hard import judge, layer_verdicts
from refusals import refuses_or_is_right
from selection import FIRST_ORDER
from tables import public
from tables.models import MODELS

from fnn import check, models
from fnn.check.battery import METHODS
from fnn.layer import Layer

# The others compile for half a minute.
QUICK = ("autoencoder", "linear_classifier", "mlp", "transformer_block")
each = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, id=name, marks=() if name in QUICK else (pytest.mark.slow,))
        for name in MODELS
    ],
)


def test_every_model_is_in_the_table():
    """By its name, and those with other settings after a comma."""
    assert {name.partition(",")[0] for name in MODELS} == set(public(models, Layer))


@each
@pytest.mark.parametrize(
    "methods",
    [FIRST_ORDER, pytest.param(METHODS, marks=pytest.mark.slow)],
    ids=["first order", "every method"],
)
def test_backward_is_proved(name, rng, key, methods):
    x, net = MODELS[name].draw(rng), MODELS[name].build()
    check.layer(net, x, key=key, methods=methods).raise_if_wrong()


@each
def test_hard_inputs(name, rng, key):
    kinds, found = layer_verdicts(MODELS[name], rng, key)
    judge(found, MODELS[name].hard, kinds)


@pytest.mark.parametrize("name", MODELS)
def test_bad_inputs(name, rng, key):
    refuses_or_is_right(MODELS[name], rng, key)


@pytest.mark.parametrize("function", public(models, Layer).values(), ids=public(models, Layer))
def test_docstring_says_what_goes_in_and_what_is_refused(function):
    text = inspect.getdoc(function)
    for word in ("Forward", "Backward", "Shapes", "Cache", "Source", "Args:", "Raises:"):
        assert word in text
