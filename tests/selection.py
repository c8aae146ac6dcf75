"""Which rows of a table a property runs over at once, and which among the slow tests."""

import logging
import re
from collections.abc import Callable, Iterable

import jax
import pytest

from fnn.check.battery import METHODS


def first_of_each(names: Iterable[str]) -> list:
    """The names of all rows, as parameters; those that repeat a function with other settings are slow.

    The name of a row begins with that of its function: ``convolution, strided`` repeats ``convolution``.
    """
    parameters, seen = [], set()
    for name in names:
        function = re.split(r"[ ,]", name)[0]
        marks = (pytest.mark.slow,) if function in seen else ()
        seen.add(function)
        parameters.append(pytest.param(name, id=name, marks=marks))
    return parameters


# What proves a first derivative. The whole battery takes three times as long: it is for the slow tests.
FIRST_ORDER = ("structure", "reverse mode", "forward mode", "numerical", "linearity")
batteries = pytest.mark.parametrize(
    "methods",
    [FIRST_ORDER, pytest.param(METHODS, marks=pytest.mark.slow)],
    ids=["first order", "every method"],
)


def few(names: Iterable[str], quick: int) -> list:
    """The names as parameters: `quick` of them, evenly spread, run at once, the others are slow."""
    listed = list(names)
    chosen = {round(i * (len(listed) - 1) / max(quick - 1, 1)) for i in range(quick)}
    return [
        pytest.param(name, id=name, marks=() if i in chosen else (pytest.mark.slow,))
        for i, name in enumerate(listed)
    ]


def compiled(function: Callable[[], object]) -> list[str]:
    """What jax says of the programs that it compiles for a call."""
    said: list[str] = []
    handler, logger = logging.Handler(), logging.getLogger("jax")
    handler.emit = lambda record: said.append(record.getMessage())
    logger.addHandler(handler)
    try:
        with jax.log_compiles(True):
            function()
    finally:
        logger.removeHandler(handler)
    return [message for message in said if "Compiling" in message]
